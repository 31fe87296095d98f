"""Two hundred clients at once that come, read, leave and come again: each who stays gets the reply they had alone.

It takes `TROIKA_TEST_STORM_S` seconds; the short default is for every day.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import httpx
import pytest

from tests.faults.crowd import Crowd, Exchange
from tests.models import save_chat_model
from tests.server import LiveServer, serve

SECONDS = float(os.environ.get("TROIKA_TEST_STORM_S", "20"))
WARM_UP_S = 10
"""All 200 are under way within the first second, and so are as many threads, buffers and Python objects as there will
ever be. Allocators keep some of the room that those took, in pieces; so what is held is compared with what it was after
such a rush, not before the first.
"""
CLIENTS = 200
GROWTH = 1.05
QUIET_S = 5
"""The service is at rest when no memory has come back for so long: it gives back what threads left within seconds."""
LETTERS = "abcdefghij klmno pqrst uvwxyz ÄÖÜ 你好 深度学习 🐎\n"


def exchanges(model: str) -> list[Exchange]:
    """Twenty that differ in every respect: endpoint, form, length, sampling; some go on with what others begin with."""
    choose = random.Random(8)

    def text() -> str:
        begin = choose.choice(("", "Once upon a time there was a horse. ")) * choose.randint(1, 4)
        return begin + "".join(choose.choices(LETTERS, k=choose.choice((1, 20, 150, 400)))) + "."

    def options(length: str) -> dict[str, object]:
        return {
            length: choose.choice((1, 10, 40, 90)),
            "seed": choose.randrange(2**31),
            "stream": choose.random() < 0.6,
            "temperature": choose.choice((0, 0.7, 1, 1.5)),
            "top_p": choose.choice((1, 0.9)),
        }

    found = []
    for _ in range(5):
        penalty, logprobs = choose.choice((1, 1.2)), choose.choice((0, 3))
        chat = {"input": text(), "repetition_penalty": penalty, "logprobs": logprobs, **options("max_new_tokens")}
        found.append(Exchange("/chat", [chat]))
        found.append(Exchange("/chat", [{"input": text(), **options("max_new_tokens")} for _ in range(2)]))
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text()}]
        completion = {"model": model, "messages": messages, "n": choose.choice((1, 2)), **options("max_tokens")}
        found.append(Exchange("/v1/chat/completions", [completion]))
        found.append(
            Exchange("/v1/completions", [{"model": model, "prompt": text(), "stop": ["xy"], **options("max_tokens")}])
        )
    return found


def held(server: LiveServer) -> dict[str, int]:
    """What the service's two processes have of the system."""
    found = {}
    for name, pid in (("worker", server.worker_pid()), ("engine", server.engine_pid())):
        process = Path(f"/proc/{pid}")
        found[f"{name} files"] = len(list((process / "fd").iterdir()))
        found[f"{name} threads"] = len(list((process / "task").iterdir()))
        pages = int((process / "statm").read_text().split()[1])
        found[f"{name} KiB"] = pages * os.sysconf("SC_PAGE_SIZE") >> 10
    return found


def at_rest(server: LiveServer) -> dict[str, int]:
    """The same when no more of it comes back."""
    lowest, since = held(server), time.monotonic()
    while time.monotonic() < since + QUIET_S:
        time.sleep(0.2)
        found = held(server)
        if found["worker KiB"] < lowest["worker KiB"]:
            lowest, since = found, time.monotonic()
    return found


def sockets(server: LiveServer) -> int:
    count = 0
    for link in Path(f"/proc/{server.worker_pid()}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += link.readlink().name.startswith("socket:")
    return count


def engine_of(server: LiveServer) -> dict[str, int]:
    return dict(httpx.get(f"{server.url}/health", timeout=60).json()["engine"])


def settle(server: LiveServer, idle: dict[str, int], idle_sockets: int) -> None:
    """Wait until nobody is left: no sequence, no slot, no connection, no thread."""

    def nothing_runs() -> bool:
        engine = engine_of(server)
        return engine["running"] == engine["waiting"] == engine["slots_held"] == 0

    server.wait_until(nothing_runs, seconds=120)
    # That of the last question may still be closing.
    server.wait_until(lambda: sockets(server) <= idle_sockets + 1, seconds=120)
    server.wait_until(lambda: held(server)["worker threads"] <= idle["worker threads"], seconds=120)


@pytest.mark.slow
@pytest.mark.timeout(600 + 3 * SECONDS)
def test_two_hundred_clients(tmp_path: Path) -> None:
    model = save_chat_model(tmp_path / "model", n_positions=2048)
    limits = {"max_sequences": 32, "max_waiting": 128, "max_per_client": 1000}
    with serve(tmp_path, model=model, **limits) as server:
        idle_sockets = sockets(server)
        crowd = Crowd(server.url, exchanges(model.name), seed=1)
        crowd.solo = crowd.ask_alone()
        assert crowd.ask_alone() == crowd.solo
        idle = held(server)

        warm_up = crowd.storm(CLIENTS, WARM_UP_S)
        settle(server, idle, idle_sockets)
        before = at_rest(server)

        report = crowd.storm(CLIENTS, SECONDS)
        settle(server, idle, idle_sockets)
        after = at_rest(server)

        assert crowd.ask_alone() == crowd.solo
        print(f"\n{report.counts} refused: {report.refused}\nidle:   {idle}\nbefore: {before}\nafter:  {after}")
        assert not warm_up.faults, (len(warm_up.faults), warm_up.faults[:3])
        assert not report.faults, (len(report.faults), report.faults[:3])
        assert all(report.counts[what] > 0 for what in ("as alone", "leaves", "breaks off")), report.counts
        before["worker threads"] = idle["worker threads"]
        grown = {name: (before[name], count) for name, count in after.items() if count >= before[name] * GROWTH}
        assert not grown, grown
        assert engine_of(server)["restarts"] == 0
        assert "Traceback" not in server.log
