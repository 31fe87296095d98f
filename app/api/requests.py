"""What every request gets: an id, a content type that somebody can read, a line in the log."""

from __future__ import annotations

import ipaddress
import re
import select
import socket
from typing import Any, cast

from apiflask import APIFlask
from flask import Response, g, request
from flask.json.provider import DefaultJSONProvider

from app.api.errors import ApiError, UnsupportedMediaTypeError
from app.api.request_log import RequestLog, RequestRecord, make_request_id

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Json(DefaultJSONProvider):
    """Flask's JSON, for which a body that is nested too deeply to be read is as malformed as any."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, **kwargs)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


def init_app(app: APIFlask, request_log: RequestLog) -> None:
    """What comes before everything else; `check_bodies` when it is known who asks."""
    app.json = Json(app)
    app.extensions["request_log"] = request_log

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.record = RequestRecord(
            id=given if REQUEST_ID.fullmatch(given) else make_request_id(),
            method=request.method if request.method in METHODS else "other",
            route=request.url_rule.rule if request.url_rule else "unmatched",
        )
        request_log.begin(g.record)

    @app.after_request
    def answer(response: Response) -> Response:
        record = current_record()
        record.status = response.status_code
        record.key_name = conversation_owner()
        response.headers["X-Request-ID"] = record.id
        if response.direct_passthrough:
            request_log.end(record)  # a file is the server's to send, and nobody is told when it has been
        else:
            response.call_on_close(lambda: request_log.end(record))
        return response


def current_record() -> RequestRecord:
    return cast(RequestRecord, g.record)


def check_bodies(app: APIFlask) -> None:
    app.before_request(_check_content_type)
    app.before_request(_check_form)


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
            look = select.poll()  # `select` knows no file beyond the 1024th
            look.register(self._socket, select.POLLIN)
            return bool(look.poll(0)) and self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except (OSError, ValueError):
            return True
