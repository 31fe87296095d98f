"""Logging of the service: one line an event on stderr, as JSON or for people to read.

Whoever logs, by structlog or by Python's own logging (gunicorn, alembic, the engine), is written in the same way. A
line that is written while a request is answered carries its id. No traceback shows the values of variables: they hold
what people wrote.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

log = logging.getLogger("troika")

QUIET = ("httpx", "alembic.runtime.plugins")
"""They report every request and every plugin."""


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """The one handler of the service, known by its class so that configuring twice leaves one."""


def configure(level: str, form: str) -> None:
    """Have everything written to stderr from `level` on; `form` is json, console or auto: console on a terminal."""
    if form == "auto":
        form = "console" if sys.stderr.isatty() else "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = _Handler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(form)],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers = [*(h for h in root.handlers if not isinstance(h, _Handler)), handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _renderers(form: str) -> list[Processor]:
    if form == "console":
        # The default of structlog shows the values of variables in tracebacks.
        return [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            )
        ]
    return [
        structlog.processors.format_exc_info,
        _first_things_first,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _first_things_first(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    first = {key: event.pop(key) for key in ("timestamp", "level", "logger", "event") if key in event}
    return {**first, **event}
