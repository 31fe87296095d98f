"""The source article's chat service under gunicorn with 32 threads: `generate` for each request, as its sketch has it.

Its faults are kept, for they are what is compared with: the prompt ends in end-of-text, nothing is sampled whatever the
temperature, the reply repeats the prompt. Only its length is set, so that both services write as many tokens.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from typing import Any

import flask

from benchmarks.peers.worker import System
from benchmarks.peers.workers.http_client import HttpService

THREADS, START_S = 32, 300


def create_app(folder: str) -> flask.Flask:
    import torch
    import transformers

    app = flask.Flask(__name__)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)

    @app.post("/chat")
    def chat() -> dict[str, Any]:
        ids = tokenizer.encode(flask.request.form["input"] + tokenizer.eos_token, return_tensors="pt")
        length = ids.shape[1] + int(flask.request.form["new"])
        output = model.generate(
            ids, max_length=length, min_length=length, temperature=0.9, pad_token_id=tokenizer.eos_token_id
        )
        return {"reply": tokenizer.decode(output[0], skip_special_tokens=True), "new": output.shape[1] - ids.shape[1]}

    @app.get("/")
    def alive() -> str:
        return "ok"

    return app


def load(folder: str, precision: str, cores: int) -> System:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    application = f"benchmarks.peers.workers.http_article:create_app({folder!r})"
    options = ["--threads", str(THREADS), "--worker-class", "gthread", "--timeout", "0", "--bind", f"127.0.0.1:{port}"]
    process = subprocess.Popen([sys.executable, "-m", "gunicorn", *options, application])
    deadline = time.monotonic() + START_S
    while not _answers(port):
        if time.monotonic() > deadline or process.poll() is not None:
            raise RuntimeError("the article's app did not start")
        time.sleep(0.1)
    version = f"flask under gunicorn, {THREADS} threads"
    return HttpService(version, port, process, lambda new: {"new": str(new)}, lambda reply: int(str(reply["new"])))


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).status == 200)
    return False
