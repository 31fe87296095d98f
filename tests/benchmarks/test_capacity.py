"""What `make capacity` computes from what it measures: constants that are known beforehand come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine.messages import StepStats
from benchmarks.capacity import (
    H100,
    SHORT,
    USERS,
    Workload,
    capacity,
    engines,
    highest,
    replay,
    users_table,
    what_breaks,
)
from benchmarks.simulator import Outcome, Request
from benchmarks.step_times import ROW_KNOTS, TOKENS, Fitted, Sample, Stated, fit, jitter, measure
from tests.models import save_chat_model

KNOWN = Fitted(tuple(0.002 + 0.0001 * rows for rows in ROW_KNOTS), 0.0003, 2e-7)


def sample(rows: int, sampled: int, context: int, seconds: float = 0.0) -> Sample:
    return Sample(rows, sampled, context, seconds or KNOWN.seconds(rows, sampled, context))


SAMPLES = [sample(rows, rows, rows * at) for rows in (1, 2, 4, 8, 16, 32, 64) for at in (10, 300)] + [
    sample(rows, 1, rows * (rows + 1) // 2) for rows in (16, 32, 64, 128, 256, 512)
]


def test_a_fit_finds_the_constants_that_steps_were_made_with() -> None:
    found = fit(SAMPLES)
    assert found.base == pytest.approx(KNOWN.base, rel=1e-6)
    assert (found.head, found.position) == pytest.approx((KNOWN.head, KNOWN.position), rel=1e-6)
    assert found.seconds(5, 0, 0) == pytest.approx(0.002 + 0.0001 * 6)  # padded to 6 rows


def test_a_step_that_was_held_up_is_jitter_and_changes_no_constant() -> None:
    held_up = [sample(8, 8, 80, 5.0)]
    alike = [sample(8, 8, 80)] * 4
    assert fit(SAMPLES + alike + held_up).base == pytest.approx(KNOWN.base, rel=1e-6)
    assert jitter(alike + held_up) == pytest.approx([1.0] * 4 + [5.0 / alike[0].seconds])


def test_a_constant_that_would_be_negative_is_nothing() -> None:
    cheaper = [sample(8, 8, at, 0.01 - at * 1e-7) for at in (0, 10_000)]
    found = fit([each for each in SAMPLES if each.rows != 8 and each.context < 300] + SAMPLES[-6:] + cheaper)
    assert min(*found.base, found.head, found.position) == 0


def test_a_fit_needs_steps_of_all_sizes() -> None:
    with pytest.raises(ValueError, match="about 256, 512 rows"):
        fit(SAMPLES[:-2])


def test_a_stated_gpu_reads_or_multiplies_and_then_draws() -> None:
    gpu = Stated(**H100, sampling_s=1e-4)
    weights_s = 2 * gpu.parameters / H100["memory_bytes_per_s"]
    assert gpu.seconds(1, 0, 0) == pytest.approx(H100["launch_s"] + weights_s)
    assert gpu.seconds(4096, 0, 0) > H100["launch_s"] + 2 * weights_s
    assert gpu.seconds(1, 10, 0) - gpu.seconds(1, 0, 0) == pytest.approx(10 * (1e-4 + 4 * 50257 / 25e9))


def test_the_highest_rate_is_found() -> None:
    assert highest(lambda rate: rate <= 13.7, 0.5) == pytest.approx(13.7, rel=0.02)
    assert highest(lambda rate: False, 0.5) == 0


def test_capacity_is_what_steps_allow() -> None:
    # A step of 10 ms whatever is in it and replies of 5 tokens on 64 slots: 64 replies in 50 ms, some in prefill.
    flat = Fitted((0.01,) * len(ROW_KNOTS), 0.0, 0.0)
    assert capacity([flat], Workload((8, 8), (5, 5))) == pytest.approx(64 / 0.05, rel=0.15)
    assert capacity([flat, flat], SHORT) == pytest.approx(2 * capacity([flat], SHORT), rel=0.15)


def outcome(first: float, done: float, replica: int | None = 0) -> Outcome:
    return Outcome(Request(0.0, 10, 11), replica, first, done)


def test_what_breaks_is_named() -> None:
    good = [outcome(0.5, 1.0)] * 19
    assert what_breaks(good) is None
    assert what_breaks([*good, outcome(0.5, 1.0, None)]) == "the queue is full"
    assert what_breaks([*good[:9], *[outcome(1.5, 2.0)] * 2]) == "the first token"
    assert what_breaks([*good[:9], *[outcome(0.5, 2.0)] * 2]) == "10 tokens a second"


def test_the_table_counts_what_so_many_users_need() -> None:
    rows = users_table(
        {"cpu": {"messages_per_s": 0.5}, "none": {"messages_per_s": 0.0}}, {"reply_s": 0.01, "token_s": 0.0}
    )
    assert [row["users"] for row in rows] == [f"{users:,}" for users in USERS]
    assert (rows[-1]["replicas_cpu"], rows[-1]["replicas_none"], rows[-1]["web_cores"]) == ("33,334", None, "167")


@pytest.mark.slow
def test_a_real_engine_is_measured_and_loaded(tmp_path: Path) -> None:
    """Whatever the times: every kind of step is seen, a fit comes of it, and every request ends."""
    with engines(save_chat_model(tmp_path / "model", words=TOKENS), "float32", [None]) as replicas:
        (samples,) = measure(replicas, rounds=1)
        assert {s.rows for s in samples if s.rows == s.sampled} >= {1, 8, 64}
        assert {s.rows for s in samples if s.sampled == 1} >= {16, 480}
        found = fit(samples)
        assert found.seconds(64, 64, 64 * 10) > 0
        sent = replay(replicas, SHORT.load(40.0, 1.0, seed=1))
        (_, watch) = replicas[0]
        assert len(watch.ends) == len(sent)
        assert sum(end.output_tokens for end in watch.ends) == sum(request.new for request in sent)
        assert all(isinstance(stats, StepStats) for _, stats in watch.steps)
