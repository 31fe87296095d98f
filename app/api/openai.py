"""The OpenAI-compatible endpoints: `/v1/chat/completions`, `/v1/completions`, `/v1/models`, and the tokenizer.

What they take is in `openai_schemas`, what they answer in `openai_replies`, and how it is written in `openai_writers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import BaseModel

from app.api import idempotency, sse
from app.api import openai_replies as out
from app.api.chat import service
from app.api.errors import ApiError, UnsupportedMediaTypeError, from_exception
from app.api.openai_schemas import (
    ChatCompletionRequest,
    ChatMessage,
    CompletionRequest,
    DetokenizeRequest,
    Generation,
    TokenizeRequest,
)
from app.api.openai_writers import ChatWriter, Identity, TextWriter, Writer, stream
from app.api.requests import ClientGone, caller, current_record
from app.chat.context import ContextOverflow
from app.chat.prompt import Message, TemplateError
from app.chat.service import ChatService, GenerationOptions
from app.engine.client import PromptTooLongError, UnknownTokenError
from app.idempotency.replies import Making, Task

blueprint = APIBlueprint("openai", __name__, url_prefix="/v1", tag="OpenAI")

DEFAULT_MAX_TOKENS = 16
"""Of a text completion, in the OpenAI API."""


@blueprint.before_request
def _only_json() -> None:
    if request.method == "POST" and not request.is_json:
        raise UnsupportedMediaTypeError(request.mimetype)


# -- completions ---------------------------------------------------------------------------------------------


@blueprint.post("/chat/completions")
@blueprint.input(ChatCompletionRequest, arg_name="body")
@blueprint.output(out.ChatCompletion)
@blueprint.doc(summary="Answer a conversation", operation_id="createChatCompletion")
def chat_completions(body: ChatCompletionRequest) -> Response | BaseModel:
    chat_service = service()
    _check(chat_service, body)
    if body.top_logprobs is not None and not body.logprobs:
        raise _wrong("top_logprobs", "it needs `logprobs: true`")
    if body.max_tokens and body.max_completion_tokens and body.max_tokens != body.max_completion_tokens:
        raise _wrong("max_tokens", "it and its new name, max_completion_tokens, differ: send one of them")
    _check_choices(chat_service, body.choices, "n")
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    messages, owner = _messages(chat_service, body.messages), caller()

    def begin(seed: int | None, is_gone: Callable[[], bool], identity: Identity) -> ChatWriter:
        with _named("messages", "max_completion_tokens" if body.max_completion_tokens else "max_tokens"):
            choices = chat_service.chat_choices(
                messages,
                _options(body, body.max_completion_tokens or body.max_tokens, logprobs, seed),
                body.choices,
                owner=owner,
                truncation=body.truncation or "auto",
                is_gone=is_gone,
            )
        return ChatWriter(chat_service, choices, identity)

    return _answer(body, begin)


@blueprint.post("/completions")
@blueprint.input(CompletionRequest, arg_name="body")
@blueprint.output(out.TextCompletion)
@blueprint.doc(summary="Continue a text", operation_id="createCompletion")
def completions(body: CompletionRequest) -> Response | BaseModel:
    chat_service = service()
    _check(chat_service, body)
    if body.echo and body.logprobs is not None:
        raise _wrong("logprobs", "those of a prompt are not computed: leave out `echo` or this")
    if body.best_of not in (None, body.choices):
        raise _wrong("best_of", f"it is {body.best_of}, but only the value of n ({body.choices}) is taken")
    prompts = _prompts(chat_service, body.prompt)
    _check_choices(chat_service, len(prompts) * body.choices, "n" if body.choices > 1 else "prompt")
    owner = caller()

    def begin(seed: int | None, is_gone: Callable[[], bool], identity: Identity) -> TextWriter:
        with _named("prompt", "max_tokens"):
            choices = chat_service.complete(
                prompts,
                _options(body, body.max_tokens or DEFAULT_MAX_TOKENS, body.logprobs, seed),
                body.choices,
                owner=owner,
                is_gone=is_gone,
            )
        return TextWriter(chat_service, choices, body.choices, identity, echo=bool(body.echo))

    return _answer(body, begin)


def _answer(
    body: Generation, begin: Callable[[int | None, Callable[[], bool], Identity], Writer]
) -> Response | BaseModel:
    """What `begin` begins, in one piece or as a stream, and once for all requests under one key."""
    record = current_record()
    include_usage = body.stream_options is not None and bool(body.stream_options.include_usage)

    def begun(seed: int | None, is_gone: Callable[[], bool], identity: Identity) -> Writer:
        writer = begin(seed, is_gone, identity)
        record.replies = writer.choices.replies
        return writer

    def make(task: Task) -> Making:
        writer = begun(task.seed, task.is_gone, Identity(task.attempt, task.created))
        events = stream(writer, include_usage) if body.stream else idempotency.whole(lambda: _whole(writer))
        return Making(events, writer.choices.close)

    def in_words(error: Exception) -> str:
        return sse.message(record.error_body(error))

    if asked := idempotency.asked(body, streamed=bool(body.stream)):
        return idempotency.respond(asked, make, in_words if body.stream else None)
    writer = begun(None, ClientGone(), Identity())
    if body.stream:
        return sse.response(sse.guarded(idempotency.texts(stream(writer, include_usage)), in_words))
    for _ in writer.choices:
        pass
    return writer.whole()


def _whole(writer: Writer) -> BaseModel | None:
    """The answer at its end; None if nobody wants it any more."""
    for _ in writer.choices:
        pass
    return None if writer.choices.is_cancelled else writer.whole()


def _options(body: Generation, max_tokens: int | None, logprobs: int | None, seed: int | None) -> GenerationOptions:
    """`seed` is for a request that brings none."""
    return GenerationOptions(
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        repetition_penalty=body.repetition_penalty,
        max_new_tokens=max_tokens,
        stop=body.stop_strings,
        seed=seed if body.seed is None else body.seed,
        logprobs=logprobs,
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        logit_bias=body.biases,
    )


def _messages(chat_service: ChatService, messages: Sequence[ChatMessage]) -> list[Message]:
    for index, message in enumerate(messages):
        _check_length(chat_service, f"messages.{index}.content", message.text)
    return [Message("system" if message.role == "developer" else message.role, message.text) for message in messages]


def _prompts(
    chat_service: ChatService, prompt: str | list[str] | list[int] | list[list[int]] | None
) -> Sequence[str | list[int]]:
    """The prompts in any of the four forms, as a list of texts or of lists of ids."""
    if prompt is None or isinstance(prompt, str):
        prompt = [prompt or ""]
    ids = [item for item in prompt if isinstance(item, int)]
    prompts = [ids] if ids else [item for item in prompt if not isinstance(item, int)]
    for text in prompts:
        if isinstance(text, str):
            _check_length(chat_service, "prompt", text)
    return prompts


# -- models --------------------------------------------------------------------------------------------------


@blueprint.get("/models")
@blueprint.output(out.ModelList)
@blueprint.doc(summary="The model that is served", operation_id="listModels")
def models() -> out.ModelList:
    return out.ModelList(data=[_model(service())])


@blueprint.get("/models/<path:model>")
@blueprint.output(out.Model)
@blueprint.doc(summary="One model", operation_id="retrieveModel", responses={404: "There is no such model"})
def model(model: str) -> out.Model:
    chat_service = service()
    _check_model(chat_service, model)
    return _model(chat_service)


def _model(chat_service: ChatService) -> out.Model:
    return out.Model(
        id=chat_service.source.name,
        created=chat_service.created,
        owned_by="troika",
        max_model_len=chat_service.max_positions,
    )


# -- tokens --------------------------------------------------------------------------------------------------


@blueprint.post("/tokenize")
@blueprint.input(TokenizeRequest, arg_name="body")
@blueprint.output(out.Tokens)
@blueprint.doc(summary="Cut a text into tokens", operation_id="tokenize")
def tokenize(body: TokenizeRequest) -> out.Tokens:
    chat_service = service()
    _check_model(chat_service, body.model)
    if (body.prompt is None) == (body.messages is None):
        raise _wrong("prompt", "send either a prompt or messages")
    if body.prompt is not None:
        _check_length(chat_service, "prompt", body.prompt)
        ids = chat_service.tokenizer.encode(body.prompt)
    else:
        with _named("messages", "max_tokens"):
            rendered = chat_service.template.render(_messages(chat_service, body.messages or []))
        ids = chat_service.tokenizer.encode_prompt(rendered)
    return out.Tokens(
        tokens=ids,
        token_strs=[chat_service.tokenizer.token_text(token_id) for token_id in ids],
        count=len(ids),
        max_model_len=chat_service.max_positions,
    )


@blueprint.post("/detokenize")
@blueprint.input(DetokenizeRequest, arg_name="body")
@blueprint.output(out.Detokenized)
@blueprint.doc(summary="Put tokens together to a text", operation_id="detokenize")
def detokenize(body: DetokenizeRequest) -> out.Detokenized:
    chat_service = service()
    _check_model(chat_service, body.model)
    with _named("tokens", "tokens"):
        chat_service.check_tokens(body.tokens)
    return out.Detokenized(prompt=chat_service.tokenizer.decode(body.tokens, skip_special=False))


# -- checks --------------------------------------------------------------------------------------------------


def _wrong(param: str, problem: str) -> ApiError:
    return ApiError(400, f"{param}: {problem}.", code="invalid_value", param=param)


def _check_model(chat_service: ChatService, name: str | None) -> None:
    served = chat_service.source.name
    if name not in (None, served):
        message = f"There is no model {name!r} here; {served!r} is what is served."
        raise ApiError(404, message, code="model_not_found", param="model")


def _check(chat_service: ChatService, body: Generation) -> None:
    _check_model(chat_service, body.model)
    with _named("logit_bias", "max_tokens"):
        chat_service.check_tokens(token_id for token_id, _ in body.biases)
    if body.stream_options is not None and not body.stream:
        raise _wrong("stream_options", "it needs `stream: true`")


def _check_choices(chat_service: ChatService, choices: int, param: str) -> None:
    """One request may take all the places there are, but no place in the queue besides."""
    limit = min(chat_service.settings.max_sequences, chat_service.settings.max_per_client)
    if choices > limit:
        raise _wrong(param, f"this asks for {choices} replies at once; at most {limit} are computed")


def _check_length(chat_service: ChatService, param: str, text: str) -> None:
    limit = chat_service.settings.max_input_chars
    if len(text) > limit:
        raise _wrong(param, f"it has {len(text)} characters; at most {limit} are allowed")


@contextmanager
def _named(prompt: str, max_tokens: str) -> Iterator[None]:
    """Name the fields of this dialect in errors that come from below."""
    try:
        yield
    except (ContextOverflow, TemplateError, PromptTooLongError, UnknownTokenError) as error:
        found = from_exception(error)
        too_many = isinstance(error, ContextOverflow) and error.field == "max_new_tokens"
        found.param = max_tokens if too_many else prompt
        found.message = found.message.replace("max_new_tokens", max_tokens)
        raise found from error
