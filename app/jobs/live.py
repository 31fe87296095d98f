"""A job that waits or runs in this process: its record as it is now, and news of it for those who listen."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.jobs.events import Step
from app.jobs.records import JobRecord
from app.training.process import TrainingProcess

RECENT = 256  # batches that a listener who comes late or back still gets: about 25 s of them


class LiveJob:
    """One thread changes it, any may listen to it and cancel it."""

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.recent: deque[Step] = deque(maxlen=RECENT)
        self.version = 0
        self.saved_version = 0
        """The version that the database has."""
        self.saved_at = time.monotonic()
        self.saving = threading.Lock()
        self.is_unwanted = False
        self._process: TrainingProcess | None = None
        self._news = threading.Condition()

    # -- for the one who runs it -----------------------------------------------------------------------------

    def begin(self, start: Callable[[], TrainingProcess]) -> TrainingProcess | None:
        """Start its process; None if it was cancelled before. Raises OSError."""
        with self._news:
            if self.is_unwanted:
                return None
            self._process = start()
            return self._process

    def change(self, **values: Any) -> None:
        """Change the record, and wake those who listen."""
        with self._news:
            self.record = replace(self.record, **values)
            self.version += 1
            self._news.notify_all()

    def take(self, event: dict[str, Any]) -> None:
        """Take in an event of the training process that is not its last."""
        data = {name: value for name, value in event.items() if name != "event"}
        match event["event"]:
            case "started":
                self.change(started={name: data[name] for name in ("dataset", "options", "parameters")})
            case "batch":
                with self._news:
                    self.recent.append(data)
                self.change(step=data)
            case "epoch":
                logs = {name: data[name] for name in data if name not in STEP_FIELDS}
                step = {name: data[name] for name in data if name in STEP_FIELDS or name in ("loss", "accuracy")}
                self.change(step=step, history=[*self.record.history, {"epoch": data["epoch"], **logs}])

    # -- for everybody ---------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Have it end, whether it waits or runs. Whoever runs it sets the status."""
        with self._news:
            self.is_unwanted = True
            if self._process is not None:
                self._process.stop()
            self._news.notify_all()

    def look(self) -> tuple[JobRecord, list[Step], int]:
        """The record, the recent batches, and the version of both, for `wait`.

        A job that has ended tells of no batches, here as from the database: what is heard of it is always the same.
        """
        with self._news:
            return self.record, list(self.recent) if self.record.is_live else [], self.version

    def wait(self, version: int, timeout_s: float) -> bool:
        """Wait for something newer than `version`; False if there was nothing."""
        with self._news:
            return self._news.wait_for(lambda: self.version > version, timeout_s)


STEP_FIELDS = frozenset({"epoch", "epochs", "batch", "batches", "progress", "elapsed_s", "eta_s"})
"""What an `epoch` event tells of where the run stands; the rest are the epoch's own logs."""
