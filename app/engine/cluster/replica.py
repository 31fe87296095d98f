"""One replica: the engine in a process of its own, as on a single machine, behind a method that streams."""

from __future__ import annotations

import asyncio
import hashlib
import queue
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from ray import serve

from app.engine.client import EngineError, EngineLimits, TokenStream
from app.engine.cluster.messages import Progress, Replica
from app.engine.local import LocalEngine
from app.engine.messages import EngineConfig, Submit, Token
from app.engine.model_source import ModelRefusedError, resolve

HEARTBEAT_S = 2.0
"""How often a request without news says that its replica lives."""

MESSAGES_PER_S = 400
"""Messages that a replica sends at most, all requests together. Each costs some hundred microseconds here and at the
service, so where that adds up the tokens of a request travel several at a time.
"""


class EngineReplica:
    """Serve's deployment. Requests that find no slot wait in the engine, where the next step takes them."""

    def __init__(self, model: str, config: EngineConfig, max_waiting: int, load_timeout_s: float) -> None:
        source = resolve(model)
        self._name = str(serve.get_replica_context().replica_id.unique_id)
        self._fingerprint = fingerprint(source.folder)
        self._open = 0
        self._engine = LocalEngine(
            replace(config, folder=str(source.folder)),
            EngineLimits(max_waiting=max_waiting, max_queued_tokens=1 << 40, load_timeout_s=load_timeout_s),
        )
        if not self._engine.wait_until_ready(load_timeout_s):
            raise ModelRefusedError(self._engine.status().reason)

    def describe(self) -> Replica:
        ready = self._engine.status().ready
        if ready is None:
            raise RuntimeError("the engine has not come up")
        return Replica(self._name, ready, self._fingerprint)

    def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises."""
        status = self._engine.status()
        if status.state in ("refused", "closed"):
            raise RuntimeError(status.reason)

    async def generate(self, submit: Submit) -> AsyncIterator[Progress]:
        """The tokens of a request, until it ends or whoever asked goes away."""
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
            yield Progress(self._name, self._engine.status().stats, failure=(type(error).__name__, str(error)))
            return

        def on_news() -> None:
            loop.call_soon_threadsafe(arrived.set)

        stream.notify(on_news)
        self._open += 1
        has_place = False
        try:
            while True:
                news = self._news(stream, has_place)
                has_place = has_place or news.reused is not None
                sent = time.monotonic()
                yield news
                if news.finish_reason or news.failure:
                    return
                try:
                    await asyncio.wait_for(arrived.wait(), HEARTBEAT_S)
                except TimeoutError:
                    continue
                await asyncio.sleep(sent + self._open / MESSAGES_PER_S - time.monotonic())
                arrived.clear()
        finally:
            self._open -= 1
            stream.cancel()

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
        return Progress(self._name, self._engine.status().stats, reused, tuple(tokens), reason, failure)

    def __del__(self) -> None:
        self._engine.close()


def fingerprint(folder: Path) -> str:
    """Of what must be the same at the service, which makes the tokens, and at a replica, which continues them."""
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "vocab.json", "merges.txt"):
        if (folder / name).is_file():
            digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return digest.hexdigest()
