"""What the OpenAI-compatible endpoints take.

Fields that GPT-2 can't honour are declared too, with the one value that asks for nothing: anything else is refused by
name. What they answer is in `openai_replies`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag

from app.api.schemas import Body, Sampling, Text, text_or_list

STRICT = ConfigDict(strict=True)
"""JSON has types, so "5" is no number here. Forms, which have none, are not taken."""

MAX_CHOICES = 128


def unless(reason: str, *neutral: Any) -> BeforeValidator:
    """Refuse a field with `reason` unless its value is None or one that asks for nothing."""

    def check(value: Any) -> Any:
        if value is not None and not any(type(value) is type(n) and value == n for n in neutral):
            raise ValueError(f"not supported: {reason}")
        return value

    return BeforeValidator(check)


def unsupported(reason: str) -> Any:
    """A field that only takes null."""
    return Field(None, description=f"Not supported: {reason}. Only null is taken.", examples=[None])


NO_TOOLS = "this model cannot call tools or functions"
TEXT_ONLY = "this model reads and writes text only"

NoTools = Annotated[Annotated[list[Any], Field(max_length=0)] | None, unless(NO_TOOLS, [])]
NoFunction = Annotated[None, unless(NO_TOOLS)]
NoMedia = Annotated[None, unless(TEXT_ONLY)]


# -- messages ------------------------------------------------------------------------------------------------


class TextPart(Body):
    """A part of a message; text is the only kind."""

    model_config = STRICT

    type: Annotated[Literal["text"], unless(TEXT_ONLY, "text")] = Field(
        description="The kind of part; only text is read.", examples=["text"]
    )
    text: Text = Field(description="The text; the parts of a message are joined.", examples=["Hello"])


Content = Annotated[
    Annotated[Text, Tag("(text)")] | Annotated[list[TextPart], Field(min_length=1), Tag("(list)")],
    Discriminator(text_or_list),
]

NO_NAMES = "the prompt of this model has no place for names"

ChatRole = Annotated[
    Literal["system", "developer", "user", "assistant"],
    BeforeValidator(lambda value: _refuse(value, ("tool", "function"), NO_TOOLS)),
]


def _refuse(value: Any, refused: tuple[str, ...], reason: str) -> Any:
    if value in refused:
        raise ValueError(f"{value!r} is not supported: {reason}")
    return value


class ChatMessage(Body):
    """One message; a reply's own message is taken as it came."""

    model_config = STRICT

    role: ChatRole = Field(description="Who speaks; developer is the same as system.", examples=["user"])
    content: Content = Field(description="What is said: a text, or a list of text parts.", examples=["Hello"])
    name: Annotated[None, unless(NO_NAMES)] = unsupported(NO_NAMES)
    refusal: Annotated[None, unless("this model does not refuse")] = unsupported("this model does not refuse")
    audio: NoMedia = unsupported(TEXT_ONLY)
    annotations: Annotated[Annotated[list[Any], Field(max_length=0)] | None, unless("there are none", [])] = Field(
        None, description="Not supported; null and the empty list are taken.", examples=[[]]
    )
    tool_calls: NoTools = Field(
        None, description=f"Not supported: {NO_TOOLS}. Null and the empty list are taken.", examples=[[]]
    )
    function_call: NoFunction = unsupported(NO_TOOLS)

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


# -- what both kinds of request have -------------------------------------------------------------------------


class StreamOptions(Body):
    """What a stream brings besides the text."""

    model_config = STRICT

    include_usage: bool | None = Field(
        None, description="End the stream with a chunk that has no choices, but the usage.", examples=[True]
    )
    include_obfuscation: Annotated[Literal[False] | None, unless("chunks are not padded", False)] = Field(
        None, description="Not supported: chunks are not padded. Only false and null are taken.", examples=[False]
    )


MAX_TOKENS = "Longest reply in tokens. Default: the service's for chat, 16 for a text."


class Generation(Sampling):
    """What chat and text completions have in common."""

    model_config = STRICT

    model: Text = Field(description="The model to use, as `/v1/models` names it.", examples=["starter"])
    n: int | None = Field(
        None,
        ge=1,
        le=MAX_CHOICES,
        description="Replies to each prompt; in all at most as many as are computed at once. Default: 1.",
        examples=[1],
    )
    max_tokens: int | None = Field(None, ge=1, le=100_000, description=MAX_TOKENS, examples=[64])
    frequency_penalty: float | None = Field(
        None,
        ge=-2,
        le=2,
        description="Subtracted from a token's logit for each time it is in the reply already. Default: 0.",
        examples=[0.5],
    )
    presence_penalty: float | None = Field(
        None,
        ge=-2,
        le=2,
        description="Subtracted from a token's logit if it is in the reply already. Default: 0.",
        examples=[0.5],
    )
    logit_bias: (
        Annotated[
            dict[Annotated[str, Field(pattern="^[0-9]{1,10}$")], Annotated[float, Field(ge=-100, le=100)]],
            Field(max_length=1024, json_schema_extra={"additionalProperties": False}),
        ]
        | None
    ) = Field(
        None,
        description="Added to the logits of tokens, from -100 (never) to 100 (always), by token id.",
        examples=[{"198": -100}],
    )
    stream_options: StreamOptions | None = Field(
        None, description="Only with `stream`.", examples=[{"include_usage": True}]
    )
    user: Text | None = Field(None, description="Taken and not used.", examples=["lin"])

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def biases(self) -> tuple[tuple[int, float], ...]:
        return tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items())


# -- chat ----------------------------------------------------------------------------------------------------


class TextFormat(Body):
    """The only form of reply there is."""

    model_config = STRICT

    type: Annotated[Literal["text"], unless("this model cannot be held to JSON", "text")] = Field(
        description="Only text: this model cannot be held to JSON.", examples=["text"]
    )


NO_REASONING = "this model does not reason before it answers"
NO_STORE = "completions are not kept; see /conversations for conversations that are"


class ChatCompletionRequest(Generation):
    """A conversation to be answered, as the OpenAI API has it."""

    messages: list[ChatMessage] = Field(
        min_length=1,
        description="The conversation, oldest first. Where it is too long the oldest turns are left out.",
        examples=[[{"role": "user", "content": "Hello"}]],
    )
    max_completion_tokens: int | None = Field(
        None, ge=1, le=100_000, description="The new name of `max_tokens`.", examples=[64]
    )
    logprobs: bool | None = Field(None, description="Return each token's log-probability.", examples=[False])
    top_logprobs: int | None = Field(
        None, ge=0, le=20, description="So many alternatives to each token; only with `logprobs`.", examples=[None]
    )
    truncation: Literal["auto", "error"] | None = Field(
        None,
        description="What to do with a conversation that is too long: leave out the oldest turns, or refuse it.",
        examples=["auto"],
    )
    metadata: Annotated[dict[str, Text], Field(max_length=16)] | None = Field(
        None, description="Taken and not used.", examples=[{"session": "1"}]
    )
    store: Annotated[Literal[False] | None, unless(NO_STORE, False)] = Field(
        None, description=f"Only false and null are taken: {NO_STORE}.", examples=[False]
    )
    service_tier: Literal["auto", "default"] | None = Field(
        None, description="Taken and not used: there is one tier.", examples=["auto"]
    )
    safety_identifier: Text | None = Field(None, description="Taken and not used.", examples=["lin"])
    prompt_cache_key: Text | None = Field(
        None, description="Taken and not used: prompts are reused whenever they can be.", examples=["chat-1"]
    )
    response_format: TextFormat | None = Field(
        None, description="The form of the reply; only text.", examples=[{"type": "text"}]
    )
    modalities: Annotated[list[Literal["text"]] | None, unless(TEXT_ONLY, ["text"])] = Field(
        None, description=f"Only text: {TEXT_ONLY}.", max_length=1, min_length=1, examples=[["text"]]
    )
    tools: NoTools = Field(
        None, description=f"Not supported: {NO_TOOLS}. Null and the empty list are taken.", examples=[[]]
    )
    tool_choice: Annotated[Literal["none"] | None, unless(NO_TOOLS, "none")] = Field(
        None, description=f"Not supported: {NO_TOOLS}. Only none and null are taken.", examples=["none"]
    )
    parallel_tool_calls: bool | None = Field(None, description="Without effect: there are no tools.", examples=[False])
    functions: NoTools = Field(
        None, description=f"Not supported: {NO_TOOLS}. Null and the empty list are taken.", examples=[[]]
    )
    function_call: Annotated[Literal["none"] | None, unless(NO_TOOLS, "none")] = Field(
        None, description=f"Not supported: {NO_TOOLS}. Only none and null are taken.", examples=["none"]
    )
    audio: NoMedia = unsupported(TEXT_ONLY)
    prediction: Annotated[None, unless("there is no predicted output")] = unsupported("there is no predicted output")
    reasoning_effort: Annotated[Literal["none"] | None, unless(NO_REASONING, "none")] = Field(
        None, description=f"Only none and null are taken: {NO_REASONING}.", examples=["none"]
    )
    verbosity: Annotated[None, unless("use max_tokens")] = unsupported("use max_tokens")
    web_search_options: Annotated[None, unless("this model has no access to the web")] = unsupported(
        "this model has no access to the web"
    )


# -- text completions ----------------------------------------------------------------------------------------

TokenIds = Annotated[list[Annotated[int, Field(ge=0, le=10_000_000)]], Field(min_length=1)]


def _prompt_kind(value: Any) -> str:
    """Which of its four forms a prompt has, so that an error is about that one alone."""
    first = value[0] if isinstance(value, list) and value else value
    match value, first:
        case list(), list():
            return "(id lists)"
        case list(), int():
            return "(ids)"
        case list(), _:
            return "(texts)"
        case _:
            return "(text)"


RawPrompt = Annotated[
    Annotated[Text, Tag("(text)")]
    | Annotated[list[Text], Field(min_length=1, max_length=MAX_CHOICES), Tag("(texts)")]
    | Annotated[TokenIds, Tag("(ids)")]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_CHOICES), Tag("(id lists)")],
    Discriminator(_prompt_kind),
]


class CompletionRequest(Generation):
    """Text to be continued, as the OpenAI API has it. No template is put around it."""

    prompt: RawPrompt | None = Field(
        None,
        description="A text, a list of texts, a list of token ids or a list of such lists. Default: the empty text.",
        examples=["Once upon a time"],
    )
    logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Return each token's log-probability, and so many alternatives to it; not with `echo`.",
        examples=[0],
    )
    echo: bool | None = Field(None, description="Begin the text with the prompt.", examples=[False])
    best_of: int | None = Field(
        None, ge=1, le=MAX_CHOICES, description="Only the value of `n`: none of the replies is held back.", examples=[1]
    )
    suffix: Annotated[Literal[""] | None, unless("this model only continues a text", "")] = Field(
        None, description="Not supported: this model only continues a text. Only null is taken.", examples=[None]
    )


# -- tokens --------------------------------------------------------------------------------------------------


class TokenizeRequest(Body):
    """A text, or a conversation in the form in which the model gets it; one of the two."""

    model_config = STRICT

    model: Text | None = Field(None, description="The model, as `/v1/models` names it.", examples=["starter"])
    prompt: Text | None = Field(None, description="A text to cut into tokens.", examples=["Hello, world"])
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = Field(
        None, description="A conversation, to be put into the model's template first.", examples=[None]
    )


class DetokenizeRequest(Body):
    """Token ids to be put together to a text."""

    model_config = STRICT

    model: Text | None = Field(None, description="The model, as `/v1/models` names it.", examples=["starter"])
    tokens: list[Annotated[int, Field(ge=0, le=10_000_000)]] = Field(
        description="Token ids, in their order.", examples=[[72, 101]]
    )
