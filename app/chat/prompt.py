"""What passes between the parts of the text layer: messages come in, a prompt in pieces comes out.

A prompt is kept in pieces, and not in one string, so that a special token which a template writes can't be
confused with the same characters typed by a user. Templates make pieces; `tokenizer` turns them into ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a prompt: plain text, or (`special`) the text of exactly one special token."""

    text: str
    special: bool = False


Prompt: TypeAlias = tuple[Piece, ...]


class TemplateError(ValueError):
    """A template can't be used, or can't render these messages; the text says which and what to do."""


class ChatTemplate(Protocol):
    """The form in which a model expects a conversation."""

    @property
    def name(self) -> str:
        """`checkpoint`, `transcript`, `dialogpt` or `raw`."""

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Text that begins the next turn: a reply ends before it."""

    @property
    def stop_token_ids(self) -> frozenset[int]:
        """Tokens that end a reply and are no part of it."""

    @property
    def strip_leading(self) -> bool:
        """Whether white space at the start of a reply belongs to the form of the prompt, not to the reply."""

    def render(self, messages: Sequence[Message]) -> Prompt:
        """The prompt that the assistant's next message follows; `TemplateError` if there is none."""
