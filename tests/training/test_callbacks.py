"""Callbacks, tested by feeding them losses."""

from __future__ import annotations

import math

import pytest

from app.training.callbacks import Callback, Cancellation, EarlyStopping, History, Progress, Run, Step, TimeLimit


def feed(callback: Callback, values: list[float], key: str = "val_loss") -> tuple[Run, list[str]]:
    """Run epochs with these values; the weights after epoch n are "n". Returns the run and what was restored."""
    restored: list[str] = []
    weights = ["none"]
    run = Run(len(values), 1, dict, lambda: weights[0], lambda saved: restored.append(str(saved)))
    callback.on_train_begin(run)
    for epoch, value in enumerate(values):
        weights[0] = str(epoch)
        callback.on_epoch_end(run, epoch, {key: value})
        if run.stop:
            break
    callback.on_train_end(run)
    return run, restored


def test_early_stopping_waits_for_its_patience_and_restores_the_best() -> None:
    stopping = EarlyStopping(patience=2)
    run, restored = feed(stopping, [3.0, 1.0, 2.0, 1.5, 0.5])
    assert run.stop is not None
    assert "val_loss" in run.stop
    assert (stopping.best_epoch, restored) == (1, ["1"])


def test_an_improvement_starts_the_patience_anew() -> None:
    run, restored = feed(EarlyStopping(patience=2), [3.0, 3.5, 2.0, 2.5, 1.0])
    assert run.stop is None
    assert restored == []  # the last epoch was the best


def test_the_best_weights_come_back_even_if_the_epochs_run_out() -> None:
    run, restored = feed(EarlyStopping(patience=5), [1.0, 2.0, 3.0])
    assert run.stop is None
    assert restored == ["0"]


def test_equal_is_no_improvement_and_min_delta_asks_for_more() -> None:
    assert feed(EarlyStopping(patience=1), [1.0, 1.0])[0].stop
    assert feed(EarlyStopping(patience=1, min_delta=0.1), [1.0, 0.95])[0].stop
    assert not feed(EarlyStopping(patience=1, min_delta=0.1), [1.0, 0.85])[0].stop


def test_accuracy_is_better_when_higher() -> None:
    assert not feed(EarlyStopping("accuracy", 1), [0.5, 0.6, 0.7], "accuracy")[0].stop
    assert feed(EarlyStopping("accuracy", 1), [0.5, 0.4], "accuracy")[0].stop


def test_nan_never_improves() -> None:
    run, restored = feed(EarlyStopping(patience=1), [1.0, math.nan])
    assert run.stop
    assert restored == ["0"]
    assert feed(EarlyStopping(patience=2), [math.nan, math.nan])[0].stop


def test_watching_what_is_not_reported_says_what_is() -> None:
    with pytest.raises(KeyError, match="val_accuracy"):
        feed(EarlyStopping("val_accuracy"), [1.0])


def test_a_patience_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=0)


def test_history_counts_epochs_from_one() -> None:
    history = History()
    feed(history, [2.0, 1.0], "loss")
    assert history.epochs == [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]


def test_cancellation_and_time_limit_end_the_run_at_a_batch() -> None:
    run = Run(1, 10, dict, dict, lambda _: None)
    asked = [False]
    cancellation = Cancellation(lambda: asked[0])
    cancellation.on_batch_end(run, 0, 0)
    assert run.stop is None
    asked[0] = True
    cancellation.on_batch_end(run, 0, 1)
    assert run.stop == Cancellation.REASON

    run = Run(1, 10, dict, dict, lambda _: None)
    now = [5.0]
    limit = TimeLimit(6.0, "too long", clock=lambda: now[0])
    limit.on_batch_end(run, 0, 0)
    assert run.stop is None
    now[0] = 6.1
    limit.on_batch_end(run, 0, 1)
    assert run.stop == "too long"


def test_progress_reports_ten_times_a_second_and_every_epoch() -> None:
    now = [0.0]
    steps: list[Step] = []
    progress = Progress(steps.append, interval=0.1, clock=lambda: now[0])
    run = Run(2, 100, lambda: {"loss": 1.0}, dict, lambda _: None)
    progress.on_train_begin(run)
    for epoch in range(2):
        for batch in range(100):
            now[0] += 0.01
            progress.on_batch_end(run, epoch, batch)
        progress.on_epoch_end(run, epoch, {"loss": 0.5})
    kinds = [step.kind for step in steps]
    assert kinds.count("epoch") == 2
    assert 18 <= kinds.count("batch") <= 20
    middle = next(step for step in steps if step.kind == "epoch")
    assert (middle.progress, middle.epoch, middle.batch) == (0.5, 1, 100)
    assert middle.eta_s == pytest.approx(1.0)
    assert (steps[-1].progress, steps[-1].eta_s) == (1.0, pytest.approx(0.0))
