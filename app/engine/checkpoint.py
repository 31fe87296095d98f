"""Reads a GPT-2 checkpoint and refuses, with a sentence that says what to do, what it cannot run exactly.

The files are those that transformers writes (`config.json`, `model.safetensors` or `pytorch_model.bin`, sharded or
not). They are read without importing transformers, which would cost every start several seconds; the tests hold
the result against `GPT2LMHeadModel.from_pretrained`.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from app.engine.model_source import ModelRefusedError, first_line, read_config, weight_files

ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "relu", "silu", "swish", "tanh")
"""Activation functions of the feed-forward layers that `gpt2` computes."""


@dataclass(frozen=True, slots=True)
class GPT2Config:
    """The shape of a GPT-2 model, in the names of transformers' `GPT2Config`."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    activation_function: str
    layer_norm_epsilon: float
    scale_attn_weights: bool
    scale_attn_by_inverse_layer_idx: bool
    tie_word_embeddings: bool

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @classmethod
    def from_folder(cls, folder: Path) -> GPT2Config:
        """Read and check `config.json`; raises `ModelRefusedError`."""
        raw = read_config(folder)

        def get(name: str, default: Any, kind: type) -> Any:
            value = raw.get(name, default)
            if value is None:
                value = default
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not isinstance(value, kind) or (isinstance(value, int) and kind is int and (value is True or value < 1)):
                raise ModelRefusedError(f"{folder}/config.json: {name} is {value!r}, which no GPT-2 model has.")
            return value

        n_embd = get("n_embd", 768, int)
        config = cls(
            vocab_size=get("vocab_size", 50257, int),
            n_positions=get("n_positions", raw.get("n_ctx", 1024), int),
            n_embd=n_embd,
            n_layer=get("n_layer", 12, int),
            n_head=get("n_head", 12, int),
            n_inner=get("n_inner", 4 * n_embd, int),
            activation_function=get("activation_function", "gelu_new", str),
            layer_norm_epsilon=get("layer_norm_epsilon", 1e-5, float),
            scale_attn_weights=get("scale_attn_weights", True, bool),
            scale_attn_by_inverse_layer_idx=get("scale_attn_by_inverse_layer_idx", False, bool),
            tie_word_embeddings=get("tie_word_embeddings", True, bool),
        )
        if config.n_embd % config.n_head:
            raise ModelRefusedError(
                f"{folder}/config.json: n_embd {config.n_embd} cannot be cut into n_head {config.n_head} equal heads."
            )
        if config.activation_function not in ACTIVATIONS:
            raise ModelRefusedError(
                f"{folder}/config.json: activation_function {config.activation_function!r} is not supported; "
                f"one of {', '.join(ACTIVATIONS)} is."
            )
        if get("add_cross_attention", False, bool):
            raise ModelRefusedError(
                f"{folder}/config.json: add_cross_attention is set, but a decoder with an encoder cannot be served."
            )
        return config

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the checkpoint and its shape; linear layers are Conv1D, that is [inputs, outputs]."""
        e, inner = self.n_embd, self.n_inner
        shapes: dict[str, tuple[int, ...]] = {
            "wte.weight": (self.vocab_size, e),
            "wpe.weight": (self.n_positions, e),
            "ln_f.weight": (e,),
            "ln_f.bias": (e,),
        }
        for i in range(self.n_layer):
            layer = {
                "ln_1.weight": (e,),
                "ln_1.bias": (e,),
                "attn.c_attn.weight": (e, 3 * e),
                "attn.c_attn.bias": (3 * e,),
                "attn.c_proj.weight": (e, e),
                "attn.c_proj.bias": (e,),
                "ln_2.weight": (e,),
                "ln_2.bias": (e,),
                "mlp.c_fc.weight": (e, inner),
                "mlp.c_fc.bias": (inner,),
                "mlp.c_proj.weight": (inner, e),
                "mlp.c_proj.bias": (e,),
            }
            shapes.update({f"h.{i}.{name}": shape for name, shape in layer.items()})
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, e)
        return shapes


def load_weights(folder: Path, config: GPT2Config) -> dict[str, torch.Tensor]:
    """Every tensor of `config.shapes()` as float32 on the CPU; raises `ModelRefusedError` for anything else."""
    found: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        for key, tensor in _read(path).items():
            name = key.removeprefix("transformer.")
            # Causal masks that older versions of transformers saved as if they were weights.
            if not name.endswith((".attn.bias", ".attn.masked_bias")):
                found[name] = tensor
    if config.tie_word_embeddings:
        head = found.pop("lm_head.weight", None)
        if head is not None and not torch.equal(head, found.get("wte.weight", head)):
            raise ModelRefusedError(
                f"{folder}: config.json says that the head is tied to the embeddings, but lm_head.weight differs from "
                'wte.weight. Set "tie_word_embeddings": false there if the head is really its own.'
            )
    expected = config.shapes()
    if missing := sorted(expected.keys() - found.keys()):
        raise ModelRefusedError(f"{folder}: the weights lack {_some(missing)}; save the model again with transformers.")
    if unknown := sorted(found.keys() - expected.keys()):
        raise ModelRefusedError(f"{folder}: the weights hold {_some(unknown)}, which GPT-2 does not have.")
    for name, shape in expected.items():
        tensor = found[name]
        if tuple(tensor.shape) != shape:
            raise ModelRefusedError(
                f"{folder}: {name} is {list(tensor.shape)} where config.json asks for {list(shape)}."
            )
        if not tensor.is_floating_point():
            raise ModelRefusedError(f"{folder}: {name} holds {tensor.dtype}, not floating-point numbers.")
        found[name] = tensor.float()
        if not torch.isfinite(found[name]).all():
            raise ModelRefusedError(f"{folder}: {name} holds numbers that are not finite; the file is damaged.")
    return found


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelRefusedError(
            f"{path}: this pickle holds more than weights ({first_line(error)}) and is not loaded, because "
            "it could run code. Convert it to safetensors with transformers on a machine where you trust it."
        ) from error
    except Exception as error:
        # A damaged pickle can make torch raise anything, an IndexError for one.
        raise ModelRefusedError(
            f"{path}: the weights cannot be read ({first_line(error)}). Download or save the file again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelRefusedError(f"{path}: this is not a state dict of tensors. Save the model again with transformers.")
    return state


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def parameter_count(config: GPT2Config) -> int:
    """Number of trained numbers, a tied head counted once."""
    return sum(math.prod(shape) for shape in config.shapes().values())
