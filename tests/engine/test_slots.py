"""Who gets which slot, and whose prefixes are reused by whom. No model: slots are numbers here."""

import numpy as np
import pytest

from app.engine.messages import SamplingParams, Submit
from app.engine.sequence import Sequence
from app.engine.slots import WORTH_WAITING, SlotCopy, SlotPool, common_prefix


def sequence(tokens: range | list[int], owner: str = "ann", request_id: int = 0) -> Sequence:
    return Sequence.from_submit(Submit(request_id, owner, tuple(tokens), SamplingParams(max_new_tokens=10)), now=0.0)


def leave(pool: SlotPool, tokens: range | list[int], owner: str = "ann") -> int:
    """A sequence with these tokens runs to its end; returns the slot where they now lie."""
    done = sequence([*tokens, 999], owner)
    assert pool.acquire(done, []).slot is not None
    done.computed = len(done.tokens) - 1
    slot = done.slot
    assert slot is not None
    pool.release(done)
    return slot


def test_every_slot_is_handed_out_once() -> None:
    pool = SlotPool(3, prefix_reuse=True)
    sequences = [sequence([i]) for i in range(4)]

    got = [pool.acquire(s, []).slot for s in sequences]

    assert sorted(got[:3]) == [0, 1, 2]
    assert got[3] is None
    assert sequences[3].slot is None
    assert pool.held == 3
    pool.release(sequences[1])
    assert pool.acquire(sequences[3], []).slot == got[1]


def test_a_continued_conversation_goes_on_in_its_own_slot() -> None:
    pool = SlotPool(4, prefix_reuse=True)
    leave(pool, range(500, 550), owner="bob")
    slot = leave(pool, range(50))
    follow_up = sequence([*range(50), 100, 101])

    grant = pool.acquire(follow_up, [])

    assert (grant.slot, grant.copy) == (slot, None)
    assert (follow_up.slot, follow_up.computed, follow_up.reused) == (slot, 50, 50)


def test_the_last_token_is_always_computed() -> None:
    """Its logits are needed, and they are not kept."""
    pool = SlotPool(2, prefix_reuse=True)
    leave(pool, range(50))
    again = sequence(range(50))

    pool.acquire(again, [])

    assert (again.computed, again.remaining) == (49, 1)


def test_a_prefix_is_never_reused_across_owners() -> None:
    pool = SlotPool(4, prefix_reuse=True)
    leave(pool, range(50), owner="ann")
    running = sequence(range(50), "ann")
    pool.acquire(running, [])
    running.computed = 50
    for owner in ("bob", "", "Ann", "ann "):
        other = sequence([*range(50), 1], owner)

        grant = pool.acquire(other, [running])

        assert grant.copy is None
        assert (other.computed, other.reused) == (0, 0)
        pool.release(other)
        pool.forget()


def test_requests_without_an_owner_share_nothing() -> None:
    """The empty owner is nobody in particular, so that two strangers are not taken for one."""
    pool = SlotPool(2, prefix_reuse=True)
    leave(pool, range(50), owner="")
    other = sequence([*range(50), 1], "")

    assert pool.acquire(other, []).copy is None
    assert other.computed == 0


def test_requests_without_an_owner_take_one_slot_after_another_from_nobody() -> None:
    """Guards against an idle engine's trial tokens, each of which took the slot of one more conversation."""
    pool = SlotPool(4, prefix_reuse=True)
    kept = [leave(pool, range(start, start + 50)) for start in (0, 100, 200)]
    assert len({leave(pool, [7], owner="") for _ in range(5)} | set(kept)) == 4
    for start, slot in zip((0, 100, 200), kept, strict=True):
        again = sequence([*range(start, start + 50), 999])
        assert (pool.acquire(again, []).slot, again.reused) == (slot, 50)


def test_without_prefix_reuse_nothing_is_kept() -> None:
    pool = SlotPool(2, prefix_reuse=False)
    leave(pool, range(50))
    other = sequence([*range(50), 1])

    assert pool.acquire(other, []).copy is None
    assert other.computed == 0
    assert pool.cached_tokens == 0


def test_a_running_sequence_lends_its_prefix_by_copy() -> None:
    pool = SlotPool(3, prefix_reuse=True)
    running = sequence([*range(40), 77])
    pool.acquire(running, [])
    running.computed = 41
    other = sequence([*range(40), 88, 89])

    grant = pool.acquire(other, [running])

    assert grant.copy == SlotCopy(running.slot, other.slot, 40)
    assert other.slot != running.slot
    assert other.computed == 40


def test_a_short_shared_start_is_copied_so_that_the_long_conversation_stays() -> None:
    """Taking its slot would cost its owner more than it saves."""
    pool = SlotPool(3, prefix_reuse=True)
    slot = leave(pool, range(100))
    other = sequence([*range(20), 500])

    grant = pool.acquire(other, [])

    assert grant.copy == SlotCopy(slot, other.slot, 20)
    assert other.slot != slot
    follow_up = sequence([*range(100), 7])
    pool.acquire(follow_up, [other])
    assert follow_up.computed == 100


def test_the_last_free_slot_is_used_in_place() -> None:
    pool = SlotPool(1, prefix_reuse=True)
    leave(pool, range(100))
    other = sequence([*range(20), 500])

    grant = pool.acquire(other, [])

    assert (grant.slot, grant.copy, other.computed) == (0, None, 20)


def test_the_longest_prefix_is_taken() -> None:
    pool = SlotPool(4, prefix_reuse=True)
    short = sequence([*range(30), 900])
    pool.acquire(short, [])
    slot = leave(pool, range(60))
    short.computed = 31
    other = sequence([*range(60), 1])

    grant = pool.acquire(other, [short])

    assert (grant.slot, grant.copy, other.computed) == (slot, None, 60)


def test_the_least_recently_used_slot_is_overwritten() -> None:
    pool = SlotPool(3, prefix_reuse=True)
    slots = [leave(pool, range(100 * i, 100 * i + 50), owner=f"owner {i}") for i in range(3)]
    assert sorted(slots) == [0, 1, 2]
    newcomer = sequence([7, 8, 9], "newcomer")

    assert pool.acquire(newcomer, []).slot == slots[0]
    again = sequence([*range(100, 150), 1], "owner 1")
    pool.acquire(again, [])
    assert again.computed == 50


@pytest.mark.parametrize("saved", [WORTH_WAITING - 1, WORTH_WAITING])
def test_a_neighbours_prefill_is_waited_for_when_that_saves_enough(saved: int) -> None:
    pool = SlotPool(3, prefix_reuse=True)
    neighbour = sequence(range(200))
    pool.acquire(neighbour, [])
    neighbour.computed = 100
    other = sequence([*range(100 + saved), 900])

    grant = pool.acquire(other, [neighbour])

    assert grant.waits == (saved >= WORTH_WAITING)
    assert (grant.slot is None) == grant.waits


def test_nobody_waits_for_what_already_lies_in_another_slot() -> None:
    """Guards against waiting for a neighbour's prefill of a prompt that was computed before."""
    pool = SlotPool(3, prefix_reuse=True)
    leave(pool, range(100))
    neighbour = sequence(range(100))
    neighbour.slot = 7
    other = sequence([*range(100), 900])

    grant = pool.acquire(other, [neighbour])

    assert not grant.waits
    assert other.computed == 100


def test_nobody_waits_for_another_owners_prefill() -> None:
    pool = SlotPool(3, prefix_reuse=True)
    neighbour = sequence(range(200), "bob")
    pool.acquire(neighbour, [])

    assert not pool.acquire(sequence(range(200), "ann"), [neighbour]).waits


def test_what_a_cancelled_prefill_computed_is_kept_and_no_more() -> None:
    pool = SlotPool(2, prefix_reuse=True)
    cancelled = sequence(range(100))
    pool.acquire(cancelled, [])
    cancelled.computed = 37
    pool.release(cancelled)
    again = sequence(range(100))

    pool.acquire(again, [])

    assert again.computed == 37


def test_releasing_twice_or_without_a_slot_changes_nothing() -> None:
    pool = SlotPool(2, prefix_reuse=True)
    one = sequence([1, 2])
    pool.release(one)
    pool.acquire(one, [])
    pool.release(one)
    pool.release(one)
    assert pool.held == 0


@pytest.mark.parametrize(
    ("a", "b", "length"),
    [([], [], 0), ([1], [], 0), ([1, 2], [1, 2], 2), ([1, 2], [1, 2, 3], 2), ([1, 9, 3], [1, 2, 3], 1), ([5], [6], 0)],
)
def test_common_prefix(a: list[int], b: list[int], length: int) -> None:
    assert common_prefix(np.array(a, np.int32), np.array(b, np.int32)) == length


def test_random_traffic_never_gives_a_slot_to_two_or_a_prefix_that_is_not_there() -> None:
    """A model of the cache, kept beside the pool, checks every grant."""
    generator = np.random.default_rng(0)
    pool = SlotPool(5, prefix_reuse=True)
    memory: list[list[tuple[str, int]]] = [[] for _ in range(5)]
    running: list[Sequence] = []
    reused = 0
    for request_id in range(3000):
        owner = "abc"[generator.integers(3)]
        base = 100 * int(generator.integers(2))
        length = int(generator.integers(1, 60))
        tokens = [*range(base, base + length), *generator.integers(0, 3, generator.integers(1, 10)).tolist()]
        new = sequence(tokens, owner, request_id)
        grant = pool.acquire(new, running)
        if new.slot is not None:
            assert new.slot not in {s.slot for s in running}
            if grant.copy is not None:
                assert grant.copy.target == new.slot
                memory[grant.copy.target] = memory[grant.copy.source][: grant.copy.length]
            assert [(owner, token) for token in new.tokens[: new.computed]] == memory[new.slot][: new.computed]
            assert new.computed < len(new.tokens)
            reused += new.computed > 0
            running.append(new)
        for one in running:
            step = min(one.remaining, int(generator.integers(0, 30)))
            memory[one.slot] = [(one.owner, t) for t in one.tokens[: one.computed + step]]
            one.computed += step
        for one in list(running):
            if generator.random() < 0.3:
                running.remove(one)
                pool.release(one)
        assert pool.held == len(running)
    assert reused > 300
