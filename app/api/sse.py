"""Server-sent events: how a stream is written, and the headers that keep proxies from holding it back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response

HEARTBEAT = ": waiting\n\n"
"""A comment, which clients skip: it keeps proxies from giving up and shows a client that has gone."""

HEARTBEAT_S = 2.0
"""How often one comes while nothing else does."""

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


def guarded(events: Iterator[str], in_words: Callable[[Exception], str]) -> Iterator[str]:
    """The events, and an error in place of the rest where they fail."""
    try:
        yield from events
    except Exception as error:
        yield in_words(error)


def response(events: Iterator[str]) -> Response:
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    return Response(events, mimetype="text/event-stream", headers=headers)
