"""Replies in the making: tokens come from the engine, pieces of text go out.

Who asked and with which prompt is `service`'s affair, how a piece is written to a client the API's.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.chat.context import FittedPrompt
from app.chat.detokenizer import Detokenizer
from app.engine.client import TokenStream
from app.engine.messages import Token

FIRST_HEARTBEAT_S = 0.25
"""When a caller first hears that its reply will take a while, and how many are before it."""

HEARTBEAT_S = 2.0
"""How often it hears so from then on."""

GONE_CHECK_S = 0.25
"""How often it is asked whether the caller's client is still there."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One token and the text that it made certain: none while a character or a stop string is incomplete.

    The last piece of a reply can be text without a token. A heartbeat has neither; `ahead` is then how many requests
    are before this one in the queue, or None when it is being computed.
    """

    text: str = ""
    token: Token | None = None
    ahead: int | None = None

    @property
    def is_heartbeat(self) -> bool:
        return self.token is None and not self.text


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds from the request's arrival to its first token and to its end."""

    first_token_s: float
    total_s: float

    def tokens_per_s(self, tokens: int) -> float:
        """Rate after the first token, which pays for the prompt and the queue."""
        return (tokens - 1) / max(1e-9, self.total_s - self.first_token_s) if tokens > 1 else 0.0


class Reply:
    """One reply in the making: iterate over its pieces, then read the rest. `close` at any time gives it up."""

    def __init__(
        self,
        stream: TokenStream,
        detokenizer: Detokenizer,
        prompt: FittedPrompt,
        seed: int,
        is_gone: Callable[[], bool],
    ) -> None:
        self.prompt = prompt
        self.seed = seed
        self.text = ""
        self.tokens: list[Token] = []
        self.finish_reason: str | None = None
        self._stream = stream
        self._detokenizer = detokenizer
        self._is_gone = is_gone
        self._started = time.monotonic()
        self._first_token_at: float | None = None
        self._ended_at: float | None = None

    def __iter__(self) -> Iterator[Piece]:
        """Yield pieces as tokens come, and a heartbeat now and then while none does.

        Raises `EngineError`. Ends early, with the reason `cancelled`, when the caller's client has gone.
        """
        return (piece for _, piece in Choices([self]) if piece is not None)

    def poll(self) -> Piece | None:
        """The next piece, or None after the last; raises `queue.Empty` while there is none, or `EngineError`."""
        if self.finish_reason is not None:
            return None
        if not self._detokenizer.stopped and (token := self._stream.get(timeout=0)) is not None:
            if self._first_token_at is None:
                self._first_token_at = time.monotonic()
            self.tokens.append(token)
            return self._add(self._detokenizer.push(token.token_id), token)
        self.finish_reason = "stop" if self._detokenizer.stopped else self._stream.finish_reason
        rest = self._detokenizer.flush()
        return self._add(rest, None) if rest else None

    def heartbeat(self) -> Piece:
        return Piece(ahead=self._stream.ahead)

    def notify(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, from another thread, whenever `poll` has something new."""
        self._stream.notify(listener)

    def is_gone(self) -> bool:
        """Whether the caller's client has gone; the reply then ends with the reason `cancelled`."""
        if self.finish_reason is None and self._is_gone():
            self.finish_reason = "cancelled"
        return self.finish_reason == "cancelled"

    def _add(self, text: str, token: Token | None) -> Piece:
        self.text += text
        return Piece(text, token)

    def close(self) -> None:
        """Free the engine's slot if the reply is not finished."""
        if self._ended_at is None:
            self._ended_at = time.monotonic()
            # At a stop string the engine does not know yet that it is done.
            self._stream.cancel(self.finish_reason or "cancelled")

    @property
    def timing(self) -> Timing:
        end = self._ended_at or time.monotonic()
        return Timing((self._first_token_at or end) - self._started, end - self._started)

    @property
    def prompt_tokens_reused(self) -> int:
        return self._stream.prompt_tokens_reused

    @property
    def queue_s(self) -> float | None:
        """Seconds that it waited for a place in the batch, None if it never got one."""
        return self._stream.queue_s


class Choices:
    """Several replies at once, interleaved as their tokens come. `close` at any time gives all of them up."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = replies

    def __iter__(self) -> Iterator[tuple[int, Piece | None]]:
        """Yield (index of the reply, piece), with None for the piece after a reply's last.

        A heartbeat comes now and then while nothing else does. Raises `EngineError` for the first
        reply that fails. Ends early when the caller's client has gone.
        """
        try:
            yield from self._pieces()
        finally:
            self.close()

    def _pieces(self) -> Iterator[tuple[int, Piece | None]]:
        arrived = threading.Event()
        for reply in self.replies:
            reply.notify(arrived.set)
        pending = dict(enumerate(self.replies))
        heartbeat = time.monotonic() + FIRST_HEARTBEAT_S
        gone_check = time.monotonic() + GONE_CHECK_S
        while pending:
            # Cleared before the look at the streams, so that what comes during the look is not slept over.
            arrived.clear()
            idle = True
            for index, reply in list(pending.items()):
                try:
                    piece = reply.poll()
                except queue.Empty:
                    continue
                if piece is None:
                    del pending[index]
                    reply.close()
                idle = False
                yield index, piece
            now = time.monotonic()
            if now >= gone_check:
                if [reply for reply in pending.values() if reply.is_gone()]:  # each of them is to know
                    return
                gone_check = now + GONE_CHECK_S
            if not idle:
                heartbeat = now + HEARTBEAT_S
            elif now >= heartbeat:
                heartbeat = now + HEARTBEAT_S
                index, reply = next(iter(pending.items()))
                yield index, reply.heartbeat()
            else:
                arrived.wait(GONE_CHECK_S)

    @property
    def is_cancelled(self) -> bool:
        """Whether it ended early because the caller's client has gone."""
        return any(reply.finish_reason == "cancelled" for reply in self.replies)

    def close(self) -> None:
        """Free the engine's slots of all that is not finished."""
        for reply in self.replies:
            reply.close()
