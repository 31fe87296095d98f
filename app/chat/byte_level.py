"""GPT-2's byte-level alphabet: one printable character for each of the 256 bytes, and the way back.

Byte-level BPE writes its tokens in this alphabet, so that a vocabulary file holds only printable text ("Ġ"
is a space). Nothing here knows about tokens; that is `tokenizer`.
"""

from collections.abc import Iterator


def _pairs() -> Iterator[tuple[str, int]]:
    """Bytes that are printable in Latin-1 stand for themselves, the others for U+0100 and up, in order."""
    substitute = 0x100
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF:
            yield chr(byte), byte
        else:
            yield chr(substitute), byte
            substitute += 1


BYTE_OF: dict[str, int] = dict(_pairs())
"""The byte that a character of the alphabet stands for."""


def to_bytes(token: str) -> bytes:
    """The bytes that a token written in the alphabet stands for; `KeyError` for a character outside it."""
    return bytes([BYTE_OF[character] for character in token])
