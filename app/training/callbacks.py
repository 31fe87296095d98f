"""What watches a training run, in Keras's vocabulary: history, early stopping, progress, cancellation, a time limit.

A callback sees numbers, never tensors, and asks the run to stop by raising nothing: it sets `run.stop`.
Left to others: what is done with the numbers (`__main__` prints them or writes events).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Logs = dict[str, float]


@dataclass
class Run:
    """A training run as its callbacks see it."""

    epochs: int
    steps: int  # batches per epoch
    logs: Callable[[], Logs]  # running loss and accuracy of this epoch, computed when asked for
    get_weights: Callable[[], object]
    set_weights: Callable[[object], None]
    stop: str | None = None  # why the run is to end, once someone wants it to


class Callback:
    """Does nothing; override what you need. Epochs and batches count from 0."""

    def on_train_begin(self, run: Run) -> None:
        """Before the first epoch."""

    def on_batch_end(self, run: Run, epoch: int, batch: int) -> None:
        """After each batch. It runs thousands of times a second: be quick, and call `run.logs()` rarely."""

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        """After each whole epoch, with `loss`, `accuracy`, `seconds` and, if there is validation, `val_…`."""

    def on_train_end(self, run: Run) -> None:
        """After the last epoch, however it came to be the last."""


class History(Callback):
    """Keeps the logs of every whole epoch, in `epochs`."""

    def __init__(self) -> None:
        self.epochs: list[Logs] = []

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        self.epochs.append({"epoch": epoch + 1, **logs})


class EarlyStopping(Callback):
    """Stops when `monitor` has not improved for `patience` epochs, and goes back to the best epoch's weights.

    A value that is not a number never counts as an improvement. An accuracy is better when higher, a loss when lower.
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 2, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, not {patience}")
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self._sign = -1.0 if monitor.endswith("accuracy") else 1.0

    def on_train_begin(self, run: Run) -> None:
        self.best_epoch = -1
        self._best = math.inf
        self._best_weights: object = None
        self._last = -1

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        if self.monitor not in logs:
            raise KeyError(f"early stopping watches {self.monitor!r}, but an epoch reports {sorted(logs)}")
        self._last = epoch
        value = self._sign * logs[self.monitor]
        if value < self._best - self.min_delta:
            self._best, self.best_epoch, self._best_weights = value, epoch, run.get_weights()
        elif epoch - self.best_epoch >= self.patience:
            run.stop = f"early stopping: {self.monitor} has not improved for {self.patience} epochs"

    def on_train_end(self, run: Run) -> None:
        if self._best_weights is not None and self.best_epoch != self._last:
            run.set_weights(self._best_weights)


class Cancellation(Callback):
    """Ends the run within a batch of `cancelled()` becoming true. The run's caller then tells it from a normal end."""

    REASON = "cancelled"

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled

    def on_batch_end(self, run: Run, epoch: int, batch: int) -> None:
        if self._cancelled():
            run.stop = self.REASON


class TimeLimit(Callback):
    """Ends the run when `clock()` has passed `deadline` (seconds on the same clock)."""

    def __init__(self, deadline: float, reason: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline, self._reason, self._clock = deadline, reason, clock

    def on_batch_end(self, run: Run, epoch: int, batch: int) -> None:
        if self._clock() > self._deadline:
            run.stop = self._reason


@dataclass(frozen=True)
class Step:
    """Where a run stands. Epochs and batches count from 1; `eta_s` is the time left at the speed so far, in seconds."""

    kind: Literal["batch", "epoch"]
    epoch: int
    epochs: int
    batch: int
    batches: int
    progress: float  # of the whole run, 0 to 1
    elapsed_s: float
    eta_s: float
    logs: Logs


class Progress(Callback):
    """Calls `report` at most once per `interval` seconds while batches run, and after every epoch."""

    def __init__(
        self, report: Callable[[Step], None], interval: float = 0.1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report, self._interval, self._clock = report, interval, clock

    def on_train_begin(self, run: Run) -> None:
        self._start = self._last = self._clock()

    def on_batch_end(self, run: Run, epoch: int, batch: int) -> None:
        now = self._clock()
        if now - self._last >= self._interval:
            self._last = now
            self._report(self._step("batch", run, epoch, batch + 1, run.logs(), now))

    def on_epoch_end(self, run: Run, epoch: int, logs: Logs) -> None:
        self._report(self._step("epoch", run, epoch, run.steps, logs, self._clock()))

    def _step(self, kind: Literal["batch", "epoch"], run: Run, epoch: int, batch: int, logs: Logs, now: float) -> Step:
        done = (epoch * run.steps + batch) / (run.epochs * run.steps)
        elapsed = now - self._start
        eta = elapsed / done - elapsed
        return Step(kind, epoch + 1, run.epochs, batch, run.steps, done, elapsed, eta, logs)
