"""The bytes of one HTTP request as they come: whether it is whole yet.

Not a parser of requests: that is gunicorn's part. This only finds where one ends, and refuses what has no end that
could be found, so that whoever parses it need never wait for more.
"""

from __future__ import annotations

import re
from typing import Literal

MAX_HEAD = 64 << 10
"""Bytes of request line and headers: about what gunicorn's own limits allow of sensible headers."""

MAX_CHUNK_LINE = 1 << 10

END_OF_HEAD = b"\r\n\r\n"
EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
HEX = re.compile(rb"[0-9a-fA-F]{1,16}")

Fault = Literal["head too long", "no length", "unknown coding", "body too long"]


class Incoming:
    """What has come of a request, and perhaps of those behind it on the same connection.

    - `is_whole`: it can be answered without reading on.
    - `leaves_rest`: that is so because its body is said to be longer than `max_body` bytes: it is to be refused
      unread, and the connection ended, as the body is still to come.
    - `fault`: why it will never be whole.
    - `wants_go_ahead`: the client sends the body when it hears `100 Continue`. That is to be said once, and not by
      gunicorn again: the header is gone from `data`.
    """

    def __init__(self, max_body: int) -> None:
        self.data = bytearray()
        self.is_whole = self.leaves_rest = self.wants_go_ahead = False
        self.fault: Fault | None = None
        self._max_body = max_body
        self._end: int | None = None  # where the request ends, once that is known
        self._chunk: int | None = None  # where the next chunk begins, of a body in chunks
        self._chunked_bytes = 0

    def feed(self, data: bytes) -> None:
        searched = max(0, len(self.data) - len(END_OF_HEAD))
        self.data += data
        if self._end is None and self._chunk is None:
            self._read_head(searched)
        if self._chunk is not None:
            self._read_chunks(self._chunk)
        self.is_whole = self.fault is None and self._end is not None and len(self.data) >= self._end

    def _read_head(self, searched: int) -> None:
        end = self.data.find(END_OF_HEAD, searched)
        if max(end, len(self.data) if end < 0 else 0) > MAX_HEAD:
            self.fault = "head too long"
        if end < 0 or self.fault:
            return
        head = bytes(self.data[: end + 2])
        fields = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        lengths = [value.strip() for name, _, value in fields if name.lower() == b"content-length"]
        codings = [value.strip().lower() for name, _, value in fields if name.lower() == b"transfer-encoding"]
        after_head = end + len(END_OF_HEAD)
        if (lengths or codings) and (expect := EXPECT.search(head)) is not None:
            del self.data[expect.start() : expect.end()]
            after_head -= expect.end() - expect.start()
            self.wants_go_ahead = len(self.data) == after_head
        if not lengths and not codings:
            self._end = after_head
        elif codings == [b"chunked"] and not lengths:
            self._chunk = after_head
        elif not codings and len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < 16:
            length = int(lengths[0])
            self.leaves_rest = length > self._max_body
            self._end = after_head if self.leaves_rest else after_head + length
            self.wants_go_ahead &= length > 0 and not self.leaves_rest
        else:
            self.fault = "no length" if lengths else "unknown coding"

    def _read_chunks(self, begin: int) -> None:
        """Go on from chunk to chunk, as far as their first lines have come."""
        while begin < len(self.data):
            self._chunk = begin
            line_end = self.data.find(b"\r\n", begin, begin + MAX_CHUNK_LINE)
            if line_end < 0:
                if len(self.data) >= begin + MAX_CHUNK_LINE:
                    self.fault = "no length"
                return
            text = bytes(self.data[begin:line_end]).partition(b";")[0].strip()
            if not HEX.fullmatch(text):
                self.fault = "no length"
                return
            size = int(text, 16)
            if size == 0:
                self._read_trailers(line_end)
                return
            self._chunked_bytes += size
            if self._chunked_bytes > self._max_body:
                self.fault = "body too long"
                return
            begin = self._chunk = line_end + 2 + size + 2

    def _read_trailers(self, line_end: int) -> None:
        """Headers after the last chunk, none as a rule, and an empty line."""
        end = self.data.find(END_OF_HEAD, line_end, line_end + MAX_CHUNK_LINE)
        if end >= 0:
            self._chunk, self._end = None, end + len(END_OF_HEAD)
        elif len(self.data) >= line_end + MAX_CHUNK_LINE:
            self.fault = "no length"
