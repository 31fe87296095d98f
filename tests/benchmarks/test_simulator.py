"""The simulation of engines under load against cases computed by hand."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from app.engine.client import EngineLimits
from benchmarks.simulator import EngineShape, Outcome, Request, simulate


@dataclass
class Steps:
    """Steps that take so many seconds, and so many more for each row, token sampled and position attended to."""

    each: float = 1.0
    row: float = 0.0
    sampled: float = 0.0
    position: float = 0.0

    def seconds(self, rows: int, sampled: int, context: int) -> float:
        return self.each + self.row * rows + self.sampled * sampled + self.position * context


def times(outcomes: list[Outcome]) -> list[tuple[float, float]]:
    return [(outcome.first, outcome.done) for outcome in outcomes]


def test_a_single_request_takes_a_step_a_token() -> None:
    outcomes, (replica,) = simulate([Request(5.0, 10, 4)], [Steps()])
    assert times(outcomes) == [(6.0, 9.0)]
    assert (outcomes[0].first_token_s, outcomes[0].total_s, outcomes[0].gap_s) == (1.0, 4.0, 1.0)
    assert replica.busy_s == 4.0


def test_a_step_costs_its_rows_its_samples_and_what_they_attend_to() -> None:
    outcomes, _ = simulate([Request(0.0, 10, 3)], [Steps(0.0, row=1.0, sampled=100.0, position=1000.0)])
    prefill = 10 + 100 + 1000 * 55  # positions 1 to 10
    decode = [1 + 100 + 1000 * 11, 1 + 100 + 1000 * 12]
    assert times(outcomes) == [(prefill, prefill + sum(decode))]


def test_equal_requests_at_once_run_in_one_batch() -> None:
    outcomes, _ = simulate([Request(0.0, 10, 3)] * 4, [Steps()])
    assert times(outcomes) == [(1.0, 3.0)] * 4


def test_who_finds_no_slot_waits_for_one() -> None:
    outcomes, _ = simulate([Request(0.0, 10, 3)] * 4, [Steps()], EngineShape(slots=2))
    assert times(outcomes) == [(1.0, 3.0)] * 2 + [(4.0, 6.0)] * 2


def test_who_comes_during_a_step_joins_at_the_next() -> None:
    outcomes, _ = simulate([Request(0.0, 10, 5), Request(1.5, 10, 2)], [Steps()])
    assert times(outcomes) == [(1.0, 5.0), (3.0, 4.0)]


def test_a_long_prompt_beside_a_reply_comes_in_pieces() -> None:
    # Beside the reply 64 rows a step are for prompts: 160 tokens take 3 steps, the last of which samples.
    outcomes, _ = simulate([Request(0.0, 1, 9), Request(0.5, 160, 1)], [Steps(row=0.01)])
    first = 1.01
    assert outcomes[0].first == pytest.approx(first)
    assert outcomes[1].done == pytest.approx(first + 2 * 1.65 + 1.33)


def test_who_finds_the_queue_full_is_refused() -> None:
    shape = EngineShape(slots=1, limits=EngineLimits(max_waiting=2))
    outcomes, _ = simulate([Request(0.0, 1, 5)] + [Request(0.5, 1, 1)] * 4, [Steps()], shape)
    assert [outcome.replica for outcome in outcomes] == [0, 0, 0, None, None]
    crowded = EngineShape(slots=1, limits=EngineLimits(max_queued_tokens=25))
    outcomes, _ = simulate([Request(0.0, 1, 5)] + [Request(0.5, 10, 1)] * 4, [Steps()], crowded)
    assert [outcome.replica for outcome in outcomes] == [0, 0, 0, None, None]


def test_a_request_goes_to_the_replica_that_has_fewest() -> None:
    requests = [Request(0.0, 1, 10), Request(0.1, 1, 2), Request(0.2, 1, 2), Request(2.5, 1, 2)]
    outcomes, _ = simulate(requests, [Steps(), Steps()])
    assert [outcome.replica for outcome in outcomes] == [0, 1, 0, 1]


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_slot_and_random_arrivals_are_the_m_d_1_queue(load: float) -> None:
    """Replies of one token on one slot, each a step of a second: Pollaczek and Khinchine give the mean wait."""
    draw = random.Random(1)
    now, requests = 0.0, []
    for _ in range(30_000):
        now += draw.expovariate(load)
        requests.append(Request(now, 1, 1))
    shape = EngineShape(slots=1, limits=EngineLimits(max_waiting=10_000))
    outcomes, (replica,) = simulate(requests, [Steps()], shape)
    mean = sum(outcome.total_s for outcome in outcomes) / len(outcomes)
    assert mean == pytest.approx(1 + load / (2 * (1 - load)), rel=0.05)
    assert replica.busy_s / now == pytest.approx(load, rel=0.02)


def test_unlimited_batching_is_the_m_d_infinity_queue_and_never_waits_longer_than_a_step() -> None:
    draw = random.Random(2)
    now, requests = 0.0, []
    for _ in range(5000):
        now += draw.expovariate(20.0)
        requests.append(Request(now, 1, 1))
    outcomes, _ = simulate(requests, [Steps()])
    assert all(1.0 <= outcome.total_s <= 2.0 for outcome in outcomes)
    # An arrival falls anywhere into the step under way, which leaves half a second on average.
    assert sum(outcome.total_s for outcome in outcomes) / len(outcomes) == pytest.approx(1.5, abs=0.02)


def test_jitter_multiplies_the_time_of_a_step() -> None:
    outcomes, _ = simulate([Request(0.0, 1, 1)], [Steps()], jitter=[1.5])
    assert times(outcomes) == [(1.5, 1.5)]
