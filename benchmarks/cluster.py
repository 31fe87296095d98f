"""`make bench-cluster`: what the way through Ray costs, and what a second replica brings.

A Ray cluster on this machine, random GPT-2 124M. First one replica on all cores beside an engine of its own, in turn,
round after round. Then a replica that is pinned to one core, and two that are pinned to one each, with the same number
of streams at each. Tokens a second are all tokens over the time from the first request to the last token.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import serve
from ray.cluster_utils import Cluster

from app.engine.cluster import deployment
from app.engine.cluster.client import RayEngine
from app.engine.cluster.messages import ClusterConfig
from app.engine.cluster.replica import EngineReplica, fingerprint
from app.engine.cluster.trial import ENVIRONMENT, STORE_BYTES
from app.engine.local import LocalEngine
from app.engine.messages import EngineConfig, SamplingParams
from app.engine.requests import RequestBook
from benchmarks.common import median_rows, random_gpt2, table, write_json

STREAMS, PROMPT, NEW = 16, 32, 160
START_S = 300


class Pinned(EngineReplica):
    """A replica that keeps to one core, its engine included."""

    def __init__(self, *arguments: Any) -> None:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[serve.get_replica_context().rank.rank % len(cores)]})
        super().__init__(*arguments)


@contextmanager
def cluster(cpus: int) -> Iterator[str]:
    """A head that computes nothing, and one node; yields its address."""
    os.environ |= ENVIRONMENT
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    started = Cluster(initialize_head=True, head_node_args=head)
    try:
        started.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)
        deployment.connect(started.address)
        yield str(started.address)
    finally:
        serve.shutdown()
        deployment.disconnect()
        started.shutdown()


def deploy(
    config: EngineConfig, replicas: int, cpus: int, replica: type[EngineReplica], client: RayEngine | None
) -> None:
    shape = ClusterConfig(replicas=replicas, cpus=cpus)
    deployment.deploy(deployment.application(config.folder, config, shape, {}, replica))
    deadline = time.monotonic() + START_S
    while client is not None and client.status().replicas != replicas:
        if time.monotonic() > deadline:
            raise SystemExit(f"the replicas did not come up: {client.status().reason}")
        time.sleep(0.1)


def tokens_per_s(engine: RequestBook, streams: int, seed: int) -> float:
    draw = random.Random(seed)
    params = SamplingParams(max_new_tokens=NEW, temperature=0.0)
    prompts = [[draw.randrange(50_000) for _ in range(PROMPT)] for _ in range(streams)]
    started = time.perf_counter()
    running = [engine.submit(prompt, params) for prompt in prompts]
    tokens = sum(sum(1 for _ in stream) for stream in running)
    return tokens / (time.perf_counter() - started)


def row(system: str, streams: int, speed: float) -> dict[str, Any]:
    return {"system": system, "streams": streams, "tokens_per_s": speed}


def overhead(folder: Path, precision: str, rounds: int) -> list[dict[str, Any]]:
    """One replica on all cores, beside an engine of its own on all cores."""
    cores = len(os.sched_getaffinity(0))
    config = EngineConfig(str(folder), precision=precision, threads=cores)
    rows = []
    with cluster(cores) as address:
        deploy(config, 1, cores, EngineReplica, None)
        local = LocalEngine(config)
        through_ray = RayEngine(address, fingerprint(folder))
        try:
            for engine in (local, through_ray):
                if not engine.wait_until_ready(START_S):
                    raise SystemExit(f"the engine did not start: {engine.status().reason}")
                tokens_per_s(engine, STREAMS, 0)
            for number in range(rounds):
                rows.append(row(f"local, {precision}", STREAMS, tokens_per_s(local, STREAMS, number)))
                rows.append(row(f"through Ray, {precision}", STREAMS, tokens_per_s(through_ray, STREAMS, number)))
        finally:
            local.close()
            through_ray.close()
    return rows


def scaling(folder: Path, precision: str, rounds: int) -> list[dict[str, Any]]:
    """One replica on one core, then two on one each, then one again."""
    config = EngineConfig(str(folder), precision=precision, threads=1)
    rows = []
    with cluster(2) as address:
        client = RayEngine(address, fingerprint(folder))
        try:
            for replicas in (1, 2, 1):
                deploy(config, replicas, 1, Pinned, client)
                tokens_per_s(client, STREAMS * replicas, 0)
                for number in range(rounds):
                    speed = tokens_per_s(client, STREAMS * replicas, number)
                    rows.append(row(f"{replicas} x one core, {precision}", STREAMS * replicas, speed))
        finally:
            client.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="also write the rows to this JSON file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    parser.add_argument("--only", choices=("overhead", "scaling"))
    arguments = parser.parse_args()
    folder = random_gpt2()
    rows: list[dict[str, Any]] = []
    for precision in arguments.precisions:
        for name, measure in (("overhead", overhead), ("scaling", scaling)):
            if arguments.only in (None, name):
                print(f"measuring {name} in {precision}", file=sys.stderr, flush=True)
                rows += measure(folder, precision, arguments.rounds)
    merged = median_rows(rows, ("system", "streams"))
    print(table(merged), end="\n\n")
    speed = {line["system"]: line["tokens_per_s"] for line in merged}
    for precision in arguments.precisions:
        for over, under, what in (
            ("through Ray", "local", "one replica through Ray over an engine of its own (0.9 is asked)"),
            ("2 x one core", "1 x one core", "two replicas of one core over one (1.7 is asked)"),
        ):
            if f"{over}, {precision}" in speed:
                print(f"{precision}, {what}: {speed[f'{over}, {precision}'] / speed[f'{under}, {precision}']:.2f}")
    write_json(rows, arguments.out)


if __name__ == "__main__":
    main()
