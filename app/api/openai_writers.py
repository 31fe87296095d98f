"""Replies in the OpenAI API's words: whole, or as chunks of a stream while they are made."""

from __future__ import annotations

import codecs
import hashlib
import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

import app
from app.api import openai_replies as out
from app.api import sse
from app.api.schemas import Context
from app.chat.reply import Choices, Piece, Reply
from app.chat.service import ChatService
from app.chat.tokenizer import Tokenizer
from app.engine.messages import Token
from app.idempotency.recording import Event

Chunk = dict[str, Any]

LOWEST_LOGPROB = -9999.0
"""What stands for no probability at all, which JSON has no number for."""


class Writer(Protocol):
    """One dialect, for one request. `choices` is iterated by whoever holds the writer."""

    choices: Choices

    def whole(self) -> BaseModel:
        """The answer, when all replies are finished."""

    def chunks(self, index: int, piece: Piece | None) -> Iterator[Chunk]:
        """What there is to send of a reply's next piece; None is its end."""

    def usage_chunk(self) -> Chunk:
        """A chunk without choices, but with the usage."""


def stream(writer: Writer, include_usage: bool) -> Generator[Event]:
    """The events of an answer: chunks, with a track for each reply, and `[DONE]`. Raises what the replies do."""
    # Where a usage is to come, the chunks before it have the field too.
    extra: Chunk = {"usage": None} if include_usage else {}
    try:
        for index, piece in writer.choices:
            if piece is not None and piece.is_heartbeat:
                yield Event("note", sse.heartbeat(piece.ahead))
                continue
            for chunk in writer.chunks(index, piece):
                yield Event("part", sse.message(chunk | extra), index)
        if writer.choices.is_cancelled:
            return
        if include_usage:
            # It says what was computed before, which is another thing each time.
            yield Event("last", sse.message(writer.usage_chunk()))
        yield Event("last", sse.DONE)
    finally:
        writer.choices.close()


@dataclass(frozen=True, slots=True)
class Identity:
    """What an answer is known by; `created` is in seconds since 1970."""

    name: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))


class Envelope:
    """What the whole answer and each of its chunks have around the choices."""

    def __init__(
        self, service: ChatService, replies: Sequence[Reply], per_prompt: int, prefix: str, identity: Identity
    ) -> None:
        self._service = service
        self._replies = replies
        self._per_prompt = per_prompt
        self._id = f"{prefix}-{identity.name}"
        self._created = identity.created

    def fields(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "created": self._created,
            "model": self._service.source.name,
            "system_fingerprint": fingerprint(self._service),
            "seed": self._replies[0].seed,
        }

    def usage(self) -> out.CompletionUsage:
        """Each prompt counts once, every reply to it counts."""
        firsts = self._replies[:: self._per_prompt]
        prompt_tokens = sum(reply.prompt.prompt_tokens for reply in firsts)
        completion_tokens = sum(len(reply.tokens) for reply in self._replies)
        cached = sum(reply.prompt_tokens_reused for reply in firsts)
        return out.CompletionUsage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
            prompt_tokens_details=out.PromptTokensDetails(cached_tokens=cached),
        )


def fingerprint(service: ChatService) -> str:
    """Changes with what could change the reply to a seed."""
    ready = service.status().ready
    parts = (app.__version__, service.source.name, ready and ready.device, ready and ready.precision)
    return f"fp_{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def _finish_reason(reply: Reply) -> out.FinishReason:
    return "length" if reply.finish_reason == "length" else "stop"


def _finite(logprob: float | None) -> float:
    return max(LOWEST_LOGPROB, logprob or 0.0)


# -- chat ----------------------------------------------------------------------------------------------------


class ChatWriter:
    """`/v1/chat/completions`."""

    def __init__(self, service: ChatService, choices: Choices, identity: Identity) -> None:
        self.choices = choices
        self._tokenizer = service.tokenizer
        self._envelope = Envelope(service, choices.replies, len(choices.replies), "chatcmpl", identity)
        self._begun: set[int] = set()

    def whole(self) -> out.ChatCompletion:
        return out.ChatCompletion(
            **self._envelope.fields(),
            choices=[
                out.ChatChoice(
                    index=index,
                    message=out.ReplyMessage(content=reply.text),
                    logprobs=chat_logprobs(self._tokenizer, reply.tokens),
                    finish_reason=_finish_reason(reply),
                )
                for index, reply in enumerate(self.choices.replies)
            ],
            usage=self._envelope.usage(),
            context=self._context(),
        )

    def chunks(self, index: int, piece: Piece | None) -> Iterator[Chunk]:
        if index not in self._begun:
            self._begun.add(index)
            yield self._chunk(index, {"role": "assistant", "content": ""})
        if piece is None:
            reason = _finish_reason(self.choices.replies[index])
            yield self._chunk(index, {}, finish_reason=reason) | {"context": self._context().model_dump()}
            return
        logprobs = chat_logprobs(self._tokenizer, [piece.token] if piece.token else [])
        if piece.text or logprobs:
            yield self._chunk(index, {"content": piece.text}, logprobs.model_dump() if logprobs else None)

    def usage_chunk(self) -> Chunk:
        return self._around([]) | {"usage": self._envelope.usage().model_dump()}

    def _chunk(
        self, index: int, delta: Chunk, logprobs: Chunk | None = None, finish_reason: str | None = None
    ) -> Chunk:
        return self._around([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}])

    def _around(self, choices: list[Chunk]) -> Chunk:
        return {**self._envelope.fields(), "object": "chat.completion.chunk", "choices": choices}

    def _context(self) -> Context:
        prompt = self.choices.replies[0].prompt
        return Context(limit=prompt.limit, prompt_tokens=prompt.prompt_tokens, turns_dropped=prompt.turns_dropped)


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[Token]) -> out.ChatLogprobs | None:
    """None where they were not asked for."""
    if not tokens or tokens[0].logprob is None:
        return None

    def top(token_id: int, logprob: float | None) -> out.TopLogprob:
        return out.TopLogprob(
            token=tokenizer.token_text(token_id),
            logprob=_finite(logprob),
            bytes=list(tokenizer.token_bytes(token_id)),
        )

    return out.ChatLogprobs(
        content=[
            out.TokenLogprob(
                **top(token.token_id, token.logprob).model_dump(),
                top_logprobs=[top(token_id, logprob) for token_id, logprob in token.top],
            )
            for token in tokens
        ]
    )


# -- text completions ----------------------------------------------------------------------------------------


class TextWriter:
    """`/v1/completions`. With `echo`, every text begins with its prompt."""

    def __init__(
        self, service: ChatService, choices: Choices, per_prompt: int, identity: Identity, *, echo: bool
    ) -> None:
        self.choices = choices
        self._tokenizer = service.tokenizer
        self._envelope = Envelope(service, choices.replies, per_prompt, "cmpl", identity)
        self._echo = echo
        self._logprobs = [TextLogprobs(service.tokenizer) for _ in choices.replies]
        self._begun: set[int] = set()

    def whole(self) -> out.TextCompletion:
        return out.TextCompletion(
            **self._envelope.fields(),
            choices=[
                out.TextChoice(
                    index=index,
                    text=self._prompt(index) + reply.text,
                    logprobs=self._logprobs[index].of(reply.tokens),
                    finish_reason=_finish_reason(reply),
                )
                for index, reply in enumerate(self.choices.replies)
            ],
            usage=self._envelope.usage(),
        )

    def chunks(self, index: int, piece: Piece | None) -> Iterator[Chunk]:
        if index not in self._begun:
            self._begun.add(index)
            if prompt := self._prompt(index):
                yield self._chunk(index, prompt)
        if piece is None:
            yield self._chunk(index, "", finish_reason=_finish_reason(self.choices.replies[index]))
            return
        logprobs = self._logprobs[index].of([piece.token] if piece.token else [])
        if piece.text or logprobs:
            yield self._chunk(index, piece.text, logprobs.model_dump() if logprobs else None)

    def usage_chunk(self) -> Chunk:
        return self._around([]) | {"usage": self._envelope.usage().model_dump()}

    def _prompt(self, index: int) -> str:
        return self._tokenizer.decode(self.choices.replies[index].prompt.ids) if self._echo else ""

    def _chunk(self, index: int, text: str, logprobs: Chunk | None = None, finish_reason: str | None = None) -> Chunk:
        return self._around([{"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}])

    def _around(self, choices: list[Chunk]) -> Chunk:
        return {**self._envelope.fields(), "object": "text_completion", "choices": choices}


class TextLogprobs:
    """The log-probabilities of one text, from its first token on, with the places of the tokens in it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._offset = 0

    def of(self, tokens: Sequence[Token]) -> out.TextLogprobs | None:
        """Those of the next tokens; None where they were not asked for."""
        if not tokens or tokens[0].logprob is None:
            return None
        tops = [dict(token.top) | {token.token_id: token.logprob or 0.0} for token in tokens]
        return out.TextLogprobs(
            tokens=[self._name(token.token_id) for token in tokens],
            token_logprobs=[_finite(token.logprob) for token in tokens],
            top_logprobs=[{self._name(token_id): _finite(value) for token_id, value in top.items()} for top in tops],
            text_offset=[self._place(token.token_id) for token in tokens],
        )

    def _name(self, token_id: int) -> str:
        """The token's text; its bytes where they are none, so that no two tokens have one name."""
        text = self._tokenizer.token_bytes(token_id)
        try:
            return text.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in text)

    def _place(self, token_id: int) -> int:
        if token_id in self._tokenizer.special_ids:
            return self._offset
        text = self._tokenizer.token_bytes(token_id)
        if text and not 0x80 <= text[0] < 0xC0:
            # It begins a character, so that one left incomplete before it is a U+FFFD by now.
            self._offset += len(self._decoder.decode(b"", final=True))
        start = self._offset
        self._offset += len(self._decoder.decode(text))
        return start
