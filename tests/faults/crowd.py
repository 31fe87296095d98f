"""Many clients in one thread: each asks over a plain socket, reads to the end or leaves, and says what it got."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.faults.test_fuzz_streams import read_events

PATIENCE_S = 150
OF_THE_MOMENT = ("id", "created", "conversation_id", "request_id", "timing", "cached_tokens")
"""What differs from one reply to the next although it is the same."""

Turns = list[dict[str, Any]]


@dataclass(frozen=True)
class Exchange:
    """What one client asks: one request, or on `/chat` several turns of one conversation."""

    path: str
    turns: Turns


@dataclass
class Report:
    """What became of the requests of a crowd. `refused` is by status and code; `faults` is what must not be.

    Whoever was refused asks again later; a stream whose turn could not be stored counts as refused too.
    """

    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Crowd:
    """`size` clients at once; `solo` holds what each exchange is answered when nobody else asks."""

    def __init__(self, url: str, exchanges: list[Exchange], seed: int) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname, parts.port
        self._exchanges = exchanges
        self._seed = seed
        self.solo: list[list[Any]] = []

    def ask_alone(self) -> list[list[Any]]:
        """The answers to all exchanges, one after the other."""

        async def ask() -> list[list[Any]]:
            report = Report()
            found = [await self._converse(exchange, report) for exchange in self._exchanges]
            assert not report.refused, report.refused
            return found

        return asyncio.run(ask())

    def storm(self, size: int, seconds: float) -> Report:
        """Have them ask, leave and ask again for so long, and then finish what they have begun."""
        report = Report()
        until = time.monotonic() + seconds

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(size):
                    group.create_task(self._client(random.Random(self._seed * size + number), until, report))

        asyncio.run(all_of_them())
        return report

    async def _client(self, choose: random.Random, until: float, report: Report) -> None:
        while time.monotonic() < until:
            number = choose.randrange(len(self._exchanges))
            exchange = self._exchanges[number]
            what = choose.choices(("stays", "leaves", "breaks off"), (60, 35, 5))[0]
            try:
                async with asyncio.timeout(PATIENCE_S):
                    if what == "stays":
                        found = await self._converse(exchange, report)
                        if found != self.solo[number][: len(found)]:
                            report.faults.append(f"{exchange}\n  alone: {self.solo[number]}\n  here: {found}")
                        report.counts["as alone"] += len(found)
                        if len(found) < len(exchange.turns):
                            await asyncio.sleep(choose.random())  # it was refused
                    else:
                        message = self._message(exchange.path, exchange.turns[0])
                        if what == "breaks off":
                            message = message[: choose.randrange(len(message))]
                        await self._leave(message, choose.choice((0, 1, 300, 3000)) if what == "leaves" else 0)
                        report.counts[what] += 1
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
                report.faults.append(f"{exchange}: {error!r}")

    async def _converse(self, exchange: Exchange, report: Report) -> list[Any]:
        """What each turn was answered, up to the first that was refused, without what is of the moment."""
        found: list[Any] = []
        conversation: dict[str, str] = {}
        for turn in exchange.turns:
            status, headers, body = await self._ask(self._message(exchange.path, turn | conversation))
            if status in (429, 503):
                code = json.loads(body)["error"]["code"]
                report.refused[f"{status} {code}"] += 1
                if int(headers.get("retry-after", 0)) < 1:
                    report.faults.append(f"{status} {code} without Retry-After")
                break
            if headers["content-type"].startswith("text/event-stream"):
                answer = [(name, json.loads(data)) for name, data in read_events([body]) if data != "[DONE]"]
                answer.sort(key=_choice)
            else:
                answer = [(str(status), json.loads(body))]
            if answer[-1][0] == "error":
                # Computed, but a slow disk kept it from being stored in time: the stream says so and isn't complete.
                code = answer[-1][1]["error"]["code"]
                report.refused[f"stream {code}"] += 1
                if code != "database_unavailable":
                    report.faults.append(f"{exchange} ended with {code}")
                break
            found.append(_lasting(answer))
            if "x-conversation-id" in headers:
                conversation = {"conversation_id": headers["x-conversation-id"]}
        return found

    def _message(self, path: str, body: dict[str, Any]) -> bytes:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: troika\r\nContent-Type: application/json\r\nConnection: close\r\n"
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content

    async def _ask(self, message: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; raises `IncompleteReadError` or `ValueError` for an answer that is cut off."""
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(message)
            answer = await reader.read()
        finally:
            writer.close()
        head, blank, body = answer.partition(b"\r\n\r\n")
        if not blank:
            raise asyncio.IncompleteReadError(answer, None)
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = _join_chunks(body)
        elif len(body) != int(headers["content-length"]):
            raise asyncio.IncompleteReadError(body, int(headers["content-length"]))
        return int(first.split()[1]), headers, body

    async def _leave(self, message: bytes, after: int) -> None:
        """Go when so many bytes of the answer have come, without a word."""
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            writer.write(message)
            await writer.drain()
            while after > 0 and (piece := await reader.read(after)):
                after -= len(piece)
        finally:
            writer.transport.abort()


def _join_chunks(body: bytes) -> bytes:
    joined, at = b"", 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if not size:
            return joined
        joined += body[end + 2 : end + 2 + size]
        at = end + 2 + size + 2


def _choice(event: tuple[str, Any]) -> int:
    """Of several replies in one stream, which this is of: they come in turn, as each is computed."""
    return sum(choice["index"] for choice in event[1].get("choices", []))


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(each) for key, each in value.items() if key not in OF_THE_MOMENT}
    if isinstance(value, list | tuple):
        return [_lasting(each) for each in value]
    return value
