"""Fitting into the context window: what goes, what stays, and what is refused."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.context import LEAST_REPLY_TOKENS, ContextOverflow, fit
from app.chat.prompt import ChatTemplate, Message, Prompt
from app.chat.templates import DialoGPTTemplate, RawTemplate, TranscriptTemplate, select_template
from app.chat.tokenizer import Tokenizer
from tests.chat.support import EOS, PROPERTY, small_tokenizer

LIMIT = 256


def conversation(turns: int, *, system: bool = True) -> list[Message]:
    messages = [Message("system", "Be kind.")] if system else []
    for i in range(turns - 1):
        messages += [Message("user", f"question {i}"), Message("assistant", f"answer {i}")]
    return [*messages, Message("user", f"question {turns - 1}")]


def size(messages: Sequence[Message], template: ChatTemplate, tokenizer: Tokenizer) -> int:
    return len(tokenizer.encode_prompt(template.render(messages)))


@pytest.fixture(scope="module")
def template(plain_tokenizer: Tokenizer) -> ChatTemplate:
    return select_template("transcript", plain_tokenizer, "gpt2")


def test_a_short_conversation_goes_in_whole(plain_tokenizer: Tokenizer, template: ChatTemplate) -> None:
    messages = conversation(2)
    fitted = fit(messages, template, plain_tokenizer, LIMIT, 64)
    assert fitted.ids == plain_tokenizer.encode_prompt(template.render(messages))
    assert (fitted.limit, fitted.turns_dropped, fitted.max_new_tokens) == (LIMIT, 0, 64)
    assert fitted.prompt_tokens == len(fitted.ids)


@PROPERTY
@given(
    turns=st.integers(1, 60),
    limit=st.integers(150, 600),
    wish=st.none() | st.integers(0, 600),
    own=st.booleans(),
    system=st.booleans(),
)
def test_no_more_turns_go_than_needed(
    tokenizer: Tokenizer, turns: int, limit: int, wish: int | None, own: bool, system: bool
) -> None:
    template = select_template("checkpoint" if own else "transcript", tokenizer, "")
    messages = conversation(turns, system=system)
    fitted = fit(messages, template, tokenizer, limit, wish)
    head = messages[:1] if system else []

    def kept(dropped: int) -> list[Message]:
        return head + messages[len(head) + 2 * dropped :]

    room = limit - (limit // 4 if wish is None else min(wish, limit // 2))
    sizes = [size(kept(dropped), template, tokenizer) for dropped in range(turns)]
    expected = next((dropped for dropped, tokens in enumerate(sizes) if tokens <= room), turns - 1)
    assert fitted.turns_dropped == expected
    assert fitted.ids == tokenizer.encode_prompt(template.render(kept(expected)))
    left = limit - fitted.prompt_tokens
    assert fitted.max_new_tokens == (left if wish is None else min(wish, left))


def test_system_messages_and_the_last_turn_stay(plain_tokenizer: Tokenizer, template: ChatTemplate) -> None:
    messages = [*conversation(30), Message("system", "Late word."), Message("assistant", "half an ans")]
    text = plain_tokenizer.decode(fit(messages, template, plain_tokenizer, LIMIT, 64).ids)
    assert text.startswith("Be kind.\nLate word.\n\n")
    assert text.endswith("User: question 29\nAssistant: half an ans\nAssistant:")
    assert "question 0\n" not in text


def test_an_opening_greeting_is_a_turn_of_its_own(plain_tokenizer: Tokenizer, template: ChatTemplate) -> None:
    messages = [Message("assistant", "Welcome! " * 40), *conversation(1)]
    fitted = fit(messages, template, plain_tokenizer, LIMIT, 64)
    assert fitted.turns_dropped == 1
    assert "Welcome" not in plain_tokenizer.decode(fitted.ids)


def test_without_user_messages(plain_tokenizer: Tokenizer, template: ChatTemplate) -> None:
    assert fit([Message("system", "Hi")], template, plain_tokenizer, LIMIT, 10).turns_dropped == 0
    with pytest.raises(ContextOverflow):
        fit([Message("system", "Hi" * LIMIT)], template, plain_tokenizer, LIMIT, 10)


def question_of(tokens: int, tokenizer: Tokenizer) -> list[Message]:
    """A question that is so many tokens long as a raw prompt."""
    message = [Message("user", "!" * tokens)]
    assert len(tokenizer.encode(message[0].content)) == tokens
    return message


def test_the_reply_gives_way_to_the_last_turn_down_to_the_least(plain_tokenizer: Tokenizer) -> None:
    raw = RawTemplate(EOS, frozenset())
    just = LIMIT - LEAST_REPLY_TOKENS
    fitted = fit(question_of(just, plain_tokenizer), raw, plain_tokenizer, LIMIT, 100)
    assert (fitted.prompt_tokens, fitted.max_new_tokens) == (just, LEAST_REPLY_TOKENS)
    with pytest.raises(ContextOverflow) as caught:
        fit(question_of(just + 1, plain_tokenizer), raw, plain_tokenizer, LIMIT, 100)
    error = caught.value
    assert (error.field, error.prompt_tokens, error.exact) == ("prompt", just + 1, True)
    assert (error.limit, error.reply_tokens) == (LIMIT, LEAST_REPLY_TOKENS)
    assert f"{just + 1} tokens" in str(error)


def test_who_asks_for_less_than_the_least_may_have_it(plain_tokenizer: Tokenizer) -> None:
    raw = RawTemplate(EOS, frozenset())
    assert fit(question_of(LIMIT - 1, plain_tokenizer), raw, plain_tokenizer, LIMIT, 1).max_new_tokens == 1
    assert fit(question_of(LIMIT, plain_tokenizer), raw, plain_tokenizer, LIMIT, 0).max_new_tokens == 0


def test_error_instead_of_truncation(plain_tokenizer: Tokenizer) -> None:
    raw = RawTemplate(EOS, frozenset())

    def refused(tokens: int, wish: int | None) -> str | None:
        try:
            fitted = fit(question_of(tokens, plain_tokenizer), raw, plain_tokenizer, LIMIT, wish, "error")
        except ContextOverflow as error:
            return error.field
        assert fitted.max_new_tokens == (LIMIT - tokens if wish is None else wish)
        return None

    assert refused(200, 56) is None
    assert refused(200, 57) == "max_new_tokens"
    assert refused(LIMIT - LEAST_REPLY_TOKENS, None) is None
    assert refused(LIMIT - LEAST_REPLY_TOKENS + 1, None) == "prompt"
    assert refused(LIMIT + 1, 57) == "prompt"


def test_error_drops_no_turns(plain_tokenizer: Tokenizer, template: ChatTemplate) -> None:
    with pytest.raises(ContextOverflow):
        fit(conversation(60), template, plain_tokenizer, LIMIT, 10, "error")


class CountingTokenizer(Tokenizer):
    """Counts what it encodes."""

    characters = 0

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        self.characters += sum(len(piece.text) for piece in prompt)
        return super().encode_prompt(prompt)


def test_a_long_conversation_is_not_encoded_again_and_again(counting: CountingTokenizer) -> None:
    template = TranscriptTemplate(frozenset())
    messages = conversation(1000)
    fitted = fit(messages, template, counting, LIMIT, 64)
    whole = sum(piece.text.count("") for piece in template.render(messages))
    assert fitted.turns_dropped > 900
    assert counting.characters < 2 * whole


def test_what_cannot_fit_is_not_encoded_at_all(counting: CountingTokenizer) -> None:
    with pytest.raises(ContextOverflow, match="at least") as caught:
        fit([Message("user", "a" * 1_000_000)], DialoGPTTemplate(EOS, frozenset()), counting, LIMIT, 64)
    assert not caught.value.exact
    assert caught.value.prompt_tokens > LIMIT
    assert counting.characters == 0


@pytest.fixture
def counting(tmp_path_factory: pytest.TempPathFactory) -> CountingTokenizer:
    folder = tmp_path_factory.mktemp("counting")
    small_tokenizer(folder)
    tokenizer = CountingTokenizer.from_folder(folder)
    assert isinstance(tokenizer, CountingTokenizer)
    return tokenizer
