"""The threads that answer requests: as many as are needed, and no longer than that."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from app.threads import ThreadPool

SIZE = 8
SHORT_S = 0.2


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    """Its threads end soon."""
    found = ThreadPool(SIZE, idle_s=SHORT_S)
    yield found
    found.shutdown()


@pytest.fixture
def patient() -> Iterator[ThreadPool]:
    """Its threads stay."""
    found = ThreadPool(SIZE, idle_s=3600)
    yield found
    found.shutdown()


def fill(pool: ThreadPool) -> None:
    """Have all threads work at once."""
    together = threading.Barrier(SIZE, timeout=60)
    for future in [pool.submit(together.wait) for _ in range(SIZE)]:
        future.result(60)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_there_are_as_many_as_there_is_work_for(patient: ThreadPool) -> None:
    assert len(patient) == 0
    fill(patient)
    assert len(patient) == SIZE
    fill(patient)
    assert len(patient) == SIZE


def test_what_is_too_much_waits_and_is_done(patient: ThreadPool) -> None:
    go = threading.Event()

    def work(number: int) -> int:
        assert go.wait(60)
        return number * 2

    futures = [patient.submit(work, number) for number in range(10 * SIZE)]
    assert len(patient) == SIZE
    go.set()
    assert [future.result(60) for future in futures] == [number * 2 for number in range(10 * SIZE)]


def test_an_error_is_the_caller_s(patient: ThreadPool) -> None:
    future = patient.submit(int, "seven", base=10)
    with pytest.raises(ValueError, match="seven"):
        future.result(60)
    assert patient.submit(int, "7", base=10).result(60) == 7


def test_idle_ones_end_and_busy_ones_stay(pool: ThreadPool) -> None:
    go = threading.Event()
    busy = pool.submit(go.wait, 60)
    fill_but_one = threading.Barrier(SIZE - 1, timeout=60)
    for future in [pool.submit(fill_but_one.wait) for _ in range(SIZE - 1)]:
        future.result(60)
    until(lambda: len(pool) == 1)
    go.set()
    assert busy.result(60)
    until(lambda: len(pool) == 0)
    fill(pool)


def test_those_that_are_not_needed_end_though_there_is_always_some_work(pool: ThreadPool) -> None:
    """One request at a time would keep all of them if they took turns."""
    fill(pool)

    def few_are_left() -> bool:
        pool.submit(lambda: None).result(60)
        return len(pool) <= 2

    until(few_are_left)


def test_an_idle_one_holds_nothing_of_what_it_did(patient: ThreadPool) -> None:
    class Request:
        pass

    request = Request()
    gone = weakref.ref(request)
    for _ in range(2):  # the task a thread begins with, and one that comes later
        patient.submit(id, request).result(60)
    del request
    until(lambda: gone() is None)


def test_in_the_end_what_was_taken_is_done() -> None:
    pool = ThreadPool(2, idle_s=3600)
    go = threading.Event()
    futures = [pool.submit(go.wait, 60) for _ in range(9)]
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError):
        pool.submit(id, pool)
    go.set()
    pool.shutdown()
    assert all(future.done() and future.result() for future in futures)
    assert len(pool) == 0


def test_idle_ones_hear_of_the_end() -> None:
    pool = ThreadPool(SIZE, idle_s=3600)
    fill(pool)
    pool.shutdown()
    assert len(pool) == 0


def test_a_system_that_allows_no_more_is_made_do_with(patient: ThreadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    first = patient.submit(go.wait, 60)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        second = patient.submit(go.wait, 60)
        go.set()
        assert first.result(60)
        assert second.result(60)
    assert len(patient) == 1
