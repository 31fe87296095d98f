"""Where a request ends: seen as gunicorn's own parser sees it, however its bytes are cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from app.incoming import MAX_CHUNK_LINE, MAX_HEAD, Incoming

MAX_BODY = 1000

HEADERS = st.lists(
    st.sampled_from(
        [b"Host: x", b"Accept: */*", b"X-Note: content-length: 7", b"X-Transfer-Encoding: chunked", b"Cookie: a=b; c"]
    ),
    max_size=4,
    unique=True,
)


def request(headers: list[bytes], body: bytes) -> bytes:
    return b"\r\n".join([b"POST /chat HTTP/1.1", *headers, b"", body])


@st.composite
def whole_requests(draw: st.DrawFn) -> bytes:
    headers = draw(HEADERS)
    body = draw(st.binary(max_size=200))
    match draw(st.sampled_from(["none", "length", "chunks"])):
        case "none":
            return request(headers, b"")
        case "length":
            return request(
                [*headers, draw(st.sampled_from([b"Content-Length: ", b"cOnTeNt-LeNgTh:"])) + b"%d" % len(body)], body
            )
        case _:
            cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=4)))
            parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
            extension = draw(st.sampled_from([b"", b";a=b"]))
            chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part)
            trailer = draw(st.sampled_from([b"", b"X-Sum: 1\r\n"]))
            return request([*headers, b"Transfer-Encoding: Chunked"], chunks + b"0\r\n" + trailer + b"\r\n")


@settings(derandomize=True, deadline=None, max_examples=300)
@given(whole_requests(), st.binary(max_size=30), st.data())
def test_it_is_whole_at_its_last_byte_and_not_before(found: bytes, behind: bytes, data: st.DataObject) -> None:
    incoming = Incoming(MAX_BODY)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(found) - 1), max_size=6)))
    for a, b in zip([0, *cuts], [*cuts, len(found) - 1], strict=True):
        incoming.feed(found[a:b])
        assert not incoming.is_whole
        assert incoming.fault is None
    incoming.feed(found[-1:] + behind)
    assert incoming.is_whole
    assert incoming.data == found + behind


@settings(derandomize=True, deadline=None, max_examples=200)
@given(whole_requests())
def test_gunicorn_reads_all_of_it_and_wants_no_more(found: bytes) -> None:
    asked_for_more = []

    def pieces() -> Iterator[bytes]:
        yield found
        asked_for_more.append(True)

    parser = RequestParser(Config(), pieces(), ("127.0.0.1", 1))
    body = next(parser).body
    while body.read(64):
        pass
    assert not asked_for_more
    incoming = Incoming(MAX_BODY)
    incoming.feed(found)
    assert incoming.is_whole


PARTS = [
    *(b"\r\n", b"\r", b"\n", b":", b";", b" ", b"0", b"5", b"ffffffffffffffff", b"-1", b"\r\n\r\n"),
    *(b"GET / HTTP/1.1\r\n", b"Content-Length", b"Transfer-Encoding", b"chunked", b"Expect: 100-continue\r\n"),
]


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(PARTS), max_size=25))
def test_no_bytes_break_it(parts: list[bytes]) -> None:
    together, apart = Incoming(MAX_BODY), Incoming(MAX_BODY)
    together.feed(b"".join(parts))
    for byte in b"".join(parts):
        if apart.is_whole or apart.fault:
            break
        apart.feed(bytes([byte]))
    assert (apart.fault, apart.is_whole) == (together.fault, together.is_whole)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([b"Content-Length: 5", b"Content-Length: 5"], b""),
        ([b"Content-Length: -5"], b""),
        ([b"Content-Length: +5"], b""),
        ([b"Content-Length: 5 5"], b""),
        ([b"Content-Length:"], b""),
        ([b"Content-Length: 9999999999999999999999"], b""),
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], b""),
        ([b"Transfer-Encoding: chunked"], b"x\r\n"),
        ([b"Transfer-Encoding: chunked"], b"-1\r\n"),
        ([b"Transfer-Encoding: chunked"], b"\r\n"),
        ([b"Transfer-Encoding: chunked"], b"1" * (MAX_CHUNK_LINE + 1)),
        ([b"Transfer-Encoding: chunked"], b"0\r\n" + b"x" * (MAX_CHUNK_LINE + 1)),
    ],
)
def test_a_body_whose_end_cannot_be_found_is_refused(headers: list[bytes], body: bytes) -> None:
    incoming = Incoming(MAX_BODY)
    incoming.feed(request(headers, body))
    assert (incoming.fault, incoming.is_whole) == ("no length", False)


@pytest.mark.parametrize("codings", [[b"gzip, chunked"], [b"gzip"], [b"chunked"] * 2, [b"identity"], [b""]])
def test_a_coding_that_is_not_read_here_is_refused(codings: list[bytes]) -> None:
    incoming = Incoming(MAX_BODY)
    incoming.feed(request([b"Transfer-Encoding: " + coding for coding in codings], b""))
    assert (incoming.fault, incoming.is_whole) == ("unknown coding", False)


def test_a_head_without_end_is_refused() -> None:
    incoming = Incoming(MAX_BODY)
    incoming.feed(b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD)
    assert incoming.fault == "head too long"


def test_a_body_that_is_too_long_is_not_waited_for() -> None:
    incoming = Incoming(MAX_BODY)
    incoming.feed(request([b"Content-Length: 1001"], b""))
    assert (incoming.is_whole, incoming.leaves_rest) == (True, True)
    chunks = Incoming(MAX_BODY)
    chunks.feed(request([b"Transfer-Encoding: chunked"], b"1f4\r\n" + b"x" * 500 + b"\r\n"))
    assert chunks.fault is None
    chunks.feed(b"1f5\r\n")
    assert chunks.fault == "body too long"


@pytest.mark.parametrize("kind", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
def test_who_waits_for_leave_to_send_the_body_is_noticed_once(kind: bytes) -> None:
    incoming = Incoming(MAX_BODY)
    incoming.feed(request([b"Expect: 100-Continue", kind], b""))
    assert (incoming.wants_go_ahead, incoming.is_whole) == (True, False)
    assert b"Expect" not in incoming.data
    incoming.feed(b"abc" if b"Length" in kind else b"0\r\n\r\n")
    assert incoming.is_whole
    # Who has sent it without waiting needs none.
    at_once = Incoming(MAX_BODY)
    at_once.feed(request([b"Expect: 100-continue", b"Content-Length: 3"], b"abc"))
    assert (at_once.wants_go_ahead, at_once.is_whole) == (False, True)
