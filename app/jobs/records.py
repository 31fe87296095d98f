"""The records of training jobs in the database, as the service sees them.

A job that waits or runs belongs to one process of the service, which holds a lease on it and renews it. A job whose
process is gone is `interrupted`: at once where the process can be seen to be gone (same host and container), else
`LEASE_S` after the last renewal. Only the process that holds a job can change its record, so a lease that was lost (the
process was suspended, say) can't be used any more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Select, delete, or_, select, tuple_, update
from sqlalchemy.orm import Session, defer

from app.storage import processes
from app.storage.database import Database
from app.storage.models import TrainingJob

log = logging.getLogger(__name__)

LEASE_S = 20.0

JOB_ID = re.compile(r"train_[0-9a-f]{32}")

Status = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
LIVE: tuple[Status, ...] = ("queued", "running")
SCORES = ("test_loss", "test_accuracy", "stopped")
INTERRUPTED = "The service stopped before this run came to its end; what it had learnt is lost."


class JobNotFoundError(Exception):
    """There is no such job, or it is somebody else's: nobody is told which."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job has no result. `code` is for programs."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it is at one moment.

    `started` is what the run said when it began, `step` where it stands, `history` its whole epochs (`app.training`
    says what is in them). In a list, `result` has the scores alone.
    """

    id: str
    owner: str
    options: dict[str, Any]
    created_at: datetime
    status: Status = "queued"
    started: dict[str, Any] | None = None
    step: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    error: JobError | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return self.status in LIVE

    def with_scores_alone(self) -> JobRecord:
        """The same with as much of its result as lists show."""
        return replace(self, result=_scores(self.result))


class JobRecords:
    """The records in a database: of jobs that have ended the newest `count`, and none older than `max_age_days`.

    `on_interrupted` is told the id of each job that is found so; `now` is the clock.
    """

    def __init__(
        self,
        database: Database,
        *,
        count: int = 1000,
        max_age_days: float = 365,
        on_interrupted: Callable[[str], None] = lambda _: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.now = now
        self._count = count
        self._max_age = timedelta(days=max_age_days)
        self._on_interrupted = on_interrupted
        self._database = database
        self._process = processes.this_process()

    def add(self, record: JobRecord) -> None:
        """Add the record of a job that this process has in hand. Raises `DatabaseError`."""
        with self._database.write() as session:
            row = TrainingJob(
                id=record.id,
                owner=record.owner,
                options=record.options,
                created_at=record.created_at,
                process=self._process,
                lease_until=self._lease(),
                cancel_requested=False,
                **_state(record),
            )
            session.add(row)

    def save(self, record: JobRecord) -> bool:
        """Write the state of a job that this process has in hand, and renew its lease. Raises `DatabaseError`.

        False if it has it no longer: the job was deleted, or taken for interrupted.
        """
        held = (TrainingJob.id == record.id, TrainingJob.process == self._process, TrainingJob.status.in_(LIVE))
        with self._database.write() as session:
            changed = session.execute(
                update(TrainingJob)
                .where(*held)
                .values(lease_until=self._lease(), **_state(record))
                .returning(TrainingJob.id)
            )
            return changed.first() is not None

    def get(self, job_id: str, owner: str) -> JobRecord:
        """The job; raises `JobNotFoundError` or `DatabaseError`."""
        if not JOB_ID.fullmatch(job_id):
            raise JobNotFoundError("There is no such training job.")
        with self._database.read() as session:
            row = session.scalar(select(TrainingJob).where(TrainingJob.id == job_id, TrainingJob.owner == owner))
        if row is None:
            raise JobNotFoundError("There is no such training job.")
        if self._is_lost(row):
            self.interrupt_lost()
            return self.get(job_id, owner)
        return _record(row)

    def page(self, owner: str, limit: int, before: str | None) -> list[JobRecord]:
        """The newest jobs of an owner, or those older than `before`, newest first, without their whole results.

        Raises `JobNotFoundError` if there is no job `before`, or `DatabaseError`.
        """
        query: Select[TrainingJob] = select(TrainingJob).where(TrainingJob.owner == owner)
        if before is not None:
            last = self.get(before, owner)
            query = query.where(tuple_(TrainingJob.created_at, TrainingJob.id) < tuple_(last.created_at, last.id))
        query = query.order_by(TrainingJob.created_at.desc(), TrainingJob.id.desc()).limit(limit)
        with self._database.read() as session:
            rows = session.scalars(query.options(defer(TrainingJob.result))).all()
        if any(self._is_lost(row) for row in rows):
            self.interrupt_lost()
            return self.page(owner, limit, before)
        return [_record(row, whole=False) for row in rows]

    def delete(self, job_id: str, owner: str) -> None:
        """Delete the record of a job that has ended. Raises `DatabaseError`."""
        ended = TrainingJob.status.not_in(LIVE)
        with self._database.write() as session:
            session.execute(delete(TrainingJob).where(TrainingJob.id == job_id, TrainingJob.owner == owner, ended))

    def purge(self) -> list[str]:
        """Delete the records that are too old or too many, of whomever; returns their ids. Raises `DatabaseError`."""
        ended = TrainingJob.status.not_in(LIVE)
        newest_first = (TrainingJob.finished_at.desc(), TrainingJob.id.desc())
        too_many = select(TrainingJob.id).where(ended).order_by(*newest_first).offset(self._count)
        doomed = or_(TrainingJob.id.in_(too_many), TrainingJob.finished_at < self.now() - self._max_age)
        with self._database.write() as session:
            purged = list(session.scalars(delete(TrainingJob).where(ended, doomed).returning(TrainingJob.id)))
        if purged:
            log.info("purged the records of %d training jobs", len(purged))
        return purged

    def request_cancel(self, job_id: str, owner: str) -> None:
        """Ask the process that has the job in hand to cancel it. Raises `DatabaseError`."""
        with self._database.write() as session:
            session.execute(
                update(TrainingJob)
                .where(TrainingJob.id == job_id, TrainingJob.owner == owner)
                .values(cancel_requested=True)
            )

    def unwanted(self, job_ids: Iterable[str]) -> set[str]:
        """Those of these live jobs that somebody wants cancelled. Raises `DatabaseError`."""
        query = select(TrainingJob.id).where(TrainingJob.id.in_(list(job_ids)), TrainingJob.cancel_requested)
        with self._database.read() as session:
            return set(session.scalars(query))

    def interrupt_lost(self) -> None:
        """Mark the jobs whose processes are gone. Raises `DatabaseError`."""
        with self._database.write() as session:
            lost = [row for row in _live(session) if self._is_lost(row)]
            for row in lost:
                row.status = "interrupted"
                row.error_code, row.error_message = "interrupted", INTERRUPTED
                row.finished_at = self.now()
        for row in lost:
            log.warning("training job %s was interrupted", row.id)
            self._on_interrupted(row.id)

    def _is_lost(self, row: TrainingJob) -> bool:
        if row.status not in LIVE or row.process == self._process:
            return False
        return row.lease_until < self.now() or processes.is_gone(row.process)

    def _lease(self) -> datetime:
        return self.now() + timedelta(seconds=LEASE_S)


def _live(session: Session) -> list[TrainingJob]:
    return list(session.scalars(select(TrainingJob).where(TrainingJob.status.in_(LIVE)).with_for_update()))


def _state(record: JobRecord) -> dict[str, Any]:
    """The columns that change while a job lives."""
    return {
        "status": record.status,
        "started": record.started,
        "step": record.step,
        "history": record.history,
        "result": record.result,
        "scores": _scores(record.result),
        "error_code": record.error and record.error.code,
        "error_message": record.error and record.error.message,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }


def _scores(result: dict[str, Any] | None) -> dict[str, Any] | None:
    return result and {name: result.get(name) for name in SCORES}


def _record(row: TrainingJob, *, whole: bool = True) -> JobRecord:
    record = JobRecord(
        id=row.id,
        owner=row.owner,
        options=row.options,
        created_at=row.created_at,
        status=row.status,  # type: ignore[arg-type]  # it's one of them: nobody else writes here
        started=row.started,
        step=row.step,
        history=row.history,
        result=row.scores,
        error=JobError(row.error_code, row.error_message or "") if row.error_code else None,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
    return replace(record, result=row.result) if whole else record
