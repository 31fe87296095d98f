"""What the OpenAI-compatible endpoints answer; `openai_writers` fills it in, and makes the chunks of streams."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas import Context

FinishReason = Literal["stop", "length"]

INDEX = Field(description="Which of the replies this is, from 0.", examples=[0])
FINISH = "stop: it ended by itself or at a stop string; length: it was cut."


class PromptTokensDetails(BaseModel):
    cached_tokens: int = Field(description="Prompt tokens that were still computed from an earlier one.", examples=[0])


class CompletionUsage(BaseModel):
    """Each prompt counts once, every reply to it counts."""

    prompt_tokens: int = Field(description="Tokens of the prompts.", examples=[12])
    completion_tokens: int = Field(description="Tokens that were generated.", examples=[31])
    total_tokens: int = Field(description="Both together.", examples=[43])
    prompt_tokens_details: PromptTokensDetails = Field(description="More about the prompt tokens.")


class _Envelope(BaseModel):
    id: str = Field(description="Names this completion.", examples=["chatcmpl-3f1c09"])
    created: int = Field(description="When it began, in seconds since 1970.", examples=[1790000000])
    model: str = Field(description="The model that answered.", examples=["starter"])
    system_fingerprint: str = Field(
        description="Changes with whatever could change the reply to a seed: model, version, device, precision.",
        examples=["fp_44709d6fcb"],
    )
    seed: int = Field(description="Send this seed to get the same replies again. Not in OpenAI's API.", examples=[7])


# -- chat ----------------------------------------------------------------------------------------------------


class TopLogprob(BaseModel):
    token: str = Field(description="The token's text; parts of a character show as U+FFFD.", examples=[" Hello"])
    logprob: float = Field(description="Natural logarithm of its probability.", examples=[-0.7])
    bytes: list[int] = Field(description="The token's bytes in UTF-8.", examples=[[32, 72]])


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob] = Field(
        description="The likeliest tokens at this place.",
        examples=[[{"token": " Hello", "logprob": -0.7, "bytes": [32, 72]}]],
    )


class ChatLogprobs(BaseModel):
    content: list[TokenLogprob] = Field(description="Every generated token, those of a stop string too.")


class ReplyMessage(BaseModel):
    role: Literal["assistant"] = Field("assistant", description="Who speaks.", examples=["assistant"])
    content: str = Field(description="The model's words.", examples=["Hello! How can I help?"])
    refusal: None = Field(None, description="Always null.", examples=[None])


class ChatChoice(BaseModel):
    index: int = INDEX
    message: ReplyMessage = Field(description="The reply.")
    logprobs: ChatLogprobs | None = Field(None, description="With `logprobs`: every token of the reply.")
    finish_reason: FinishReason = Field(description=FINISH, examples=["stop"])


class ChatCompletion(_Envelope):
    """Replies to a conversation."""

    object: Literal["chat.completion"] = Field(
        "chat.completion", description="What this is.", examples=["chat.completion"]
    )
    choices: list[ChatChoice] = Field(description="The replies, `n` of them.")
    usage: CompletionUsage = Field(description="Counts of tokens.")
    context: Context = Field(description="How the conversation was fitted to the model. Not in OpenAI's API.")


# -- text completions ----------------------------------------------------------------------------------------


class TextLogprobs(BaseModel):
    tokens: list[str] = Field(
        description="Every generated token, those of a stop string too; one that is no text is written as bytes:\\x….",
        examples=[[" there"]],
    )
    token_logprobs: list[float] = Field(description="Natural logarithms of their probabilities.", examples=[[-0.7]])
    top_logprobs: list[dict[str, float]] = Field(
        description="For each, its alternatives and itself.", examples=[[{" there": -0.7}]]
    )
    text_offset: list[int] = Field(description="Where each begins, in characters of the text.", examples=[[0]])


class TextChoice(BaseModel):
    index: int = INDEX
    text: str = Field(description="What the model made of it.", examples=[" there was a king."])
    logprobs: TextLogprobs | None = Field(None, description="With `logprobs`: every generated token.")
    finish_reason: FinishReason = Field(description=FINISH, examples=["stop"])


class TextCompletion(_Envelope):
    """Continuations of one or several texts."""

    object: Literal["text_completion"] = Field(
        "text_completion", description="What this is.", examples=["text_completion"]
    )
    choices: list[TextChoice] = Field(description="The replies: `n` to the first prompt, `n` to the second, ….")
    usage: CompletionUsage = Field(description="Counts of tokens.")


# -- models and tokens ---------------------------------------------------------------------------------------


class Model(BaseModel):
    """A model that is served."""

    id: str = Field(description="What requests call it.", examples=["starter"])
    object: Literal["model"] = Field("model", description="What this is.", examples=["model"])
    created: int = Field(description="When its files were written, in seconds since 1970.", examples=[1790000000])
    owned_by: str = Field(description="Who serves it.", examples=["troika"])
    max_model_len: int = Field(description="Tokens that prompt and reply may have together.", examples=[1024])


class ModelList(BaseModel):
    object: Literal["list"] = Field("list", description="What this is.", examples=["list"])
    data: list[Model] = Field(description="The one model that is served.")


class Tokens(BaseModel):
    tokens: list[int] = Field(description="Token ids.", examples=[[15496]])
    token_strs: list[str] = Field(description="Their texts; parts of a character show as U+FFFD.", examples=[["Hello"]])
    count: int = Field(description="How many they are.", examples=[1])
    max_model_len: int = Field(description="Tokens that prompt and reply may have together.", examples=[1024])


class Detokenized(BaseModel):
    prompt: str = Field(description="The text; bytes that are no UTF-8 show as U+FFFD.", examples=["Hello"])
