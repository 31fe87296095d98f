"""A job as a stream of numbered events: `started`, `batch`, `epoch`, then one of `done`, `error`, `cancelled`.

An event's number follows from where the run stood, not from who listened: twice the count of batches so far, plus one
for an epoch's end. So the same events have the same numbers in every process of the service and after a restart, a
listener resumes after any of them, and nothing has to be kept for it but the record. Old `batch` events are the only
ones that can be missing: a slow or late listener gets the newest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from app.jobs.records import JobRecord, Status

Name = Literal["started", "batch", "epoch", "done", "error", "cancelled"]

FINAL_NAMES: dict[Status, Name] = {
    "done": "done",
    "cancelled": "cancelled",
    "failed": "error",
    "interrupted": "error",
}

STARTED_ID = 1

Step = dict[str, Any]
"""A `batch` event of the training process: where it stands (epoch, epochs, batch, batches, …), loss and accuracy."""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """`data` of a final event is empty: the record tells it all."""

    id: int
    name: Name
    data: dict[str, Any]

    @property
    def is_final(self) -> bool:
        """Whether none comes after it."""
        return self.name in ("done", "error", "cancelled")


def step_id(step: Step) -> int:
    """The number of a `batch` event; epochs and batches count from 1."""
    return int(2 * ((step["epoch"] - 1) * step["batches"] + step["batch"]))


def final_id(record: JobRecord) -> int:
    """The number of the last event, above all others that the job can have."""
    return int(2 * record.step["epochs"] * record.step["batches"] + 2) if record.step else STARTED_ID + 1


def events_after(record: JobRecord, recent: Iterable[Step], last: int) -> list[JobEvent]:
    """The events of a job with numbers above `last`, in order; `recent` are the batches that are known beside it.

    The final event of a job that has ended is always there: a listener that has it doesn't ask.
    """
    found = []
    if record.started:
        found.append(JobEvent(STARTED_ID, "started", record.started))
    if record.step:
        epochs, batches = record.step["epochs"], record.step["batches"]
        found += [JobEvent(step_id(step), "batch", step) for step in recent]
        for logs in record.history:
            data = {"epochs": epochs, "progress": logs["epoch"] / epochs, **logs}
            found.append(JobEvent(2 * logs["epoch"] * batches + 1, "epoch", data))
    found = sorted((event for event in found if event.id > last), key=lambda event: event.id)
    if not record.is_live:
        found.append(JobEvent(final_id(record), FINAL_NAMES[record.status], {}))
    return found
