"""`POST /chat`: one message in, one reply out, as JSON or as a stream of server-sent events."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, cast

from apiflask import APIBlueprint
from flask import Response, current_app
from pydantic import BaseModel, Field

from app.api import idempotency, sse
from app.api.errors import ApiError, context_overflow
from app.api.requests import ClientGone, caller, conversation_owner, current_record
from app.api.schemas import Context, FilledText, Sampling, Text, Usage
from app.chat.context import ContextOverflow, Truncation
from app.chat.conversation import ConversationTurn
from app.chat.reply import Piece
from app.chat.service import ChatService, GenerationOptions
from app.engine.messages import Token
from app.idempotency.recording import Event
from app.idempotency.replies import Making, Task

blueprint = APIBlueprint("chat", __name__, tag="Chat")


class ChatRequest(Sampling):
    """A message, and how to answer it. As a form, only `input` is needed."""

    input: FilledText = Field(description="What to say to the model.", examples=["Hello"])
    system: Text | None = Field(
        None,
        description="Instruction that stands before the conversation. It holds for the turns that follow too, until "
        "another is given; an empty one takes it away.",
        examples=["You are a friendly assistant."],
    )
    conversation_id: Text | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="The conversation to go on with, from an earlier reply. Default: a new one begins.",
        examples=["conv_8d2f6c1e0b7a4953a1f0e2d4c6b8a793"],
    )
    replace_last: bool | None = Field(
        None,
        description="Answer in place of the conversation's last turn, which is not seen and stays until this one is "
        "stored: with the same `input` a retry, with another an edit. Its system message holds on unless another is "
        "given. Default: false.",
        examples=[False],
    )
    truncation: Truncation = Field(
        "auto",
        description="What to do when the conversation is too long for the model: auto leaves out its oldest turns, "
        "error refuses.",
        examples=["auto"],
    )
    max_new_tokens: int | None = Field(
        None, ge=1, le=100_000, description="Longest reply in tokens. Default: the service's.", examples=[64]
    )
    logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Return each token's log-probability, and so many alternatives to it.",
        examples=[0],
    )

    def options(self, seed: int | None = None) -> GenerationOptions:
        """What it asks for, with a `seed` for it if it brings none."""
        return GenerationOptions(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            max_new_tokens=self.max_new_tokens,
            stop=self.stop_strings,
            seed=seed if self.seed is None else self.seed,
            logprobs=self.logprobs,
        )


class Timing(BaseModel):
    first_token_ms: float = Field(description="Milliseconds from the request to the first token.", examples=[21.5])
    total_ms: float = Field(description="Milliseconds from the request to the end.", examples=[180.2])
    tokens_per_s: float = Field(description="Tokens per second, after the first.", examples=[160.0])


class Alternative(BaseModel):
    token: str = Field(description="The token's text; parts of a character show as U+FFFD.", examples=[" Hello"])
    logprob: float = Field(description="Natural logarithm of its probability.", examples=[-0.7])


class TokenInfo(Alternative):
    top: list[Alternative] = Field(
        description="The likeliest tokens at this place, as many as were asked for.",
        examples=[[{"token": " Hello", "logprob": -0.7}]],
    )


class ChatReply(BaseModel):
    """The reply and how it came about."""

    reply: str = Field(description="The model's words.", examples=["Hello! How can I help?"])
    conversation_id: str = Field(
        description="Send this to go on with the conversation.", examples=["conv_8d2f6c1e0b7a4953a1f0e2d4c6b8a793"]
    )
    model: str = Field(description="The model that answered.", examples=["starter"])
    finish_reason: str = Field(
        description="stop: it ended by itself or at a stop string; length: it was cut.", examples=["stop"]
    )
    seed: int = Field(description="Send this seed to get the same reply again.", examples=[7])
    usage: Usage = Field(description="Counts of tokens.")
    context: Context = Field(description="How the conversation was fitted to the model.")
    timing: Timing = Field(description="What it took.")
    tokens: list[TokenInfo] | None = Field(None, description="With `logprobs`: every token of the reply.")


def service() -> ChatService:
    return cast(ChatService, current_app.extensions["chat"])


@blueprint.post("/chat")
@blueprint.input(ChatRequest, location="json_or_form", arg_name="body")
@blueprint.output(ChatReply)
@blueprint.doc(
    summary="Chat with the model",
    responses={
        400: "Malformed, or too long for the model",
        404: "There is no such conversation",
        409: "The conversation is busy with another turn",
        422: "A field is wrong",
        503: "Try later",
    },
)
def chat(body: ChatRequest) -> Response | ChatReply:
    chat_service = service()
    if body.replace_last and body.conversation_id is None:
        raise ApiError(
            422,
            "replace_last: it needs the conversation_id of the conversation whose last turn is meant.",
            code="invalid_value",
            param="replace_last",
        )
    limit = chat_service.settings.max_input_chars
    for name, text in (("input", body.input), ("system", body.system or "")):
        if len(text) > limit:
            raise ApiError(
                422,
                f"{name}: it has {len(text)} characters; at most {limit} are allowed.",
                code="invalid_value",
                param=name,
            )
    record, mine, shared = current_record(), conversation_owner(), caller()

    def begin(
        seed: int | None, is_gone: Callable[[], bool], *, in_pieces: bool, new_id: str | None = None
    ) -> ConversationTurn:
        try:
            turn = chat_service.converse(
                body.conversation_id,
                body.input,
                body.system,
                body.options(seed),
                conversation_owner=mine,
                owner=shared,
                truncation=body.truncation,
                streamed=in_pieces,
                replace_last=bool(body.replace_last),
                new_id=new_id,
                is_gone=is_gone,
            )
        except ContextOverflow as error:
            raise context_overflow(error, "input" if error.field == "prompt" else error.field) from error
        record.replies = [turn.reply]
        return turn

    def make(task: Task) -> Making:
        # All or nothing: a turn that was cut short would stand in the way of the next try.
        turn = begin(task.seed, task.is_gone, in_pieces=False, new_id=task.conversation_id)
        if body.stream:
            headers = {"X-Conversation-ID": turn.conversation_id}
            events: Iterator[Event] = _events(chat_service, turn, turn.reply)
        else:
            headers = {}
            events = idempotency.whole(lambda: _whole(chat_service, turn))
        return Making(events, turn.close, headers, turn.conversation_id, turn.store)

    def in_words(error: Exception) -> str:
        return sse.event("error", record.error_body(error))

    if asked := idempotency.asked(body, streamed=bool(body.stream)):
        return idempotency.respond(asked, make, in_words if body.stream else None)
    turn = begin(None, ClientGone(), in_pieces=bool(body.stream))
    if body.stream:
        events = _events(chat_service, turn, turn)
        response = sse.response(sse.guarded(idempotency.texts(events), in_words))
        response.headers["X-Conversation-ID"] = turn.conversation_id
        response.call_on_close(turn.close)  # also when the client leaves before the first event
        return response
    for _ in turn:
        pass
    return _result(chat_service, turn)


def _whole(chat_service: ChatService, turn: ConversationTurn) -> ChatReply | None:
    """The reply at its end, not stored yet; None if nobody wants it any more."""
    for _ in turn.reply:
        pass
    return None if turn.reply.finish_reason == "cancelled" else _result(chat_service, turn)


def _events(chat_service: ChatService, turn: ConversationTurn, pieces: Iterable[Piece]) -> Generator[Event]:
    """The stream of a reply: `token` events, then `done`, sent when the turn is stored.

    `pieces` are those of the `turn`, and it's stored with them, or of its reply, and whoever takes the last event
    stores it. Raises what they do.
    """
    for piece in pieces:
        if piece.is_heartbeat:
            yield Event("note", sse.heartbeat(piece.ahead))
        else:
            yield Event("part", sse.event("token", _token(chat_service, piece)))
    if turn.reply.finish_reason != "cancelled":
        yield Event("last", sse.event("done", _result(chat_service, turn).model_dump(exclude_none=True)))


def _token(chat_service: ChatService, piece: Piece) -> dict[str, Any]:
    """One `token` event: the text that became certain, and the token itself if its probability was asked for."""
    data: dict[str, Any] = {"text": piece.text}
    if piece.token is not None and piece.token.logprob is not None:
        data["token"] = _info(chat_service, piece.token).model_dump()
    return data


def _info(chat_service: ChatService, token: Token) -> TokenInfo:
    text = chat_service.tokenizer.token_text
    top = [Alternative(token=text(token_id), logprob=logprob) for token_id, logprob in token.top]
    return TokenInfo(token=text(token.token_id), logprob=token.logprob or 0.0, top=top)


def _result(chat_service: ChatService, turn: ConversationTurn) -> ChatReply:
    reply = turn.reply
    prompt, completed = reply.prompt, len(reply.tokens)
    timing = reply.timing
    with_tokens = bool(reply.tokens) and reply.tokens[0].logprob is not None
    return ChatReply(
        reply=reply.text,
        conversation_id=turn.conversation_id,
        model=chat_service.source.name,
        finish_reason=reply.finish_reason or "stop",
        seed=reply.seed,
        usage=Usage(
            prompt_tokens=prompt.prompt_tokens,
            completion_tokens=completed,
            total_tokens=prompt.prompt_tokens + completed,
            cached_tokens=reply.prompt_tokens_reused,
        ),
        context=Context(limit=prompt.limit, prompt_tokens=prompt.prompt_tokens, turns_dropped=prompt.turns_dropped),
        timing=Timing(
            first_token_ms=round(1000 * timing.first_token_s, 1),
            total_ms=round(1000 * timing.total_s, 1),
            tokens_per_s=round(timing.tokens_per_s(completed), 1),
        ),
        tokens=[_info(chat_service, token) for token in reply.tokens] if with_tokens else None,
    )
