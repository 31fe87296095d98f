"""A discrete-event simulation of engines under load: the engine's own scheduler, on a clock that is computed.

What joins a step, and how much of which prompt it computes, is not modelled: `app.engine.scheduler` itself decides.
Only the time of a step (`StepTimes`), the arrivals and the choice among replicas are. Times are in seconds.
Left to others: where step times and arrivals come from (`capacity`).
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.engine.client import EngineLimits
from app.engine.messages import SamplingParams, Submit, Token
from app.engine.scheduler import Batch, Scheduler
from app.engine.sequence import Sequence as EngineSequence
from app.engine.slots import SlotPool


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt of so many tokens that comes at a time and wants so many new ones."""

    arrives: float
    prompt: int
    new: int


@dataclass(slots=True)
class Outcome:
    """What became of a request. It was refused if `replica` is None."""

    request: Request
    replica: int | None = None
    first: float = 0.0
    done: float = 0.0

    @property
    def first_token_s(self) -> float:
        """From its arrival to its first token."""
        return self.first - self.request.arrives

    @property
    def total_s(self) -> float:
        """From its arrival to its last token."""
        return self.done - self.request.arrives

    @property
    def gap_s(self) -> float:
        """Mean time between its tokens; 0 if there is but one."""
        return (self.done - self.first) / max(1, self.request.new - 1)


class StepTimes(Protocol):
    """How long steps take."""

    def seconds(self, rows: int, sampled: int, context: int) -> float:
        """Of a step over `rows` tokens which samples after `sampled` of them.

        `context` is the sum over the rows of the positions that each attends to.
        """
        ...


@dataclass(frozen=True)
class EngineShape:
    """A replica's bounds, with the defaults of the service."""

    slots: int = 64
    max_rows: int = 512
    prefill_rows: int = 64
    max_positions: int = 1024
    limits: EngineLimits = field(default_factory=EngineLimits)


class Replica:
    """One engine. It computes whenever it has work."""

    def __init__(self, shape: EngineShape, times: StepTimes, jitter: Sequence[float], draw: random.Random) -> None:
        self._shape, self._times, self._jitter, self._draw = shape, times, jitter, draw
        self._scheduler = Scheduler(
            SlotPool(shape.slots, prefix_reuse=False),
            max_positions=shape.max_positions,
            max_rows=max(shape.max_rows, shape.slots + shape.prefill_rows),
            prefill_rows=shape.prefill_rows,
        )
        self._outcomes: dict[int, Outcome] = {}
        self._batch: Batch | None = None
        self.busy_s = 0.0

    @property
    def ongoing(self) -> int:
        """Requests that wait or run."""
        return len(self._outcomes)

    @property
    def is_computing(self) -> bool:
        """Whether a step is under way."""
        return self._batch is not None

    def takes(self, request: Request) -> bool:
        """Whether there is room, by the rule of the engine's client."""
        waiting = self._scheduler.waiting
        limits = self._shape.limits
        free = max(0, self._shape.slots - len(self._scheduler.running))
        queued = sum(sequence.prompt_len for sequence in waiting)
        full = len(waiting) >= limits.max_waiting + free
        return not full and not (waiting and queued + request.prompt > limits.max_queued_tokens)

    def submit(self, number: int, outcome: Outcome) -> None:
        """Queue a request under a number that no other has."""
        params = SamplingParams(max_new_tokens=outcome.request.new)
        message = Submit(number, "", (0,) * outcome.request.prompt, params)
        self._scheduler.add(EngineSequence.from_submit(message, 0.0))
        self._outcomes[number] = outcome

    def begin_step(self) -> float | None:
        """Begin the next step; returns how long it takes, or None if there is nothing to compute."""
        self._batch = batch = self._scheduler.schedule()
        if batch is None:
            return None
        context = sum(chunk.count * chunk.start + chunk.count * (chunk.count + 1) // 2 for chunk in batch.chunks)
        seconds = self._times.seconds(batch.rows, len(batch.sampled), context)
        if self._jitter:
            seconds *= self._draw.choice(self._jitter)
        self.busy_s += seconds
        return seconds

    def end_step(self, now: float) -> None:
        """Book the step that is under way."""
        if self._batch is None:
            raise RuntimeError("no step is under way")
        sampled = self._batch.sampled
        for sequence in sampled:
            if not sequence.output_len:
                self._outcomes[sequence.request_id].first = now
        for finished in self._scheduler.update(self._batch, [TOKEN] * len(sampled)):
            self._outcomes.pop(finished.request_id).done = now
        self._batch = None


TOKEN = Token(0, 0)


def simulate(
    requests: Iterable[Request],
    times: Sequence[StepTimes],
    shape: EngineShape | None = None,
    jitter: Sequence[float] = (),
    seed: int = 0,
) -> tuple[list[Outcome], list[Replica]]:
    """Serve the requests on one replica for each of `times`, to their ends; a request goes where the fewest are.

    A step takes its time by `times`, times a number drawn from `jitter`.
    """
    shape, draw = shape or EngineShape(), random.Random(seed)
    replicas = [Replica(shape, each, jitter, draw) for each in times]
    outcomes = [Outcome(request) for request in requests]
    numbers = itertools.count()
    # (time, kind, number, what): at one time steps end first, then requests arrive, then steps begin.
    ends, arrives, begins = range(3)
    events: list[tuple[float, int, int, int]] = [
        (outcome.request.arrives, arrives, next(numbers), i) for i, outcome in enumerate(outcomes)
    ]
    heapq.heapify(events)
    while events:
        now, kind, _, what = heapq.heappop(events)
        if kind == arrives:
            place = min(range(len(replicas)), key=lambda i: replicas[i].ongoing)
            replica = replicas[place]
            if replica.takes(outcomes[what].request):
                outcomes[what].replica = place
                replica.submit(what, outcomes[what])
                if not replica.is_computing:
                    heapq.heappush(events, (now, begins, next(numbers), place))
            continue
        replica = replicas[what]
        if kind == ends:
            replica.end_step(now)
            heapq.heappush(events, (now, begins, next(numbers), what))
        elif not replica.is_computing and (seconds := replica.begin_step()) is not None:
            heapq.heappush(events, (now + seconds, ends, next(numbers), what))
    return outcomes, replicas
