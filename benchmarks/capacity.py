"""`make capacity`: how many users a replica serves, by simulation; and how far the simulation is from real runs.

One run measures the engine's steps on random GPT-2 124M, replays a load on real engines and in the simulation (one
replica on all cores, then two on one core each), and then looks for the highest rate of messages at which 95% of
first tokens come within a second and 95% of replies at 10 tokens a second or more, and nobody is refused.
The GPU is computed from a data sheet: nothing of it is measured, but for the draw of tokens, which the CPU does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.engine.client import EngineLimits
from app.engine.local import LocalEngine
from app.engine.messages import EngineConfig
from benchmarks.common import percentile, random_gpt2, table
from benchmarks.simulator import EngineShape, Outcome, Request, StepTimes, simulate
from benchmarks.step_times import TOKENS, Fitted, Stated, Watch, fit, jitter, measure, params, sampling_seconds

FIRST_TOKEN_S, GAP_S = 1.0, 0.1
MESSAGE_EVERY_S = 60.0
"""A user reads, thinks and types: one message a minute."""
USERS = (100, 1_000, 10_000, 100_000, 1_000_000)
WARM_UP = 0.2
"""The share of a simulated load that is not counted: it finds the replica empty."""

H100 = {"memory_bytes_per_s": 0.6 * 3.35e12, "flops_per_s": 0.4 * 989e12, "host_bytes_per_s": 25e9, "launch_s": 0.002}
"""Assumed: 60% of an H100 SXM's memory bandwidth and 40% of its bfloat16 operations, as its data sheet states them,
25 GB/s to the host, and 2 ms a step for everything that is not computing.
"""


@dataclass(frozen=True)
class Workload:
    """Prompts and replies of uniformly distributed lengths, in tokens, that come at random (Poisson)."""

    prompt: tuple[int, int]
    new: tuple[int, int]

    def load(self, rate: float, seconds: float, seed: int) -> list[Request]:
        """What comes in so many seconds at `rate` a second."""
        draw, now, requests = random.Random(seed), 0.0, []
        while (now := now + draw.expovariate(rate)) < seconds:
            requests.append(Request(now, draw.randint(*self.prompt), draw.randint(*self.new)))
        return requests


SHORT = Workload((8, 64), (4, 28))
"""For validation: many requests in little time."""
CHAT = Workload((20, 380), (20, 180))
"""For the table: on average a conversation of 200 tokens of which nothing is reused, and a reply of 100."""


UNBOUNDED = EngineLimits(max_waiting=1 << 30, max_queued_tokens=1 << 30, stall_timeout_s=600.0)
"""For validation: nobody is refused, and an engine that a busy machine slows down is measured, not replaced."""


def figures(first: Sequence[float], total: Sequence[float], tokens: int, seconds: float) -> dict[str, float]:
    """What is compared: throughput, and percentiles of the time to the first and to the last token."""
    return {
        "tokens_per_s": tokens / seconds,
        "first_p50_ms": 1000 * percentile(first, 0.5),
        "first_p99_ms": 1000 * percentile(first, 0.99),
        "reply_p50_ms": 1000 * percentile(total, 0.5),
        "reply_p99_ms": 1000 * percentile(total, 0.99),
    }


# -- validation ----------------------------------------------------------------------------------------------


@contextmanager
def engines(folder: Path, precision: str, cores: Sequence[int | None]) -> Iterator[list[tuple[LocalEngine, Watch]]]:
    """One engine for each of `cores`, pinned to it; None: on all there are."""
    started: list[tuple[LocalEngine, Watch]] = []
    try:
        for core in cores:
            watch = Watch()
            config = EngineConfig(
                str(folder), precision=precision, threads=0 if core is None else 1, kv_cache_bytes=8 << 30
            )
            started.append((LocalEngine(config, UNBOUNDED, observer=watch), watch))
        for core, (engine, _) in zip(cores, started, strict=True):
            if not engine.wait_until_ready(timeout=300):
                raise SystemExit(f"the engine did not start: {engine.status().reason}")
            for thread in Path(f"/proc/{engine.pid}/task").iterdir() if core is not None else ():
                os.sched_setaffinity(int(thread.name), {core or 0})
        yield started
        if any(engine.status().restarts for engine, _ in started):
            raise SystemExit("an engine ended while it was measured")
    finally:
        for engine, _ in started:
            engine.close()


def replay(replicas: Sequence[tuple[LocalEngine, Watch]], requests: Sequence[Request]) -> list[Request]:
    """Send the load, each request to the replica that has the fewest; returns it with the times it was sent at."""
    for _, watch in replicas:
        watch.forget()
    draw, sent, counts = random.Random(1), [], [0] * len(replicas)
    started = time.perf_counter()
    for number, request in enumerate(requests):
        time.sleep(max(0.0, started + request.arrives - time.perf_counter()))
        ongoing = [counts[i] - len(watch.ends) for i, (_, watch) in enumerate(replicas)]
        place = ongoing.index(min(ongoing))
        prompt = [draw.randrange(TOKENS) for _ in range(request.prompt)]
        now = time.perf_counter() - started
        replicas[place][0].submit(prompt, params(request.new, number))
        counts[place] += 1
        sent.append(Request(now, request.prompt, request.new))
    for (_, watch), count in zip(replicas, counts, strict=True):
        watch.wait_for_ends(count)
    return sent


def validate(
    replicas: Sequence[tuple[LocalEngine, Watch]], workload: Workload, seconds: float, load: float, rounds: int
) -> tuple[list[dict[str, Any]], list[Fitted], list[float]]:
    """Measure steps, serve `load` of what the simulation says can be served for so long, and simulate the same.

    Rows of both and of their ratio; and what was measured, for what is to be simulated next.
    """
    measured = measure(replicas, rounds)
    fitted = [fit(samples) for samples in measured]
    noise = [each for samples in measured for each in jitter(samples)]
    requests = workload.load(load * capacity(fitted, workload), seconds, seed=7)
    sent = replay(replicas, requests)
    ends = [end for _, watch in replicas for end in watch.ends]
    took = max(now for _, watch in replicas for now, _ in watch.steps) - min(
        now for _, watch in replicas for now, _ in watch.steps[:1]
    )
    real = figures(
        [end.first_token_s or math.inf for end in ends],
        [end.total_s for end in ends],
        sum(end.output_tokens for end in ends),
        took,
    )
    outcomes, _ = simulate(sent, fitted, EngineShape(limits=UNBOUNDED), noise)
    first_step = min(outcome.first for outcome in outcomes)
    simulated = figures(
        [outcome.first_token_s for outcome in outcomes],
        [outcome.total_s for outcome in outcomes],
        sum(outcome.request.new for outcome in outcomes),
        max(outcome.done for outcome in outcomes) - first_step,
    )
    of = {"replicas": len(replicas), "requests": len(sent)}
    ratio = {name: simulated[name] / real[name] for name in real}
    rows = [of | {"run": name} | each for name, each in (("real", real), ("simulated", simulated), ("ratio", ratio))]
    return rows, fitted, noise


def capacity(times: Sequence[StepTimes], workload: Workload) -> float:
    """Requests a second that go through when there always are more: the engine's limit, whatever the waits."""
    requests = [Request(0.0, each.prompt, each.new) for each in workload.load(100.0, 6.0, seed=3)]
    outcomes, _ = simulate(requests, times, EngineShape(limits=UNBOUNDED))
    return len(outcomes) / max(outcome.done for outcome in outcomes)


# -- capacity ------------------------------------------------------------------------------------------------


def highest(serves: Callable[[float], bool], start: float) -> float:
    """The highest rate, within 2%, at which `serves` holds; 0 if there is none above a thousandth of `start`."""
    low, high = 0.0, start
    while serves(high):
        low, high = high, 2 * high
    while high - low > 0.02 * high and high > start / 1000:
        middle = (low + high) / 2
        low, high = (middle, high) if serves(middle) else (low, middle)
    return low


def what_breaks(outcomes: Sequence[Outcome]) -> str | None:
    """Which promise is not kept, in words; None if all are."""
    if any(outcome.replica is None for outcome in outcomes):
        return "the queue is full"
    if percentile([outcome.first_token_s for outcome in outcomes], 0.95) >= FIRST_TOKEN_S:
        return "the first token"
    if percentile([outcome.gap_s for outcome in outcomes], 0.95) > GAP_S:
        return "10 tokens a second"
    return None


def of_a_replica(times: StepTimes, shape: EngineShape, noise: Sequence[float], seconds: float) -> dict[str, Any]:
    """The most messages a second that one replica serves as promised, and what fails first above that."""

    def served(rate: float) -> list[Outcome]:
        outcomes, _ = simulate(CHAT.load(rate, seconds, seed=11), [times], shape, noise)
        return outcomes[int(WARM_UP * len(outcomes)) :]

    rate = highest(lambda rate: what_breaks(served(rate)) is None, start=0.5)
    kept = served(rate) if rate else []
    return {
        "messages_per_s": rate,
        "users": int(rate * MESSAGE_EVERY_S),
        "first_p95_ms": 1000 * percentile([outcome.first_token_s for outcome in kept], 0.95) if kept else None,
        "tokens_per_s_p95": 1 / max(percentile([outcome.gap_s for outcome in kept], 0.95), 1e-9) if kept else None,
        "fails_first": what_breaks(served(rate * 1.05 or 0.001)) or what_breaks(served(rate * 1.2 or 0.01)),
    }


# -- the web process -----------------------------------------------------------------------------------------


def web_costs() -> dict[str, float]:
    """Processor seconds of the web process for each reply and for each of its tokens, with SQLite, as streams.

    On the starter model: what a web process does is the same for any.
    """
    from benchmarks.http import Service, drain

    with tempfile.TemporaryDirectory() as data:
        service = Service("starter", "float32", data)
        try:
            web = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()[0]
            costs = []
            for new in (2, 2, 66):  # the first warms up
                began, replies, tokens = _processor_s(web), 0, 0
                for number in range(6):
                    clients = [service.send("Tell me about deep learning", new, number * 16 + i) for i in range(16)]
                    drain(clients)
                    replies += len(clients)
                    tokens += sum(len(client.arrivals) for client in clients)
                costs.append((replies, tokens, _processor_s(web) - began))
        finally:
            service.close()
    (replies, few, short), (_, many, long) = costs[1:]
    token_s = max(0.0, (long - short) / (many - few))
    return {"reply_s": (short - few * token_s) / replies, "token_s": token_s}


def _processor_s(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- the run -------------------------------------------------------------------------------------------------


def users_table(replicas: dict[str, dict[str, Any]], web: dict[str, float]) -> list[dict[str, Any]]:
    """What so many users need: replicas of each kind, and processors for web processes."""
    reply = sum(CHAT.new) / 2
    rows = []
    for users in USERS:
        rate = users / MESSAGE_EVERY_S
        row: dict[str, Any] = {"users": f"{users:,}", "messages_per_s": rate, "tokens_per_s": f"{rate * reply:,.0f}"}
        for name, found in replicas.items():
            rate_each = found["messages_per_s"]
            row[f"replicas_{name}"] = f"{math.ceil(rate / rate_each):,}" if rate_each else None
        row["web_cores"] = f"{max(1, math.ceil(rate * (web['reply_s'] + reply * web['token_s']))):,}"
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="int8", choices=["float32", "bfloat16", "int8"])
    parser.add_argument("--seconds", type=float, default=60.0, help="of load in each validation (60)")
    parser.add_argument("--load", type=float, default=0.7, help="share of what can be served, in validation (0.7)")
    parser.add_argument("--rounds", type=int, default=2, help="of measurements (2)")
    parser.add_argument("--model", type=Path, help="a checkpoint instead of random GPT-2 124M")
    parser.add_argument("--skip-two", action="store_true", help="no validation of two replicas")
    parser.add_argument("--measurements", type=Path, help="read what an earlier run measured, or write it here")
    arguments = parser.parse_args()
    path: Path | None = arguments.measurements
    found = json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else measured(arguments)
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    report(found)


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    """All that has to be measured, ready for JSON."""
    folder = arguments.model or random_gpt2()
    ask = (SHORT, arguments.seconds, arguments.load, arguments.rounds)
    rows: list[dict[str, Any]] = []
    cores: list[list[int | None]] = [[None]]
    if not arguments.skip_two:
        cores.append([*sorted(os.sched_getaffinity(0))[:2]])
    one: tuple[list[Fitted], list[float]] | None = None
    for places in cores:
        with engines(folder, arguments.precision, places) as replicas:
            print(f"{len(places)} ready", file=sys.stderr, flush=True)
            found, fitted, noise = validate(replicas, *ask)
        rows += found
        one = one or (fitted, noise)
    if one is None:
        raise RuntimeError("nothing was measured")
    print("web process", file=sys.stderr, flush=True)
    return {
        "precision": arguments.precision,
        "validation": rows,
        "step": asdict(one[0][0]),
        "jitter": one[1],
        "sampling_s": sampling_seconds(),
        "web": web_costs(),
    }


def report(found: dict[str, Any]) -> None:
    """Validation, the capacity of a replica of each kind, and what so many users need."""
    print(table(found["validation"]), end="\n\n")
    step = found["step"]
    cpu = Fitted(tuple(step["base"]), step["head"], step["position"])
    gpu = Stated(**H100, sampling_s=found["sampling_s"])
    replicas = {
        "cpu": of_a_replica(cpu, EngineShape(), found["jitter"], seconds=900),
        "gpu": of_a_replica(gpu, EngineShape(), (), seconds=60),
        "gpu_256": of_a_replica(gpu, EngineShape(slots=256), (), seconds=60),
    }
    print(table([{"replica": name} | each for name, each in replicas.items()]), end="\n\n")
    for slots in (64, 256):
        whole, host = gpu.seconds(slots, slots, 300 * slots), gpu.host_seconds(slots)
        print(f"GPU, {slots} replies at once: {1000 * whole:.1f} ms a step, of which {host / whole:.0%} on the host")
    web = found["web"]
    print(f"web process: {1e6 * web['reply_s']:.0f} µs a reply, {1e6 * web['token_s']:.0f} µs a token\n")
    print(table(users_table(replicas, web)))


if __name__ == "__main__":
    main()
