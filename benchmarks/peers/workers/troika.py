"""Ours: the engine process as the service runs it."""

from __future__ import annotations

import time

from app.engine.local import LocalEngine
from app.engine.messages import EngineConfig, SamplingParams
from benchmarks.peers.worker import Generated, Prompts, System

KV_CACHE_BYTES = 8 << 30  # room for 64 sequences of 1,024 positions; only what is used is ever touched


class Troika:
    version = "this checkout"

    def __init__(self, folder: str, precision: str, cores: int) -> None:
        config = EngineConfig(folder, precision=precision, threads=cores, kv_cache_bytes=KV_CACHE_BYTES)
        self._engine = LocalEngine(config)
        if not self._engine.wait_until_ready(timeout=300):
            raise RuntimeError(f"the engine did not start: {self._engine.status().reason}")
        self._owners = 0

    def generate(self, prompts: Prompts, new: int) -> Generated:
        params = SamplingParams(max_new_tokens=new, temperature=0.0)
        arrivals: list[list[float]] = [[] for _ in prompts]
        started = time.perf_counter()
        streams = []
        for times, prompt in zip(arrivals, prompts, strict=True):
            self._owners += 1  # an owner of its own: nothing is reused of what was computed before
            stream = self._engine.submit(prompt, params, owner=str(self._owners))
            # Called for each token and for the end, in the thread that brings them.
            stream.notify(lambda times=times: times.append(time.perf_counter()))  # type: ignore[misc]
            streams.append(stream)
        tokens = [[token.token_id for token in stream] for stream in streams]
        return Generated(started, [times[: len(ids)] for times, ids in zip(arrivals, tokens, strict=True)], tokens)

    def close(self) -> None:
        self._engine.close()


def load(folder: str, precision: str, cores: int) -> System:
    return Troika(folder, precision, cores)
