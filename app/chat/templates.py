"""The forms in which models expect a conversation, and the choice among them.

The checkpoint's own Jinja template is in `checkpoint_template`; here are those for models that bring none.
None of them counts tokens: fitting a conversation into the model's positions is left to `context`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from app.chat.checkpoint_template import CheckpointTemplate
from app.chat.prompt import ChatTemplate, Message, Piece, Prompt, TemplateError
from app.chat.tokenizer import Tokenizer

__all__ = [
    "ChatTemplate",
    "CheckpointTemplate",
    "DialoGPTTemplate",
    "Message",
    "Prompt",
    "RawTemplate",
    "TemplateError",
    "TemplateSetting",
    "TranscriptTemplate",
    "select_template",
]

TemplateSetting = Literal["auto", "checkpoint", "transcript", "dialogpt", "raw"]

PREAMBLE = (
    "The following is a conversation between a user and an assistant. "
    "The assistant is friendly and gives short, clear answers."
)
_LABELS = {"user": "User:", "assistant": "Assistant:"}
# Blank within a line: white space, and characters that take no room on it.
_BLANK = r"(?:[^\S\n]|[\u00ad\u200b-\u200f\u2060\ufeff])*"
_FORGED_LABEL = re.compile(rf"\n(?={_BLANK}(?:User|Assistant){_BLANK}[:：])", re.IGNORECASE)


@dataclass(frozen=True)
class TranscriptTemplate:
    """A transcript with role labels, for GPT-2 as it was trained: on text, not on conversations.

        The following is a conversation between …

        User: Hello
        Assistant: Hi!
        User: How are you?
        Assistant:

    System messages, wherever they stand, replace the sentence at the top. Labels at the start of a line are
    the only mark of a turn, so a line of a message's own text that begins with one is quoted ("> User: …"):
    no text can forge a turn. What the words of a message talk a model into is beyond any template.
    """

    stop_token_ids: frozenset[int]
    name: str = "transcript"
    stop_strings: tuple[str, ...] = tuple(f"\n{label}" for label in _LABELS.values())
    strip_leading: bool = True

    def render(self, messages: Sequence[Message]) -> Prompt:
        """The transcript, ending in the assistant's label."""
        system = "\n".join(_one_block(message.content) for message in messages if message.role == "system")
        lines = [_quote_labels("\n" + (system or PREAMBLE))[1:], ""]
        for message in messages:
            if message.role != "system":
                text = _quote_labels(_one_block(message.content))
                lines.append(f"{_LABELS[message.role]} {text}".rstrip())
        return (Piece("\n".join([*lines, _LABELS["assistant"]])),)


def _one_block(text: str) -> str:
    """The text with every kind of line break written as a newline, without white space around it."""
    return "\n".join(text.splitlines()).strip()


def _quote_labels(text: str) -> str:
    return _FORGED_LABEL.sub("\n> ", text)


@dataclass(frozen=True)
class DialoGPTTemplate:
    """Turns that each end in the end-of-text token, as DialoGPT was trained; it knows no system message."""

    eos_token: str
    stop_token_ids: frozenset[int]
    name: str = "dialogpt"
    stop_strings: tuple[str, ...] = ()
    strip_leading: bool = True

    def render(self, messages: Sequence[Message]) -> Prompt:
        """The turns, the last closed too: what follows is the answer."""
        _refuse_system(messages, self.name)
        return tuple(
            piece
            for message in messages
            for piece in (Piece(message.content.strip()), Piece(self.eos_token, special=True))
        )


@dataclass(frozen=True)
class RawTemplate:
    """The last user message and nothing else, for the model to continue.

    An empty one is continued from the beginning-of-text token, since a model needs some token to start from.
    """

    bos_token: str | None
    stop_token_ids: frozenset[int]
    name: str = "raw"
    stop_strings: tuple[str, ...] = ()
    strip_leading: bool = False

    def render(self, messages: Sequence[Message]) -> Prompt:
        """The text to be continued, to the letter."""
        _refuse_system(messages, self.name)
        text = next((message.content for message in reversed(messages) if message.role == "user"), "")
        if text:
            return (Piece(text),)
        if self.bos_token is None:
            raise TemplateError("there is no text to continue, and the model has no token that begins one")
        return (Piece(self.bos_token, special=True),)


def _refuse_system(messages: Sequence[Message], name: str) -> None:
    if any(message.role == "system" for message in messages):
        raise TemplateError(
            f"the template {name!r} has no place for a system message: leave it out or use another template"
        )


def select_template(setting: str, tokenizer: Tokenizer, model_name: str) -> ChatTemplate:
    """The template that `setting` names.

    `auto` is the checkpoint's own if it has one, `dialogpt` for a model named like DialoGPT, else
    `transcript`. `TemplateError` if there is no such template, or the model can't use it.
    """
    if setting not in get_args(TemplateSetting):
        raise TemplateError(f"unknown template {setting!r}: choose one of {', '.join(get_args(TemplateSetting))}")
    if setting == "auto":
        setting = _suitable(tokenizer, model_name)
    if setting == "checkpoint":
        return CheckpointTemplate(tokenizer)
    stop_token_ids = tokenizer.stop_token_ids
    if setting == "transcript":
        return TranscriptTemplate(stop_token_ids)
    eos_token = _special_text(tokenizer, "eos_token")
    if setting == "raw":
        return RawTemplate(_special_text(tokenizer, "bos_token") or eos_token, stop_token_ids)
    if eos_token is None:
        raise TemplateError(f"the template 'dialogpt' needs an end-of-text token, and {model_name} has none")
    return DialoGPTTemplate(eos_token, stop_token_ids)


def _suitable(tokenizer: Tokenizer, model_name: str) -> TemplateSetting:
    if tokenizer.chat_template is not None:
        return "checkpoint"
    return "dialogpt" if "dialogpt" in model_name.lower() else "transcript"


def _special_text(tokenizer: Tokenizer, name: str) -> str | None:
    text = tokenizer.special_tokens.get(name)
    return text if text in tokenizer.special_texts else None
