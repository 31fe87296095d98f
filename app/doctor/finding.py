"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `advice` is what to do; a check that found nothing wrong may have none."""

    name: str
    level: Level
    found: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.found} → {self.advice}" if self.advice else self.found

    def __str__(self) -> str:
        return f"{self.level:4}  {self.name:12}  {self.sentence}"


def ok(name: str, found: str, advice: str = "") -> Finding:
    return Finding(name, "ok", found, advice)


def warn(name: str, found: str, advice: str) -> Finding:
    return Finding(name, "warn", found, advice)


def fail(name: str, found: str, advice: str) -> Finding:
    return Finding(name, "fail", found, advice)
