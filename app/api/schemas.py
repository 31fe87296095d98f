"""Parts that several schemas share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag


class Body(BaseModel):
    """A request body: every field is known, every number is finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


def _encodable(text: str) -> str:
    """Refuse lone surrogates, which JSON can write and no text can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair, which is no character") from error
    return text


def _storable(text: str) -> str:
    """Refuse U+0000, at which much of what handles text ends it."""
    if "\0" in text:
        raise ValueError("it holds U+0000, which can't be stored")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it must not be empty")
    return text


Text = Annotated[str, AfterValidator(_encodable), AfterValidator(_storable)]
FilledText = Annotated[Text, AfterValidator(_not_blank), Field(json_schema_extra={"minLength": 1, "pattern": r"\S"})]
StopString = Annotated[str, Field(min_length=1), AfterValidator(_encodable)]


def text_or_list(value: Any) -> str:
    """Which branch of `text | list` a value is for, so that an error is about that one alone.

    Tags are in parentheses: `errors` leaves such parts out of the name of a field.
    """
    return "(list)" if isinstance(value, list) else "(text)"


StopStrings = Annotated[
    Annotated[StopString, Tag("(text)")] | Annotated[list[StopString], Field(max_length=64), Tag("(list)")],
    Discriminator(text_or_list),
]


class Sampling(Body):
    """How a reply is sampled: the same fields, under the same names, wherever one is asked for."""

    temperature: float | None = Field(
        None,
        ge=0,
        le=10,
        description="0 is greedy, higher is more random. Default: the model's own, else 0.9.",
        examples=[0.9],
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Sample from the fewest tokens whose probabilities sum up to this. Default: 1, all of them.",
        examples=[0.95],
    )
    top_k: int | None = Field(
        None, ge=0, le=1_000_000, description="Sample from so many likeliest tokens; 0 is all.", examples=[50]
    )
    min_p: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Drop tokens whose probability is below this share of the likeliest token's. Default: 0, none.",
        examples=[0.05],
    )
    repetition_penalty: float | None = Field(
        None,
        ge=0.01,
        le=100,
        description="Above 1, tokens that already occurred in prompt or reply become less likely. Default: 1.",
        examples=[1.1],
    )
    stop: StopStrings | None = Field(
        None,
        description="A string that ends the reply, or a list of up to 64; it is not part of the reply.",
        examples=[["\n\n"]],
    )
    seed: int | None = Field(
        None,
        ge=-(2**63),
        le=2**63 - 1,
        description="The same seed and request give the same reply. Default: one is drawn, and returned.",
        examples=[7],
    )
    stream: bool | None = Field(
        None, description="Send the reply piece by piece, as server-sent events. Default: false.", examples=[False]
    )

    @property
    def stop_strings(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)


class Usage(BaseModel):
    prompt_tokens: int = Field(description="Tokens of the prompt.", examples=[12])
    completion_tokens: int = Field(description="Tokens that were generated.", examples=[31])
    total_tokens: int = Field(description="Both together.", examples=[43])
    cached_tokens: int = Field(description="Prompt tokens that were still computed from an earlier turn.", examples=[0])


class Context(BaseModel):
    limit: int = Field(description="Positions of the model, in tokens: prompt and reply share them.", examples=[1024])
    prompt_tokens: int = Field(description="Tokens of the prompt.", examples=[12])
    turns_dropped: int = Field(description="Oldest turns left out because they did not fit.", examples=[0])
