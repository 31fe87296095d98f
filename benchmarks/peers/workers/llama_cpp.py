"""llama.cpp: a GGUF of our own writing, run through the batch API of llama-cpp-python."""

from __future__ import annotations

import ctypes
import json
import math
import time
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import load_file

from benchmarks.peers.worker import Generated, Prompts, System, drive

FILE = "model.gguf"
TENSORS = {  # GPT-2's name of a layer's tensor: GGUF's
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
FILE_TYPES = {
    "F16": (gguf.LlamaFileType.MOSTLY_F16, gguf.GGMLQuantizationType.F16),
    "Q8_0": (gguf.LlamaFileType.MOSTLY_Q8_0, gguf.GGMLQuantizationType.Q8_0),
}
BATCH, MICRO_BATCH = 2048, 512  # tokens in a call and in one pass, llama.cpp's defaults


def prepare(model: str, target: str, precision: str) -> None:
    """Matrices in `precision`; positions, norms and biases in float32, as llama.cpp's own converter keeps them."""
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    file_type, matrix_type = FILE_TYPES[precision]
    writer = gguf.GGUFWriter(str(Path(target) / FILE), "gpt2")
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_file_type(file_type)
    writer.add_tokenizer_model("no_vocab")  # only token ids go in and out
    writer.add_vocab_size(config["vocab_size"])
    for name, values in load_file(Path(model) / "model.safetensors").items():
        target_name, tensor = _translate(name.removeprefix("transformer."), values)
        is_matrix = tensor.ndim == 2 and target_name != "position_embd.weight"
        tensor_type = matrix_type if is_matrix else gguf.GGMLQuantizationType.F32
        writer.add_tensor(target_name, gguf.quants.quantize(tensor, tensor_type), raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _translate(name: str, values: np.ndarray[Any, Any]) -> tuple[str, np.ndarray[Any, Any]]:
    values = np.ascontiguousarray(values, dtype=np.float32)
    top = {"wte.weight": "token_embd.weight", "wpe.weight": "position_embd.weight", "lm_head.weight": "output.weight"}
    if name in top:
        return top[name], values
    if name.startswith("ln_f."):
        return f"output_norm.{name.removeprefix('ln_f.')}", values
    _, layer, rest = name.split(".", 2)
    module, kind = rest.rsplit(".", 1)
    # GPT-2's linear layers are stored inputs × outputs, GGUF's outputs × inputs.
    return f"blk.{layer}.{TENSORS[module]}.{kind}", np.ascontiguousarray(values.T)


class LlamaCpp:
    version = f"llama-cpp-python {llama_cpp.__version__}"

    def __init__(self, folder: str, cores: int) -> None:
        llama_cpp.llama_backend_init()
        self._cores = cores
        options = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(str(Path(folder) / FILE).encode(), options)
        if not self._model:
            raise RuntimeError(f"llama.cpp does not load {folder}/{FILE}")
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self._context: Any = None
        self._shape = (0, 0)

    def generate(self, prompts: Prompts, new: int) -> Generated:
        # Before the clock: a server has its context from the start.
        self._make_context(len(prompts), max(map(len, prompts)) + new)
        waiting = [
            (sequence, position, token)
            for sequence, prompt in enumerate(prompts)
            for position, token in enumerate(prompt)
        ]
        lengths = [len(prompt) for prompt in prompts]
        ends = [length + new - 1 for length in lengths]

        def step() -> list[tuple[int, int]]:
            rows, waiting[:] = waiting[:BATCH], waiting[BATCH:]
            wanted = []
            for row, (sequence, position, token) in enumerate(rows):
                is_last = position >= lengths[sequence] - 1
                self._fill(row, sequence, position, token, is_last)
                if is_last:
                    wanted.append((row, sequence, position))
            self._batch.n_tokens = len(rows)
            if code := llama_cpp.llama_decode(self._context, self._batch):
                raise RuntimeError(f"llama_decode returned {code}")
            pairs = []
            for row, sequence, position in wanted:
                logits = llama_cpp.llama_get_logits_ith(self._context, row)
                token = int(np.ctypeslib.as_array(logits, shape=(self._vocabulary,)).argmax())
                pairs.append((sequence, token))
                if position + 1 < ends[sequence]:
                    waiting.append((sequence, position + 1, token))
            return pairs

        return drive(time.perf_counter(), len(prompts), new, step)

    def _fill(self, row: int, sequence: int, position: int, token: int, wants_logits: bool) -> None:
        batch = self._batch
        batch.token[row], batch.pos[row] = token, position
        batch.n_seq_id[row], batch.seq_id[row][0] = 1, sequence
        batch.logits[row] = wants_logits

    def _make_context(self, sequences: int, length: int) -> None:
        """An empty KV cache for so many sequences, each with a part of its own."""
        length = 256 * math.ceil(length / 256)
        if self._shape != (sequences, length):
            if self._context:
                llama_cpp.llama_free(self._context)
            options = llama_cpp.llama_context_default_params()
            options.n_ctx, options.n_seq_max = sequences * length, sequences
            options.n_batch, options.n_ubatch = BATCH, MICRO_BATCH
            options.n_threads = options.n_threads_batch = self._cores
            options.kv_unified = False
            options.no_perf = True
            self._context = llama_cpp.llama_init_from_model(self._model, options)
            if not self._context:
                raise RuntimeError(f"llama.cpp makes no context for {sequences} sequences of {length} tokens")
            self._shape = (sequences, length)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), ctypes.c_bool(True))

    def close(self) -> None:
        pass


def load(folder: str, precision: str, cores: int) -> System:
    return LlamaCpp(folder, cores)
