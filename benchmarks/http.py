"""`make bench-http`: streaming over HTTP beside the engine alone, and what a long prompt does to running streams.

The service runs as an operator runs it (gunicorn, its engine in a child process) on random GPT-2 124M weights; the
clients are 16 sockets in one thread, so that they take little of the two cores that are measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from app.engine.local import LocalEngine
from app.engine.messages import EngineConfig, SamplingParams
from benchmarks.common import percentile, random_gpt2, table, write_json

CLIENTS, NEW, LONG_PROMPT = 16, 120, 900


@dataclass
class Client:
    """One streaming request; `arrivals` are the times at which its tokens came."""

    connection: socket.socket
    arrivals: list[float] = field(default_factory=list)
    tail: bytes = b""
    done: bool = False

    def read(self) -> None:
        data = self.connection.recv(1 << 16)
        now = time.perf_counter()
        self.tail += data
        *blocks, self.tail = self.tail.split(b"event: ")
        self.arrivals += [now] * sum(block.startswith(b"token") for block in blocks)
        self.done = self.done or not data or self.tail.startswith((b"done", b"error"))


class Service:
    """The service on a port of this machine; its database is in the folder `data`, else beside the model."""

    def __init__(self, folder: str, precision: str, data: str | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {
            "TROIKA_MODEL": folder,
            "TROIKA_PORT": str(self.port),
            "TROIKA_PRECISION": precision,
            "TROIKA_TEMPLATE": "raw",
            "TROIKA_KV_CACHE_MB": "8192",
            "TROIKA_LOG_LEVEL": "error",
            "TROIKA_DATABASE_URL": f"sqlite:///{data or folder}/bench.db",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "wsgi:app"], env=os.environ | settings
        )
        deadline = time.monotonic() + 120
        while not self._is_ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit("the service did not start")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=2).status == 200)
        return False

    def send(self, text: str, new: int, seed: int) -> Client:
        body = json.dumps({"input": text, "stream": True, "max_new_tokens": new, "seed": seed}).encode()
        connection = socket.create_connection(("127.0.0.1", self.port))
        head = (
            f"POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        return Client(connection)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def drain(clients: list[Client], interrupt: Service | None = None) -> Client | None:
    """Read until all streams have ended; with `interrupt`, send it a long prompt when they are half-way."""
    late: Client | None = None
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.connection, selectors.EVENT_READ, client)
        while selector.get_map():
            for key, _ in selector.select(timeout=60):
                key.data.read()
                if key.data.done:
                    selector.unregister(key.fileobj)
                    key.data.connection.close()
            if interrupt and late is None and min(len(client.arrivals) for client in clients) > NEW // 2:
                late = interrupt.send("x" * LONG_PROMPT, 2, 0)
                selector.register(late.connection, selectors.EVENT_READ, late)
    return late


def http_rate(service: Service) -> float:
    """Tokens a second of all streams together, while all of them run."""
    clients = [service.send(f"client {i}", NEW, i) for i in range(CLIENTS)]
    drain(clients)
    begin, end = max(c.arrivals[0] for c in clients), min(c.arrivals[-1] for c in clients)
    return sum(begin < at <= end for c in clients for at in c.arrivals) / (end - begin)


def engine_rate(engine: LocalEngine) -> float:
    """The same of the engine alone."""
    params = SamplingParams(max_new_tokens=NEW, temperature=0.9)
    streams = [engine.submit([i + 1] * 100, params, owner=str(i)) for i in range(CLIENTS)]
    arrivals = [time.perf_counter() for _ in streams[-1]]
    for stream in streams:
        for _ in stream:
            pass
    return CLIENTS * (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])


def gaps_beside_a_long_prompt(service: Service) -> tuple[float, float]:
    """Median gap between a stream's tokens in quiet, and the p99 of the gaps while a long prompt is computed."""
    clients = [service.send(f"client {i}", NEW, i) for i in range(CLIENTS)]
    late = drain(clients, service)
    if late is None:
        raise SystemExit("the streams ended before the long prompt was sent")
    arrived = late.arrivals[0]
    quiet, busy = [], []
    for client in clients:
        half = client.arrivals[NEW // 2]
        for before, after in pairwise(client.arrivals[2:]):
            (busy if half <= before and before <= arrived else quiet).append(after - before)
    return statistics.median(quiet), percentile(busy, 0.99)


@contextlib.contextmanager
def systems(precision: str) -> Iterator[tuple[Service, LocalEngine]]:
    folder = str(random_gpt2())
    engine = LocalEngine(EngineConfig(folder, precision=precision, kv_cache_bytes=8 << 30))
    service = Service(folder, precision)
    try:
        if not engine.wait_until_ready(timeout=120):
            raise SystemExit("the engine did not start")
        yield service, engine
    finally:
        service.close()
        engine.close()


def run(precision: str, rounds: int) -> dict[str, Any]:
    http, alone, medians, tails = [], [], [], []
    with systems(precision) as (service, engine):
        for number in range(rounds):
            print(f"{precision}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            http.append(http_rate(service))
            alone.append(engine_rate(engine))
            median, tail = gaps_beside_a_long_prompt(service)
            medians.append(1000 * median)
            tails.append(1000 * tail)
    return {
        "system": "troika",
        "precision": precision,
        "clients": CLIENTS,
        "engine_tokens_per_s": statistics.median(alone),
        "http_tokens_per_s": statistics.median(http),
        "http_share": statistics.median(h / a for h, a in zip(http, alone, strict=True)),
        "gap_median_ms": statistics.median(medians),
        "gap_p99_ms": statistics.median(tails),
        "gap_ratio": statistics.median(t / m for t, m in zip(tails, medians, strict=True)),
    }


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
