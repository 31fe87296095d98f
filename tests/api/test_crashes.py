"""A turn under an idempotency key, in a process that is killed before any of its statements to the database."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from apiflask import APIFlask
from sqlalchemy import event

from app import create_app
from app.engine.client import EngineStatus, TokenStream
from app.engine.messages import SamplingParams, StepStats, Token
from app.storage.database import Database
from config.settings import Settings
from tests.storage.support import KINDS, empty_database

pytestmark = pytest.mark.slow

STATEMENTS = ("before_cursor_execute", "commit")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


class SeededEngine:
    """Answers at once, with tokens of the prompt that only the seed settles."""

    def submit(
        self, prompt: Sequence[int], params: SamplingParams, *, owner: str = "", deadline_s: float | None = None
    ) -> TokenStream:
        stream = TokenStream(0, tuple(prompt), lambda *_: None, lambda _: None, float("inf"))
        for position in range(params.max_new_tokens):
            stream.put(Token(0, prompt[params.seed * (position + 7) % len(prompt)]))
        stream.put("length")
        return stream

    def cancel(self, request_id: int, reason: str = "cancelled") -> None: ...

    def status(self) -> EngineStatus:
        return EngineStatus("ready", "", None, StepStats(), 0, 0, 0, None)

    def close(self) -> None: ...


@contextlib.contextmanager
def service(settings: Settings) -> Iterator[APIFlask]:
    app = create_app(settings, SeededEngine())
    try:
        yield app
    finally:
        app.extensions["lifecycle"].close()


def ask(app: APIFlask, key: str, body: dict[str, Any]) -> tuple[str, bool]:
    """The reply to the request, and whether it was there already."""
    with app.test_client().post("/chat", json=body, headers={"Idempotency-Key": key}) as response:
        assert response.status_code == 200, response.text
        return response.text, "Idempotent-Replayed" in response.headers


def result(text: str) -> Any:
    """What a reply, or the end of its stream, says."""
    return json.loads(text.rpartition("data: ")[2])


def ask_and_die(settings: Settings, key: str, body: dict[str, Any], survived: int) -> None:
    """A process that asks, and is killed instead of its next statement after so many."""
    done = 0

    def die(*_: object) -> None:
        nonlocal done
        if "housekeeping" in threading.current_thread().name:
            return
        if done == survived:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1

    with service(settings) as app:
        database: Database = app.extensions["chat"].memory._database
        for statement in STATEMENTS:
            event.listen(database.engine, statement, die)
        ask(app, key, body)
        for statement in STATEMENTS:
            event.remove(database.engine, statement, die)


@pytest.fixture(params=KINDS)
def settings(request: pytest.FixtureRequest, chat_model: Path, tmp_path: Path) -> Iterator[Settings]:
    with empty_database(request.param, tmp_path) as url:
        yield Settings(model=str(chat_model), database_url=url, training_folder=str(tmp_path / "training"))


@pytest.mark.parametrize("streamed", [False, True])
def test_wherever_the_process_is_killed_the_conversation_gets_one_turn(settings: Settings, streamed: bool) -> None:
    body = {"input": "Hello", "max_new_tokens": 5, "stream": streamed}
    with service(settings) as app:
        survived, kept, ended = 0, [], None
        while ended != 0:
            conversation = result(ask(app, f"first-{survived}", body)[0])["conversation_id"]
            key, mine = f"second-{survived}", body | {"conversation_id": conversation}
            process = PROCESSES.Process(target=ask_and_die, args=(settings, key, mine, survived))
            process.start()
            process.join()
            ended = process.exitcode
            assert ended in (0, -signal.SIGKILL)
            (answer, was_there), (again, _) = (ask(app, key, mine) for _ in range(2))
            assert answer == again
            kept.append(was_there)
            with app.test_client().get(f"/conversations/{conversation}") as response:
                replies = [turn["reply"] for turn in response.get_json()["turns"]]
            assert len(replies) == 2, f"killed instead of statement {survived}"
            assert replies[1] == result(answer)["reply"]
            survived += 1
    assert len(kept) > 12
    # Only where it was not killed: the last statement was the commit.
    assert kept == [False] * (len(kept) - 1) + [True]
