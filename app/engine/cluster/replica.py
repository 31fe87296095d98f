"""One replica: the engine in a process of its own, as on a single machine, behind a method that streams."""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import serve

from app.engine.client import EngineError, EngineLimits, TokenStream
from app.engine.cluster.messages import Progress, describe, measure
from app.engine.local import LocalEngine
from app.engine.messages import EngineConfig, Submit, Token
from app.engine.model_source import ModelRefusedError, resolve

HEARTBEAT_S = 2.0
"""How often a request without news says that its replica lives."""

MESSAGES_PER_S = 200
"""Messages that a replica sends at most, all requests together. Each takes some half a millisecond of processors, here
and at the service, so where that adds up the tokens of a request travel several at a time.
"""

HOPELESS_S = 60.0
"""How long an engine may be away before its replica is given up for another."""

UNBOUNDED = 1 << 40
"""Here nothing is refused for want of room: what a replica takes is bounded by Serve, what waits by the service."""


class EngineReplica:
    """Serve's deployment. Requests that find no slot wait in the engine, where the next step takes them."""

    def __init__(self, model: str, config: EngineConfig, load_timeout_s: float) -> None:
        source = resolve(model)
        self._name = str(serve.get_replica_context().replica_id.unique_id)
        self._fingerprint = fingerprint(source.folder)
        self._open = 0
        self._waking = threading.Lock()
        self._awake: set[asyncio.Event] = set()
        self._engine = LocalEngine(
            replace(config, folder=str(source.folder)),
            EngineLimits(UNBOUNDED, UNBOUNDED, restart_timeout_s=HOPELESS_S, load_timeout_s=load_timeout_s),
        )
        if not self._engine.wait_until_ready(load_timeout_s):
            raise ModelRefusedError(self._engine.status().reason)
        self._was_ready = time.monotonic()

    def record_replica_metadata(self) -> dict[str, Any]:
        """Called by Serve once; reaches the routers of all services."""
        ready = self._engine.status().ready
        if ready is None:
            raise RuntimeError("the engine has not come up")
        return describe(self._fingerprint, ready)

    def record_routing_stats(self) -> dict[str, Any]:
        """Called by Serve again and again; reaches the routers too."""
        status = self._engine.status()
        return measure(status.stats, status.restarts)

    def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises."""
        status = self._engine.status()
        if status.state == "ready":
            self._was_ready = time.monotonic()
        away_s = time.monotonic() - self._was_ready
        if status.state in ("refused", "closed") or away_s > HOPELESS_S:
            raise RuntimeError(f"the engine has been away for {away_s:.0f} s: {status.reason}")

    async def generate(self, submit: Submit, fingerprint: str) -> AsyncIterator[Progress]:
        """The tokens of a request, until it ends or whoever asked goes away.

        `fingerprint` is that of the model it was made for; the router has seen to it that it is this one.
        """
        yield Progress(self._name)
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            stream = self._engine.submit(
                submit.prompt,
                submit.params,
                owner=submit.owner,
                deadline_s=submit.deadline_s,
                output=submit.output,
                suspect=submit.suspect,
            )
        except EngineError as error:
            yield Progress(failure=(type(error).__name__, str(error)))
            return

        stream.notify(lambda: self._wake(loop, arrived))
        self._open += 1
        has_place = has_tokens = False
        try:
            while True:
                news = self._news(stream, has_place)
                has_place = has_place or news.reused is not None
                has_tokens = has_tokens or bool(news.tokens)
                sent = time.monotonic()
                yield news
                if news.finish_reason or news.failure:
                    return
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await arrived.wait()
                except TimeoutError:
                    continue
                if has_tokens:  # nobody waits for the first longer than it takes
                    await asyncio.sleep(sent + self._open / MESSAGES_PER_S - time.monotonic())
                arrived.clear()
        finally:
            self._open -= 1
            stream.cancel()

    def _wake(self, loop: asyncio.AbstractEventLoop, arrived: asyncio.Event) -> None:
        """Called in the engine's thread for every token: wake the loop once for all that a step brings."""
        with self._waking:
            first = not self._awake
            self._awake.add(arrived)
        if first:
            loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._waking:
            awake, self._awake = self._awake, set()
        for arrived in awake:
            arrived.set()

    def _news(self, stream: TokenStream, has_place: bool) -> Progress:
        tokens: list[Token] = []
        failure = None
        try:
            while (token := stream.get(timeout=0)) is not None:
                tokens.append(token)
        except queue.Empty:
            pass
        except EngineError as error:
            failure = type(error).__name__, str(error)
        reused = stream.prompt_tokens_reused if not has_place and stream.queue_s is not None else None
        reason = None if failure else stream.finish_reason
        return Progress("", reused, tuple(tokens), reason, failure)

    def __del__(self) -> None:
        self._engine.close()


def fingerprint(folder: Path) -> str:
    """Of what must be the same at the service, which makes the tokens, and at a replica, which continues them."""
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "vocab.json", "merges.txt"):
        if (folder / name).is_file():
            digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return digest.hexdigest()
