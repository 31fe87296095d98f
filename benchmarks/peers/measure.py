"""From what arrived when, to the figures of one round, to one row for each system, batch and prompt."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from benchmarks.common import percentile
from benchmarks.peers.systems import System
from benchmarks.peers.worker import Generated, Prompts

SHORT, LONG, MIXED = "32", "700", "mixed"
PROMPTS = (SHORT, LONG, MIXED)
SHORTEST_MIXED, LONGEST = 16, 700
BATCHES = (1, 4, 16, 64)
HTTP_BATCH = 16
LEAST_STEPS = 4
"""Steps that all sequences of a batch must decode together, for their rate to be told from them."""

COLUMNS = ("tokens_per_s", "ttft_ms", "gap_p99_ms", "peak_rss_mb", "startup_s")
MEASURED = (*COLUMNS, "decode_tokens_per_s", "total_tokens_per_s")


@dataclass(frozen=True)
class Workload:
    """`batch` prompts at once, of 32 or 700 tokens each, or mixed: of lengths evenly spread from 16 to 700."""

    batch: int
    prompt: str
    new: int

    def lengths(self) -> list[int]:
        if self.prompt != MIXED:
            return [int(self.prompt)] * self.batch
        spread = LONGEST - SHORTEST_MIXED
        return [SHORTEST_MIXED + spread * i // max(1, self.batch - 1) for i in range(self.batch)]

    def prompts(self, seed: int) -> Prompts:
        """Random token ids; the same for all systems in one round."""
        draw = random.Random(f"{seed} {self.batch} {self.prompt}")
        lengths = self.lengths()
        draw.shuffle(lengths)
        return [[draw.randrange(50_000) for _ in range(length)] for length in lengths]

    @property
    def context(self) -> float:
        """Tokens that a sequence has behind it on average while it decodes."""
        return statistics.mean(self.lengths()) + self.new / 2


def workloads(batches: Iterable[int], prompts: Iterable[str], new: int) -> list[Workload]:
    """Every batch with every prompt; one sequence alone has nothing to be mixed with."""
    batches = list(batches)
    return [Workload(b, p, new) for p in prompts for b in batches if p != MIXED or b > 1]


def is_measured(system: System, workload: Workload) -> bool:
    return not system.over_http or (workload.batch == HTTP_BATCH and workload.prompt == SHORT)


def figures(run: Generated, is_whole: bool) -> dict[str, float | None]:
    """The figures of one batch.

    `decode_tokens_per_s` is the rate while every sequence decodes, None where that is never so for `LEAST_STEPS` steps;
    `total_tokens_per_s` is all tokens over all time, prompts included. `tokens_per_s` is the latter if `is_whole`, else
    the former.
    """
    counts = run.counts or [len(times) for times in run.arrivals]
    first = [times[0] for times in run.arrivals]
    last = [times[-1] for times in run.arrivals]
    gaps = [after - before for times in run.arrivals for before, after in pairwise(times)]
    decode = _decode_rate(run.arrivals, max(first), min(last))
    total = sum(counts) / (max(last) - run.started)
    return {
        "tokens_per_s": total if is_whole else decode,
        "ttft_ms": 1000 * (statistics.median(first) - run.started),
        "gap_p99_ms": 1000 * percentile(gaps, 0.99) if gaps else None,
        "decode_tokens_per_s": decode,
        "total_tokens_per_s": total,
    }


def _decode_rate(arrivals: Sequence[Sequence[float]], begin: float, end: float) -> float | None:
    """The sequences' rates between `begin` and `end`, each from token to token, added up."""
    rate = 0.0
    for times in arrivals:
        inside = [at for at in times if begin <= at <= end]
        if len(inside) <= LEAST_STEPS or inside[-1] <= inside[0]:
            return None
        rate += (len(inside) - 1) / (inside[-1] - inside[0])
    return rate


def is_whole(system: System, workload: Workload) -> bool:
    """Whether speed is told over the whole time: a client over HTTP gets a reply as one piece, and of many long prompts
    the first may be answered before the last is read."""
    return system.over_http or workload.prompt != SHORT


def merged(rounds: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The median of each figure over the rounds, and the lowest and highest speed."""
    row: dict[str, float | None] = {}
    for name in MEASURED:
        values = [value for figures in rounds if (value := figures.get(name)) is not None]
        row[name] = round(statistics.median(values), 3) if values else None
    speeds = [value for figures in rounds if (value := figures["tokens_per_s"]) is not None]
    row["tokens_per_s_lowest"] = round(min(speeds), 3) if speeds else None
    row["tokens_per_s_highest"] = round(max(speeds), 3) if speeds else None
    return row


def empty_row(system: System, workload: Workload) -> dict[str, Any]:
    key = {"system": system.name, "precision": system.precision, "batch": workload.batch, "prompt": workload.prompt}
    return key | dict.fromkeys(COLUMNS)


@dataclass(frozen=True)
class Machine:
    """What the machine can do at most: bytes a second read, operations a second by kind of number; and the model."""

    bandwidth: float
    operations: dict[str, float]
    layers: int
    width: int
    vocabulary: int

    def limit(self, system: System, workload: Workload) -> float:
        """Tokens a second at which the machine would decode, if reading or computing were all that takes time.

        A step reads every matrix once and each sequence's keys and values; it multiplies each weight once for each
        sequence. Whichever takes longer is the limit.
        """
        weights = self.layers * 12 * self.width**2 + self.vocabulary * self.width
        cached = 2 * self.layers * self.width * workload.batch * workload.context
        read = weights * system.weight_bytes + cached * system.cache_bytes
        computed = 2 * weights * workload.batch
        return workload.batch / max(read / self.bandwidth, computed / self.operations[system.like])
