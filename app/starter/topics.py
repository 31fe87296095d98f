"""Reads the hand-written knowledge in `knowledge/*.txt`: questions, answers and the key words an answer must hold.

A file is plain text, so that it can be read and corrected without reading code. One topic:

    # dropout                                   key of the topic, unique over all files
    te: dropout; drop-out                       what it is called, for the frames ("what is {term}")
    tz: 随机失活; dropout
    qe: why (use|do we need) dropout            whole questions; (a|b) expands to either
    qz: 为什么要用dropout
    he: what is the point of dropout            held out: only ever asked by the evaluation
    hz: dropout有什么意义
    ae: Dropout switches off ...                an answer; several lines are several answers
    az: 随机失活……
    me: ...  mz: ...                            what "tell me more" adds
    ke: random, neuron/unit                     the answer must hold every word; a/b means either

The second letter is the language: `e` English, `z` Chinese. Imports nothing of the rest of the service.
"""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

KNOWLEDGE = Path(__file__).parent / "knowledge"
LANGUAGES = ("en", "zh")

Required = tuple[tuple[str, ...], ...]
"""Every group must be met; a group is met by any of its words."""

_GROUP = re.compile(r"\(([^()]*\|[^()]*)\)")
_LANGUAGE = {"e": "en", "z": "zh"}


@dataclass
class Side:
    """What is known of a topic in one language."""

    terms: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    required: Required = ()


@dataclass
class Topic:
    """One thing the starter can talk about, in both languages; `category` is the name of its file."""

    key: str
    category: str
    sides: dict[str, Side]


def expand(pattern: str, rng: random.Random) -> str:
    """`how (do|can) I stream` -> one of its readings."""
    while match := _GROUP.search(pattern):
        pattern = pattern[: match.start()] + rng.choice(match[1].split("|")) + pattern[match.end() :]
    return re.sub(r"  +", " ", pattern).strip()


def expand_all(pattern: str) -> list[str]:
    """Every reading of a pattern, in order."""
    parts = _GROUP.split(pattern)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return [re.sub(r"  +", " ", "".join(pick)).strip() for pick in itertools.product(*choices)]


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(";") if item.strip()]


def parse(text: str, category: str) -> list[Topic]:
    """Topics of one file. Raises ValueError naming the line that can't be read."""
    topics: list[Topic] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("//"):
            continue
        if line.startswith("#"):
            topics.append(Topic(line[1:].strip(), category, {name: Side() for name in LANGUAGES}))
            continue
        tag, colon, value = line.partition(":")
        if not colon or len(tag) != 2 or tag[1] not in _LANGUAGE or not topics:
            raise ValueError(f"{category}.txt, line {number}: not a topic line: {line!r}")
        side, value = topics[-1].sides[_LANGUAGE[tag[1]]], value.strip()
        match tag[0]:
            case "t":
                side.terms += _items(value)
            case "q":
                side.questions += _items(value)
            case "h":
                side.held_out += _items(value)
            case "a":
                side.answers.append(value)
            case "m":
                side.more.append(value)
            case "k":
                side.required = tuple(tuple(word.strip() for word in group.split("/")) for group in value.split(","))
            case _:
                raise ValueError(f"{category}.txt, line {number}: unknown tag {tag!r}")
    return topics


@cache
def load_topics() -> tuple[Topic, ...]:
    """All topics of all files, in a fixed order. Raises ValueError where one lacks an answer or is named twice."""
    topics = [
        topic
        for path in sorted(KNOWLEDGE.glob("*.txt"))
        for topic in parse(path.read_text(encoding="utf-8"), path.stem)
    ]
    seen: set[str] = set()
    for topic in topics:
        if topic.key in seen:
            raise ValueError(f"topic {topic.key!r} stands twice")
        seen.add(topic.key)
        for language, side in topic.sides.items():
            if not side.answers or not (side.terms or side.questions):
                raise ValueError(f"topic {topic.key!r} has no question or no answer in {language}")
    return tuple(topics)


@dataclass(frozen=True)
class Exchange:
    """One question with its answer, and what any answer to it must hold (lower case)."""

    category: str
    language: str
    question: str
    answer: str
    required: Required = ()
    topic: str = ""
