"""What every request gets: an id, a content type that somebody can read, a line in the log."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from apiflask import APIFlask
from flask import Response, g, request
from flask.json.provider import DefaultJSONProvider

from app.api.errors import ApiError, UnsupportedMediaTypeError, from_exception
from app.api.metrics import Metrics
from app.chat.reply import Reply

log = logging.getLogger("troika.requests")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Json(DefaultJSONProvider):
    """Flask's JSON, for which a body that is nested too deeply to be read is as malformed as any."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, **kwargs)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


@dataclass(slots=True)
class RequestRecord:
    """What there is to tell of a request when its answer has been sent. Views give it the replies they begin."""

    id: str
    method: str
    route: str
    started: float
    status: int = 0
    error: str | None = None
    replies: Sequence[Reply] = ()

    def error_body(self, error: Exception) -> dict[str, Any]:
        """The last event of a stream that fails."""
        found = from_exception(error)
        self.error = found.code
        return found.body(self.id)


def init_app(app: APIFlask, metrics: Metrics) -> None:
    """What comes before everything else; `check_bodies` when it is known who asks."""
    app.json = Json(app)

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.record = RequestRecord(
            id=given if REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}",
            method=request.method if request.method in METHODS else "other",
            route=request.url_rule.rule if request.url_rule else "unmatched",
            started=time.monotonic(),
        )
        metrics.on_request()

    @app.after_request
    def answer(response: Response) -> Response:
        record = current_record()
        record.status = response.status_code
        response.headers["X-Request-ID"] = record.id
        if response.direct_passthrough:
            _end(record, metrics)  # a file is the server's to send, and nobody is told when it has been
        else:
            response.call_on_close(lambda: _end(record, metrics))
        return response


def check_bodies(app: APIFlask) -> None:
    app.before_request(_check_content_type)
    app.before_request(_check_form)


def current_record() -> RequestRecord:
    return cast(RequestRecord, g.record)


def _check_content_type() -> None:
    """Refuse a body that would be taken for an empty form."""
    readable = request.is_json or request.mimetype in (
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    )
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if request.method == "POST" and has_body and not readable:
        raise UnsupportedMediaTypeError(request.mimetype)


def _check_form() -> None:
    """Refuse a form that says one thing twice: the second would be ignored."""
    for name, values in request.form.lists():
        if len(values) > 1:
            raise ApiError(
                422, f"{name}: the form has this field {len(values)} times.", code="invalid_value", param=name
            )


def _end(record: RequestRecord, metrics: Metrics) -> None:
    seconds = time.monotonic() - record.started
    metrics.on_answer(record.method, record.route, record.status, seconds, record.error)
    log.info("%s %s %s %d %.0f ms", record.id, record.method, record.route, record.status, 1000 * seconds)


def conversation_owner() -> str:
    """Whose conversations and jobs this request may see: those of its API key's name.

    Without API keys there is one owner: who knows an id may use it.
    """
    return str(g.get("key_name", ""))


def caller() -> str:
    """Who shares computed prefixes and limits: an API key's name or, without keys, an address."""
    name = conversation_owner()
    return f"key:{name}" if name else f"address:{_network(request.remote_addr or '')}"


def _network(address: str) -> str:
    """The address, of IPv6 its first 64 bits: the rest is the client's to choose."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class ClientGone:
    """Whether the client of the current request has closed its connection; false where that can't be told.

    Made within the request, and asked from anywhere.
    """

    def __init__(self) -> None:
        found = request.environ.get("gunicorn.socket")
        self._socket = found if isinstance(found, socket.socket) else None

    def __call__(self) -> bool:
        if self._socket is None:
            return False
        try:
            readable, _, _ = select.select([self._socket], [], [], 0)
            return bool(readable) and self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True
