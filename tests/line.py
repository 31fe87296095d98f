"""A network that fails on demand."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import Any, Literal


class Line:
    """A line to a server that can be cut, held and mended: connections to `port` here are passed on to it.

    While it is held, connections are taken and kept and what is sent is acknowledged, but no byte comes out.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._state = "whole"
        self._trap: tuple[bytes, bool] | None = None
        self._closing = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._others: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where a server of HTTP is reached over this line."""
        return f"http://127.0.0.1:{self.port}"

    def become(self, state: Literal["whole", "cut", "held"]) -> None:
        self._state = state
        while state == "cut" and self._others:
            time.sleep(0.01)

    def cut_at(self, words: bytes, *, passed_on: bool) -> None:
        """Cut the connection, once, on which a client next sends these words.

        `passed_on` is whether the server still gets them: then its answer to them is what is lost.
        """
        self._trap = words, passed_on

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        for one in list(self._others):
            one.close()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._closing:
            if self._state == "held":
                time.sleep(0.05)
                continue
            for key, _ in self._selector.select(timeout=0.05):
                if self._state != "held":
                    self._pass_on(key.fileobj)
            if self._state == "cut":
                for one in list(self._others):
                    self._drop(one)

    def _pass_on(self, readable: Any) -> None:
        if readable is self._listener:
            client, _ = self._listener.accept()
            if self._state == "cut":
                client.close()
                return
            self._others[client] = server = socket.create_connection(self._server)
            self._others[server] = client
            self._selector.register(client, selectors.EVENT_READ)
            self._selector.register(server, selectors.EVENT_READ)
        elif readable in self._others:
            try:
                data = readable.recv(65536)
                if self._trap and self._trap[0] in data:
                    data = self._spring(data, self._others[readable])
                self._others[readable].sendall(data)
            except OSError:
                data = b""
            if not data:
                self._drop(readable)

    def _spring(self, data: bytes, server: socket.socket) -> bytes:
        """The client's words go on or not; returns what stands for them: nothing, as if it had hung up."""
        assert self._trap
        if self._trap[1]:
            server.sendall(data)
            server.recv(65536)
        self._trap = None
        return b""

    def _drop(self, one: socket.socket) -> None:
        for end in (one, self._others.get(one)):
            if end in self._others:
                del self._others[end]
                self._selector.unregister(end)
                end.close()
