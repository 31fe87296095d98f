"""The chat template that a checkpoint brings along, rendered as transformers renders it.

It is Jinja in a sandbox. A template returns one string, in which a special token that a user typed looks
like one that the template wrote; `_Masks` keeps them apart. Choosing a template is left to `templates`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateSyntaxError, nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.chat.prompt import Message, Piece, Prompt, TemplateError
from app.chat.tokenizer import Tokenizer

_PROBES = (
    Message("user", "troika-first-probe"),
    Message("assistant", "troika-second-probe"),
    Message("user", "troika-third-probe"),
)


class CheckpointTemplate:
    """The checkpoint's own template; `TemplateError` at once if it is broken."""

    name = "checkpoint"
    strip_leading = True

    def __init__(self, tokenizer: Tokenizer) -> None:
        source = tokenizer.chat_template
        if source is None:
            raise TemplateError("the checkpoint has no chat_template: choose another template than 'checkpoint'")
        self._tokenizer = tokenizer
        self._source = source
        self._seams = _Seams(tokenizer.special_texts)
        try:
            self._template = _environment().from_string(source)
        except TemplateSyntaxError as error:
            raise TemplateError(
                f"the checkpoint's chat_template is no valid Jinja (line {error.lineno}: {error.message}): "
                "correct it, or choose another template"
            ) from error
        except Exception as error:  # a number of 5,000 digits, or brackets nested 400 deep: Jinja's compiler gives up
            raise TemplateError(
                f"the checkpoint's chat_template cannot be compiled ({type(error).__name__}): choose another template"
            ) from error
        try:
            self.render(_PROBES[:1])
        except TemplateError as error:
            raise TemplateError(
                f"{error}; it failed on a single short user message: choose another template"
            ) from error
        self.stop_strings, turn_end = self._find_turn_end()
        self.stop_token_ids = tokenizer.stop_token_ids | turn_end

    def render(self, messages: Sequence[Message]) -> Prompt:
        """The prompt, with everything special in it written by the template and not by a message."""
        masks = _Masks(self._tokenizer.special_texts, self._seams, [self._source, *(m.content for m in messages)])
        masked = [{"role": message.role, "content": masks.hide(message.content)} for message in messages]
        try:
            text = self._template.render(
                messages=masked,
                tools=None,
                documents=None,
                add_generation_prompt=True,
                **self._tokenizer.special_tokens,
            )
        except JinjaError as error:
            raise TemplateError(f"the checkpoint's chat_template refuses these messages: {error}") from error
        except Exception as error:  # a template is a program, and can fail as any program can
            raise TemplateError(f"the checkpoint's chat_template failed on these messages: {error!r}") from error
        if not text:
            raise TemplateError("the checkpoint's chat_template makes nothing of these messages")
        return tuple(
            piece if piece.special else Piece(masks.restore(piece.text))
            for piece in self._tokenizer.split_special(text)
        )

    def _find_turn_end(self) -> tuple[tuple[str, ...], frozenset[int]]:
        """What the template writes between an assistant's message and the user's next: there a reply ends.

        Many checkpoints close a turn with a token of their own and never list it as an end of text.
        """
        try:
            prompt = self.render(_PROBES)
        except TemplateError:
            return (), frozenset()
        pieces = iter(prompt)
        for piece in pieces:
            _, found, after = piece.text.partition(_PROBES[1].content)
            if found:
                between = after.partition(_PROBES[2].content)[0].rstrip()
                if between:
                    return (between,), frozenset()
                following = next(pieces, None)
                if following is not None and following.special:
                    return (), frozenset({self._tokenizer.special_id(following.text)})
                break
        return (), frozenset()


class _Seams:
    """Where a message's text could join with the template's, or another message's, into a special token."""

    def __init__(self, special_texts: Iterable[str]) -> None:
        cuts = [(text, cut) for text in special_texts for cut in range(1, len(text))]
        self._heads = tuple({text[:cut] for text, cut in cuts})
        self._tails = tuple({text[cut:] for text, cut in cuts})
        self._inner = {tail[:end] for tail in self._tails for end in range(1, len(tail))}

    def at_start(self, text: str) -> bool:
        return text.startswith(self._tails) or text in self._inner

    def at_end(self, text: str) -> bool:
        return text.endswith(self._heads)


class _Masks:
    """Hides the special tokens in messages from the split at special tokens, without loss.

    Each special token's text is replaced by a character that occurs neither in the messages nor in the
    template, and another such character is put where a message's end could complete a special token.
    Everything else the template sees as it is, so that it can trim, test and split it.
    """

    def __init__(self, special_texts: Iterable[str], seams: _Seams, texts: Sequence[str]) -> None:
        used = set().union(*texts)
        # From the private use area on; a text would need a million different characters to leave none free.
        free = (chr(code) for code in range(0xE000, 0x110000) if chr(code) not in used)
        self._seams = seams
        self._seam = next(free)
        longest_first = sorted((text for text in special_texts if any(text in t for t in texts)), key=len, reverse=True)
        self._mask_of = dict(zip(longest_first, free, strict=False))
        self._restored: Mapping[int, str] = {
            ord(self._seam): "",
            **{ord(mask): text for text, mask in self._mask_of.items()},
        }

    def hide(self, content: str) -> str:
        # Longest first: no shorter special token is then left over inside a longer one.
        for text, mask in self._mask_of.items():
            content = content.replace(text, mask)
        core = content.strip()
        if not core:
            return content
        marked = core
        if self._seams.at_start(core):
            marked = self._seam + marked
        if self._seams.at_end(core):
            marked += self._seam
        # White space stays outside, where the template's `trim` finds it.
        return content if marked is core else content.replace(core, marked, 1)

    def restore(self, text: str) -> str:
        return text.translate(self._restored)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what to train on; a prompt has no use for it."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Plain JSON: Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise_exception(message: str) -> NoReturn:
    raise JinjaError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)
