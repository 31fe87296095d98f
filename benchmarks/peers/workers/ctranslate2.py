"""CTranslate2: converted by its TransformersConverter, run by `generate_batch`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import ctranslate2

from benchmarks.peers.worker import Generated, Prompts, System


def prepare(model: str, target: str, precision: str) -> None:
    """Runs where transformers and torch are importable, which the worker itself does without."""
    from ctranslate2.converters import TransformersConverter

    quantization = None if precision == "float32" else precision
    TransformersConverter(model).convert(target, quantization=quantization, force=True)


class CTranslate2:
    version = f"ctranslate2 {ctranslate2.__version__}"

    def __init__(self, folder: str, precision: str, cores: int) -> None:
        self._words = json.loads((Path(folder) / "vocabulary.json").read_text(encoding="utf-8"))
        self._generator = ctranslate2.Generator(
            folder, device="cpu", compute_type=precision, inter_threads=1, intra_threads=cores
        )

    def generate(self, prompts: Prompts, new: int) -> Generated:
        arrivals: list[list[float]] = [[] for _ in prompts]

        def note(step: ctranslate2.GenerationStepResult) -> bool:
            arrivals[step.batch_id].append(time.perf_counter())
            return False

        words = [[self._words[token] for token in prompt] for prompt in prompts]
        started = time.perf_counter()
        results = self._generator.generate_batch(
            words,
            beam_size=1,
            sampling_topk=1,
            max_length=new,
            min_length=new,
            include_prompt_in_result=False,
            callback=note,
        )
        return Generated(started, arrivals, [result.sequences_ids[0] for result in results])

    def close(self) -> None:
        pass


def load(folder: str, precision: str, cores: int) -> System:
    return CTranslate2(folder, precision, cores)
