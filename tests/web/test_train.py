"""The training page in a real browser: a run as it goes, what it has learnt, and a drawn digit that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.server import LiveServer, paused
from tests.web.conftest import Visitor
from tests.web.support import PHONE, assert_no_serious_fault, line_to

Job = dict[str, Any]

GOOD = {"dataset": "digits", "train_fraction": 0.2, "epochs": 3, "seed": 1}
"""Enough to read a clear digit."""

QUICK = {"dataset": "digits", "train_fraction": 0.02, "epochs": 2, "seed": 1}
ENDLESS = {"dataset": "digits", "train_fraction": 0.05, "epochs": 100, "hidden_units": 2000}

SEVEN = [(0.3, 0.22), (0.7, 0.22), (0.62, 0.4), (0.53, 0.6), (0.45, 0.82)]
"""A seven in one stroke, as shares of the canvas."""


@pytest.fixture(scope="module")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def trained(http: httpx.Client) -> Job:
    job = http.post("/train-demo?wait=true", json=GOOD).json()
    assert job["status"] == "done", job
    return job


@pytest.fixture(autouse=True)
def cancel_what_is_left(http: httpx.Client) -> Iterator[None]:
    yield
    for job in http.get("/train-demo").json()["jobs"]:
        if job["status"] in ("queued", "running"):
            http.delete(f"/train-demo/{job['id']}")


def fill(page: Page, options: dict[str, Any]) -> None:
    page.get_by_text("More options").click()
    for name, value in options.items():
        field = page.locator(f"#{name}")
        if name == "dataset":
            field.select_option(value)
        else:
            field.fill(str(value))


def status(page: Page) -> Any:
    return page.locator(".run .pill")


def points(page: Page, chart: int = 0) -> int:
    drawn = page.locator(".chart").nth(chart).locator("polyline").first.get_attribute("points")
    return len((drawn or "").split())


# -- a run ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_watched_picked_up_after_a_reload_and_reads_a_drawn_digit(visit: Visitor, server: LiveServer) -> None:
    page = visit().open("/train")
    fill(page, GOOD | {"epochs": 4, "batch_size": 8, "validation_split": 0.1})
    page.get_by_role("button", name="Train", exact=True).click()
    where = page.locator(".where")
    where.filter(has_text="batch").wait_for()
    with paused(server.training_pid()):
        expect(status(page)).to_have_text("running")
        expect(where).to_contain_text(re.compile(r"epoch [1-4] of 4 · batch [\d,]+ of 1,350 · .* left"))
        assert points(page) > 0
        page.reload()
        expect(status(page)).to_have_text("running")
        expect(where).to_contain_text("of 1,350")
        expect(page.locator(".chart").first.locator("polyline").first).not_to_have_attribute("points", "")
    expect(status(page)).to_have_text("done")
    expect(page.locator(".score")).to_contain_text("test accuracy")
    for chart in (0, 1):
        expect(page.locator(".chart").nth(chart).locator("circle")).to_have_count(8)  # training and validation
    expect(page.locator(".matrix tbody tr")).to_have_count(10)
    assert sum(int(text or 0) for text in page.locator(".matrix td:not(:empty)").all_inner_texts()) == 10_000
    assert 1 <= page.locator(".mistakes img").count() <= 16
    expect(page.get_by_role("table").filter(has_text="dense_1")).to_contain_text("101,770")
    expect(page.get_by_role("table").filter(has_text="multiply-adds forward")).to_contain_text("101,632")
    expect(page.get_by_role("table").filter(has_text="predicted")).to_contain_text("each step")
    draw(page)
    expect(page.locator(".verdict")).to_have_text("That is a 7")
    expect(page.locator(".bars .is-best")).to_contain_text("7")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".verdict")).to_have_text("Nothing drawn yet")
    page.locator(".mistakes button").first.click()
    expect(page.locator(".verdict")).to_contain_text("That is a")


def draw(page: Page) -> None:
    canvas = page.get_by_role("img", name="Drawing of a digit")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in SEVEN]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()


def test_a_run_is_cancelled(visit: Visitor, http: httpx.Client) -> None:
    visitor = visit()
    page = visitor.open("/train")
    fill(page, ENDLESS)
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator(".where")).to_contain_text("batch")
    page.get_by_role("button", name="Cancel").click()
    expect(status(page)).to_have_text("cancelled")
    expect(page.locator("#runs li").first).to_contain_text("cancelled")
    assert http.get("/train-demo?limit=1").json()["jobs"][0]["status"] == "cancelled"
    page.get_by_role("button", name="Again with changes").click()
    expect(page.locator("#hidden_units")).to_have_value("2000")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".run")).to_have_count(0)


def test_a_line_that_breaks_is_taken_up_again(visit: Visitor, server: LiveServer, http: httpx.Client) -> None:
    job = http.post("/train-demo", json=ENDLESS).json()
    with line_to(server) as line:
        visitor = visit(line)
        visitor.allowed = ("net::ERR",)
        page = visitor.open(f"/train#{job['id']}")
        expect(page.locator(".where")).to_contain_text("batch")
        line.become("cut")
        lost = page.get_by_text("The connection was lost")
        expect(lost).to_be_visible()
        before = points(page)
        with page.expect_request(
            lambda request: request.url.endswith("/events") and int(request.headers.get("last-event-id", 0)) > 0
        ):
            line.become("whole")
        expect(lost).to_have_count(0)
        http.delete(f"/train-demo/{job['id']}")
        expect(status(page)).to_have_text("cancelled")
        assert points(page) >= before > 0


def test_runs_are_compared_in_one_plot(visit: Visitor, http: httpx.Client, trained: Job) -> None:
    other = http.post("/train-demo?wait=true", json=QUICK | {"hidden_units": [32, 16]}).json()
    page = visit().open("/train")
    compare = page.get_by_role("button", name="Compare", exact=True)
    expect(compare).to_be_disabled()
    for job in (trained, other):
        page.locator(f"#tick-{job['id']}").check()
    compare.click()
    for _ in range(2):
        expect(page.get_by_role("heading", name="2 runs compared")).to_be_visible()
        rows = page.locator(".facts tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.nth(0)).to_contain_text(f"{trained['result']['test_accuracy']:.2%}")
        expect(rows.nth(1)).to_contain_text("Hidden units: 32-16")
        for chart in (0, 1):
            expect(page.locator(".chart").nth(chart).locator("polyline")).to_have_count(2)
        page.reload()
    with page.expect_download() as saved:
        page.get_by_role("button", name="PNG").click()
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_a_wrong_option_is_told_at_its_field(visit: Visitor, http: httpx.Client) -> None:
    before = http.get("/train-demo").json()
    visitor = visit()
    visitor.allowed = ("422",)
    page = visitor.open("/train")
    begin = page.get_by_role("button", name="Train", exact=True)
    fill(page, {"hidden_units": "many"})
    begin.click()
    expect(page.locator("#hidden_units-wrong")).to_be_visible()
    expect(page.locator("#hidden_units")).to_be_focused()
    page.locator("#hidden_units").fill("9999")  # what the page lets pass the service refuses
    expect(page.locator("#hidden_units-wrong")).to_be_hidden()
    begin.click()
    expect(page.locator("#hidden_units-wrong")).to_contain_text("4096")
    page.locator("#hidden_units").fill("16, 8")
    expect(page.locator("#hidden_units-wrong")).to_be_hidden()
    expect(page.locator("#shape")).to_have_text("784 → 16 → 8 → 10: 12,786 parameters")
    page.locator("#epochs").fill("0")
    begin.click()
    expect(page.locator("#epochs-wrong")).to_be_visible()
    assert http.get("/train-demo").json() == before


def test_a_full_queue_is_told(visit: Visitor, http: httpx.Client) -> None:
    while http.post("/train-demo", json=ENDLESS).status_code != 429:
        pass
    visitor = visit()
    visitor.allowed = ("429",)
    page = visitor.open("/train")
    page.get_by_role("button", name="Train", exact=True).click()
    alert = page.locator("#start-trouble").get_by_role("alert")
    expect(alert).to_contain_text("Try again")
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()


def test_a_run_that_is_not_there_is_told(visit: Visitor) -> None:
    visitor = visit()
    visitor.allowed = ("404",)
    page = visitor.open(f"/train#train_{'0' * 32}")
    expect(page.get_by_role("alert")).to_contain_text("nothing like that here")


# -- languages, sizes, barriers ------------------------------------------------------------------------------


def test_a_phone_in_chinese_reads_what_a_finger_draws(visit: Visitor, trained: Job) -> None:
    visitor = visit(locale="zh-CN", **PHONE)
    page = visitor.open(f"/train#{trained['id']}")
    expect(page.get_by_role("heading", name="混淆矩阵")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.get_by_role("button", name="English").tap()
    expect(page.get_by_role("heading", name="Confusion matrix")).to_be_visible()
    expect(page.locator(".run .pill")).to_have_text("done")
    canvas = page.get_by_role("img", name="Drawing of a digit")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    touch = visitor.context.new_cdp_session(page)
    places = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in SEVEN]
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": places[:1]})
    for place in places[1:]:
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator(".verdict")).to_have_text("That is a 7")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{}, PHONE], ids=["desk", "phone"])
def test_training_has_no_serious_barrier(visit: Visitor, trained: Job, scheme: str, size: dict[str, object]) -> None:
    page = visit(color_scheme=scheme, **size).open(f"/train#{trained['id']}")
    expect(page.locator(".matrix")).to_be_visible()
    assert_no_serious_fault(page)
    page.locator("#begin").evaluate("begin => begin.open = true")
    page.get_by_text("More options").click()
    assert_no_serious_fault(page)
