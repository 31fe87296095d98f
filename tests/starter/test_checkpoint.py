"""The committed starter: its size, its tokenizer, its chat template, and a handful of its replies."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

import jinja2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from app.starter.corpus import Dialogue, Probe, Turn, held_out_exchanges, memory_turns
from app.starter.evaluate import is_right, measure, prompt_ids, replies, write_card
from app.starter.tokenizer import SPECIAL
from app.starter.train import CHECKPOINT, CONTEXT, Batch, encode, forward, loss_of


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))


@cache
def model() -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


def render(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    source = json.loads((CHECKPOINT / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    environment = jinja2.Environment(autoescape=False)

    def refuse(message: str) -> None:
        raise ValueError(message)

    return environment.from_string(source).render(
        messages=messages, add_generation_prompt=add_generation_prompt, raise_exception=refuse
    )


def test_the_folder_is_small_and_complete() -> None:
    names = {path.name for path in CHECKPOINT.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= names
    assert {"tokenizer_config.json", "README.md", "loss.png"} <= names
    assert (CHECKPOINT / "model.safetensors").stat().st_size < 16e6


def test_it_is_a_plain_gpt2() -> None:
    config = json.loads((CHECKPOINT / "config.json").read_text())
    assert config["model_type"] == "gpt2"
    assert config["architectures"] == ["GPT2LMHeadModel"]
    assert config["n_positions"] >= 512
    assert config["n_embd"] % 64 == 0
    assert config["activation_function"] == "gelu_new"
    assert config["vocab_size"] == tokenizer().get_vocab_size()


def test_the_training_forward_equals_transformers_own() -> None:
    ids = torch.randint(0, 4000, (3, 20))
    with torch.inference_mode():
        ours, theirs = forward(model(), ids), model().transformer(ids).last_hidden_state
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_loss_counts_the_starter_s_own_words_only() -> None:
    ids, counted = encode(Dialogue((Turn("hello", "Hello!"),), system="Be kind."), tokenizer())
    own = tokenizer().decode([i for i, own in zip(ids, counted, strict=True) if own], skip_special_tokens=False)
    assert own == "Hello!<|end|>"
    batch = Batch(torch.tensor([ids]), torch.tensor([counted]))
    with torch.inference_mode():
        assert loss_of(model(), batch).item() < 10


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    ids = tokenizer().encode(text, add_special_tokens=False).ids
    assert tokenizer().decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ["什么是随机失活？", "🙂👩‍👩‍👧", "ẞÿ\u0000\u200b", " two  spaces ", "2-10-5-1"])
def test_awkward_text_survives_the_tokenizer(text: str) -> None:
    assert tokenizer().decode(tokenizer().encode(text).ids, skip_special_tokens=False) == text


def test_special_tokens_come_first() -> None:
    assert [tokenizer().token_to_id(token) for token in SPECIAL] == [0, 1, 2, 3]


def test_the_template_renders_what_training_used() -> None:
    turns = (Turn(" What is dropout? ", "It drops."), Turn("谢谢", "不客气！"))
    messages = [{"role": "system", "content": "Be brief."}]
    for turn in turns:
        messages += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.assistant}]
    trained, _ = encode(Dialogue(turns, system="Be brief."), tokenizer())
    assert tokenizer().encode(render(messages, False), add_special_tokens=False).ids == trained

    asked = Probe("smalltalk", "zh", turns[:1], "谢谢", ())
    prompt = render([*messages[1:3], {"role": "user", "content": "谢谢"}], True)
    assert tokenizer().encode(prompt, add_special_tokens=False).ids == prompt_ids(asked, tokenizer())


def test_the_template_refuses_an_unknown_role() -> None:
    with pytest.raises(ValueError, match="roles"):
        render([{"role": "tool", "content": "x"}], True)


def test_transformers_reads_the_template() -> None:
    from transformers import AutoTokenizer

    theirs: Any = AutoTokenizer.from_pretrained(CHECKPOINT)
    messages = [{"role": "user", "content": "hello"}]
    text = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<|user|>hello<|end|><|assistant|>"
    assert theirs.encode("hello", add_special_tokens=False) == tokenizer().encode("hello").ids
    assert theirs.model_max_length == CONTEXT


MEASURED, MEASURED_MEMORY = 0.71, 0.88
"""Shares of right replies, in the model card's table, without memory and in memory 1; the tests leave a margin, as they
ask fewer and other questions."""
QUESTIONS = [
    ("Hello", (("hello", "hi"),)),
    ("你好", (("你好", "嗨"),)),
    ("thank you", (("welcome",),)),
    ("What is your name?", (("troika",),)),
    ("how do i switch to gpt2", (("troika_model",),)),
    ("How do I stream a reply?", (("stream",),)),
    ("what is dropout", (("random",), ("neuron",))),
    ("什么是过拟合？", (("训练",), ("新", "验证"))),
    ("What is the capital of France?", (("paris",),)),
    ("What is the weather in Paris today?", (("don't know",),)),
    ("谁发明了电话？", (("不知道",),)),
]


@pytest.mark.parametrize(("question", "required"), QUESTIONS)
def test_it_answers(question: str, required: tuple[tuple[str, ...], ...]) -> None:
    language = "en" if question.isascii() else "zh"
    prompt = prompt_ids(Probe("", language, (), question, required), tokenizer())
    ((reply, ended),) = replies(model(), tokenizer(), [prompt], sampled=False)
    assert ended
    assert is_right(reply, required), reply


def test_it_answers_most_questions_that_training_never_asked() -> None:
    probes = [probe for probe in list(held_out_exchanges(2, generated=24))[::12] if "memory" not in probe.category]
    scores = measure(model(), tokenizer(), probes, sampled=False).values()
    asked, right = sum(score.asked for score in scores), sum(score.right for score in scores)
    assert asked > 100
    assert right / asked > MEASURED - 0.08
    assert sum(score.ended for score in scores) / asked >= 0.99
    assert not any(score.empty for score in scores)


def test_it_recalls_what_it_was_told_a_turn_ago() -> None:
    rng = random.Random(3)
    right, asked = 0, 40
    for _ in range(asked):
        language = rng.choice(("en", "zh"))
        turns, last, required = memory_turns(language, rng, 0, held_out=True)
        prompt = prompt_ids(Probe("memory", language, tuple(turns), last.user, required), tokenizer())
        ((reply, _),) = replies(model(), tokenizer(), [prompt], sampled=False)
        right += is_right(reply, required)
    assert right / asked > MEASURED_MEMORY - 0.15


def test_it_remembers_a_name() -> None:
    told = (Turn("My name is Lin.", "Nice to meet you, Lin!"),)
    prompt = prompt_ids(Probe("", "en", told, "What is my name?", ()), tokenizer())
    ((reply, _),) = replies(model(), tokenizer(), [prompt], sampled=False)
    assert "Lin" in reply


def test_the_card_keeps_what_is_around_the_table(tmp_path: Any) -> None:
    (tmp_path / "README.md").write_text("before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n")
    write_card(tmp_path, "| new |")
    assert (tmp_path / "README.md").read_text() == "before\n<!-- measured -->\n| new |\n<!-- /measured -->\nafter\n"
