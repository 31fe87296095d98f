"""transformers' `generate`: one static batch, padded on the left to the longest prompt."""

from __future__ import annotations

import time

import torch
import transformers

from benchmarks.peers.worker import Generated, Prompts, System


class Clock(transformers.StoppingCriteria):
    """Notes when each step is done; never stops anything."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool)


class Generate:
    version = f"transformers {transformers.__version__}, torch {torch.__version__}"

    def __init__(self, folder: str, precision: str, cores: int) -> None:
        torch.set_num_threads(cores)
        torch.set_grad_enabled(False)
        self._model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=getattr(torch, precision)).eval()

    def generate(self, prompts: Prompts, new: int) -> Generated:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        clock = Clock()
        started = time.perf_counter()
        output = self._model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            stopping_criteria=[clock],
        )
        return Generated(started, [list(clock.times) for _ in prompts], output[:, longest:].tolist())

    def close(self) -> None:
        pass


def load(folder: str, precision: str, cores: int) -> System:
    return Generate(folder, precision, cores)
