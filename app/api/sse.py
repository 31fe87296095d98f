"""Server-sent events: how a stream is written, and the headers that keep proxies from holding it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import Response

HEARTBEAT = ": waiting\n\n"
"""A comment, which clients skip: it keeps proxies from giving up and shows a client that has gone."""

DONE = "data: [DONE]\n\n"
"""The end of a stream in the OpenAI API's form."""


def heartbeat(ahead: int | None) -> str:
    """The comment of a reply: how many requests are before it in the queue, or (None) that it is being computed."""
    return ": computing\n\n" if ahead is None else f": waiting, {ahead} ahead\n\n"


def event(name: str, data: Any, number: int | None = None) -> str:
    """An event; a client that loses the line says the last `number` it has seen, in `Last-Event-ID`."""
    identity = "" if number is None else f"id: {number}\n"
    return f"{identity}event: {name}\n{message(data)}"


def message(data: Any) -> str:
    """An event without a name, as the OpenAI API has them."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def response(events: Iterator[str]) -> Response:
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return Response(events, mimetype="text/event-stream", headers=headers)
