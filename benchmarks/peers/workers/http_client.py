"""A service in a child process, asked over HTTP by as many clients at once as there are prompts.

Both services get the same clients: each posts a form to `/chat` and reads the whole reply.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers.worker import Generated, Prompts

ANSWER_S = 600


class HttpService:
    """`count` tells from a reply how many tokens it has; `fields` are the form's, beside `input`, for `new` tokens."""

    def __init__(
        self,
        version: str,
        port: int,
        process: subprocess.Popen[bytes],
        fields: Callable[[int], dict[str, str]],
        count: Callable[[dict[str, object]], int],
    ) -> None:
        self.version = version
        self._url = f"http://127.0.0.1:{port}/chat"
        self._process = process
        self._fields = fields
        self._count = count

    def generate(self, prompts: Prompts, new: int) -> Generated:
        texts = ["".join(chr(ord("a") + token % 26) for token in prompt) for prompt in prompts]  # a token a character
        begin = threading.Barrier(len(texts) + 1)

        def ask(text: str) -> tuple[float, int]:
            body = urllib.parse.urlencode({"input": text} | self._fields(new)).encode()
            begin.wait()
            with urllib.request.urlopen(self._url, data=body, timeout=ANSWER_S) as response:
                reply = json.load(response)
            return time.perf_counter(), self._count(reply)

        with ThreadPoolExecutor(len(texts)) as clients:
            answers = clients.map(ask, texts)
            begin.wait()
            started = time.perf_counter()
            replies = list(answers)
        return Generated(started, [[at] for at, _ in replies], counts=[count for _, count in replies])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
