"""How long the engine's steps take: measured on running engines, or computed from a processor's stated rates."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from app.engine.linear import row_buckets
from app.engine.local import LocalEngine
from app.engine.messages import SamplingParams, StepStats
from app.engine.observer import NoObserver, RequestSummary

VOCABULARY = 50257
TOKENS = 4000
"""Prompts are of this many different tokens: the starter has them, too."""
TEMPERATURE = 0.9
BUCKETS = row_buckets(4096)
ROW_KNOTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Rows between which the time of a step is taken as linear."""


class Watch(NoObserver):
    """Notes when an engine's steps were heard of, and what became of its requests."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, StepStats]] = []
        self.ends: list[RequestSummary] = []
        self._ended = threading.Condition()

    def on_step(self, stats: StepStats) -> None:
        self.steps.append((time.perf_counter(), stats))

    def on_end(self, request: RequestSummary) -> None:
        with self._ended:
            self.ends.append(request)
            self._ended.notify_all()

    def forget(self) -> None:
        """Begin anew."""
        self.steps, self.ends = [], []

    def wait_for_ends(self, count: int) -> None:
        """Until so many requests have ended."""
        with self._ended:
            self._ended.wait_for(lambda: len(self.ends) >= count)


@dataclass(frozen=True)
class Sample:
    """A measured step: rows, tokens sampled, positions attended to, seconds."""

    rows: int
    sampled: int
    context: int
    seconds: float


@dataclass(frozen=True)
class Fitted:
    """seconds = base(rows) + head × sampled + position × context, both counts padded as the engine pads them.

    `base` is linear between `ROW_KNOTS`, and goes on beyond them as it does before the last.
    """

    base: tuple[float, ...]
    head: float
    position: float

    def seconds(self, rows: int, sampled: int, context: int) -> float:
        """As `simulator.StepTimes`."""
        return float(np.dot(_features(rows, sampled, context), (*self.base, self.head, self.position)))


def _features(rows: int, sampled: int, context: int) -> list[float]:
    padded = _padded(rows)
    weights = [0.0] * len(ROW_KNOTS)
    right = next((i for i, knot in enumerate(ROW_KNOTS) if knot >= padded), len(ROW_KNOTS) - 1)
    if right == 0:
        weights[0] = 1.0
    else:
        low, high = ROW_KNOTS[right - 1], ROW_KNOTS[right]
        weights[right] = (padded - low) / (high - low)
        weights[right - 1] = 1.0 - weights[right]
    return [*weights, float(_padded(sampled)), float(context)]


def _padded(count: int) -> int:
    return next(bucket for bucket in BUCKETS if bucket >= count) if count else 0


def fit(samples: Sequence[Sample]) -> Fitted:
    """The constants that fit the medians of like steps best, by relative error; one below 0 is made 0.

    Of the medians, because one step that was held up for long would count as much as all that it is like.
    """
    medians = [_median(group) for group in _alike(samples)]
    features = np.array([_features(s.rows, s.sampled, s.context) for s in medians])
    scaled = features / np.array([[s.seconds] for s in medians])
    used = [i for i in range(features.shape[1]) if features[:, i].any()]
    if missing := {str(ROW_KNOTS[i]) for i in range(len(ROW_KNOTS)) if i not in used}:
        raise ValueError(f"no step of about {', '.join(sorted(missing, key=int))} rows was measured")
    while True:
        found = np.linalg.lstsq(scaled[:, used], np.ones(len(medians)), rcond=None)[0]
        if found.min() >= 0:
            break
        used.pop(int(found.argmin()))
    constants = np.zeros(features.shape[1])
    constants[used] = found
    return Fitted(tuple(constants[:-2].tolist()), float(constants[-2]), float(constants[-1]))


def jitter(samples: Sequence[Sample]) -> list[float]:
    """Each step's time over the median of those like it."""
    return [s.seconds / _median(group).seconds for group in _alike(samples) for s in group]


def _alike(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Steps with the same rows, and contexts that differ by less than 64 positions a row."""
    groups: dict[tuple[int, int, int], list[Sample]] = {}
    for s in samples:
        groups.setdefault((s.rows, s.sampled, s.context // (64 * s.rows)), []).append(s)
    return list(groups.values())


def _median(group: Sequence[Sample]) -> Sample:
    return Sample(
        group[0].rows,
        group[0].sampled,
        round(statistics.mean(s.context for s in group)),
        statistics.median(s.seconds for s in group),
    )


# -- measured ------------------------------------------------------------------------------------------------


def params(new: int, seed: int = 0) -> SamplingParams:
    """So many tokens, sampled as `/chat` samples unless told otherwise."""
    return SamplingParams(max_new_tokens=new, temperature=TEMPERATURE, seed=seed)


def measure(engines: Sequence[tuple[LocalEngine, Watch]], rounds: int = 3) -> list[list[Sample]]:
    """Steps of each engine: decoding by batch and by context, prompts by length. All compute the same at one time.

    So that engines which share memory are measured as they are used. A round takes GPT-2 124M some seconds.
    """
    with ThreadPoolExecutor(len(engines)) as pool:
        return list(pool.map(lambda pair: _measure(*pair, rounds), engines))


def _measure(engine: LocalEngine, watch: Watch, rounds: int) -> list[Sample]:
    draw = random.Random(0)
    samples: list[Sample] = []
    for _ in range(rounds):
        for batch, prompt, new in ((1, 8, 12), (2, 8, 12), (4, 8, 12), (8, 8, 12), (8, 400, 8)):
            samples += _decode(engine, watch, draw, batch, prompt, new)
        for batch in (16, 32, 64):
            samples += _decode(engine, watch, draw, batch, 4, 6)
        for prompt in (16, 32, 64, 128, 256, 480):
            samples += _prefill(engine, watch, draw, prompt)
    return samples


def _run(engine: LocalEngine, watch: Watch, draw: random.Random, batch: int, prompt: int, new: int) -> None:
    watch.forget()
    for number in range(batch):
        engine.submit([draw.randrange(TOKENS) for _ in range(prompt)], params(new, number))
    watch.wait_for_ends(batch)


def _decode(engine: LocalEngine, watch: Watch, draw: random.Random, batch: int, prompt: int, new: int) -> list[Sample]:
    """The steps in which all decode, from each one's news to the next's."""
    _run(engine, watch, draw, batch, prompt, new)
    samples = []
    for index in range(1, len(watch.steps)):
        before, (now, stats) = watch.steps[index - 1][0], watch.steps[index]
        if stats.rows == stats.sequences == batch:
            left = len(watch.steps) - 1 - index
            context = batch * (prompt + new - 1 - left)
            samples.append(Sample(batch, batch, context, now - before))
    return samples


def _prefill(engine: LocalEngine, watch: Watch, draw: random.Random, prompt: int) -> list[Sample]:
    """The step that computes a prompt alone, and what the news of a step takes besides."""
    _run(engine, watch, draw, 1, prompt, 4)
    news = statistics.median(
        now - before[0] - stats.seconds for before, (now, stats) in zip(watch.steps, watch.steps[1:], strict=False)
    )
    return [
        Sample(prompt, 1, prompt * (prompt + 1) // 2, stats.seconds + news)
        for _, stats in watch.steps
        if stats.rows == prompt
    ]


def sampling_seconds(rows: int = 64) -> float:
    """What drawing one token takes on this machine's processors: logits of GPT-2's vocabulary, at 0.9."""
    from app.engine.messages import Submit
    from app.engine.sampler import sample
    from app.engine.sequence import Sequence as EngineSequence

    sequences = [EngineSequence.from_submit(Submit(i, "", (0,), params(2, i)), 0.0) for i in range(rows)]
    logits = np.random.default_rng(0).normal(0, 4, (rows, VOCABULARY)).astype(np.float32)
    taken = []
    for _ in range(6):
        copy = logits.copy()
        started = time.perf_counter()
        sample(copy, sequences)
        taken.append(time.perf_counter() - started)
    return min(taken) / rows


# -- stated --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stated:
    """A GPU by its data sheet: a step reads all weights and keys, or multiplies, whichever takes longer.

    Then the logits go to the host, which draws the tokens one by one at `sampling_s` each.
    """

    memory_bytes_per_s: float
    flops_per_s: float
    host_bytes_per_s: float
    launch_s: float
    sampling_s: float
    parameters: int = 124_439_808
    bytes_per_weight: int = 2
    layers: int = 12
    width: int = 768

    def seconds(self, rows: int, sampled: int, context: int) -> float:
        """As `simulator.StepTimes`."""
        read = self.parameters * self.bytes_per_weight + context * 2 * self.layers * self.width * self.bytes_per_weight
        multiply = 2 * self.parameters * _padded(rows) + 4 * context * self.layers * self.width
        compute = max(read / self.memory_bytes_per_s, multiply / self.flops_per_s)
        return self.launch_s + compute + self.host_seconds(sampled)

    def host_seconds(self, sampled: int) -> float:
        """What the logits' way to the host and the draw take."""
        return sampled * (4 * VOCABULARY / self.host_bytes_per_s + self.sampling_s)
