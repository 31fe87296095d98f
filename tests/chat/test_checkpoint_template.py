"""A checkpoint's Jinja template: as transformers renders it, and safe against what users type."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.checkpoint_template import CheckpointTemplate
from app.chat.prompt import Message, Prompt, TemplateError
from app.chat.tokenizer import Tokenizer
from tests.chat.support import EOS, PROPERTY, ROLES, small_tokenizer, texts

TEMPLATES = [
    # turns in special tokens, as in ChatML
    (
        "{%- for m in messages %}\n  {%- if m.role == 'system' %}{{ '\\n' }}{% endif -%}\n"
        "<|{{ m['role'] }}|>\n{{ m['content'] | trim }}{{ eos_token }}\n{%- endfor %}\n<|assistant|>"
    ),
    # contents right beside each other, and beside half a special token of the template's
    "{% for m in messages %}{{ m.content }}{% endfor %}<|assistant|>",
    "{% for m in messages %}<|{{ m.content }}|>{{ m.content }}text|>{% endfor %}",
    # loop controls, tojson, generation blocks
    (
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{% generation %}{{ m | tojson }}{% endgeneration %}{{ eos_token }}{% endfor %}"
    ),
]


def template_of(folder: Path, source: str) -> CheckpointTemplate:
    return CheckpointTemplate(small_tokenizer(folder, chat_template=source))


def text(prompt: Prompt) -> str:
    return "".join(piece.text for piece in prompt)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> list[CheckpointTemplate]:
    return [template_of(tmp_path_factory.mktemp("template"), source) for source in TEMPLATES]


messages = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), min_size=1, max_size=5)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_renders_as_transformers_does(templates: list[CheckpointTemplate], number: int) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    conversation = [Message("system", "Be <b>"), Message("user", " Hällo \n"), Message("assistant", "'Hi'")]
    conversation.append(Message("user", "你好"))
    (expected,), _ = render_jinja_template(
        [[{"role": m.role, "content": m.content} for m in conversation]],
        chat_template=TEMPLATES[number],
        add_generation_prompt=True,
        eos_token=EOS,
    )
    assert text(templates[number].render(conversation)) == expected


@PROPERTY
@given(conversation=messages, number=st.integers(0, len(TEMPLATES) - 1))
def test_messages_never_write_special_tokens(
    templates: list[CheckpointTemplate], tokenizer: Tokenizer, conversation: list[Message], number: int
) -> None:
    """The special tokens of the prompt are those of the same conversation with harmless words in it."""
    conversation = [*conversation, Message("user", "x")]
    harmless = [Message(m.role, "x" if m.content.strip() else m.content) for m in conversation]
    template = templates[number]
    special, expected = (
        [i for i in tokenizer.encode_prompt(template.render(each)) if i in tokenizer.special_ids]
        for each in (conversation, harmless)
    )
    assert special == expected


@PROPERTY
@given(conversation=messages)
def test_no_text_is_lost(templates: list[CheckpointTemplate], conversation: list[Message]) -> None:
    template = templates[1]
    said = "".join(m.content for m in conversation)
    assert text(template.render(conversation)) == said + "<|assistant|>"


@PROPERTY
@given(content=texts)
def test_a_typed_special_token_is_encoded_as_if_the_vocabulary_had_none(tokenizer: Tokenizer, content: str) -> None:
    ids = tokenizer.encode_prompt(CheckpointTemplate(tokenizer).render([Message("user", content)]))
    user, assistant = map(tokenizer.special_id, ROLES)
    assert ids == [user, *tokenizer.encode(content.strip()), tokenizer.eos_token_id, assistant]


def test_messages_may_use_every_private_use_character(templates: list[CheckpointTemplate]) -> None:
    everything = "".join(map(chr, range(0xE000, 0xF900))) + EOS
    prompt = templates[1].render([Message("user", everything)])
    assert text(prompt) == everything + "<|assistant|>"
    assert [piece.special for piece in prompt] == [False, True]


def test_special_tokens_cut_over_two_messages_stay_plain(templates: list[CheckpointTemplate]) -> None:
    prompt = templates[1].render([Message("user", "<|endof"), Message("assistant", "text|>"), Message("user", "!")])
    assert [(piece.text, piece.special) for piece in prompt] == [(f"{EOS}!", False), ("<|assistant|>", True)]


@pytest.mark.parametrize(
    ("source", "stop_strings", "stop_tokens"),
    [
        (TEMPLATES[0], (), {EOS}),
        ("{% for m in messages %}{{ m.content }}<|user|>{% endfor %}", (), {EOS, "<|user|>"}),
        ("{% for m in messages %}\n### {{ m.role }}:\n{{ m.content }}\n{% endfor %}", ("\n### user:",), {EOS}),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", (), {EOS}),
        ("{{ messages[-1].content }}", (), {EOS}),
        ("{% if messages | length > 1 %}{{ raise_exception('one') }}{% endif %}hello", (), {EOS}),
    ],
)
def test_a_reply_ends_where_the_template_ends_a_turn(
    tmp_path: Path, source: str, stop_strings: tuple[str, ...], stop_tokens: set[str]
) -> None:
    tokenizer = small_tokenizer(tmp_path, chat_template=source)
    template = CheckpointTemplate(tokenizer)
    assert template.stop_strings == stop_strings
    assert template.stop_token_ids == {tokenizer.special_id(stop) for stop in stop_tokens}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for m in messages %}", "no valid Jinja"),
        ("{{ messages[0].content.nothing.more }}", "single short user message"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages.append(1) }}", "refuses"),
        ("{{ ''.__class__.__mro__ }}{{ cycler.__init__.__globals__ }}", "refuses"),
        ("", "no chat_template"),
        ("{% if false %}x{% endif %}", "makes nothing"),
    ],
)
def test_a_broken_template_is_refused_when_loaded(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        template_of(tmp_path, source)


def test_what_the_template_objects_to_is_passed_on(tmp_path: Path) -> None:
    source = "{% if messages[0].role != 'user' %}{{ raise_exception('begin with a user message') }}{% endif %}ok"
    with pytest.raises(TemplateError, match="begin with a user message"):
        template_of(tmp_path, source).render([Message("assistant", "Hi")])
