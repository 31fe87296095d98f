"""Reads a checkpoint's tokenizer files, in every form that GPT-2 checkpoints come in.

Knows file names and their keys, and nothing of how tokens are used: that is `tokenizer`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

GPT2_END_OF_TEXT = "<|endoftext|>"
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
_CONTROL_FORM = re.compile(r"<\|.+\|>", re.DOTALL)


class TokenizerError(ValueError):
    """A tokenizer can't be loaded; the text says which file is at fault and what to do."""


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What the files of one folder say, with the special tokens already made known to the backend."""

    backend: Backend
    special_tokens: dict[str, str]  # role -> text, such as "eos_token" -> "<|endoftext|>"
    eos_token_ids: tuple[int, ...]  # the tokenizer's own first, then those that the model's configuration adds
    chat_template: str | None


def read_folder(folder: Path) -> TokenizerFiles:
    """Read the tokenizer in `folder`; `TokenizerError` if files are missing, broken or of another kind."""
    if not folder.is_dir():
        raise TokenizerError(f"{folder} is not a folder: give the folder that holds the model's tokenizer files")
    config = {
        **_read_object(folder, "special_tokens_map.json"),
        **_read_object(folder, "tokenizer_config.json"),
    }
    backend = _read_backend(folder, config)
    if not isinstance(backend.model, BPE):
        raise TokenizerError(
            f"the tokenizer in {folder} is of the kind {type(backend.model).__name__}: "
            "only GPT-2's byte-level BPE can be served"
        )
    # Some tokenizer.json files carry the truncation and padding of their training run.
    backend.no_truncation()
    backend.no_padding()
    # tokenizers keeps 10,000 encoded words for each thread that has ever encoded. Words that nobody says twice fill
    # that with up to 60 MB, which every one of the service's hundreds of threads would come to hold for good.
    backend.model._resize_cache(0)
    _add_listed_tokens(folder, backend, config)

    chat_template = _read_chat_template(folder, config)
    special_tokens = _named_tokens(config)
    if "eos_token" not in special_tokens and backend.token_to_id(GPT2_END_OF_TEXT) is not None:
        special_tokens["eos_token"] = GPT2_END_OF_TEXT
        special_tokens.setdefault("bos_token", GPT2_END_OF_TEXT)
    _mark_control_tokens(backend, {*special_tokens.values(), *_additional_tokens(config)}, chat_template or "")
    return TokenizerFiles(backend, special_tokens, _eos_ids(folder, backend, special_tokens), chat_template)


def _read_backend(folder: Path, config: dict[str, Any]) -> Backend:
    whole, vocab, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    try:
        if whole.is_file():
            return Backend.from_file(str(whole))
        if vocab.is_file() and merges.is_file():
            backend = Backend(BPE.from_file(str(vocab), str(merges)))
            backend.pre_tokenizer = ByteLevel(add_prefix_space=bool(config.get("add_prefix_space", False)))
            return backend
    except Exception as error:  # tokenizers raises plain Exception for whatever it finds wrong in a file
        raise TokenizerError(
            f"the tokenizer files in {folder} can't be read ({error}): download or copy them again"
        ) from error
    raise TokenizerError(f"no tokenizer in {folder}: it needs tokenizer.json, or vocab.json with merges.txt")


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TokenizerError(f"{path} can't be read as JSON ({error}): download or copy it again") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} must hold a JSON object, not {type(value).__name__}: copy it again")
    return value


def _text(token: Any) -> str | None:
    """A special token is given as a string, or as an object with its `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None


def _named_tokens(config: dict[str, Any]) -> dict[str, str]:
    return {name: text for name in _NAMED_TOKENS if (text := _text(config.get(name))) is not None}


def _additional_tokens(config: dict[str, Any]) -> Iterator[str]:
    for key in ("additional_special_tokens", "extra_special_tokens"):
        listed = config.get(key) or []
        for token in listed.values() if isinstance(listed, dict) else listed:
            if (text := _text(token)) is not None:
                yield text


def _add_listed_tokens(folder: Path, backend: Backend, config: dict[str, Any]) -> None:
    """Add the tokens that older checkpoints keep beside the vocabulary, at the ids they were trained with."""
    listed: dict[int, AddedToken] = {}
    try:
        for text, index in _read_object(folder, "added_tokens.json").items():
            listed[int(index)] = AddedToken(text, special=False, normalized=False)
        for index, entry in (config.get("added_tokens_decoder") or {}).items():
            flags = {key: bool(entry.get(key)) for key in ("special", "lstrip", "rstrip", "single_word", "normalized")}
            listed[int(index)] = AddedToken(entry["content"], **flags)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TokenizerError(f"the list of added tokens in {folder} is broken ({error!r}): copy it again") from error
    known = backend.get_added_tokens_decoder()
    for index, token in sorted(listed.items(), key=lambda item: item[0]):
        if index not in known:
            (backend.add_special_tokens if token.special else backend.add_tokens)([token])
        if backend.token_to_id(token.content) != index:
            raise TokenizerError(
                f"{folder} lists the token {token.content!r} with id {index}, but the vocabulary gives it "
                f"{backend.token_to_id(token.content)}: the files are not of the same model"
            )


def _mark_control_tokens(backend: Backend, declared: set[str], chat_template: str) -> None:
    """Make special what controls the conversation, even where a checkpoint forgot to say so.

    Those are the declared special tokens, and added tokens of the form `<|…|>` or written by the chat
    template in brackets. Other added tokens are vocabulary (words of some field) and stay as they are. A
    declared token without a row in the vocabulary is left out: the model has no embedding for it.
    """
    control = [text for text in sorted(declared) if backend.token_to_id(text) is not None]
    for token in backend.get_added_tokens_decoder().values():
        text = token.content
        bracketed = text[0] in "<[" and text[-1] in ">]"
        if not token.special and (_CONTROL_FORM.fullmatch(text) or (bracketed and text in chat_template)):
            control.append(text)
    flags = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    backend.add_special_tokens(
        [
            AddedToken(text, special=True, normalized=False, lstrip=old.lstrip, rstrip=old.rstrip)
            if (old := flags.get(text)) is not None
            else AddedToken(text, special=True, normalized=False)
            for text in control
            if not (text in flags and flags[text].special)
        ]
    )


def _eos_ids(folder: Path, backend: Backend, special_tokens: dict[str, str]) -> tuple[int, ...]:
    ids: list[int] = []
    if (eos := special_tokens.get("eos_token")) is not None:
        index = backend.token_to_id(eos)
        if index is None:
            raise TokenizerError(
                f"{folder} names {eos!r} as eos_token, but the vocabulary has no such token: "
                "correct eos_token in tokenizer_config.json"
            )
        ids.append(index)
    for name in ("config.json", "generation_config.json"):
        value = _read_object(folder, name).get("eos_token_id")
        ids += [index for index in (value if isinstance(value, list) else [value]) if isinstance(index, int)]
    return tuple(dict.fromkeys(ids))


def _read_chat_template(folder: Path, config: dict[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise TokenizerError(f"{path} can't be read ({error}): copy it again") from error
    template = config.get("chat_template")
    if isinstance(template, list):
        try:
            named = {entry["name"]: entry["template"] for entry in template}
        except (TypeError, KeyError) as error:
            raise TokenizerError(f"the list chat_template in {folder} is broken: copy its file again") from error
        template = named.get("default") or (next(iter(named.values())) if len(named) == 1 else None)
        if named and template is None:
            raise TokenizerError(f"no chat_template in {folder} is named 'default' among {sorted(named)}: name one so")
    if template is not None and not isinstance(template, str):
        raise TokenizerError(f"chat_template in {folder} must be text, not {type(template).__name__}")
    return template or None
