"""Fits a conversation into the model's positions: prompt and reply share them.

Says what it left out; what a prompt looks like is the template's affair, and what to answer a client whose
prompt can't fit is the API's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.chat.prompt import ChatTemplate, Message, TemplateError
from app.chat.tokenizer import Tokenizer

Truncation = Literal["auto", "error"]

LEAST_REPLY_TOKENS = 16
"""A prompt that leaves less room than this for a reply is too long, unless fewer were asked for."""


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A prompt that fits: `prompt_tokens + max_new_tokens <= limit`."""

    ids: list[int]
    limit: int
    turns_dropped: int
    max_new_tokens: int

    @property
    def prompt_tokens(self) -> int:
        """The length of the prompt."""
        return len(self.ids)


class ContextOverflow(ValueError):  # noqa: N818 - it is the field's word for it
    """Prompt and reply can't both fit.

    `field` says which of the two to make smaller. `prompt_tokens` is a lower bound (`exact` is False) where
    the text was so long that it wasn't even encoded.
    """

    def __init__(
        self,
        field: Literal["prompt", "max_new_tokens"],
        prompt_tokens: int,
        exact: bool,
        limit: int,
        reply_tokens: int,
    ) -> None:
        self.field = field
        self.prompt_tokens = prompt_tokens
        self.exact = exact
        self.limit = limit
        self.reply_tokens = reply_tokens
        advice = {
            "prompt": "shorten the messages",
            "max_new_tokens": f"ask for a max_new_tokens of at most {limit - prompt_tokens}",
        }[field]
        super().__init__(
            f"the prompt takes {'' if exact else 'at least '}{prompt_tokens} tokens and the reply "
            f"{reply_tokens}, but the model has room for {limit} in all: {advice}"
        )


def fit(
    messages: Sequence[Message],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    limit: int,
    max_new_tokens: int | None,
    truncation: Truncation = "auto",
) -> FittedPrompt:
    """Encode the conversation so that it and the reply fit into `limit` positions.

    `max_new_tokens` is the most that the reply may take; None means all that is left.
    With `truncation="auto"`:

    1. The conversation goes in whole if it leaves room for the reply: for all of `max_new_tokens`, but never
       more than half of `limit` (a quarter for None), so that a large wish doesn't wipe out the conversation.
    2. Else the oldest turns go, no more than needed. A turn is a user message with what follows it up to the
       next; system messages and the last turn always stay.
    3. If the last turn alone doesn't leave that room, the reply gets what is left, if that is at least
       `LEAST_REPLY_TOKENS` or all that was asked for; else `ContextOverflow`.

    The result's `max_new_tokens` is the wish, cut to what is left. With `truncation="error"` nothing is
    dropped or cut: `ContextOverflow` unless all messages and all of `max_new_tokens` (for None:
    `LEAST_REPLY_TOKENS`) fit.
    """
    conversation = _Conversation(messages, template, tokenizer)
    wish = limit if max_new_tokens is None else max_new_tokens
    least = min(wish, LEAST_REPLY_TOKENS)
    if truncation == "error":
        reply, kept = (least if max_new_tokens is None else wish), conversation.turns
        size, exact = conversation.size(kept, limit)
        if size + reply > limit:
            field: Literal["prompt", "max_new_tokens"] = "prompt" if size + least > limit else "max_new_tokens"
            raise ContextOverflow(field, size, exact, limit, reply)
    else:
        room = limit - min(wish, limit // (4 if max_new_tokens is None else 2))
        kept = conversation.most_turns_within(room)
        size, exact = conversation.size(kept, limit)
        if size + least > limit:
            raise ContextOverflow("prompt", size, exact, limit, least)
    ids = conversation.ids(kept)
    return FittedPrompt(ids, limit, conversation.turns - kept, min(wish, limit - len(ids)))


class _Conversation:
    """A conversation cut to its last turns, encoded at most once for each number of turns."""

    def __init__(self, messages: Sequence[Message], template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self._messages = messages
        self._template = template
        self._tokenizer = tokenizer
        self._starts = [i for i, message in enumerate(messages) if message.role == "user"]
        first = next((i for i, message in enumerate(messages) if message.role != "system"), None)
        if first is not None and messages[first].role == "assistant":
            self._starts.insert(0, first)  # a greeting, say, is a turn of its own
        self._encoded: dict[int, list[int]] = {}

    @property
    def turns(self) -> int:
        return len(self._starts)

    def ids(self, turns: int) -> list[int]:
        """The prompt with the last so many turns."""
        return self._encoded[turns]

    def size(self, turns: int, enough: int) -> tuple[int, bool]:
        """The prompt's length in tokens, or (with False) a lower bound greater than `enough`."""
        if turns not in self._encoded:
            first = self._starts[-turns] if turns else len(self._messages)
            prompt = self._template.render(
                [message for i, message in enumerate(self._messages) if message.role == "system" or i >= first]
            )
            fewest = self._tokenizer.fewest_tokens(prompt)
            if fewest > enough:
                return fewest, False
            self._encoded[turns] = self._tokenizer.encode_prompt(prompt)
            if not self._encoded[turns]:
                raise TemplateError(f"the template {self._template.name!r} makes an empty prompt of these messages")
        return len(self._encoded[turns]), True

    def most_turns_within(self, room: int) -> int:
        """How many of the last turns fit into `room` tokens; 1 if none does, as the last always stays.

        Doubles and then halves, from the newest: the work is a few times `room`, however long the
        conversation is.
        """
        if self.size(self.turns, room)[0] <= room:
            return self.turns
        fits, too_many = min(1, self.turns), self.turns
        while fits < too_many - 1:
            probe = min(2 * fits, (fits + too_many) // 2)
            if self.size(probe, room)[0] <= room:
                fits = probe
            else:
                too_many = probe
        return fits
