"""One system in a process of its own, spoken to in JSON lines: a question on stdin, an answer on stdout.

    python -m benchmarks.peers.worker openvino --model FOLDER --precision int8 --cores 2

The first line it writes is `{"version": …}`, when the system has generated its first token. A question is
`{"prompts": [[ids]], "new": n}`, the answer the fields of `Generated`, or `{"error": …}`. With `--prepare FOLDER` it
writes the files that the system reads, and ends. Only the standard library is imported here: the environments of the
peers share nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

Prompts = list[list[int]]
WARM_UP = [list(range(1, 9))]


@dataclass(frozen=True)
class Generated:
    """What one batch brought. Times are of `time.perf_counter`, of the worker.

    `arrivals[i]` are the times at which sequence i's tokens came, `tokens[i]` their ids where the system tells them,
    `counts[i]` how many there were.
    """

    started: float
    arrivals: list[list[float]]
    tokens: list[list[int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


class System(Protocol):
    """A loaded model."""

    version: str

    def generate(self, prompts: Prompts, new: int) -> Generated:
        """Greedily `new` tokens for each prompt, all at once, whatever they are: no end of text ends a sequence."""

    def close(self) -> None:
        """End what would outlive the last question."""


def drive(started: float, count: int, new: int, step: Callable[[], list[tuple[int, int]]]) -> Generated:
    """Call `step`, which returns `(sequence, token)` pairs, until each of `count` sequences has `new` tokens."""
    arrivals: list[list[float]] = [[] for _ in range(count)]
    tokens: list[list[int]] = [[] for _ in range(count)]
    while any(len(each) < new for each in tokens):
        pairs = step()
        now = time.perf_counter()
        for sequence, token in pairs:
            arrivals[sequence].append(now)
            tokens[sequence].append(token)
    return Generated(started, arrivals, tokens)


def serve(load: Callable[[], System]) -> None:
    """Answer questions until stdin closes."""
    # Libraries print what they like: only this module writes to the stdout that is read.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        system = load()
        system.generate(WARM_UP, 1)
        _send(channel, {"version": system.version})
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer = asdict(system.generate(question["prompts"], question["new"]))
            except Exception as error:  # whatever a peer raises is its answer to this question
                answer = {"error": f"{type(error).__name__}: {error}"}
            _send(channel, answer)
        system.close()


def _send(channel: Any, message: dict[str, Any]) -> None:
    print(json.dumps(message), file=channel, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", help="a module of benchmarks.peers.workers")
    parser.add_argument("--model", required=True, help="the folder of the model")
    parser.add_argument("--precision", required=True)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument(
        "--prepare", metavar="FOLDER", help="write the files that the system reads from --model, and end"
    )
    arguments = parser.parse_args()
    module = importlib.import_module(f"benchmarks.peers.workers.{arguments.system}")
    if arguments.prepare:
        module.prepare(arguments.model, arguments.prepare, arguments.precision)
    else:
        serve(lambda: module.load(arguments.model, arguments.precision, arguments.cores))


if __name__ == "__main__":
    main()
