"""Server-sent events: what is written is read back, by another reader, however the bytes are cut; also over HTTP."""

from __future__ import annotations

import codecs
import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api import sse
from tests.chat.support import PROPERTY, texts

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
written = st.one_of(
    st.just(("comment", None)),
    st.tuples(st.just("message"), values),
    st.tuples(st.sampled_from(["token", "done", "error"]), values),
)


def read_events(chunks: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    """Name and data of each event, by the rules of the HTML standard for text/event-stream."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    buffer, name, data = "", "", []
    for piece in chunks:
        buffer += decoder.decode(piece)
        while True:
            ends = [at for at in (buffer.find("\n"), buffer.find("\r")) if at >= 0]
            if not ends or (buffer[min(ends)] == "\r" and min(ends) + 1 == len(buffer)):
                break  # no whole line yet; a return at the very end may have a newline coming
            end = min(ends)
            line, buffer = buffer[:end], buffer[end + (2 if buffer[end : end + 2] == "\r\n" else 1) :]
            if not line:
                if data:
                    yield name or "message", "\n".join(data)
                name, data = "", []
            elif not line.startswith(":"):
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    name = value
                elif field == "data":
                    data.append(value)


def cut(content: bytes, places: list[int]) -> Iterator[bytes]:
    cuts = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    return (content[a:b] for a, b in itertools.pairwise(cuts))


@PROPERTY
@given(events=st.lists(written, max_size=6), places=st.lists(st.integers(0, 4000), max_size=12))
def test_what_is_written_is_read_back_however_it_is_cut(events: list[tuple[str, Any]], places: list[int]) -> None:
    written = [
        sse.HEARTBEAT if name == "comment" else sse.message(data) if name == "message" else sse.event(name, data)
        for name, data in events
    ]
    found = list(read_events(cut("".join(written).encode(), places)))
    assert [(name, json.loads(data)) for name, data in found] == [e for e in events if e[0] != "comment"]


LIVE = settings(
    derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
said = texts.filter(lambda text: text.strip() and "\0" not in text)


def readable(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


@LIVE
@given(
    words=said.filter(readable),
    stop=st.lists(st.text("aeiou \n�", min_size=1, max_size=2), max_size=4),
    seed=st.integers(0, 2**31),
    places=st.lists(st.integers(0, 8000), max_size=8),
)
def test_a_live_stream_says_what_the_whole_reply_says(
    http: httpx.Client, words: str, stop: list[str], seed: int, places: list[int]
) -> None:
    """The random model gives random bytes: broken characters, control characters, and stop strings everywhere."""
    body = {"input": words[:300], "seed": seed, "max_new_tokens": 24, "stop": stop, "temperature": 1.5}
    whole = http.post("/chat", json=body)
    assert whole.status_code == 200, whole.text
    stream = http.post("/chat", json=body | {"stream": True})
    events = [(name, json.loads(data)) for name, data in read_events(cut(stream.content, places))]
    assert [name for name, _ in events[:-1]] == ["token"] * (len(events) - 1)
    name, done = events[-1]
    assert name == "done"
    assert "".join(token["text"] for _, token in events[:-1]) == done["reply"] == whole.json()["reply"]
    assert not any(string in done["reply"] for string in stop)


half_pairs = st.sampled_from(["\ud800", "\udfff", "a\ud83d", "\0", "\ud83d\ude00"[:1]])


@LIVE
@given(field=st.sampled_from(["input", "system", "stop", "conversation_id"]), text=half_pairs)
def test_what_is_no_text_is_refused_by_name(http: httpx.Client, field: str, text: str) -> None:
    body = json.dumps({"input": "Hello", "max_new_tokens": 2, "stream": True} | {field: text}).encode()
    response = http.post("/chat", content=body, headers={"Content-Type": "application/json"})
    if response.status_code == 200:
        assert (field, text) == ("stop", "\0"), "a stop string is looked for, and not stored"
        return
    error = response.json()["error"]
    assert response.status_code in (404, 422), response.text
    assert error["param"] == field
