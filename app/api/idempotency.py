"""`Idempotency-Key` and `Last-Event-ID`: a request that is sent again gets the same reply, a broken stream goes on.

After draft-ietf-httpapi-idempotency-key-header: the key is a string in quotes (one without is taken too), and one that
came with another request before is refused with 422. Who asks while the reply is still being made is not refused, as
the draft suggests, but waits for it or follows it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import groupby
from typing import cast

from flask import Response, current_app, request
from pydantic import BaseModel

from app.api import sse
from app.api.errors import ApiError
from app.api.requests import ClientGone, conversation_owner
from app.idempotency.recording import Event, Place
from app.idempotency.records import Asked
from app.idempotency.replies import Answer, KeptReplies, Make

KEY = "Idempotency-Key"
LAST_EVENT_ID = "Last-Event-ID"
REPLAYED = "Idempotent-Replayed"

QUOTED = r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"'
BARE = r"[!#-~]{1,255}"
KEY_PATTERN = f"^(?:{QUOTED}|{BARE})$"
EVENT_ID_PATTERN = r"^([0-9a-f]{24})-([0-9]{1,9}(?:x[0-9]{1,4})?(?:\.[0-9]{1,9}(?:x[0-9]{1,4})?)*)$"
MOST_TRACKS = 4096

GONE_CHECK_S = 0.5
"""How often who waits for a whole reply is looked for."""


def asked(body: BaseModel, *, streamed: bool) -> Asked | None:
    """The current request as one under a key, None if it has none. `body` is what it asks for, as it was understood."""
    given, resumed = request.headers.get(KEY), request.headers.get(LAST_EVENT_ID)
    if given is None:
        if resumed is not None:
            raise _wrong(LAST_EVENT_ID, f"it needs the {KEY} with which the stream was begun")
        return None
    if resumed is not None and not streamed:
        raise _wrong(LAST_EVENT_ID, "only a stream has events to go on after")
    said = json.dumps([request.path, body.model_dump(mode="json")], sort_keys=True)
    return Asked(
        owner=conversation_owner(),
        key=_key(given.strip()),
        fingerprint=hashlib.sha256(said.encode()).hexdigest(),
        attempt=_event_id(resumed)[0] if resumed is not None else None,
    )


def _wrong(name: str, problem: str) -> ApiError:
    # The OpenAI API answers 400 where the rest of this one answers 422.
    status = 400 if request.path.startswith("/v1/") else 422
    return ApiError(status, f"{name}: {problem}.", code="invalid_value", param=name)


def _key(given: str) -> str:
    found = re.fullmatch(KEY_PATTERN, given)
    if not found:
        raise _wrong(KEY, f'it must be 1 to 255 visible characters of ASCII, best in "quotes", not {given[:40]!r}')
    return given if found[1] is None else re.sub(r"\\(.)", r"\1", found[1])


def _event_id(given: str) -> tuple[str, Place]:
    """The attempt that an event belongs to, and the place after it."""
    found = re.fullmatch(EVENT_ID_PATTERN, given.strip())
    if found:
        runs = [
            (int(heard), int(tracks or 1)) for heard, _, tracks in (run.partition("x") for run in found[2].split("."))
        ]
        if sum(tracks for _, tracks in runs) <= MOST_TRACKS:
            return found[1], tuple(heard for heard, tracks in runs for _ in range(tracks))
    raise _wrong(LAST_EVENT_ID, f"it must be the id of an event of this stream, not {given[:40]!r}")


def _written(place: Place) -> str:
    """A place in an id, such as `7` or `5x3.4`: of the first three tracks 5 events have been heard, of the next 4."""
    runs = ((heard, len(list(tracks))) for heard, tracks in groupby(place))
    return ".".join(f"{heard}x{tracks}" if tracks > 1 else f"{heard}" for heard, tracks in runs)


# -- what is kept --------------------------------------------------------------------------------------------


def whole(make: Callable[[], BaseModel | None]) -> Iterator[Event]:
    """The events of a reply that is sent in one piece; None if nobody wants it any more."""
    found = make()
    if found is not None:
        body = json.dumps(found.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        yield Event("last", f"{body}\n")


def texts(events: Generator[Event]) -> Iterator[str]:
    """The events of a stream that is not kept."""
    with closing(events):
        for event in events:
            yield event.text


# -- what is sent --------------------------------------------------------------------------------------------


def respond(asked: Asked, make: Make, in_words: Callable[[Exception], str] | None) -> Response:
    """The reply that is asked for, which `make` begins if nobody has: a stream if its errors are to be `in_words`."""
    answer = cast(KeptReplies, current_app.extensions["replies"]).answer(asked, make)
    if in_words is not None:
        start = _event_id(request.headers[LAST_EVENT_ID])[1] if asked.attempt else ()
        response = sse.response(sse.guarded(_events(answer, start), in_words))
    else:
        response = Response(_text(answer), mimetype="application/json")
    response.headers.update(answer.headers)
    if not answer.is_first:
        response.headers[REPLAYED] = "true"
    return response


def _events(answer: Answer, start: Place) -> Iterator[str]:
    for place, text in answer.after(start, sse.HEARTBEAT_S):
        if place is None:
            yield text or sse.HEARTBEAT
        else:
            yield f"id: {answer.attempt}-{_written(place)}\n{text}"


def _text(answer: Answer) -> str:
    """The reply when it's there; nothing if the client has gone, who would not read it."""
    is_gone = ClientGone()
    for place, text in answer.after((), GONE_CHECK_S):
        if place is not None:
            return text
        if is_gone():
            break
    return ""
