"""README.md and README.zh-CN.md say the same: the same sections, commands, tables and settings, in two languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def shape(text: str) -> list[str]:
    """What is no matter of language: the order of headings, code, table rows (by the names in code) and list items."""
    found = []
    for part in re.split(r"(^```.*?^```$)", text, flags=re.M | re.S):
        if part.startswith("```"):
            found.append(part)
            continue
        for line in part.splitlines():
            if line.startswith("#"):
                found.append("#" * (len(line) - len(line.lstrip("#"))))
            elif line.startswith("|"):
                first = line.split("|")[1]
                found.append("| " + " ".join(re.findall(r"`[^`]+`", first)))
    return found


def test_both_have_the_same_sections_code_and_tables() -> None:
    english, chinese = (shape(read(name)) for name in READMES)
    assert english == chinese


def test_both_name_the_same_settings() -> None:
    english, chinese = (set(re.findall(r"TROIKA_[A-Z_]+", read(name))) for name in READMES)
    assert english == chinese


@pytest.mark.parametrize(("name", "other"), [READMES, READMES[::-1]])
def test_each_links_to_the_other_and_shows_pictures_that_are_there(name: str, other: str) -> None:
    text = read(name)
    assert f"]({other})" in text
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 2
    for picture in pictures:
        assert 0 < (ROOT / picture).stat().st_size < 200_000
