"""Logging of the service: one line an event, on stderr."""

from __future__ import annotations

import logging

log = logging.getLogger("troika")


def configure(level: str) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=level.upper())
    # The hub's client reports every request it makes.
    logging.getLogger("httpx").setLevel(logging.WARNING)
