"""Gunicorn's threaded worker, made to stand whatever clients do with their connections.

A thread is given a request only when all of it has come: until then one loop collects it, under a deadline, so that
idle connections and bodies that trickle hold no thread. A reader that takes nothing is let go after a while. Of too
many connections the oldest that has asked nothing makes room for the next.
"""

from __future__ import annotations

import errno
import logging
import resource
import selectors
import socket
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from app.api.errors import OverloadedError, SlowRequestError, UnreadableRequestError
from app.incoming import Incoming
from app.threads import ThreadPool
from config.settings import load_settings

log = logging.getLogger(__name__)

PIECE = 64 << 10

SOCKET_BUFFER = 128 << 10
"""Bytes that the kernel keeps of one connection in each direction (Linux takes twice that): its own choice can be
megabytes, which thousands of clients that read nothing would have it keep.
"""

LINGER_S = 2.0
"""How long a connection that is closed is read from: a reset would take the answer from whoever is still sending."""

SPARE_FILES = 256
"""Files and sockets that the service has open besides connections, and some more."""

MOST_BUFFERED = 64 << 20
"""Bytes of requests that have come but have no thread yet. When it is more, the largest makes room."""


class ConnectionWorker(ThreadWorker):  # type: ignore[misc]
    """A process that speaks HTTP, with a thread for each request that has come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = load_settings()
        self._max_body = settings.max_body_kb << 10
        self._receive_timeout_s = settings.receive_timeout_s
        self._send_timeout_s = settings.send_timeout_s
        self._max_connections = settings.max_connections
        # Both in the order of their deadlines: for each, it is the same time after the beginning.
        self._receiving: dict[TConn, Incoming] = {}
        self._lingering: dict[TConn, float] = {}
        self._buffered = 0

    def init_process(self) -> None:
        wanted = self._max_connections + SPARE_FILES
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if soft < wanted:
                self._max_connections = max(SPARE_FILES, soft - SPARE_FILES)
                log.warning("only %d connections at once: this process may not open more files", self._max_connections)
        super().init_process()

    def get_thread_pool(self) -> ThreadPool:
        return ThreadPool(self.cfg.threads)

    # -- receiving -------------------------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE):
                raise
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._drop_an_idle_one()
            return
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            client.setsockopt(socket.SOL_SOCKET, buffer, SOCKET_BUFFER)
        while self.nr_conns >= self._max_connections and self._drop_an_idle_one():
            pass
        self.nr_conns += 1
        self._receive(TConn(self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """The next request on a connection that was kept."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._receive(conn)

    def _receive(self, conn: TConn, data: bytes = b"") -> None:
        """Collect a request, of which `data` has already come."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self._receive_timeout_s
        self._receiving[conn] = Incoming(self._max_body)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))
        if data:
            self._on_data(conn, data)

    def _on_readable(self, conn: TConn, client: socket.socket) -> None:
        try:
            data = client.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._on_data(conn, data)
        else:
            self._drop(conn)

    def _on_data(self, conn: TConn, data: bytes) -> None:
        incoming = self._receiving[conn]
        before = len(incoming.data)
        incoming.feed(data)
        self._buffered += len(incoming.data) - before
        if incoming.is_whole:
            self._stop_receiving(conn)
            self._buffered += len(incoming.data)  # until a thread has it
            conn.incoming = incoming
            conn.data_ready = True
            self.enqueue_req(conn)
        elif incoming.fault is not None:
            self._refuse(conn, UnreadableRequestError(incoming.fault))
        elif incoming.wants_go_ahead:
            incoming.wants_go_ahead = False
            try:
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            except OSError:
                self._drop(conn)
        if self._buffered > MOST_BUFFERED and self._receiving:
            largest = max(self._receiving, key=lambda each: len(self._receiving[each].data))
            self._refuse(largest, OverloadedError(retry_after_s=1))

    def _stop_receiving(self, conn: TConn) -> None:
        self._buffered -= len(self._receiving.pop(conn).data)
        self.poller.unregister(conn.sock)

    def _drop(self, conn: TConn) -> None:
        self._stop_receiving(conn)
        self.nr_conns -= 1
        conn.close()

    def _refuse(self, conn: TConn, error: Exception) -> None:
        self._stop_receiving(conn)
        self.handle_error(None, conn.sock, conn.client, error)
        self._linger(conn)

    def _drop_an_idle_one(self) -> bool:
        """Close the connection that has had most time to ask something; returns whether there is one."""
        if self._receiving:
            self._drop(next(iter(self._receiving)))
        elif self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
        else:
            return False
        return True

    def murder_pending(self) -> None:
        """Called once a second or more often: end what takes too long, and when the worker ends, what has not begun."""
        now = time.monotonic()
        for conn, incoming in list(self._receiving.items()):
            if conn.timeout > now and (self.alive or incoming.data):
                if self.alive:
                    break
            elif incoming.data:
                self._refuse(conn, SlowRequestError(self._receive_timeout_s))
            else:
                self._drop(conn)
        for conn, deadline in list(self._lingering.items()):
            if deadline > now:
                break
            self._end(conn)
        self.tpool.tidy()

    # -- answering -------------------------------------------------------------------------------------------

    def handle(self, conn: TConn) -> Any:
        """In a thread: answer the request that has come."""
        incoming: Incoming = conn.incoming
        size = len(incoming.data)
        conn.init()
        conn.parser.unreader.unread(bytes(incoming.data))
        incoming.data.clear()
        self.method_queue.defer(self._forget, size)
        return super().handle(conn)

    def _forget(self, size: int) -> None:
        self._buffered -= size

    def handle_request(self, req: Any, conn: TConn) -> Any:
        conn.sock.settimeout(self._send_timeout_s)
        if conn.incoming.leaves_rest:
            req.force_close()  # rather than read on to where the next one begins
        try:
            return super().handle_request(req, conn)
        except TimeoutError as error:
            log.info("a client that reads nothing was let go")
            raise ConnectionResetError(errno.ECONNRESET, "the client reads nothing") from error

    def finish_request(self, conn: TConn, future: Future[Any]) -> None:
        """In the loop again: wait for the next request of a connection that is kept, or end it without waiting."""
        try:
            is_kept = not future.cancelled() and future.result() is True
        except Exception:
            log.exception("a request failed outside of the application")
            is_kept = False
        if not is_kept:
            self._linger(conn)
        elif more := conn.parser.unreader.take_buffered():
            self._receive(conn, more)
        else:
            super().finish_request(conn, future)

    # -- ending ----------------------------------------------------------------------------------------------

    def _linger(self, conn: TConn) -> None:
        """Close our side; the other one when the client has closed its own, or has had time to."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_lingering, conn))
        except (OSError, ValueError):
            self.nr_conns -= 1
            conn.close()
            return
        self._lingering[conn] = time.monotonic() + LINGER_S

    def _on_lingering(self, conn: TConn, client: socket.socket) -> None:
        try:
            if client.recv(PIECE):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._end(conn)

    def _end(self, conn: TConn) -> None:
        del self._lingering[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()
