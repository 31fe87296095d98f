"""`make bench`: the engine beside transformers' `generate`, on random GPT-2 124M weights, in one run.

Ours is the engine process as the service runs it. All systems are loaded first and measured in turn, round after
round, so that a noisy machine is noisy to all of them alike. `floor_ratio` is the time in which memory can be read
at all for one step (every weight once), over the time the step took.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import IO, Any

from app.engine.local import LocalEngine
from app.engine.messages import EngineConfig, SamplingParams
from benchmarks.common import median_rows, peak_rss_mb, random_gpt2, read_bandwidth, table, timed, write_json

BATCHES = (1, 4, 16, 64)
PRECISIONS = {"float32": 4, "bfloat16": 2, "int8": 1}
PROMPT, NEW = 32, 64


class Ours:
    """The engine process in one precision."""

    def __init__(self, folder: str, precision: str) -> None:
        self.precision = precision
        self._engine = LocalEngine(EngineConfig(folder, precision=precision, kv_cache_bytes=8 << 30))
        if not self._engine.wait_until_ready(timeout=300):
            raise SystemExit(f"the engine did not start: {self._engine.status().reason}")
        ready = self._engine.status().ready
        self.weights = (ready.parameters if ready else 0) * PRECISIONS[precision]
        self._seed = 0

    def measure(self, batch: int) -> dict[str, Any]:
        self._seed += 1
        draw = random.Random(self._seed)
        params = SamplingParams(max_new_tokens=NEW, temperature=0.0)
        prompts = [[draw.randrange(50_000) for _ in range(PROMPT)] for _ in range(batch)]
        started = time.perf_counter()
        streams = [self._engine.submit(prompt, params, owner=str(i)) for i, prompt in enumerate(prompts)]
        # All sequences decode in the same steps: the arrivals of one stream are the steps of all.
        arrivals = [time.perf_counter() for _ in streams[-1]]
        for stream in streams:
            for _ in stream:
                pass
        step = statistics.median(b - a for a, b in pairwise(arrivals[1:]))
        return row(
            "troika", self.precision, batch, step, arrivals[0] - started, peak_rss_mb(self._engine.pid or "self")
        )

    def close(self) -> None:
        self._engine.close()


def row(system: str, precision: str, batch: int, step_s: float, ttft_s: float, rss_mb: float) -> dict[str, Any]:
    return {
        "system": system,
        "precision": precision,
        "batch": batch,
        "tokens_per_s": batch / step_s,
        "ms_per_step": 1000 * step_s,
        "ttft_ms": 1000 * ttft_s,
        "peak_rss_mb": rss_mb,
        "floor_ratio": None,
    }


# -- transformers, in a process of its own -------------------------------------------------------------------


class Generate:
    """`GPT2LMHeadModel.generate` in another process, asked over its pipes."""

    def __init__(self, folder: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine", "--worker", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def measure(self, batch: int, concurrent: bool = False) -> dict[str, Any]:
        print(json.dumps({"batch": batch, "concurrent": concurrent}), file=self._pipe(self._process.stdin), flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._pipe(self._process.stdout).readline())
        return answer

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        if pipe is None:
            raise RuntimeError("the worker has no pipes")
        return pipe

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def worker(folder: str) -> None:
    """Answer measurements on stdin until it closes."""
    import torch
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    torch.set_grad_enabled(False)

    def generate(batch: int, new: int) -> None:
        ids = torch.randint(0, 50_000, (batch, PROMPT))
        mask = torch.ones_like(ids)
        model.generate(
            ids, attention_mask=mask, max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0
        )

    def together(count: int, new: int) -> None:
        threads = [threading.Thread(target=generate, args=(1, new)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    generate(1, 2)
    print(json.dumps({"bandwidth": read_bandwidth()}), flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        call = together if ask["concurrent"] else generate
        # Shorter runs for the slow ones: what is measured is the time of a step.
        new = NEW if ask["batch"] == 1 else 16
        first = timed(partial(call, ask["batch"], 1))
        step = (timed(partial(call, ask["batch"], 1 + new)) - first) / new
        name = f"generate x {ask['batch']} threads" if ask["concurrent"] else "generate"
        answer = row(name, "float32", ask["batch"], step, first, peak_rss_mb())
        print(json.dumps(answer | {"bandwidth": read_bandwidth()}), flush=True)


# -- the run -------------------------------------------------------------------------------------------------


@contextmanager
def systems(folder: str) -> Iterator[tuple[list[Ours], Generate]]:
    ours = [Ours(folder, precision) for precision in PRECISIONS]
    generate = Generate(folder)
    try:
        yield ours, generate
    finally:
        generate.close()
        for engine in ours:
            engine.close()


def run(rounds: int, batches: tuple[int, ...]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    bandwidths = []
    with systems(str(random_gpt2())) as (ours, generate):
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for batch in batches:
                rows += [engine.measure(batch) for engine in ours]
                rows.append(generate.measure(batch))
                bandwidths.append(rows[-1].pop("bandwidth"))
            if 16 in batches:
                rows.append(generate.measure(16, concurrent=True))
                bandwidths.append(rows[-1].pop("bandwidth"))
        weights = {engine.precision: engine.weights for engine in ours}
    merged = median_rows(rows, ("system", "precision", "batch"))
    bandwidth = statistics.median(bandwidths)
    for line in merged:
        floor_ms = 1000 * weights[line["precision"]] / bandwidth
        line["floor_ratio"] = round(floor_ms / line["ms_per_step"], 3)
    print(f"memory read at {bandwidth / 1e9:.1f} GB/s; medians of {rounds} rounds\n")
    return merged


def ratios(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The figures that the engine is held to, from one run."""
    speed = {(line["system"], line["precision"], line["batch"]): line["tokens_per_s"] for line in rows}
    for precision in PRECISIONS:
        for batch in BATCHES:
            if ("troika", precision, batch) in speed:
                ratio = speed["troika", precision, batch] / speed["generate", "float32", batch]
                yield f"{precision}, batch {batch}: {ratio:.1f} x generate in float32"
    concurrent = speed.get(("generate x 16 threads", "float32", 16))
    if concurrent:
        ratio = speed["troika", "float32", 16] / concurrent
        yield f"float32, 16 sequences: {ratio:.1f} x 16 concurrent generate calls"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="also write the rows to this JSON file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker)
        return
    rows = run(arguments.rounds, tuple(arguments.batches))
    print(table(rows), end="\n\n")
    for line in ratios(rows):
        print(line)
    write_json(rows, arguments.out)


if __name__ == "__main__":
    main()
