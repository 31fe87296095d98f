"""Chat templates of any text: rendered, or a TemplateError that names the trouble, and never a special token forged."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.checkpoint_template import CheckpointTemplate
from app.chat.prompt import Message, Prompt, TemplateError
from app.chat.tokenizer import Tokenizer
from tests.chat.support import CHAT_TEMPLATE, PROPERTY, small_tokenizer, texts

# What templates are made of, and what is at home in an attack on one.
PIECES = [
    *("{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", " ", "\n", "|", ".", "(", ")", "[0]", "+", "~", "*", "=="),
    *("messages", "message", "message.content", "message['role']", "eos_token", "add_generation_prompt", "loop.index"),
    *("for message in messages", "endfor", "if", "else", "endif", "set x = ", "macro m(a)", "endmacro", "m(1)"),
    *("break", "continue", "generation", "endgeneration", "block a", "endblock", "include 'x'", "extends 'x'", "do"),
    *("trim", "tojson", "length", "raise_exception('no')", "strftime_now('%Y')", "range(9)", "namespace(a=1)", "none"),
    *("''.__class__.__mro__", "cycler.__init__.__globals__", "messages.append(1)", "lipsum()", "self", "caller()"),
    *("<|user|>", "<|assistant|>", "<|endoftext|>", "'a'", "1", "99" * 40, "1/0", "{'a': 1}", "raw", "endraw"),
]
sources = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=14).map("".join)
statements = st.lists(
    st.tuples(st.sampled_from(["{{ ", "{% "]), st.lists(st.sampled_from(PIECES), min_size=1, max_size=4)),
    max_size=5,
).map(lambda parts: "".join(begin + " ".join(words) + {"{{ ": " }}", "{% ": " %}"}[begin] for begin, words in parts))
around = st.builds(lambda before, after: before + CHAT_TEMPLATE + after, statements, statements)
conversations = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokenizer]:
    return small_tokenizer(tmp_path_factory.mktemp("fuzz"), chat_template=CHAT_TEMPLATE)


def with_template(tokenizer: Tokenizer, source: str) -> Tokenizer:
    """The same tokenizer, with another template."""
    other = copy.copy(tokenizer)
    other.chat_template = source
    return other


def rendered(tokenizer: Tokenizer, source: str, conversation: list[Message]) -> Prompt | None:
    """The prompt, or None if the template is refused in words of our own."""
    try:
        return CheckpointTemplate(with_template(tokenizer, source)).render(conversation)
    except TemplateError as error:
        said = str(error)
    assert "chat_template" in said
    return None


@PROPERTY
@given(source=sources | statements | around, conversation=conversations)
def test_any_template_renders_or_says_why_not(tokenizers: Tokenizer, source: str, conversation: list[Message]) -> None:
    prompt = rendered(tokenizers, source, conversation)
    if prompt is None:
        return
    assert "".join(piece.text for piece in prompt)
    ids = tokenizers.encode_prompt(prompt)
    assert all(0 <= index < tokenizers.vocab_size for index in ids)
    # What is not marked as special was not read as such.
    plain = sum(index in tokenizers.special_ids for index in ids)
    assert plain == sum(piece.special for piece in prompt)


@pytest.mark.parametrize(
    "source",
    [
        "{% for c in ''.__class__.__mro__[1].__subclasses__() %}{{ c }}{% endfor %}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ (" * 400,
        "{% include '/etc/passwd' %}",
        "{{ " + "9" * 5000 + " }}",
        "{{ '%s' | format(messages[0].content.__class__) }}",
    ],
)
def test_a_hostile_template_gets_nowhere(tokenizers: Tokenizer, source: str) -> None:
    prompt = rendered(tokenizers, source, [Message("user", "Hello")])
    text = "".join(piece.text for piece in prompt or ())
    assert not any(secret in text for secret in ("uid=", "root:", "Popen")), text
