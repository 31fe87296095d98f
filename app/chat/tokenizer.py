"""Text to token ids and back, for GPT-2's byte-level BPE.

Special tokens are only what a template writes: the same characters in anybody's text are encoded as plain
text. Reading files is left to `tokenizer_files`, the form of a conversation to `templates`, and streaming
to `detokenizer`. Imports neither torch nor transformers: this runs in the HTTP process.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from tokenizers import Tokenizer as Backend

from app.chat.byte_level import to_bytes
from app.chat.prompt import Piece, Prompt
from app.chat.tokenizer_files import TokenizerError, TokenizerFiles, read_folder

__all__ = ["Tokenizer", "TokenizerError"]

_WHITE_SPACE = re.compile(r"\s*")


class Tokenizer:
    """A byte-level BPE tokenizer; immutable once loaded, so that threads may share it.

    `eos_token_id` is None for a vocabulary without one. `stop_token_ids` are all tokens by which the
    checkpoint's files say that the model ends a text. `special_tokens` maps names such as "bos_token" to
    texts.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        self._backend = files.backend
        # Set once, here: the backend takes special tokens in its input for plain text from now on.
        self._backend.encode_special_tokens = True
        self._bytes = _bytes_by_id(self._backend)
        added = self._backend.get_added_tokens_decoder()
        self._special = {token.content: index for index, token in added.items() if token.special}
        self._eat_before = {index for index, token in added.items() if token.lstrip}
        self._eat_after = {index for index, token in added.items() if token.rstrip}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._special_split = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._longest_token = max(map(len, self._bytes), default=1) or 1
        self.special_tokens: Mapping[str, str] = MappingProxyType(files.special_tokens)
        self.chat_template = files.chat_template
        self.special_ids = frozenset(self._special.values())
        self.eos_token_id = next(iter(files.eos_token_ids), None)
        self.stop_token_ids = frozenset(files.eos_token_ids)

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """Load the tokenizer of the checkpoint in `folder`; `TokenizerError` says what is wrong with it."""
        return cls(read_folder(folder))

    @property
    def vocab_size(self) -> int:
        """One more than the highest known id; a model's embedding may be padded beyond it."""
        return len(self._bytes)

    @property
    def special_texts(self) -> frozenset[str]:
        """The texts of all special tokens."""
        return frozenset(self._special)

    def special_id(self, text: str) -> int:
        """The id of a special token; `KeyError` if `text` is none."""
        return self._special[text]

    def encode(self, text: str, *, special_tokens: bool = False) -> list[int]:
        """The ids of `text`. With `special_tokens`, the texts of special tokens in it become those tokens.

        Nothing is put before or after. What isn't a Unicode character (a lone surrogate, which JSON can
        smuggle in) becomes U+FFFD.
        """
        return self.encode_prompt(self.split_special(text) if special_tokens else (Piece(text),))

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt: special pieces by their id, everything between them as plain text."""
        ids: list[int] = []
        plain: list[str] = []
        for piece in prompt:
            if not piece.special:
                plain.append(piece.text)
                continue
            ids += self._encode_plain("".join(plain))
            plain.clear()
            ids.append(self._special[piece.text])
        return ids + self._encode_plain("".join(plain))

    def fewest_tokens(self, prompt: Prompt) -> int:
        """A lower bound of the prompt's length in tokens, without encoding it.

        Encoding holds the GIL (half a second per megabyte), so text that can't fit is better not encoded at
        all.
        """
        return -(-sum(len(piece.text) for piece in prompt) // self._longest_token)

    def split_special(self, text: str) -> Prompt:
        """Cut `text` at the special tokens written in it; the longest wins where several begin."""
        return tuple(self._split_special(text))

    def _split_special(self, text: str) -> Iterator[Piece]:
        end = 0
        for match in self._special_split.finditer(text):
            token = self._special[match[0]]
            before = text[end : match.start()]
            if token in self._eat_before:
                before = before.rstrip()
            if before:
                yield Piece(before)
            yield Piece(match[0], special=True)
            end = match.end()
            if token in self._eat_after:
                end = _WHITE_SPACE.match(text, end).end()  # type: ignore[union-attr]  # it always matches
        if end < len(text):
            yield Piece(text[end:])

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`; bytes that aren't UTF-8 become U+FFFD."""
        kept = (index for index in ids if not (skip_special and index in self.special_ids))
        return b"".join(map(self.token_bytes, kept)).decode("utf-8", errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of a token, perhaps only a part of a character.

        A special token's are its text in UTF-8. An id that the vocabulary doesn't have, as in a padded
        embedding, has none.
        """
        return self._bytes[token_id] if 0 <= token_id < len(self._bytes) else b""

    def token_text(self, token_id: int) -> str:
        """The text of a token by itself, for display; parts of a character show as U+FFFD."""
        return self.token_bytes(token_id).decode("utf-8", errors="replace")

    def _encode_plain(self, text: str) -> list[int]:
        if not text:
            return []
        try:
            ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        except TypeError:  # so tokenizers refuses a text with a lone surrogate
            return self._encode_plain(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        return ids


def _bytes_by_id(backend: Backend) -> list[bytes]:
    vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=True)
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    table = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for text, index in vocabulary.items():
        try:
            table[index] = text.encode() if text in added else to_bytes(text)
        except KeyError as error:
            raise TokenizerError(
                f"the token {text!r} (id {index}) isn't written in GPT-2's byte-level alphabet: "
                "only byte-level BPE vocabularies can be served"
            ) from error
    return table
