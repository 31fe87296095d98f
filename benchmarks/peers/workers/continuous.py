"""transformers' continuous batching: one manager that lives as long as the process."""

from __future__ import annotations

import time

import torch
import transformers
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from benchmarks.peers.worker import Generated, Prompts, System

PAGE, PAGES, SEQUENCES = 256, 3, 64  # its KV cache is allocated at once: three pages hold 700 + 64 tokens


class Continuous:
    version = f"transformers {transformers.__version__}, torch {torch.__version__}"

    def __init__(self, folder: str, precision: str, cores: int) -> None:
        torch.set_num_threads(cores)
        torch.set_grad_enabled(False)
        model = transformers.GPT2LMHeadModel.from_pretrained(
            folder, dtype=getattr(torch, precision), attn_implementation="sdpa"
        ).eval()
        self._manager = model.init_continuous_batching(
            transformers.GenerationConfig(max_new_tokens=PAGE, do_sample=False, eos_token_id=-1),
            ContinuousBatchingConfig(
                page_size=PAGE,
                num_blocks=SEQUENCES * PAGES,
                max_batch_tokens=512,
                max_requests_per_batch=SEQUENCES,
                allow_block_sharing=False,
            ),
        )
        self._manager.start()

    def generate(self, prompts: Prompts, new: int) -> Generated:
        started = time.perf_counter()
        names = self._manager.add_requests(prompts, max_new_tokens=new, record_timestamps=True)
        done = {}
        while len(done) < len(names):
            result = self._manager.get_result(timeout=1)
            if result is None and not self._manager.is_running():
                raise RuntimeError("its generation thread ended")
            if result is not None and result.is_finished():
                if result.error:
                    raise RuntimeError(result.error)
                done[result.request_id] = result
        ordered = [done[name] for name in names]
        return Generated(started, [each.timestamps for each in ordered], [each.generated_tokens for each in ordered])

    def close(self) -> None:
        self._manager.stop(block=True, timeout=10)


def load(folder: str, precision: str, cores: int) -> System:
    return Continuous(folder, precision, cores)
