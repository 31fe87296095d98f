"""Driving the pages: the browser, what is expected of every page, and the engine made slow enough to be watched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from tests.line import Line
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


# -- the engine, made slow -----------------------------------------------------------------------------------


class SlowEngine:
    """Lets the engine compute for a moment now and then, so that a reply is sure to be seen half written."""

    def __init__(self, server: LiveServer) -> None:
        self._pid = server.engine_pid()
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


# -- the line between browser and service --------------------------------------------------------------------


@contextlib.contextmanager
def line_to(server: LiveServer) -> Iterator[Line]:
    """A line to a service, whole at first."""
    line = Line("127.0.0.1", int(server.url.rpartition(":")[2]))
    try:
        yield line
    finally:
        line.close()
