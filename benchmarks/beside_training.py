"""`make bench-http`: chat beside a training run, against chat alone, in one run.

8 clients stream from the service as an operator runs it, on random GPT-2 124M weights, first in quiet, then while
`POST /train-demo` trains, then in quiet again, round after round. Training should hardly be felt, and get on all the
same: `training_share` is its speed beside chat, over its speed alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import urllib.request
from itertools import pairwise
from typing import Any

from benchmarks.common import percentile, random_gpt2, table, write_json
from benchmarks.http import Client, Service, drain

CLIENTS, NEW = 8, 200
OPTIONS = {"epochs": 100}
START_S = 120.0


class Training:
    """A run on the service, until `close`."""

    def __init__(self, service: Service) -> None:
        self._url = f"http://127.0.0.1:{service.port}"
        self._path = self._ask("POST", "/train-demo", OPTIONS)["links"]["self"]
        deadline = time.monotonic() + START_S
        while self._step() is None:
            if time.monotonic() > deadline:
                raise SystemExit(f"training did not begin within {START_S} s")
            time.sleep(0.1)

    def batches(self) -> int:
        """How many are done."""
        step = self._step()
        if step is None:
            raise SystemExit("training is not under way any more")
        return int((step["epoch"] - 1) * step["batches"] + step["batch"])

    def close(self) -> None:
        self._ask("DELETE", self._path)

    def _step(self) -> Any:
        job = self._ask("GET", self._path)
        if job["status"] not in ("queued", "running"):
            raise SystemExit(f"training is {job['status']}: {job['error']}")
        return job["step"]

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)


def stream(service: Service, seed: int) -> tuple[float, list[float]]:
    """Tokens a second of all streams while all of them run, and the gaps between the tokens of each, in seconds."""
    clients: list[Client] = [service.send(f"client {i}", NEW, seed + i) for i in range(CLIENTS)]
    drain(clients)
    begin, end = max(c.arrivals[0] for c in clients), min(c.arrivals[-1] for c in clients)
    tokens = sum(begin < at <= end for c in clients for at in c.arrivals)
    gaps = [
        after - before for c in clients for before, after in pairwise(c.arrivals) if begin < before and after <= end
    ]
    return tokens / (end - begin), gaps


def measure(service: Service, seed: int) -> dict[str, float]:
    """One round: quiet, beside training, quiet again."""
    before, quiet = stream(service, seed)
    training = Training(service)
    started, done = time.monotonic(), training.batches()
    time.sleep(2)
    alone = (training.batches() - done) / (time.monotonic() - started)
    started, done = time.monotonic(), training.batches()
    rate, busy = stream(service, seed)
    beside = (training.batches() - done) / (time.monotonic() - started)
    training.close()
    after, more_quiet = stream(service, seed)
    median = statistics.median(quiet + more_quiet)
    return {
        "quiet_tokens_per_s": (before + after) / 2,
        "beside_tokens_per_s": rate,
        "share": rate / ((before + after) / 2),
        "quiet_gap_ms": 1000 * median,
        "beside_p99_gap_ms": 1000 * percentile(busy, 0.99),
        "gap_ratio": percentile(busy, 0.99) / median,
        "quiet_gap_ratio": percentile(quiet + more_quiet, 0.99) / median,
        "training_batches_per_s": beside,
        "training_share": beside / alone,
    }


def run(precision: str, rounds: int) -> dict[str, Any]:
    service = Service(str(random_gpt2()), precision)
    try:
        stream(service, 0)  # what the first requests pay for is not measured
        found = []
        for number in range(rounds):
            print(f"{precision}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            found.append(measure(service, 100 * number))
    finally:
        service.close()
    medians = {name: round(statistics.median(each[name] for each in found), 3) for name in found[0]}
    return {"precision": precision, "clients": CLIENTS, **medians}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="also write the rows to this JSON file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    arguments = parser.parse_args()
    rows = [run(precision, arguments.rounds) for precision in arguments.precisions]
    print(table(rows))
    write_json(rows, arguments.out)


if __name__ == "__main__":
    main()
