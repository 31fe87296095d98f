"""The tokenizer and the template, in order and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.doctor import words
from app.engine.model_source import STARTER_FOLDER, ModelSource
from tests.models import save_chat_model


def test_the_starter_s_is_in_order() -> None:
    finding = words.tokenizer(ModelSource("starter", STARTER_FOLDER, ""), "auto")
    assert finding.level == "ok"
    assert "'checkpoint'" in finding.found


@pytest.mark.parametrize(
    ("file", "content", "template", "said"),
    [
        ("tokenizer.json", "{", "auto", "tokenizer files"),
        ("chat_template.jinja", "{% for %}", "auto", "no valid Jinja"),
        (None, "", "checkpoint", "no chat_template"),
    ],
)
def test_what_is_broken_is_told(file: str | None, content: str, template: str, said: str, tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path)
    if file:
        (folder / file).write_text(content, encoding="utf-8")
    finding = words.tokenizer(ModelSource("x", folder, ""), template)
    assert finding.level == "fail"
    assert said in finding.found
    assert finding.advice


def test_a_tokenizer_of_another_model_is_told(tmp_path: Path) -> None:
    folder = save_chat_model(tmp_path, vocab_size=257)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((STARTER_FOLDER / name).read_bytes())
    finding = words.tokenizer(ModelSource("x", folder, ""), "auto")
    assert finding.level == "fail"
    assert "do not belong together" in finding.advice
