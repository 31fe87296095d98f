"""The stop matcher against the plain definition: cut at the earliest start."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.stop_strings import StopMatcher
from tests.chat.support import PROPERTY

# Few letters, so that stop strings overlap, contain and almost complete each other all the time.
letters = st.text(alphabet="ab\n", max_size=30)
stops = st.lists(st.text(alphabet="ab\n", min_size=1, max_size=5), max_size=5)


def cut(text: str, stop_strings: list[str]) -> tuple[str, str | None]:
    found = [(text.find(stop), len(stop), stop) for stop in stop_strings if stop in text]
    if not found:
        return text, None
    start, _, stop = min(found)
    return text[:start], stop


@PROPERTY
@given(st.lists(letters, max_size=8), stops)
def test_however_the_text_is_cut_the_result_is_the_same(parts: list[str], stop_strings: list[str]) -> None:
    matcher = StopMatcher(stop_strings)
    text = "".join([matcher.feed(part) for part in parts] + [matcher.finish()])
    assert (text, matcher.matched) == cut("".join(parts), stop_strings)


@PROPERTY
@given(letters, stops)
def test_only_what_may_become_a_stop_string_is_held(text: str, stop_strings: list[str]) -> None:
    matcher = StopMatcher(stop_strings)
    passed = ""
    for end, character in enumerate(text, start=1):
        passed += matcher.feed(character)
        if matcher.matched is not None:
            break
        held = text[len(passed) : end]
        beginnings = [stop[:n] for stop in stop_strings for n in range(1, len(stop))]
        assert held == max((b for b in beginnings if text[:end].endswith(b)), key=len, default="")


def test_the_stop_string_that_starts_earliest_wins_though_another_completes_first() -> None:
    matcher = StopMatcher(["bcde", "cd"])
    assert matcher.feed("abcd") == "a"
    assert matcher.matched is None
    assert matcher.feed("e") == ""
    assert matcher.matched == "bcde"


def test_the_later_one_counts_when_the_earlier_one_fails() -> None:
    matcher = StopMatcher(["bcde", "cd"])
    assert matcher.feed("abcd") + matcher.feed("x") == "ab"
    assert matcher.matched == "cd"


def test_the_later_one_counts_when_the_text_ends() -> None:
    matcher = StopMatcher(["bcde", "cd"])
    assert matcher.feed("abcd") + matcher.finish() == "ab"
    assert matcher.matched == "cd"


def test_at_the_same_start_the_one_that_completes_first_wins() -> None:
    matcher = StopMatcher(["bcdx", "cd", "cde"])
    assert matcher.feed("abcde") == "ab"
    assert matcher.matched == "cd"


def test_nothing_follows_a_match() -> None:
    matcher = StopMatcher(["."])
    assert [matcher.feed("a.b"), matcher.feed("c"), matcher.finish()] == ["a", "", ""]


def test_many_long_stop_strings() -> None:
    matcher = StopMatcher([f"{'a' * 500}{i}" for i in range(100)])
    assert matcher.feed("a" * 10_000) == "a" * 9_500
    assert matcher.feed("7!") == ""
    assert matcher.matched == f"{'a' * 500}7"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopMatcher(["a", ""])
