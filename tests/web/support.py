"""Driving the pages: the browser, what is expected of every page, and the engine made slow enough to be watched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from tests.server import LiveServer

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

PHONE = {"viewport": {"width": 375, "height": 700}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}

NO_STALL_S = 600
"""For a service whose engine the tests pause: it must not be taken for one that is stuck."""

expect.set_options(timeout=30_000)


def find_browser() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@dataclass
class Visit:
    """A page of the service in a browser that has never been there, and whatever went wrong in it."""

    page: Page
    context: BrowserContext
    server: LiveServer | Line
    faults: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()
    """Faults that the test has brought about: parts of their texts."""

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("console", self._on_console)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.server.url + path)
        return self.page

    def check(self) -> None:
        found = [fault for fault in self.faults if not any(part in fault for part in self.allowed)]
        assert not found, found


def assert_no_serious_fault(page: Page) -> None:
    """No fault that axe-core calls serious or critical."""
    found = [
        f"{fault['impact']}: {fault['id']}: {node['html']} {node.get('failureSummary', '')}"
        for fault in Axe().run(page).response["violations"]
        for node in fault["nodes"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert not found, "\n".join(found)


# -- the engine, made slow, and training, made to wait --------------------------------------------------------


def engine_pid(server: LiveServer) -> int:
    """The process that computes: gunicorn's worker has started it."""
    engines = [
        pid for pid in _children(_worker(server)) if b"app.engine.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(engines) == 1, engines
    return engines[0]


def _worker(server: LiveServer) -> int:
    (worker,) = _children(server.process.pid)
    return worker


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@contextlib.contextmanager
def paused_engine(server: LiveServer) -> Iterator[None]:
    pid = engine_pid(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class SlowEngine:
    """Lets the engine compute for a moment now and then, so that a reply is sure to be seen half written."""

    def __init__(self, server: LiveServer) -> None:
        self._pid = engine_pid(server)
        self._halted = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._halted.is_set():
            os.kill(self._pid, signal.SIGCONT)
            time.sleep(0.004)
            os.kill(self._pid, signal.SIGSTOP)
            self._halted.wait(0.15)

    def halt(self) -> None:
        """Let it compute nothing more."""
        self._halted.set()
        self._thread.join()

    def __enter__(self) -> SlowEngine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.halt()
        os.kill(self._pid, signal.SIGCONT)


@contextlib.contextmanager
def paused_training(server: LiveServer) -> Iterator[None]:
    """Stop the training run that is under way for a while."""
    pids = [pid for pid in _children(_worker(server)) if b"app.training" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(pids) == 1, pids
    os.kill(pids[0], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pids[0], signal.SIGCONT)


# -- the line between browser and service --------------------------------------------------------------------


class Line:
    """Passes connections on to the service until it is cut; afterwards it refuses them, until it is mended."""

    def __init__(self, server: LiveServer) -> None:
        self._target = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                self._open |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                sink.sendall(content)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        self._open -= {source}
        source.close()
