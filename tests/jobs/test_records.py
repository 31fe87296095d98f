"""Records of training jobs in a real database: for their owner only, kept by the process that has them in hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.jobs.records import LEASE_S, JobError, JobNotFoundError, JobRecord, JobRecords
from app.storage import processes
from app.storage.database import Database

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(database: Database, clock: Clock) -> JobRecords:
    return JobRecords(database, now=clock)


@pytest.fixture
def elsewhere(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobRecords]:
    """The records as a process on another host sees them."""
    with monkeypatch.context() as patch:
        patch.setattr(processes, "this_process", lambda: "another/host/1/2")
        yield JobRecords(database, now=clock)


def job(number: int = 1, owner: str = "", **values: object) -> JobRecord:
    created = NOW + timedelta(seconds=number)
    return JobRecord(id=f"train_{number:032x}", owner=owner, options={"epochs": 5}, created_at=created, **values)


FULL = {
    "status": "done",
    "started": {"dataset": {"name": "mnist", "reason": "é\0"}, "parameters": 91},
    "step": {"epoch": 1, "epochs": 1, "batch": 2, "batches": 2, "progress": 1.0},
    "history": [{"epoch": 1, "loss": None, "accuracy": 0.5}],
    "result": {"test_loss": 0.1, "test_accuracy": 0.9, "stopped": None, "confusion_matrix": [[1, 2], [3, 4]]},
    "started_at": NOW,
    "finished_at": NOW + timedelta(seconds=9),
}


def test_a_record_comes_back_as_it_was(records: JobRecords) -> None:
    records.add(job())
    assert records.get(job().id, "") == job()
    done = job(**FULL)
    assert records.save(done)
    assert records.get(done.id, "") == done


def test_an_error_comes_back_whatever_is_in_it(records: JobRecords) -> None:
    records.add(job())
    failed = job(status="failed", error=JobError("crashed", "its last words: \0\x1b 😀"))
    records.save(failed)
    assert records.get(failed.id, "") == failed


def test_a_foreign_job_is_not_there(records: JobRecords) -> None:
    records.add(job(1, owner="alice", **FULL))
    records.add(job(2, owner="bob"))
    assert records.get(job(1).id, "alice").owner == "alice"
    for owner in ("bob", "", "Alice"):
        with pytest.raises(JobNotFoundError):
            records.get(job(1).id, owner)
        with pytest.raises(JobNotFoundError):
            records.page(owner, 10, job(1).id)
        records.delete(job(1).id, owner)
        records.request_cancel(job(1).id, owner)
    assert [record.id for record in records.page("alice", 10, None)] == [job(1).id]
    assert [record.id for record in records.page("bob", 10, None)] == [job(2).id]
    assert records.page("", 10, None) == []
    assert records.unwanted([job(1).id]) == set()


def test_pages_are_newest_first_and_without_whole_results(records: JobRecords) -> None:
    for number in range(1, 6):
        records.add(job(number, **FULL))
    first = records.page("", 2, None)
    rest = records.page("", 10, first[-1].id)
    assert [record.id for record in first + rest] == [job(number).id for number in (5, 4, 3, 2, 1)]
    assert first[0].result == {"test_loss": 0.1, "test_accuracy": 0.9, "stopped": None}


def test_jobs_of_the_same_moment_are_each_on_one_page(records: JobRecords) -> None:
    for number in range(1, 6):
        records.add(replace(job(number), created_at=NOW))
    seen: list[str] = []
    while page := records.page("", 2, seen[-1] if seen else None):
        seen += [record.id for record in page]
    assert sorted(seen) == [job(number).id for number in range(1, 6)]


def test_only_a_job_that_has_ended_is_deleted(records: JobRecords) -> None:
    records.add(job(status="running"))
    records.delete(job().id, "")
    assert records.get(job().id, "").status == "running"
    records.save(job(**FULL))
    records.delete(job().id, "")
    with pytest.raises(JobNotFoundError):
        records.get(job().id, "")


def test_what_has_ended_does_not_change_any_more(records: JobRecords) -> None:
    records.add(job())
    records.save(job(**FULL))
    assert not records.save(job(status="running"))
    assert records.get(job().id, "").status == "done"


# -- keeping -------------------------------------------------------------------------------------------------


def ended(number: int, **values: object) -> JobRecord:
    """It ended `number` seconds after the first could have."""
    return job(number, **FULL | {"finished_at": NOW + timedelta(seconds=number)} | values)


def ids(records: JobRecords, owner: str = "") -> list[str]:
    return [record.id for record in records.page(owner, 100, None)]


def test_the_newest_that_have_ended_are_kept(database: Database, clock: Clock) -> None:
    records = JobRecords(database, count=3, now=clock)
    for number in range(1, 6):
        records.add(ended(number, owner="lin" if number % 2 else ""))
    records.add(ended(6, status="failed"))
    assert sorted(records.purge()) == [job(number).id for number in (1, 2, 3)]
    assert records.purge() == []
    assert (ids(records), ids(records, "lin")) == ([job(6).id, job(4).id], [job(5).id])


def test_no_record_is_kept_for_longer_than_asked(database: Database, clock: Clock) -> None:
    records = JobRecords(database, max_age_days=30, now=clock)
    records.add(ended(1))
    clock.advance(29 * 86_400)
    records.add(replace(ended(2), finished_at=clock()))
    assert records.purge() == []
    clock.advance(2 * 86_400)
    assert records.purge() == [job(1).id]
    assert ids(records) == [job(2).id]


def test_what_has_not_ended_is_never_purged(database: Database, clock: Clock) -> None:
    records = JobRecords(database, count=1, max_age_days=1, now=clock)
    for number, status in enumerate(("queued", "running", "running")):
        records.add(job(number, status=status))
    clock.advance(100 * 86_400)
    assert records.purge() == []
    assert len(ids(records)) == 3


# -- leases --------------------------------------------------------------------------------------------------


def test_a_job_whose_process_renews_its_lease_is_left_alone(
    records: JobRecords, elsewhere: JobRecords, clock: Clock
) -> None:
    elsewhere.add(job(status="running"))
    for _ in range(3):
        clock.advance(LEASE_S - 1)
        records.interrupt_lost()
        assert elsewhere.save(job(status="running"))
    assert records.get(job().id, "").status == "running"


@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_job_whose_lease_has_run_out_is_interrupted_for_good(
    records: JobRecords, elsewhere: JobRecords, clock: Clock, status: str
) -> None:
    elsewhere.add(job(status=status, history=[{"epoch": 1}]))
    clock.advance(LEASE_S + 1)
    lost = records.get(job().id, "")
    assert (lost.status, lost.history) == ("interrupted", [{"epoch": 1}])
    assert lost.error is not None
    assert "stopped before" in lost.error.message
    assert lost.finished_at == clock.now
    # The process was only asleep: it learns that the job is no longer its own.
    assert not elsewhere.save(job(status="done"))
    assert records.get(job().id, "").status == "interrupted"


def test_lists_show_what_was_interrupted_too(records: JobRecords, elsewhere: JobRecords, clock: Clock) -> None:
    elsewhere.add(job(status="running"))
    clock.advance(LEASE_S + 1)
    assert [record.status for record in records.page("", 10, None)] == ["interrupted"]


def test_a_process_never_takes_its_own_job_for_lost(records: JobRecords, clock: Clock) -> None:
    records.add(job(status="running"))
    clock.advance(10 * LEASE_S)
    assert records.get(job().id, "").status == "running"


def test_a_job_of_a_process_that_died_here_is_interrupted_at_once(database_url: str, records: JobRecords) -> None:
    program = """
import os, signal, sys
from flask import Flask
from app.jobs.records import JobRecords
from app.storage.database import Database
from tests.jobs.test_records import job
JobRecords(Database(Flask("x"), sys.argv[1])).add(job(status="running"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program, database_url], cwd=ROOT, timeout=60, check=False)
    assert killed.returncode == -9
    assert records.get(job().id, "").status == "interrupted"


def test_a_cancellation_reaches_the_process_that_has_the_job(records: JobRecords, elsewhere: JobRecords) -> None:
    elsewhere.add(job(1, status="running"))
    elsewhere.add(job(2, status="running"))
    records.request_cancel(job(1).id, "")
    assert elsewhere.unwanted([job(1).id, job(2).id]) == {job(1).id}
