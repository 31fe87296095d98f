"""One service with the real starter and one Chromium for all tests of the pages; each test gets a browser profile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.line import Line
from tests.server import LiveServer, serve
from tests.web.support import NO_STALL_S, Visit, find_browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # As root, as in containers, Chromium's sandbox refuses to start.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.getuid() == 0 else [])
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("web")
    with serve(folder, model="starter", stall_timeout_s=NO_STALL_S) as server:
        yield server


Visitor = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, server: LiveServer) -> Iterator[Visitor]:
    """Make a visit, with options of a browser's profile; at the end nothing may have gone wrong in any page."""
    made: list[Visit] = []

    def visit(at: LiveServer | Line = server, **options: object) -> Visit:
        context = browser.new_context(**{"locale": "en-US", "viewport": {"width": 1200, "height": 800}} | options)
        context.set_default_timeout(30_000)
        made.append(Visit(context.new_page(), context, at))
        return made[-1]

    yield visit
    for each in made:
        each.context.close()
    for each in made:
        each.check()
