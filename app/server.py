"""Gunicorn fitted to the service: its log, and its worker's answers to what is no HTTP.

`config/gunicorn.py` names the classes.
"""

from __future__ import annotations

import json
import socket
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.glogging import Logger

from app import logs
from app.api.errors import from_exception
from app.api.request_log import RequestLog, RequestRecord, make_request_id
from app.connections import ConnectionWorker
from config.settings import load_settings


class ServerLogger(Logger):  # type: ignore[misc]
    """Gunicorn's own lines, written like all others; the lines of requests are the application's."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        settings = load_settings()
        logs.configure(settings.log_level, settings.log_format)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Worker(ConnectionWorker):
    """A process that speaks HTTP with one thread for each request."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what failed before, or outside of, the application: in the shape of all errors, and with an id."""
        record = RequestRecord(make_request_id())
        request_log: RequestLog = self.wsgi.extensions["request_log"]
        request_log.begin(record)
        error = from_exception(exc)
        record.status, record.error = error.status, error.code
        body = json.dumps(error.body(record.id)).encode()
        head = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nX-Request-ID: {record.id}\r\n\r\n"
        )
        try:
            util.write_nonblock(client, head.encode() + body)
        except OSError:
            pass  # the client has gone
        finally:
            request_log.end(record)
