"""Just as much of the Dockerfile's syntax as ours uses, so that tests can read it and `rehearse` can execute it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_VARIABLE = re.compile(r"\$\{(\w+)(?::([+-])([^}]*))?\}|\$(\w+)")


@dataclass(frozen=True)
class Instruction:
    """`RUN`, `COPY` and so on, with what follows it on its lines."""

    name: str
    rest: str

    def exec_form(self) -> list[str]:
        """The words of `["a", "b"]`; for HEALTHCHECK those of its command."""
        return [str(word) for word in json.loads(self.rest[self.rest.index("[") :])]

    def words(self) -> list[str]:
        return self.rest.split()

    def pairs(self) -> dict[str, str]:
        """`A=1 B="two words"` as a dictionary."""
        found = re.findall(r'([\w.]+)=("[^"]*"|\S*)', self.rest)
        return {key: value.strip('"') for key, value in found}


def parse(path: Path) -> list[Instruction]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def expand(text: str, variables: dict[str, str]) -> str:
    """Replace `$A`, `${A}`, `${A:-default}` and `${A:+replacement}` as the builder does."""

    def value(match: re.Match[str]) -> str:
        braced, sign, word, plain = match.groups()
        found = variables.get(braced or plain, "")
        if sign == "-":
            return found or word
        return word if sign == "+" and found else found if sign is None else ""

    return _VARIABLE.sub(value, text)
