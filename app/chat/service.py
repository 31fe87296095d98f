"""Chat as the API sees it: messages and options in, a reply out, piece by piece.

Words on this side, token ids on the engine's: templates and tokenizer on the way in, the detokenizer on the way out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from app.chat.context import ContextOverflow, FittedPrompt, Truncation, fit
from app.chat.conversation import ConversationTurn
from app.chat.defaults import SamplingDefaults
from app.chat.detokenizer import Detokenizer
from app.chat.memory import Memory
from app.chat.prompt import ChatTemplate, Message, Piece, TemplateError
from app.chat.reply import Choices, Reply
from app.chat.tokenizer import Tokenizer
from app.engine.client import EngineClient, EngineStatus, UnknownTokenError
from app.engine.messages import SamplingParams
from app.engine.model_source import ModelRefusedError, ModelSource, model_shape
from config.settings import Settings

T = TypeVar("T")

MAX_UNNAMED_TOKENS = 1024
"""How many ids a model may have beyond its tokenizer's: they pad the embeddings and must never be sampled."""


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """What a request asked for; None is the model's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    choice: int = 0


class ChatService:
    """Model, tokenizer, template and engine, together."""

    def __init__(
        self,
        source: ModelSource,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        engine: EngineClient,
        memory: Memory,
        settings: Settings,
    ) -> None:
        self.source = source
        self.tokenizer = tokenizer
        self.template = template
        self.engine = engine
        self.memory = memory
        self.settings = settings
        self.defaults = SamplingDefaults.from_folder(source.folder)
        self.created = int(source.folder.stat().st_mtime)
        shape = model_shape(source.folder)
        self.max_positions = shape.max_positions
        unnamed = range(tokenizer.vocab_size, shape.vocab_size)
        if tokenizer.vocab_size > shape.vocab_size or len(unnamed) > MAX_UNNAMED_TOKENS:
            raise ModelRefusedError(
                f"{source.folder}: the tokenizer has {tokenizer.vocab_size} tokens and the model {shape.vocab_size}; "
                "they do not belong together. Give a folder where both come from one model."
            )
        self._banned = tuple(unnamed)

    def status(self) -> EngineStatus:
        return self.engine.status()

    def reply(
        self,
        messages: Sequence[Message],
        options: GenerationOptions,
        *,
        owner: str,
        truncation: Truncation = "auto",
        is_gone: Callable[[], bool] = lambda: False,
    ) -> Reply:
        """Begin a reply; raises `ContextOverflow`, `TemplateError` or `EngineError`.

        `owner` is whose earlier prompts may be reused; `is_gone` is asked now and then whether to give up.
        """
        wanted = options.max_new_tokens or self.settings.max_new_tokens
        prompt = fit(messages, self.template, self.tokenizer, self.max_positions, wanted, truncation)
        return self._begin(prompt, options, owner, is_gone, chat=True)

    def converse(
        self,
        conversation_id: str | None,
        user: str,
        system: str | None,
        options: GenerationOptions,
        *,
        conversation_owner: str,
        owner: str,
        truncation: Truncation = "auto",
        streamed: bool = False,
        replace_last: bool = False,
        new_id: str | None = None,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> ConversationTurn:
        """Begin the next turn of a conversation, or (None) the first of a new one, which may be called `new_id`.

        `system` holds from this turn on; None leaves the earlier one in force, an empty one takes it away. With
        `replace_last` the turn takes the place of the last one, and None leaves that one's system message. Raises
        `ConversationNotFoundError`, `ConversationBusyError`, `DatabaseError` and what `reply` does.
        """
        lease = self.memory.begin(
            conversation_id,
            conversation_owner,
            self.source.name,
            self.max_positions,
            replace_last=replace_last,
            new_id=new_id,
        )
        if system is None and lease.replaced:
            system = lease.replaced.system
        try:
            messages = lease.messages(user, system)
            reply = self.reply(messages, options, owner=owner, truncation=truncation, is_gone=is_gone)
        except Exception:
            self.memory.release(lease)
            raise
        return ConversationTurn(self.memory, lease, reply, self.source.name, user, system, streamed=streamed)

    def chat_choices(
        self,
        messages: Sequence[Message],
        options: GenerationOptions,
        choices: int,
        *,
        owner: str,
        truncation: Truncation = "auto",
        is_gone: Callable[[], bool] = lambda: False,
    ) -> Choices:
        """Begin several replies to one conversation; raises what `reply` does."""
        wanted = options.max_new_tokens or self.settings.max_new_tokens
        prompt = fit(messages, self.template, self.tokenizer, self.max_positions, wanted, truncation)
        return self._begin_all([prompt], options, choices, owner, is_gone, chat=True)

    def complete(
        self,
        prompts: Sequence[str | Sequence[int]],
        options: GenerationOptions,
        choices: int,
        *,
        owner: str,
        is_gone: Callable[[], bool] = lambda: False,
    ) -> Choices:
        """Begin to continue raw prompts, each `choices` times; the replies come in the order of the prompts.

        Nothing is dropped or cut: prompt and `max_new_tokens` must fit. Raises `ContextOverflow`, `TemplateError` or
        `EngineError`.
        """
        wanted = options.max_new_tokens or self.settings.max_new_tokens
        fitted = [self._raw_prompt(prompt, wanted) for prompt in prompts]
        return self._begin_all(fitted, options, choices, owner, is_gone, chat=False)

    def _raw_prompt(self, prompt: str | Sequence[int], wanted: int) -> FittedPrompt:
        limit = self.max_positions
        if isinstance(prompt, str):
            fewest = self.tokenizer.fewest_tokens((Piece(prompt),))
            if fewest > limit:
                raise ContextOverflow("prompt", fewest, False, limit, wanted)
            prompt = self.tokenizer.encode(prompt) or [self._first_token()]
        self.check_tokens(prompt)
        if len(prompt) + wanted > limit:
            field: Literal["prompt", "max_new_tokens"] = "prompt" if len(prompt) >= limit else "max_new_tokens"
            raise ContextOverflow(field, len(prompt), True, limit, wanted)
        return FittedPrompt(list(prompt), limit, 0, wanted)

    def check_tokens(self, ids: Iterable[int]) -> None:
        """Raise `UnknownTokenError` for an id that the tokenizer does not have."""
        size = self.tokenizer.vocab_size
        if (unknown := next((i for i in ids if not 0 <= i < size), None)) is not None:
            raise UnknownTokenError(f"There is no token {unknown}: the model's go from 0 to {size - 1}.")

    def _first_token(self) -> int:
        """What an empty prompt is continued from: a model needs some token to start from."""
        texts = (self.tokenizer.special_tokens.get(name) for name in ("bos_token", "eos_token"))
        text = next((text for text in texts if text in self.tokenizer.special_texts), None)
        if text is None:
            raise TemplateError("there is no text to continue, and the model has no token that begins one")
        return self.tokenizer.special_id(text)

    def _begin_all(
        self,
        prompts: Sequence[FittedPrompt],
        options: GenerationOptions,
        choices: int,
        owner: str,
        is_gone: Callable[[], bool],
        *,
        chat: bool,
    ) -> Choices:
        if options.seed is None:
            options = replace(options, seed=_draw_seed())
        begun: list[Reply] = []
        try:
            for prompt in prompts:
                for choice in range(choices):
                    wish = replace(options, choice=choice)
                    begun.append(self._begin(prompt, wish, owner, is_gone, chat=chat))
        except Exception:
            Choices(begun).close()
            raise
        return Choices(begun)

    def _begin(
        self,
        prompt: FittedPrompt,
        options: GenerationOptions,
        owner: str,
        is_gone: Callable[[], bool],
        *,
        chat: bool,
    ) -> Reply:
        """Begin one reply: in the form of the template if it is `chat`, else as the model goes on with the prompt."""
        seed = _draw_seed() if options.seed is None else options.seed
        stop_token_ids = self.template.stop_token_ids if chat else self.tokenizer.stop_token_ids
        stream = self.engine.submit(
            prompt.ids,
            self._params(options, prompt.max_new_tokens, seed, stop_token_ids),
            owner=owner,
            deadline_s=self.settings.request_timeout_s,
        )
        detokenizer = Detokenizer(
            self.tokenizer,
            (*(self.template.stop_strings if chat else ()), *options.stop),
            strip_leading=chat and self.template.strip_leading,
        )
        return Reply(stream, detokenizer, prompt, seed, is_gone)

    def _params(
        self, options: GenerationOptions, max_new_tokens: int, seed: int, stop_token_ids: frozenset[int]
    ) -> SamplingParams:
        defaults = self.defaults
        return SamplingParams(
            max_new_tokens=max_new_tokens,
            temperature=_or(options.temperature, defaults.temperature),
            top_k=_or(options.top_k, defaults.top_k),
            top_p=_or(options.top_p, defaults.top_p),
            min_p=_or(options.min_p, 0.0),
            repetition_penalty=_or(options.repetition_penalty, defaults.repetition_penalty),
            frequency_penalty=options.frequency_penalty,
            presence_penalty=options.presence_penalty,
            logit_bias=options.logit_bias,
            banned_token_ids=self._banned,
            stop_token_ids=tuple(sorted(stop_token_ids)),
            seed=seed,
            choice=options.choice,
            logprobs=options.logprobs is not None,
            top_logprobs=options.logprobs or 0,
        )


def _draw_seed() -> int:
    return secrets.randbelow(1 << 31)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
