"""Writers wait in a queue: nobody is passed over."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app.storage.fair_lock import FairLock


def test_those_who_wait_get_it_in_their_order() -> None:
    lock = FairLock()
    assert lock.acquire(0)
    served: list[int] = []

    def wait(number: int) -> None:
        assert lock.acquire(60)
        served.append(number)
        lock.release()

    threads = []
    for number in range(20):
        threads.append(threading.Thread(target=wait, args=[number]))
        threads[-1].start()
        while len(lock._waiting) <= number:
            pass
    lock.release()
    for thread in threads:
        thread.join(60)
    assert served == list(range(20))


def test_who_comes_when_it_is_handed_on_is_behind_those_who_wait() -> None:
    """A plain lock is free for a moment, and goes to whoever runs in it."""
    lock = FairLock()
    assert lock.acquire(0)
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(lock.acquire, 60)
        while not lock._waiting:
            pass
        lock.release()
        assert not lock.acquire(0)
        assert waiter.result(60)
        lock.release()
    assert lock.acquire(0)


def test_who_gives_up_is_not_waited_for() -> None:
    lock = FairLock()
    assert lock.acquire(0)
    assert not lock.acquire(0.01)
    lock.release()
    assert lock.acquire(0)


def test_it_is_never_held_twice_nor_lost() -> None:
    """Also when some give up just as it comes to them."""
    lock = FairLock()
    inside = most = got = 0

    def work(number: int) -> None:
        nonlocal inside, most, got
        for turn in range(200):
            if lock.acquire((number + turn) % 3 * 0.0005):
                inside += 1
                most = max(most, inside)
                got += 1
                inside -= 1
                lock.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert (inside, most) == (0, 1)
    assert got > 0
    assert lock.acquire(0)
