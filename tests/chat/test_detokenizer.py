"""Streamed text equals the text decoded at once, however it falls into tokens."""

from hypothesis import given
from hypothesis import strategies as st

from app.chat.detokenizer import Detokenizer
from app.chat.tokenizer import Tokenizer
from tests.chat.support import EOS, PROPERTY, texts
from tests.chat.test_stop_strings import cut

STOPS = ["\nUser:", "\nAssistant:", "你好", "😀😀", "hello world", "lo wor", "�", "User"]
stop_lists = st.lists(st.sampled_from(STOPS) | st.text(min_size=1, max_size=4), max_size=4)


def stream(detokenizer: Detokenizer, ids: list[int]) -> str:
    return "".join([detokenizer.push(index) for index in ids] + [detokenizer.flush()])


def byte_tokens(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """One token per byte: the worst way in which text can fall into tokens."""
    single = {tokenizer.token_bytes(index): index for index in range(tokenizer.vocab_size)}
    return [single[bytes([byte])] for byte in data]


@PROPERTY
@given(data=st.data(), stop_strings=stop_lists, strip=st.booleans())
def test_any_tokens(tokenizer: Tokenizer, data: st.DataObject, stop_strings: list[str], strip: bool) -> None:
    """Random ids are random bytes: broken characters everywhere, special tokens between them."""
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    detokenizer = Detokenizer(tokenizer, stop_strings, strip_leading=strip)
    expected, stop = cut(tokenizer.decode(ids), stop_strings)
    assert stream(detokenizer, ids) == (expected.lstrip() if strip else expected)
    assert detokenizer.stop_string == stop
    assert detokenizer.stopped == (stop is not None)


@PROPERTY
@given(text=texts, stop_strings=stop_lists, by_bytes=st.booleans())
def test_real_text(tokenizer: Tokenizer, text: str, stop_strings: list[str], by_bytes: bool) -> None:
    text = text.encode("utf-8", "replace").decode()
    ids = byte_tokens(tokenizer, text.encode()) if by_bytes else tokenizer.encode(text)
    assert stream(Detokenizer(tokenizer, stop_strings), ids) == cut(text, stop_strings)[0]


def test_a_stop_string_cut_at_every_position_never_leaks(tokenizer: Tokenizer) -> None:
    stop = "\nUser:"
    for position in range(len(stop) + 1):
        detokenizer = Detokenizer(tokenizer, [stop])
        ids = tokenizer.encode("fine 😀" + stop[:position]) + tokenizer.encode(stop[position:] + " more")
        assert stream(detokenizer, ids) == "fine 😀"
        assert detokenizer.stop_string == stop


def test_a_character_comes_when_it_is_whole(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    parts = [detokenizer.push(index) for index in byte_tokens(tokenizer, "a😀你".encode())]
    assert parts == ["a", "", "", "", "😀", "", "", "你"]


def test_a_dangling_character_becomes_one_replacement(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.push(index) for index in byte_tokens(tokenizer, "😀".encode()[:3])] == ["", "", ""]
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""


def test_special_tokens_and_padding_rows_are_silent(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("a" + EOS + "b", special_tokens=True), tokenizer.vocab_size + 7]
    assert stream(Detokenizer(tokenizer), ids) == "ab"
    assert stream(Detokenizer(tokenizer, skip_special=False), ids) == f"a{EOS}b"


def test_leading_white_space_is_dropped_only_at_the_start(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer, strip_leading=True)
    assert stream(detokenizer, byte_tokens(tokenizer, b" \n Hello \n you ")) == "Hello \n you "


def test_a_stop_string_at_the_very_start_is_found_before_stripping(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer, ["\nUser:"], strip_leading=True)
    assert stream(detokenizer, tokenizer.encode(" \nUser: hi")) == ""
    assert detokenizer.stopped
