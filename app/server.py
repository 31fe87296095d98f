"""Gunicorn fitted to the service: its log, how its worker ends, and what it answers to what is no HTTP.

`config/gunicorn.py` names the classes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from http import HTTPStatus
from types import FrameType
from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.glogging import Logger

from app import logs
from app.api.errors import from_exception
from app.api.lifecycle import Lifecycle
from app.api.request_log import RequestLog, RequestRecord, make_request_id
from app.api.security import HEADERS
from app.connections import ConnectionWorker
from config.settings import load_settings

LINGER_S = 2
"""How long connections that are open but idle are waited for in the end."""


class ServerLogger(Logger):  # type: ignore[misc]
    """Gunicorn's own lines, written like all others; the lines of requests are the application's."""

    def setup(self, cfg: Config) -> None:
        super().setup(cfg)
        settings = load_settings()
        logs.configure(settings.log_level, settings.log_format)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Worker(ConnectionWorker):
    """A process that speaks HTTP with one thread for each request, and ends in order.

    At SIGTERM it goes on listening, so that whoever comes meanwhile is told to go elsewhere, until the requests under
    way have finished or their grace is over; gunicorn's own would leave new connections without an answer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._grace_s = load_settings().grace_s
        self._told_to_end = threading.Event()
        self._is_quitting = False

    def run(self) -> None:
        threading.Thread(target=self._drain, name="drain", daemon=True).start()
        try:
            super().run()
        finally:
            # However it came to this; after a drain there is nothing left to do.
            self._lifecycle.close()
            # Threads that wait for slow clients would hold up the end of the process.
            hard_end = threading.Timer(LINGER_S, os._exit, (0,))
            hard_end.daemon = True
            hard_end.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM. Only sets a flag: a signal comes in the middle of anything."""
        if self.booted:
            self._told_to_end.set()
        else:
            super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT and SIGQUIT, of which a Ctrl-C can bring both: end at once, which `run` does in order."""
        if not self._is_quitting:
            self._is_quitting = True
            super().handle_quit(sig, frame)

    def _drain(self) -> None:
        self._told_to_end.wait()
        # From now on each answer closes its connection, and no idle one is waited for.
        self.cfg.set("keepalive", 0)
        self.cfg.set("graceful_timeout", LINGER_S)
        self._lifecycle.drain(self._grace_s)
        self._lifecycle.close()
        super().handle_exit(signal.SIGTERM, None)

    @property
    def _lifecycle(self) -> Lifecycle:
        found: Lifecycle = self.wsgi.extensions["lifecycle"]
        return found

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what failed before, or outside of, the application: in the shape of all errors, and with an id."""
        record = RequestRecord(make_request_id())
        request_log: RequestLog = self.wsgi.extensions["request_log"]
        request_log.begin(record)
        error = from_exception(exc)
        record.status, record.error = error.status, error.code
        body = json.dumps(error.body(record.id)).encode()
        headers = {
            "Connection": "close",
            "Date": util.http_date(),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Request-ID": record.id,
            **HEADERS,
            **error.headers,
        }
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n{''.join(lines)}\r\n"
        try:
            util.write_nonblock(client, head.encode() + body)
        except OSError:
            pass  # the client has gone
        finally:
            request_log.end(record)
