"""A job as numbered events: in order, complete, and the same whoever tells them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.jobs.events import JobEvent, events_after, final_id
from app.jobs.records import JobRecord

BATCHES, EPOCHS = 10, 3
NEW = JobRecord(id="train_1", owner="", options={}, created_at=datetime(2026, 11, 23, tzinfo=UTC))
STARTED = replace(NEW, status="running", started={"dataset": {"name": "digits"}})


def step(epoch: int, batch: int) -> dict[str, Any]:
    return {"epoch": epoch, "epochs": EPOCHS, "batch": batch, "batches": BATCHES}


def run_until(epoch: int, batch: int) -> JobRecord:
    """The record of a run that stands there."""
    whole = epoch if batch == BATCHES else epoch - 1
    return replace(STARTED, step=step(epoch, batch), history=[{"epoch": n + 1, "loss": 0.5} for n in range(whole)])


def ids(events: list[JobEvent]) -> list[int]:
    return [event.id for event in events]


def names(events: list[JobEvent]) -> list[str]:
    return [event.name for event in events]


def test_a_job_that_waits_has_nothing_to_tell() -> None:
    assert events_after(NEW, [], 0) == []


def test_numbers_rise_in_the_order_in_which_things_happen() -> None:
    recent = [step(epoch, batch) for epoch in (1, 2) for batch in range(1, BATCHES + 1)]
    events = events_after(run_until(2, BATCHES), recent, 0)
    assert ids(events) == sorted(set(ids(events)))
    assert names(events) == ["started", *["batch"] * BATCHES, "epoch", *["batch"] * BATCHES, "epoch"]


def test_what_was_seen_is_not_told_again_and_what_was_not_is_whatever_was_seen_last() -> None:
    record = replace(run_until(EPOCHS, BATCHES), status="done")
    recent = [step(epoch, batch) for epoch in (1, 2, 3) for batch in range(1, BATCHES + 1)]
    whole = events_after(record, recent, 0)
    for number, event in enumerate(whole[:-1]):
        assert events_after(record, recent, event.id) == whole[number + 1 :]


def test_the_numbers_are_the_same_when_batches_are_forgotten() -> None:
    recent = [step(1, 4), step(2, 2)]
    live = events_after(run_until(2, 2), recent, 0)
    later = events_after(replace(run_until(2, 2), status="interrupted"), [], 0)
    assert [event for event in live if event.name != "batch"] == later[:-1]


def test_every_end_has_one_event_above_all_others() -> None:
    for status, name in (("done", "done"), ("failed", "error"), ("interrupted", "error"), ("cancelled", "cancelled")):
        for record in (NEW, STARTED, run_until(1, 1), run_until(EPOCHS, BATCHES)):
            ended = replace(record, status=status)
            events = events_after(ended, [step(1, 1)] if record.step else [], 0)
            assert names(events)[-1] == name
            assert [event.is_final for event in events].count(True) == 1
            assert events[-1].id == final_id(ended) == max(ids(events))
            assert ids(events) == sorted(set(ids(events)))


def test_a_number_from_nowhere_never_hides_the_end() -> None:
    assert names(events_after(replace(run_until(1, 1), status="failed"), [], 10**12)) == ["error"]
