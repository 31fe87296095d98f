"""The files of trained classifiers: a folder for each job, with an end to their age and number."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from app.jobs.records import JOB_ID
from app.training.predictor import Predictor

log = logging.getLogger(__name__)

FILE = "weights.safetensors"
DAY_S = 86_400.0


class WeightsGoneError(Exception):
    """The classifier was trained, but its weights are kept no longer."""


class KeptWeights:
    """The folders of training jobs under `root`: the newest `count` classifiers, and none older than `max_age_days`."""

    def __init__(self, root: Path, count: int, max_age_days: float) -> None:
        self._root = root.resolve()
        self._count = count
        self._max_age_days = max_age_days

    def folder(self, job_id: str) -> Path:
        """Where the job's process leaves its files. It is that process that makes it."""
        return self._root / job_id

    def load(self, job_id: str) -> Predictor:
        """The classifier of a job that is done. Raises `WeightsGoneError`, or `WeightsError` if the file is damaged."""
        try:
            return Predictor.load(self.folder(job_id) / FILE)
        except OSError as error:
            raise WeightsGoneError(
                f"The weights of {job_id} are not kept any more: the newest {self._count} are, for "
                f"{self._max_age_days:g} days. Train again; with the same options and seed it will be the same."
            ) from error

    def remove(self, job_id: str) -> None:
        """Remove the files of a job, if there are any."""
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def purge(self) -> None:
        """Remove what is too old or one too many, and what crashes left of runs that came to no end."""
        now = time.time()
        kept: list[tuple[float, str]] = []
        for folder in self._root.glob("train_*"):
            if not JOB_ID.fullmatch(folder.name):
                continue
            try:
                weights = folder / FILE
                is_whole = weights.exists()
                changed = (weights if is_whole else folder).stat().st_mtime
            except OSError:
                continue  # somebody else removes it
            if is_whole:
                kept.append((changed, folder.name))
            elif now - changed > DAY_S:  # no run takes as long
                self.remove(folder.name)
        kept.sort(reverse=True)
        for number, (changed, job_id) in enumerate(kept):
            if number >= self._count or now - changed > self._max_age_days * DAY_S:
                log.info("the weights of training job %s are removed", job_id)
                self.remove(job_id)
