"""OpenVINO GenAI: exported by `optimum-cli`, run by its continuous batching pipeline."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openvino
import openvino_genai

from benchmarks.peers.worker import Generated, Prompts, System, drive

WEIGHTS = {"int8": "int8", "bfloat16": "fp16"}  # it computes an fp16 file in bfloat16 where the processor can
CACHE_GB = 4


def prepare(model: str, target: str, precision: str) -> None:
    subprocess.run(
        [
            *(Path(sys.executable).parent / "optimum-cli", "export", "openvino", "--model", model),
            *("--task", "text-generation-with-past", "--weight-format", WEIGHTS[precision], target),
        ],
        check=True,
    )


class OpenVINO:
    version = f"openvino-genai {openvino_genai.__version__}"

    def __init__(self, folder: str, cores: int) -> None:
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = CACHE_GB
        scheduler.enable_prefix_caching = False
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            folder, scheduler, "CPU", {"INFERENCE_NUM_THREADS": cores}
        )
        self._requests = 0

    def generate(self, prompts: Prompts, new: int) -> Generated:
        config = openvino_genai.GenerationConfig(max_new_tokens=new, ignore_eos=True, do_sample=False)
        tensors = [openvino.Tensor(np.array([prompt], dtype=np.int64)) for prompt in prompts]
        started = time.perf_counter()
        handles = []
        for tensor in tensors:
            self._requests += 1
            handles.append(self._pipeline.add_request(self._requests, tensor, config))

        def step() -> list[tuple[int, int]]:
            self._pipeline.step()
            return [
                (sequence, token)
                for sequence, handle in enumerate(handles)
                if handle.can_read()
                for output in handle.read().values()
                for token in output.generated_ids
            ]

        return drive(started, len(prompts), new, step)

    def close(self) -> None:
        pass


def load(folder: str, precision: str, cores: int) -> System:
    return OpenVINO(folder, cores)
