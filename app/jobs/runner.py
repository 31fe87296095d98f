"""Runs training jobs: takes them into a short queue, runs one at a time in a process of its own, ends them.

One thread runs the jobs; another one writes what they have come to into the database, renews leases, looks for
cancellations that came by way of other processes, and removes weights and records that are too old or too many.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from app.jobs.book import JobBook
from app.jobs.live import LiveJob
from app.jobs.records import INTERRUPTED, LEASE_S, JobError, JobRecord, JobRecords, Status
from app.jobs.weights import KeptWeights
from app.storage.database import DatabaseError
from app.training.options import TrainingOptions
from app.training.predictor import Predictor
from app.training.process import ProcessLimits, TrainingProcess

log = logging.getLogger(__name__)

SAVE_S = 1.0  # between two writes of a running job's progress
UNWANTED_S = 0.4  # between two looks for cancellations from elsewhere
RENEWAL_S = LEASE_S / 4
PURGE_S = 3600.0
CANCEL_S = 3.0  # how long a cancellation is waited for
STOP_S = 2.0  # how long `close` waits for the processes' ends


class QueueFullError(Exception):
    """As many jobs wait as may. `retry_after_s` is when a place may be free."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotTrainedError(Exception):
    """The job has no trained classifier: not yet, or it never will."""


@dataclass(frozen=True)
class JobLimits:
    """How many jobs may wait, how many requests may follow jobs, into how many workers a job may be divided, and what
    each job's process may use.
    """

    max_waiting: int = 4
    max_listeners: int = 32
    max_workers: int = 4
    process: ProcessLimits = field(default_factory=ProcessLimits)


class TrainingJobs:
    """Begins and ends jobs; its `book` tells of them. `close` it in the end."""

    def __init__(self, records: JobRecords, weights: KeptWeights, limits: JobLimits) -> None:
        self.book = JobBook(records, limits.max_listeners)
        self._records = records
        self._weights = weights
        self._limits = limits
        self._changed = threading.Condition()
        self._queue: deque[LiveJob] = deque()
        self._ended: Counter[Status] = Counter()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._run_jobs, "training-jobs"), (self._keep_house, "training-housekeeping"))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def max_workers(self) -> int:
        """The most that the options of a job may ask for."""
        return self._limits.max_workers

    def counts(self) -> Counter[Status]:
        """How many jobs of this process are in each status; of those that ended, since its start."""
        with self._changed:
            return self._ended + Counter(job.record.status for job in self.book.mine().values() if job.record.is_live)

    # -- what a client can do --------------------------------------------------------------------------------

    def submit(self, options: TrainingOptions, owner: str) -> JobRecord:
        """Put a job into the queue. Raises `QueueFullError` or `DatabaseError`."""
        record = JobRecord(
            id=f"train_{secrets.token_hex(16)}",
            owner=owner,
            options=options.resolved().model_dump(),
            created_at=self._records.now(),
        )
        job = LiveJob(record)
        with self._changed:
            self._check_place()
            self.book.enter(job)  # its place is taken before the database is asked, which takes time
        try:
            self._records.add(record)
        except BaseException:
            self.book.forget(job)
            raise
        with self._changed:
            self._queue.append(job)
            self._changed.notify_all()
        return record

    def cancel(self, job_id: str, owner: str) -> JobRecord:
        """Cancel a job that waits or runs; returns it as it then is, most likely ended.

        Raises `JobNotFoundError` or `DatabaseError`.
        """
        job = self.book.find_mine(job_id, owner)
        if job is None:
            self._records.request_cancel(job_id, owner)
        else:
            self._cancel(job)
        return self.book.wait(job_id, owner, CANCEL_S)

    def delete(self, job_id: str, owner: str) -> None:
        """Delete a job that has ended, and its weights. Raises `JobNotFoundError` or `DatabaseError`."""
        job = self.book.find_mine(job_id, owner)
        if job:
            self.book.save(job)
        self._records.get(job_id, owner)
        self._records.delete(job_id, owner)
        self._weights.remove(job_id)

    def predictor(self, job_id: str, owner: str) -> Predictor:
        """The trained classifier of a job.

        Raises `JobNotFoundError`, `NotTrainedError`, `WeightsGoneError`, `WeightsError` or `DatabaseError`.
        """
        record = self.book.get(job_id, owner)
        if record.status != "done":
            raise NotTrainedError(f"The training job {job_id} has no classifier: its status is {record.status}.")
        return self._weights.load(job_id)

    def close(self) -> None:
        """End the jobs of this process, which are then `interrupted`, and its threads."""
        if self._closing.is_set():
            return
        self._closing.set()
        self.book.close()
        with self._changed:
            self._changed.notify_all()
        for job in self.book.mine().values():
            self._cancel(job)
        for thread in self._threads:
            thread.join(STOP_S)

    # -- the queue -------------------------------------------------------------------------------------------

    def _check_place(self) -> None:
        live = [job.record for job in self.book.mine().values() if job.record.is_live]
        if len(live) > self._limits.max_waiting:
            left_s = [record.step["eta_s"] for record in live if record.step]
            raise QueueFullError(
                f"A training run is under way and {len(live) - 1} more wait, the most that may. Try again later.",
                min(max(math.ceil(left_s[0]), 1), 60) if left_s else 10,
            )

    def _cancel(self, job: LiveJob) -> None:
        with self._changed:
            waits = job in self._queue
            if waits:
                self._queue.remove(job)
        if waits:
            self._end(job, status="interrupted" if self._closing.is_set() else "cancelled")
        else:
            job.cancel()

    # -- running ---------------------------------------------------------------------------------------------

    def _run_jobs(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing.is_set())
                if self._closing.is_set():
                    return
                job = self._queue.popleft()
            try:
                self._run(job)
            except Exception:
                log.exception("training job %s failed", job.record.id)
                if job.record.is_live:
                    error = JobError("internal", "Something went wrong; the log says what.")
                    self._end(job, status="failed", error=error)

    def _run(self, job: LiveJob) -> None:
        """Run a job to its end, whatever that is."""
        job.change(status="running", started_at=self._records.now())
        options = TrainingOptions(**job.record.options)
        folder = self._weights.folder(job.record.id)
        try:
            process = job.begin(lambda: TrainingProcess(options, folder, self._limits.process))
        except OSError as error:
            message = f"The training process could not be started: {error}."
            self._end(job, status="failed", error=JobError("process", message))
            return
        if process is None:
            self._end(job, **self._given_up(job))
            return
        log.info("training job %s began in process %d", job.record.id, process.pid)
        try:
            for event in process.events():
                match event["event"]:
                    case "done":
                        self._end(job, status="done", result=event["result"])
                    case "error" if not job.is_unwanted:
                        self._end(job, status="failed", error=JobError(event["kind"], event["message"]))
                    case "error" | "cancelled":
                        self._end(job, **self._given_up(job))
                    case _:
                        job.take(event)
        finally:
            process.kill()

    def _given_up(self, job: LiveJob) -> dict[str, Any]:
        """How a run ends that was told to. Not by a client: then it's the service, or the machine, that stops."""
        if job.is_unwanted and not self._closing.is_set():
            return {"status": "cancelled"}
        return {"status": "interrupted", "error": JobError("interrupted", INTERRUPTED)}

    def _end(self, job: LiveJob, *, status: Status, **values: Any) -> None:
        if status == "interrupted":
            values.setdefault("error", JobError("interrupted", INTERRUPTED))
        job.change(status=status, finished_at=self._records.now(), **values)
        with self._changed:
            self._ended[status] += 1
        log.info("training job %s: %s", job.record.id, status)
        if status == "done":
            self._weights.purge()
        else:
            self._weights.remove(job.record.id)
        try:
            self.book.save(job)
        except DatabaseError as error:
            log.warning("the end of training job %s is not stored yet: %s", job.record.id, error)
            return
        try:
            self._purge_records()
        except DatabaseError as error:
            log.warning("records of training jobs are not purged yet: %s", error)

    def _purge_records(self) -> None:
        for job_id in self._records.purge():
            self._weights.remove(job_id)  # nobody can ask for them any more

    # -- housekeeping ----------------------------------------------------------------------------------------

    def _keep_house(self) -> None:
        """Save progress, renew leases, heed cancellations from elsewhere, and purge, until `close`."""
        last_save = last_purge = -math.inf
        while not self._closing.wait(UNWANTED_S):
            now = time.monotonic()
            try:
                jobs = list(self.book.mine().values())
                self._heed_cancellations(jobs)
                if now - last_save >= SAVE_S:
                    last_save = now
                    for job in jobs:
                        if job.saved_version != job.version or now - job.saved_at >= RENEWAL_S:
                            self.book.save(job)
                if now - last_purge >= PURGE_S:
                    last_purge = now
                    self._records.interrupt_lost()
                    self._purge_records()
                    self._weights.purge()
            except DatabaseError as error:
                log.warning("housekeeping of training jobs: %s", error)
            except Exception:
                log.exception("housekeeping of training jobs failed")

    def _heed_cancellations(self, jobs: list[LiveJob]) -> None:
        live = [job for job in jobs if job.record.is_live and not job.is_unwanted]
        if live:
            unwanted = self._records.unwanted(job.record.id for job in live)
            for job in live:
                if job.record.id in unwanted:
                    self._cancel(job)
