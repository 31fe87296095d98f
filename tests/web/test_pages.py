"""What holds for both pages: nothing from elsewhere, little to load, both languages whole, no barrier to anybody."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Response, expect

from app.engine.client import STATES
from tests.server import LiveServer
from tests.web.conftest import Visitor
from tests.web.support import PHONE, assert_no_serious_fault

WEB = Path(__file__).parents[2] / "app" / "web"
SOURCES = [*WEB.glob("templates/*.html"), *WEB.glob("static/*.js")]
PAGES = ("/", "/train")
FIRST_PAINT_BYTES = 100_000


# -- words ---------------------------------------------------------------------------------------------------


def words() -> dict[str, dict[str, str]]:
    return json.loads((WEB / "strings.json").read_text(encoding="utf-8"))


def test_every_text_is_there_in_both_languages() -> None:
    for key, texts in words().items():
        assert set(texts) == {"en", "zh"}, key
        assert all(text.strip() for text in texts.values()), key
        placeholders = [sorted(re.findall(r"\{\w+\}", text)) for text in texts.values()]
        assert placeholders[0] == placeholders[1], key
        assert re.search("[\u4e00-\u9fff]", texts["zh"]) or texts["zh"] == texts["en"], key


def test_every_text_is_used_and_every_one_used_is_there() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    quoted = set(re.findall(r"""["'`]([a-z0-9_.]+)["'`]""", source))
    quoted |= set(re.findall(r"block title_key %}([a-z.]+){%", source))
    families = set(re.findall(r"[\"'`]([a-z_]+\.)(?:\$\{|[\"'] [~+] )", source))
    known = set(words())
    unused = {key for key in known if key not in quoted and not any(key.startswith(family) for family in families)}
    assert not unused
    named = re.findall(
        r"""(?:\btext\(|attr\("[a-z-]+", |\bt\(|\bt: |setText\([^,]+, |data-t=)"([a-z0-9_.]+)\"""", source
    )
    assert len(named) > 40
    assert not {name for name in named if not name.endswith(".")} - known  # "set." ~ name: see families


def test_every_state_of_the_engine_has_its_words() -> None:
    assert {f"state.{state}" for state in STATES} <= set(words())


def test_no_markup_is_ever_made_from_text() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\|\s*safe", text), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|<script(?![^>]*\ssrc=)", text), path
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), path


# -- what is loaded ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_first_paint_is_light_and_all_its_own(visit: Visitor, path: str) -> None:
    visitor = visit()
    got: list[Response] = []
    visitor.page.on("response", lambda response: got.append(response))
    page = visitor.open(path)
    page.wait_for_load_state("networkidle")
    assert all(response.url.startswith(visitor.server.url) for response in got)
    assert {response.status for response in got} <= {200}
    # What scripts fetch later, such as the list of runs, is no part of the page; nothing is counted as compressed.
    parts = [response for response in got if response.request.resource_type != "fetch"]
    sizes = {response.url.removeprefix(visitor.server.url): len(response.body()) for response in parts}
    assert len(sizes) > 10
    assert sum(sizes.values()) < FIRST_PAINT_BYTES, sizes


@pytest.mark.parametrize("path", PAGES)
def test_policy_allows_no_inline_script_and_nothing_from_elsewhere(server: LiveServer, path: str) -> None:
    response = httpx.get(server.url + path)
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in str(policy)


def test_policy_is_kept_by_the_browser(visit: Visitor) -> None:
    visitor = visit()
    visitor.allowed = ("Content Security Policy", "TrustedHTML", "TrustedScript")
    page = visitor.open()
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          try { script.textContent = "document.title = 'x'"; } catch {}
          document.body.append(script);
          try { document.body.insertAdjacentHTML("beforeend", "<p id=made>made</p>"); } catch {}
        }"""
    )
    assert page.title() == "Troika: chat"
    expect(page.locator("#made")).to_have_count(0)
    assert visitor.faults


def test_static_files_are_kept_by_the_browser_until_they_change(server: LiveServer) -> None:
    html = httpx.get(server.url + "/").text
    found = set(re.findall(r"(?:src|href)=\"(static/[^\"]+)\"", html))
    assert len(found) > 10
    for path in found:
        response = httpx.get(f"{server.url}/{path}")
        assert response.status_code == 200, path
        assert "immutable" in response.headers["Cache-Control"]
        assert response.headers["Content-Encoding"] == "gzip"
        assert httpx.get(f"{server.url}/{path}", headers={"Accept-Encoding": "identity"}).content == response.content
        stale = re.sub("static/[0-9a-f]+/", "static/000000000000/", path)
        assert httpx.get(f"{server.url}/{stale}").headers["Cache-Control"] == "no-cache"
    assert httpx.get(f"{server.url}/static/x/../../strings.json").status_code == 404
    assert httpx.get(f"{server.url}/static/x/%2e%2e/strings.json").status_code == 404
    assert httpx.get(f"{server.url}/static/x/strings.xx.js").status_code == 404


def test_language_is_the_readers_choice_else_the_browsers(server: LiveServer) -> None:
    def language(accept: str, cookie: str = "") -> str:
        headers = {"Accept-Language": accept} | ({"Cookie": cookie} if cookie else {})
        return re.search('<html lang="([^"]+)"', httpx.get(server.url + "/", headers=headers).text)[1]

    assert language("zh-TW,zh;q=0.9,en;q=0.8") == "zh-CN"
    assert language("de,en;q=0.5") == "en"
    assert language("fr") == "en"
    assert language("zh", "troika_language=en") == "en"
    assert language("en", "troika_language=zh") == "zh-CN"
    assert language("en", "troika_language=<script>") == "en"


# -- barriers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{}, PHONE], ids=["desk", "phone"])
def test_chat_has_no_serious_barrier_in_any_state(visit: Visitor, scheme: str, size: dict[str, object]) -> None:
    visitor = visit(color_scheme=scheme, **size)
    page = visitor.open()
    assert_no_serious_fault(page)
    page.get_by_role("button", name="Probabilities").click()
    page.get_by_role("button", name="What is overfitting?").click()
    expect(page.locator(".meta")).to_contain_text("seed")
    page.locator(".token").first.focus()
    expect(page.locator("#alternatives")).to_be_visible()
    assert_no_serious_fault(page)
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_role("spinbutton", name="Temperature")).to_be_visible()
    assert_no_serious_fault(page)
    visitor.allowed = ("404",)
    visitor.open("/#conv_00000000000000000000000000000000")
    page.reload()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_no_serious_fault(page)


def test_theme_follows_the_system_and_the_switch(visit: Visitor) -> None:
    page = visit(color_scheme="dark").open()
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate(ground)
    assert (dark, light) == ("rgb(22, 23, 27)", "rgb(255, 255, 255)")
    page.reload()
    assert page.evaluate(ground) == light
