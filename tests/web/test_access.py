"""A service that loads, asks for a key and is soon full: what its page says about each."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.server import LiveServer, paused, serve
from tests.web.conftest import Visitor
from tests.web.support import NO_STALL_S

KEY = "troika-a-key-for-the-tests"


@pytest.fixture(scope="module")
def small_server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Just started, for one reply at a time and one client."""
    folder = tmp_path_factory.mktemp("small")
    keys = f"tester:{hashlib.sha256(KEY.encode()).hexdigest()}"
    small = {"max_sequences": 1, "max_waiting": 1, "api_keys": keys, "stall_timeout_s": NO_STALL_S}
    with serve(folder, wait=False, model="starter", **small) as server:
        server.wait_until(lambda: is_up(server))
        yield server


def is_up(server: LiveServer) -> bool:
    try:
        return httpx.get(f"{server.url}/health/live").status_code == 200
    except httpx.HTTPError:
        return False


def say(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def test_loading_is_told_and_a_key_asked_for(visit: Visitor, small_server: LiveServer) -> None:
    visitor = visit(small_server)
    visitor.allowed = ("401", "503")
    with paused(small_server.engine_pid()):
        page = visitor.open()
        expect(page.locator("#service")).to_contain_text("loading the model")
        say(page, "Who are you?")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("asks for an API key")
        expect(alert.get_by_label("API key")).to_be_focused()
        alert.get_by_label("API key").fill("wrong")
        alert.get_by_role("button", name="Use this key").click()
        expect(alert).to_contain_text("asks for an API key")
        alert.get_by_label("API key").fill(KEY)
        alert.get_by_role("button", name="Use this key").click()
        expect(page.locator(".waiting")).to_contain_text("The model is loading")
    expect(page.locator(".meta")).to_contain_text("seed")
    expect(page.locator("#service")).to_contain_text("ready")
    page.reload()
    expect(page.locator(".turn")).to_have_count(1)
    page.get_by_role("button", name="Settings").click()
    expect(page.locator("#settings").get_by_label("API key")).to_have_value(KEY)


def test_training_asks_for_the_key_too(visit: Visitor, small_server: LiveServer) -> None:
    visitor = visit(small_server)
    visitor.allowed = ("401",)
    page = visitor.open("/train")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("asks for an API key")
    alert.get_by_label("API key").fill(KEY)
    alert.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("None yet.")).to_be_visible()
    expect(alert).to_have_count(0)


def test_the_place_in_the_queue_is_told(visit: Visitor, small_server: LiveServer) -> None:
    small_server.wait_until(small_server.is_ready)
    page = visit(small_server).open()
    page.evaluate("key => localStorage.setItem('troika.key', JSON.stringify(key))", KEY)
    with httpx.Client(base_url=small_server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
        other = threading.Thread(target=http.post, args=("/chat",), kwargs={"data": {"input": "Hi"}})
        with paused(small_server.engine_pid()):
            other.start()
            small_server.wait_until(lambda: http.get("/health").json()["engine"]["waiting"] == 1)
            say(page, "Who are you?")
            expect(page.locator(".waiting")).to_contain_text("In the queue: 1 before this one")
        other.join()
    expect(page.locator(".meta")).to_contain_text("seed")


def test_a_full_service_is_told_and_the_message_kept(visit: Visitor, small_server: LiveServer) -> None:
    small_server.wait_until(small_server.is_ready)
    visitor = visit(small_server)
    visitor.allowed = ("503",)
    page = visitor.open()
    page.evaluate("key => localStorage.setItem('troika.key', JSON.stringify(key))", KEY)
    with httpx.Client(base_url=small_server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
        others = [threading.Thread(target=http.post, args=("/chat",), kwargs={"data": {"input": "Hi"}}) for _ in "ab"]
        with paused(small_server.engine_pid()):
            for other in others:
                other.start()
            small_server.wait_until(lambda: http.get("/health").json()["engine"]["waiting"] == 2)
            say(page, "Who are you?")
            alert = page.get_by_role("alert")
            expect(alert).to_contain_text("The service is full")
            expect(page.locator(".said")).to_have_text("Who are you?")
            expect(alert.get_by_role("button", name="Try again in")).to_be_disabled()
        for other in others:
            other.join()
    alert.get_by_role("button", name="Try again", exact=True).click()
    expect(page.locator(".meta")).to_contain_text("seed")
    expect(alert).to_have_count(0)
