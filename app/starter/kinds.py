"""How one kind of fact that a person tells is stated, acknowledged, asked for and answered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """How one kind of fact is stated, acknowledged, asked and answered in one language; `{v}` is the value."""

    say: tuple[str, ...]
    say_held_out: tuple[str, ...]
    acknowledge: tuple[str, ...]
    ask: tuple[str, ...]
    ask_held_out: tuple[str, ...]
    answer: str
    unknown: str
    clause: str
    """For "what do you know about me": `your name is {v}`."""


def kind(say: str, say_out: str, ack: str, ask: str, ask_out: str, answer: str, unknown: str, clause: str) -> Kind:
    """A kind from texts whose items are parted by semicolons."""

    def split(text: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in text.split(";"))

    return Kind(split(say), split(say_out), split(ack), split(ask), split(ask_out), answer, unknown, clause)
