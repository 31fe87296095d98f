"""The part of the self-check that the service runs at its start: in the background, on what needs no torch."""

from __future__ import annotations

import logging
import threading

from app.doctor import machine
from app.doctor.finding import Level
from config.settings import Settings

log = logging.getLogger("troika.self-check")

LOG_LEVELS: dict[Level, int] = {"ok": logging.INFO, "warn": logging.WARNING, "fail": logging.ERROR}


def report(settings: Settings) -> threading.Thread:
    """Log what `machine` finds, from a thread, so that the start does not wait for it."""
    thread = threading.Thread(target=_report, args=(settings,), name="self-check", daemon=True)
    thread.start()
    return thread


def _report(settings: Settings) -> None:
    for finding in (machine.processor(settings.precision), *machine.folders(settings)):
        log.log(LOG_LEVELS[finding.level], "%s: %s", finding.name, finding.sentence)
