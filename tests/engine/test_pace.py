"""When to come back, from how long places were held."""

from __future__ import annotations

import pytest

from app.engine.pace import Pace


def pace(*lifetimes: float) -> Pace:
    found = Pace()
    for held in lifetimes:
        found.ended(held)
    return found


def test_a_place_is_free_after_the_mean_of_what_was_measured_over_the_places() -> None:
    assert pace(10, 20, 30).until_free(4, []) == 5
    assert pace(10, 20, 30).until_free(1, []) == 20


def test_what_ended_lately_counts_and_not_what_ended_long_ago() -> None:
    assert pace(*[1000.0] * 64, *[3.0] * 64).until_free(1, []) == 3


def test_until_somebody_leaves_the_measure_is_how_long_they_have_been_there() -> None:
    assert pace().until_free(2, [10.0, 30.0]) == 10
    assert pace(6).until_free(2, [10.0, 30.0]) == 3


@pytest.mark.parametrize("held", [[], [0.0], [0.4]])
def test_nobody_is_told_to_come_back_at_once(held: list[float]) -> None:
    assert pace().until_free(1, held) == 1
    assert pace(0.001).until_turn(0.0, 64, 0, held) == 1


def test_everybody_is_given_a_turn_of_their_own_as_places_become_free() -> None:
    found = pace(8.0)
    assert [found.until_turn(100.0, 2, 10, []) for _ in range(4)] == [4, 8, 12, 16]
    # Four seconds on, so are the turns that were given.
    assert found.until_turn(104.0, 2, 10, []) == 16
    # When all turns are over, it begins anew.
    assert found.until_turn(1000.0, 2, 10, []) == 4


def test_nobody_is_told_more_than_all_who_are_there_will_take() -> None:
    found = pace(8.0)
    told = [found.until_turn(0.0, 2, 3, []) for _ in range(50)]
    assert told[:5] == [4, 8, 12, 16, 20]
    assert set(told[5:]) == {20}
