"""The jobs as they are now: those of this process from its memory, all others from the database, and news of both."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.jobs.events import JobEvent, Step, events_after
from app.jobs.live import LiveJob
from app.jobs.records import JobRecord, JobRecords

POLL_S = 0.5  # how often a job of another process is looked at


class TooManyListenersError(Exception):
    """As many requests follow jobs as may."""


class JobBook:
    """What there is to know of jobs. `max_listeners` bounds the requests that follow them."""

    def __init__(self, records: JobRecords, max_listeners: int) -> None:
        self._records = records
        self._max_listeners = max_listeners
        self._listeners = threading.BoundedSemaphore(max_listeners)
        self._lock = threading.Lock()
        self._jobs: dict[str, LiveJob] = {}  # those that wait or run, or whose end is not in the database yet
        self._closing = threading.Event()

    def close(self) -> None:
        """Let those who follow jobs of other processes go; those of this one hear of their jobs' ends."""
        self._closing.set()

    # -- the jobs of this process ----------------------------------------------------------------------------

    def enter(self, job: LiveJob) -> None:
        """Take in a job of this process."""
        with self._lock:
            self._jobs[job.record.id] = job

    def forget(self, job: LiveJob) -> None:
        """From here on the database tells of it, if anybody does."""
        with self._lock:
            self._jobs.pop(job.record.id, None)

    def mine(self) -> dict[str, LiveJob]:
        """The jobs of this process by id, in the order in which they came."""
        with self._lock:
            return dict(self._jobs)

    def find_mine(self, job_id: str, owner: str) -> LiveJob | None:
        """The job if this process has it."""
        with self._lock:
            job = self._jobs.get(job_id)
        return job if job and job.record.owner == owner else None

    def save(self, job: LiveJob) -> None:
        """Bring the database up to date with a job of this process. Raises `DatabaseError`."""
        with job.saving:
            record, _, version = job.look()
            if not self._records.save(record):
                # Deleted, or taken for interrupted while this process was suspended: nobody waits for it any more.
                job.cancel()
                self.forget(job)
                return
            job.saved_version, job.saved_at = version, time.monotonic()
        if not record.is_live:
            self.forget(job)

    # -- any job ---------------------------------------------------------------------------------------------

    def get(self, job_id: str, owner: str) -> JobRecord:
        """The job as it is now. Raises `JobNotFoundError` or `DatabaseError`."""
        return self._look(job_id, owner)[0]

    def page(self, owner: str, limit: int, before: str | None) -> list[JobRecord]:
        """The newest jobs of an owner, as `JobRecords.page`."""
        mine = self.mine()  # before the database is asked: a job that ends meanwhile is seen here or there
        found = self._records.page(owner, limit, before)
        return [mine[record.id].record.with_scores_alone() if record.id in mine else record for record in found]

    def wait(self, job_id: str, owner: str, timeout_s: float) -> JobRecord:
        """The job when it has ended, or as it is after `timeout_s`. Raises `JobNotFoundError` or `DatabaseError`."""
        deadline = time.monotonic() + timeout_s
        while True:
            record, _, version = self._look(job_id, owner)
            left_s = deadline - time.monotonic()
            if not record.is_live or left_s <= 0:
                return record
            self._wait_for_news(job_id, owner, version, min(POLL_S, left_s))

    def follow(
        self, job_id: str, owner: str, last: int, heartbeat_s: float
    ) -> Iterator[tuple[JobEvent, JobRecord] | None]:
        """The events of a job after the one numbered `last`, as they come, each with the record of that moment.

        None after `heartbeat_s` without any. Raises `JobNotFoundError` or `DatabaseError`.
        """
        quiet_since = time.monotonic()
        while not self._closing.is_set() or self.find_mine(job_id, owner):
            record, recent, version = self._look(job_id, owner)
            for event in events_after(record, recent, last):
                quiet_since, last = time.monotonic(), event.id
                yield event, record
                if event.is_final:
                    return
            self._wait_for_news(job_id, owner, version, POLL_S)
            if time.monotonic() - quiet_since >= heartbeat_s:
                quiet_since = time.monotonic()
                yield None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hold one of the places for requests that follow jobs. Raises `TooManyListenersError`."""
        if not self._listeners.acquire(blocking=False):
            raise TooManyListenersError(
                f"{self._max_listeners} requests already follow training runs, the most there may be."
            )
        try:
            yield
        finally:
            self._listeners.release()

    def _look(self, job_id: str, owner: str) -> tuple[JobRecord, list[Step], int]:
        job = self.find_mine(job_id, owner)
        if job:
            return job.look()
        record = self._records.get(job_id, owner)
        return record, [record.step] if record.step and record.is_live else [], 0

    def _wait_for_news(self, job_id: str, owner: str, version: int, timeout_s: float) -> None:
        job = self.find_mine(job_id, owner)
        if job:
            job.wait(version, timeout_s)
        else:
            self._closing.wait(timeout_s)
