"""What the engine client tells of its work to whoever counts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.engine.messages import StepStats


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """One request that has ended. Times are in seconds from its submission, None where it did not get so far.

    `reason` is stop, length, cancelled, timeout or error.
    """

    reason: str
    prompt_tokens: int
    output_tokens: int
    admitted_s: float | None
    first_token_s: float | None
    total_s: float


class EngineObserver(Protocol):
    """Called from the thread that reads the engine's messages, with the client's lock held: it must be quick."""

    def on_step(self, stats: StepStats) -> None:
        """A step was computed."""

    def on_admission(self, prompt_tokens: int, reused: int, queue_s: float) -> None:
        """A request got its slot, for the first time; `reused` of its tokens need no computing."""

    def on_token(self, gap_s: float, *, first: bool) -> None:
        """A token came, `gap_s` after the one before it or, the `first`, after the request."""

    def on_end(self, request: RequestSummary) -> None:
        """A request has ended, however it did."""


class NoObserver:
    """For those who count nothing."""

    def on_step(self, stats: StepStats) -> None: ...

    def on_admission(self, prompt_tokens: int, reused: int, queue_s: float) -> None: ...

    def on_token(self, gap_s: float, *, first: bool) -> None: ...

    def on_end(self, request: RequestSummary) -> None: ...
