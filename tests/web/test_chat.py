"""The chat page in a real browser: streaming, stopping, going on, looking inside, and what goes wrong."""

from __future__ import annotations

import json
import re
import subprocess

from playwright.sync_api import Page, expect

from tests.server import LiveServer, paused
from tests.web.conftest import Visitor
from tests.web.support import PHONE, SlowEngine, line_to

QUESTION = "What is overfitting?"


def say(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def say_and_wait(page: Page, text: str) -> str:
    """Say something; returns the reply, when it is complete."""
    before = page.locator(".turn").count()
    say(page, text)
    turn = page.locator(".turn").nth(before)
    expect(turn.locator(".meta")).to_contain_text("seed")
    return turn.locator(".reply").inner_text()


def greedy(page: Page) -> None:
    """Have the likeliest token always be taken, so that it is among the alternatives that are shown."""
    page.evaluate("localStorage.setItem('troika.settings', JSON.stringify({temperature: 0}))")
    page.reload()


def replies(page: Page) -> list[str]:
    return page.locator(".turn .reply").all_inner_texts()


# -- replies -------------------------------------------------------------------------------------------------


def test_tokens_appear_as_they_come_and_the_footer_says_what_is_served(visit: Visitor, server: LiveServer) -> None:
    page = visit().open()
    with SlowEngine(server) as engine:
        say(page, QUESTION)
        expect(page.locator(".reply")).not_to_be_empty()
        engine.halt()
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        part = page.locator(".reply").inner_text()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert len(part) < len(replies(page)[0])
    assert replies(page)[0].startswith(part)
    footer = page.locator("#service")
    for fact in ("ready", "starter", "cpu", "float32"):
        expect(footer).to_contain_text(fact)
    expect(footer).to_contain_text(re.compile(r"[0-9.,]+ tokens/s"))


def test_a_stopped_reply_stays_through_a_reload_and_the_conversation_goes_on(
    visit: Visitor, server: LiveServer
) -> None:
    page = visit().open()
    say_and_wait(page, "My name is Lin.")
    with SlowEngine(server) as engine:
        say(page, QUESTION)
        expect(page.locator(".reply").nth(1)).not_to_be_empty()
        engine.halt()
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".turn").nth(1)).to_contain_text("stopped")
    stopped = replies(page)
    page.reload()
    expect(page.locator(".turn")).to_have_count(2)
    assert replies(page) == stopped
    expect(page.locator(".turn").nth(1)).to_contain_text("stopped")
    say_and_wait(page, "What is my name?")
    page.reload()
    expect(page.locator(".turn")).to_have_count(3)
    assert page.locator(".said").all_inner_texts() == ["My name is Lin.", QUESTION, "What is my name?"]


def test_a_reply_stopped_before_its_first_word_can_be_asked_for_again(visit: Visitor, server: LiveServer) -> None:
    visitor = visit()
    visitor.allowed = ("404",)  # the service is asked what it has stored of it: nothing
    page = visitor.open()
    with paused(server.engine_pid()):
        say(page, QUESTION)
        expect(page.locator(".waiting")).to_contain_text("In the queue")
        page.get_by_role("textbox", name="Message", exact=True).press("Escape")
        expect(page.locator(".turn")).to_contain_text("stopped")
    expect(page.get_by_text("What you talk about is listed here")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".meta")).to_contain_text("seed")
    expect(page.locator(".turn")).to_have_count(1)


def test_conversations_are_listed_opened_and_erased(visit: Visitor) -> None:
    page = visit().open()
    first = say_and_wait(page, "Who are you?")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    say_and_wait(page, "What is a token?")
    listed = page.locator("#conversations a")
    assert listed.all_inner_texts() == ["What is a token?", "Who are you?"]
    page.reload()
    expect(page.locator(".said")).to_have_text("What is a token?")
    page.get_by_role("link", name="Who are you?").click()
    expect(page.locator(".said")).to_have_text("Who are you?")
    assert replies(page) == [first]
    assert listed.all_inner_texts() == ["What is a token?", "Who are you?"]  # nothing moves under the pointer
    page.go_back()
    expect(page.locator(".said")).to_have_text("What is a token?")
    page.get_by_role("button", name="Erase: What is a token?").click()
    page.get_by_role("button", name="Erase", exact=True).click()
    expect(listed).to_have_text(["Who are you?"])
    expect(page.locator(".turn")).to_have_count(0)


def test_a_conversation_that_is_gone_says_so(visit: Visitor) -> None:
    visitor = visit()
    visitor.allowed = ("404",)
    page = visitor.open("/#conv_00000000000000000000000000000000")
    expect(page.get_by_role("alert")).to_contain_text("no longer has this conversation")
    page.get_by_role("alert").get_by_role("button", name="New conversation").click()
    expect(page.get_by_text("What would you like to know?")).to_be_visible()


def test_retry_replaces_the_last_reply_with_the_same_or_a_new_seed(visit: Visitor) -> None:
    page = visit().open()
    say_and_wait(page, "My name is Lin.")
    reply = say_and_wait(page, QUESTION)
    seed = re.search(r"seed (\d+)", page.locator(".meta").nth(1).inner_text())
    assert seed
    page.get_by_role("button", name="Same seed").click()
    expect(page.locator(".meta").nth(1)).to_contain_text(seed[0])
    assert replies(page)[1] == reply
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".meta").nth(1)).to_contain_text("seed")
    expect(page.locator(".meta").nth(1)).not_to_contain_text(seed[0])
    again = replies(page)
    page.reload()
    expect(page.locator(".turn")).to_have_count(2)
    assert replies(page) == again


def test_the_last_message_can_be_written_anew(visit: Visitor) -> None:
    visitor = visit()
    visitor.allowed = ("ERR_INTERNET_DISCONNECTED",)
    page = visitor.open()
    say_and_wait(page, "My name is Lin.")
    say_and_wait(page, "What is my nam?")
    last = page.locator(".turn").last
    message = page.get_by_role("textbox", name="Message", exact=True)
    last.get_by_role("button", name="Edit").click()
    expect(message).to_have_value("What is my nam?")
    page.get_by_role("button", name="Cancel").click()
    expect(message).to_have_value("")
    reply = replies(page)[1]
    last.get_by_role("button", name="Edit").click()
    visitor.context.set_offline(True)
    say(page, "What is my name?")
    expect(page.get_by_role("alert")).to_contain_text("can't be reached")
    assert page.locator(".said").all_inner_texts() == ["My name is Lin.", "What is my nam?"]
    assert replies(page)[1] == reply
    visitor.context.set_offline(False)
    page.get_by_role("alert").get_by_role("button", name="Try again").click()
    expect(last.locator(".said")).to_have_text("What is my name?")
    expect(last.locator(".meta")).to_contain_text("seed")
    page.reload()
    expect(page.locator(".said")).to_have_text(["My name is Lin.", "What is my name?"])


def test_settings_are_sent_and_kept(visit: Visitor) -> None:
    page = visit().open()
    page.get_by_role("button", name="Settings").click()
    panel = page.locator("#settings")
    panel.get_by_role("spinbutton", name="Temperature").fill("7")
    panel.get_by_role("spinbutton", name="Longest reply").fill("3")
    panel.get_by_role("textbox", name="Seed").fill("41")
    panel.get_by_role("textbox", name="System message").fill("You are brief.")
    expect(panel.get_by_role("spinbutton", name="Temperature")).to_have_value("2")
    with page.expect_request("**/chat") as sent:
        say(page, QUESTION)
    body = sent.value.post_data_json
    assert body == {
        "input": QUESTION,
        "temperature": 2,
        "max_new_tokens": 3,
        "seed": 41,
        "system": "You are brief.",
        "stream": True,
    }
    expect(page.locator(".meta")).to_contain_text("3 tokens")
    expect(page.locator(".meta")).to_contain_text("seed 41")
    page.reload()
    page.get_by_role("button", name="Settings").click()
    expect(panel.get_by_role("spinbutton", name="Longest reply")).to_have_value("3")
    with page.expect_request("**/chat") as sent:
        say(page, QUESTION)
    assert "system" not in sent.value.post_data_json  # it holds on
    expect(page.locator(".meta").nth(1)).to_contain_text("seed")
    panel.get_by_role("button", name="The model's own settings").click()
    expect(panel.get_by_role("spinbutton", name="Longest reply")).to_have_value("")


def test_a_setting_that_is_wrong_is_shown_and_the_message_stays(visit: Visitor) -> None:
    page = visit().open()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("textbox", name="Seed").fill("seven")
    page.get_by_role("button", name="Settings", exact=True).click()
    say(page, QUESTION)
    expect(page.get_by_role("textbox", name="Seed")).to_be_focused()
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_have_value(QUESTION)
    expect(page.locator(".turn")).to_have_count(0)


def test_the_keyboard_skips_to_the_conversation(visit: Visitor) -> None:
    page = visit().open()
    say_and_wait(page, QUESTION)
    address = page.url
    page.reload()
    expect(page.locator(".turn")).to_have_count(1)
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    assert page.url == address


def test_the_last_request_can_be_copied_as_curl(visit: Visitor, server: LiveServer) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    page = visitor.open()
    text = "It's \"quoted\", isn't it?"
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("textbox", name="Seed").fill("5")
    reply = say_and_wait(page, text)
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    run = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    done = json.loads(run.stdout.partition("event: done\ndata: ")[2])
    assert (done["reply"], done["seed"]) == (reply, 5)


def test_messages_and_replies_stay_text(visit: Visitor) -> None:
    page = visit().open()
    text = "<script>document.title='x'</script><img src=x onerror=\"document.title='x'\"><b>bold</b>"
    say_and_wait(page, f"Repeat after me: {text}")
    for _ in range(2):
        expect(page.locator(".said")).to_have_text(f"Repeat after me: {text}")
        expect(page.locator("#conversations a")).to_contain_text("<script>")
        assert page.locator("#log script, #log img, #log b, #history script, #history img").count() == 0
        assert page.title() == "Troika: chat"
        page.reload()


# -- looking inside ------------------------------------------------------------------------------------------


def test_probabilities_tint_each_token_and_show_the_alternatives(visit: Visitor) -> None:
    page = visit().open()
    greedy(page)
    page.get_by_role("button", name="Probabilities").click()
    reply = say_and_wait(page, QUESTION)
    tokens = page.locator(".token:not(.end)")
    assert "".join(tokens.all_text_contents()) == reply.removesuffix("∎")
    assert tokens.count() > 5
    card = page.locator("#alternatives")
    tokens.nth(2).hover()
    expect(card).to_be_visible()
    expect(card.locator(".alternative")).to_have_count(5)
    expect(card.locator(".is-chosen")).to_contain_text(tokens.nth(2).inner_text().strip())
    expect(card.locator(".is-chosen .percent")).to_contain_text("%")
    tinted = tokens.nth(2).evaluate("token => getComputedStyle(token).backgroundColor")
    assert tinted != "rgba(0, 0, 0, 0)"
    page.mouse.move(600, 600)
    expect(card).to_be_hidden()
    page.get_by_role("button", name="Probabilities").click()
    assert tokens.nth(2).evaluate("token => getComputedStyle(token).backgroundColor") == "rgba(0, 0, 0, 0)"


def test_alternatives_are_reached_with_the_keyboard(visit: Visitor) -> None:
    page = visit().open()
    greedy(page)
    page.get_by_role("button", name="Probabilities").click()
    say_and_wait(page, QUESTION)
    page.locator("#log").focus()
    page.keyboard.press("Tab")
    expect(page.locator(".token").first).to_be_focused()
    card = page.locator("#alternatives")
    expect(card).to_be_visible()
    described = page.locator(".token").first.get_attribute("aria-describedby")
    assert described == "alternatives"
    page.keyboard.press("ArrowRight")
    expect(page.locator(".token").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_a_message_that_is_too_long_can_be_edited(visit: Visitor) -> None:
    visitor = visit()
    visitor.allowed = ("422", "400")
    page = visitor.open()
    say(page, "word " * 8000)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("input:")
    alert.get_by_role("button", name="Edit the message").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_have_value(re.compile("^word word"))


def test_a_service_that_cannot_be_reached_is_told_where_it_happened(visit: Visitor) -> None:
    visitor = visit()
    visitor.allowed = ("ERR_INTERNET_DISCONNECTED",)
    page = visitor.open()
    expect(page.locator("#service")).to_contain_text("ready")
    visitor.context.set_offline(True)
    say(page, QUESTION)
    expect(page.locator(".turn").get_by_role("alert")).to_contain_text("can't be reached")
    visitor.context.set_offline(False)
    page.get_by_role("alert").get_by_role("button", name="Try again").click()
    expect(page.locator(".meta")).to_contain_text("seed")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_line_that_breaks_in_mid_reply_leaves_one_turn(visit: Visitor, server: LiveServer) -> None:
    with line_to(server) as line:
        visitor = visit(line)
        visitor.allowed = ("net::ERR",)
        page = visitor.open()
        say_and_wait(page, "My name is Lin.")
        with SlowEngine(server) as engine:
            say(page, QUESTION)
            expect(page.locator(".reply").nth(1)).not_to_be_empty()
            engine.halt()
            line.become("cut")
            expect(page.get_by_role("alert")).to_contain_text("can't be reached")
            expect(page.locator("#service")).to_contain_text("not reachable")
        line.become("whole")
        page.get_by_role("alert").get_by_role("button", name="Try again").click()
        expect(page.locator(".meta").nth(1)).to_contain_text("seed")
        expect(page.get_by_role("alert")).to_have_count(0)
        shown = replies(page)
        page.reload()
        expect(page.locator(".turn")).to_have_count(2)
        assert replies(page) == shown
        expect(page.locator("#service")).to_contain_text("ready")


def test_a_retry_that_fails_leaves_the_reply(visit: Visitor) -> None:
    visitor = visit()
    visitor.allowed = ("ERR_INTERNET_DISCONNECTED",)
    page = visitor.open()
    reply = say_and_wait(page, QUESTION)
    visitor.context.set_offline(True)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("can't be reached")
    assert replies(page) == [reply]
    expect(page.locator(".meta")).to_contain_text("seed")
    visitor.context.set_offline(False)
    page.get_by_role("alert").get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".meta")).to_contain_text("seed")
    page.reload()
    expect(page.locator(".turn")).to_have_count(1)


def test_a_system_message_belongs_to_its_conversation(visit: Visitor) -> None:
    page = visit().open()
    page.get_by_role("button", name="Settings").click()
    system = page.get_by_role("textbox", name="System message")
    system.fill("You are brief.")
    say_and_wait(page, "Who are you?")
    page.get_by_role("button", name="New conversation").click()
    expect(system).to_have_value("You are brief.")
    system.fill("")
    say_and_wait(page, "What is a token?")
    page.get_by_role("link", name="Who are you?").click()
    expect(system).to_have_value("You are brief.")
    page.get_by_role("button", name="New conversation").click()
    expect(system).to_have_value("")


# -- languages, sizes ----------------------------------------------------------------------------------------


def test_chinese_is_chosen_by_the_browser_and_the_switch_changes_every_word(visit: Visitor) -> None:
    page = visit(locale="zh-CN").open()
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    expect(page.get_by_text("想聊点什么？")).to_be_visible()
    page.get_by_role("textbox", name="消息").fill("你是谁？")
    page.keyboard.press("Enter")
    expect(page.locator(".meta")).to_contain_text("种子")
    expect(page.locator("#service")).to_contain_text("就绪")
    page.get_by_role("button", name="English").click()
    expect(page.locator(".meta")).to_contain_text("seed")
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="New conversation")).to_be_visible()
    expect(page.locator(".meta")).to_contain_text("seed")
    assert page.locator("html").get_attribute("lang") == "en"


def test_a_phone_has_all_of_it(visit: Visitor) -> None:
    page = visit(**PHONE).open()
    say_and_wait(page, QUESTION)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.get_by_role("button", name="Conversations").tap()
    expect(page.locator("#history")).to_be_visible()
    assert page.evaluate("document.querySelector('#history').matches(':modal')")
    page.get_by_role("button", name="New conversation").tap()
    expect(page.locator("#history")).to_be_hidden()
    expect(page.get_by_text("What would you like to know?")).to_be_visible()
    page.get_by_role("button", name="Settings").tap()
    expect(page.get_by_role("spinbutton", name="Temperature")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    page.get_by_role("button", name="Probabilities").tap()
    page.get_by_role("button", name="What is a token?").tap()
    expect(page.locator(".meta")).to_contain_text("seed")
    page.locator(".token").nth(1).tap()
    card = page.locator("#alternatives")
    expect(card).to_be_visible()
    box = card.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 375
