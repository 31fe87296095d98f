"""What each step computes. No model: the tokens that a step samples are made up here."""

from collections import Counter

import numpy as np
import pytest

from app.engine.messages import Finished, SamplingParams, Submit, Token
from app.engine.scheduler import Batch, Scheduler
from app.engine.sequence import Sequence
from app.engine.slots import WORTH_WAITING, SlotPool

MAX_ROWS, PREFILL_ROWS, POSITIONS = 128, 32, 1024


def make_scheduler(slots: int = 4, *, prefill_rows: int = PREFILL_ROWS, max_rows: int = MAX_ROWS) -> Scheduler:
    pool = SlotPool(slots, prefix_reuse=True)
    return Scheduler(pool, max_positions=POSITIONS, max_rows=max_rows, prefill_rows=prefill_rows)


def add(
    scheduler: Scheduler,
    request_id: int,
    prompt: int | range = 4,
    *,
    new: int = 5,
    owner: str | None = None,
    deadline_s: float | None = None,
    output: int = 0,
    suspect: bool = False,
    stop: tuple[int, ...] = (),
) -> Sequence:
    tokens = prompt if isinstance(prompt, range) else [10_000 * request_id + i for i in range(prompt)]
    params = SamplingParams(max_new_tokens=new, stop_token_ids=stop)
    message = Submit(
        request_id, owner or f"owner {request_id}", tuple(tokens), params, deadline_s, (1,) * output, suspect
    )
    sequence = Sequence.from_submit(message, now=100.0)
    scheduler.add(sequence)
    return sequence


def compute(scheduler: Scheduler, batch: Batch, token_id: int = 1) -> list[Finished]:
    return scheduler.update(batch, [Token(s.request_id, token_id) for s in batch.sampled])


def step(scheduler: Scheduler) -> tuple[Batch, list[Finished]]:
    batch = scheduler.schedule()
    assert batch is not None
    return batch, compute(scheduler, batch)


def shares(batch: Batch) -> dict[int, int]:
    return {chunk.sequence.request_id: chunk.count for chunk in batch.chunks}


def test_nothing_to_do_gives_no_batch() -> None:
    scheduler = make_scheduler()

    assert not scheduler.has_work
    assert scheduler.schedule() is None


def test_a_sequence_joins_at_the_next_step_and_leaves_when_it_ends() -> None:
    scheduler = make_scheduler()
    add(scheduler, 1, new=3)
    step(scheduler)
    add(scheduler, 2, new=9)

    batch, _ = step(scheduler)

    assert shares(batch) == {1: 1, 2: 4}
    _, finished = step(scheduler)
    assert finished == [Finished(1, "length")]
    batch, _ = step(scheduler)
    assert shares(batch) == {2: 1}


def test_waiting_sequences_are_admitted_in_the_order_they_came() -> None:
    scheduler = make_scheduler(slots=2)
    for request_id in range(1, 7):
        add(scheduler, request_id, new=2)
    admitted = []
    while scheduler.has_work:
        batch, _ = step(scheduler)
        admitted += batch.admitted
        assert len(scheduler.running) <= 2

    assert admitted == [1, 2, 3, 4, 5, 6]


def test_a_long_prompt_does_not_stall_running_streams() -> None:
    scheduler = make_scheduler()
    for request_id in (1, 2):
        add(scheduler, request_id, new=60)
    step(scheduler)
    long = add(scheduler, 3, 900)
    while long.output_len == 0:
        batch, _ = step(scheduler)
        assert shares(batch)[1] == shares(batch)[2] == 1
        assert batch.rows <= 2 + PREFILL_ROWS


def test_a_long_prompt_does_not_stall_a_short_one_behind_it() -> None:
    scheduler = make_scheduler()
    add(scheduler, 1, new=500)
    step(scheduler)
    long = add(scheduler, 2, 900)
    step(scheduler)
    short = add(scheduler, 3, 20)
    for _ in range(2):
        step(scheduler)

    assert short.output_len >= 1
    assert long.output_len == 0


def test_a_prompt_alone_takes_the_whole_budget() -> None:
    scheduler = make_scheduler()
    add(scheduler, 1, 300)

    assert [step(scheduler)[0].rows for _ in range(4)] == [128, 128, 44, 1]


def test_what_a_short_prompt_leaves_of_its_share_goes_to_the_long_ones() -> None:
    scheduler = make_scheduler()
    for request_id, length in ((1, 500), (2, 10), (3, 500)):
        add(scheduler, request_id, length)

    batch, _ = step(scheduler)

    assert shares(batch) == {1: 59, 2: 10, 3: 59}


def test_every_prompt_moves_on_in_every_step_even_when_they_are_more_than_the_budget() -> None:
    """Guards against shares that round to nothing: the shortest prompts, first in line, never got a row."""
    scheduler = make_scheduler(slots=12, prefill_rows=4, max_rows=12)
    add(scheduler, 1, new=200)
    step(scheduler)
    for request_id in range(2, 13):
        add(scheduler, request_id, 2 * request_id)

    for _ in range(5):
        batch, _ = step(scheduler)
        assert set(shares(batch)) == set(range(1, 13))
        assert batch.rows <= 16


def test_a_batch_is_never_larger_than_the_model_was_built_for() -> None:
    generator = np.random.default_rng(0)
    scheduler = make_scheduler(slots=7, prefill_rows=3, max_rows=20)
    for request_id in range(1, 200):
        add(scheduler, request_id, int(generator.integers(1, 90)), new=int(generator.integers(1, 20)))
    while scheduler.has_work:
        batch, _ = step(scheduler)
        assert 0 < batch.rows <= 20
        assert all(chunk.count > 0 for chunk in batch.chunks)


def test_nobody_starves_under_steady_traffic() -> None:
    """Short prompts keep coming, more than there are slots for; the long prompt and the last in line still end."""
    scheduler = make_scheduler(slots=3)
    long = add(scheduler, 1, 900, new=3)
    ended: list[int] = []
    next_id = 2
    for _ in range(400):
        while len(scheduler.waiting) < 5:
            add(scheduler, next_id, 8, new=4)
            next_id += 1
        _, finished = step(scheduler)
        ended += [f.request_id for f in finished]

    assert long.request_id in ended
    short = [request_id for request_id in ended if request_id != 1]
    assert len(short) > 100
    # All of the same size, so they end in the order they came, but for neighbours that ran side by side.
    assert all(abs(place + 2 - request_id) <= 3 for place, request_id in enumerate(short))


def test_a_sequence_ends_at_its_length_a_stop_token_or_the_last_position() -> None:
    scheduler = make_scheduler()
    add(scheduler, 1, new=1)
    add(scheduler, 2, new=50, stop=(1,))
    add(scheduler, 3, POSITIONS, new=50)
    add(scheduler, 4, new=500, stop=(2,))
    finished = []
    for _ in range(40):
        finished += step(scheduler)[1]

    assert {f.request_id: f.reason for f in finished} == {1: "length", 2: "stop", 3: "length"}
    assert scheduler.slots.held == 1


def test_cancelled_sequences_leave_at_once_wherever_they_are() -> None:
    scheduler = make_scheduler(slots=2)
    add(scheduler, 1, new=50)
    add(scheduler, 2, 900)
    add(scheduler, 3)
    step(scheduler)
    step(scheduler)

    # Decoding, prefilling and waiting; then one that never was, and one that has ended.
    assert [scheduler.cancel(i) for i in (1, 2, 3)] == [Finished(i, "cancelled") for i in (1, 2, 3)]
    assert scheduler.cancel(99) is None
    assert scheduler.cancel(1) is None

    assert not scheduler.has_work
    assert scheduler.slots.held == 0
    assert scheduler.schedule() is None


def test_deadlines_end_sequences_wherever_they_are() -> None:
    scheduler = make_scheduler(slots=2)
    add(scheduler, 1, new=50, deadline_s=10)
    add(scheduler, 2, 900, deadline_s=20)
    add(scheduler, 3, deadline_s=10)
    add(scheduler, 4)
    step(scheduler)

    assert scheduler.expire(109.9) == []
    assert [(f.request_id, f.reason) for f in scheduler.expire(110.0)] == [(3, "timeout"), (1, "timeout")]
    assert [f.request_id for f in scheduler.expire(1e9)] == [2]
    batch, _ = step(scheduler)
    assert set(shares(batch)) == {4}
    assert scheduler.slots.held == 1


def test_a_follow_up_computes_only_its_new_tokens() -> None:
    scheduler = make_scheduler()
    first = add(scheduler, 1, range(50), new=3, owner="ann")
    while scheduler.has_work:
        step(scheduler)
    # The last token was sampled but never computed.
    add(scheduler, 2, range(50), owner="bob")
    follow_up = Sequence.from_submit(
        Submit(3, "ann", (*first.tokens, 7, 8), SamplingParams(max_new_tokens=2)), now=100.0
    )
    scheduler.add(follow_up)

    batch, _ = step(scheduler)

    assert shares(batch) == {2: 50, 3: 3}
    assert dict(zip(batch.admitted, batch.reused, strict=True)) == {2: 0, 3: 52}


def test_several_replies_to_one_prompt_share_its_prefill() -> None:
    scheduler = make_scheduler()
    replies = [add(scheduler, i, range(100), owner="ann", new=4) for i in (1, 2, 3)]
    computed: Counter[int] = Counter()
    copies = []
    while scheduler.has_work:
        batch, _ = step(scheduler)
        copies += batch.copies
        computed.update(shares(batch))

    assert [reply.reused for reply in replies] == [0, 99, 99]
    assert len(copies) == 2
    assert computed == {1: 103, 2: 4, 3: 4}


def test_waiting_for_a_neighbours_prefix_does_not_hold_up_others() -> None:
    """Guards against a queue that stood still behind a sequence that waited for a copy, with slots free."""
    scheduler = make_scheduler()
    add(scheduler, 1, new=500)
    step(scheduler)
    add(scheduler, 2, range(900), owner="ann")
    twin = add(scheduler, 3, range(900), owner="ann")
    other = add(scheduler, 4)

    step(scheduler)

    assert other.slot is not None
    assert twin.slot is None
    while twin.output_len == 0:
        step(scheduler)
    # The last few tokens are not worth the wait.
    assert 899 - WORTH_WAITING < twin.reused <= 899


def test_cancelling_a_neighbour_frees_those_who_wait_for_its_prefix() -> None:
    scheduler = make_scheduler()
    add(scheduler, 1, range(900), owner="ann")
    twin = add(scheduler, 2, range(900), owner="ann")
    step(scheduler)
    assert twin.slot is None
    scheduler.cancel(1)

    step(scheduler)

    assert twin.slot is not None
    assert twin.reused == MAX_ROWS


def test_suspects_are_computed_alone_one_after_the_other() -> None:
    scheduler = make_scheduler()
    add(scheduler, 1, new=9)
    step(scheduler)
    add(scheduler, 2, 40, output=3, suspect=True, new=9)
    add(scheduler, 3, 200, suspect=True, new=9)
    add(scheduler, 4, new=9)

    batches = [step(scheduler)[0] for _ in range(4)]

    assert [(batch.probing, shares(batch)) for batch in batches[:3]] == [(2, {2: 43}), (3, {3: 128}), (3, {3: 72})]
    assert batches[3].probing is None
    assert shares(batches[3]) == {1: 1, 2: 1, 3: 1, 4: 4}


def test_a_resumed_sequence_goes_on_where_it_was() -> None:
    scheduler = make_scheduler()
    resumed = add(scheduler, 1, 10, output=3, new=5)

    batch, finished = step(scheduler)
    assert shares(batch) == {1: 13}
    assert finished == []
    assert not resumed.suspect
    batch, finished = step(scheduler)
    assert (shares(batch), [f.reason for f in finished]) == ({1: 1}, ["length"])
    assert resumed.output_counts == {1: 5}


@pytest.mark.parametrize("seed", range(3))
def test_random_traffic_leaves_nothing_behind(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scheduler = make_scheduler(slots=5)
    submitted: set[int] = set()
    ended: Counter[int] = Counter()
    for request_id in range(400):
        start = 1000 * int(generator.integers(3))
        add(
            scheduler,
            request_id,
            range(start, start + int(generator.integers(1, 300))),
            new=int(generator.integers(1, 30)),
            owner="abc"[generator.integers(3)],
            deadline_s=float(generator.integers(0, 300)) if generator.random() < 0.2 else None,
            suspect=bool(generator.random() < 0.05),
        )
        submitted.add(request_id)
        finished = scheduler.expire(100.0 + request_id)
        if generator.random() < 0.3 and (cancelled := scheduler.cancel(int(generator.integers(request_id + 1)))):
            finished.append(cancelled)
        if (batch := scheduler.schedule()) is not None:
            finished += compute(scheduler, batch)
        ended.update(f.request_id for f in finished)
    while (batch := scheduler.schedule()) is not None:
        ended.update(f.request_id for f in compute(scheduler, batch))

    assert set(ended) == submitted
    assert set(ended.values()) == {1}
    assert not scheduler.has_work
    assert scheduler.slots.held == 0
