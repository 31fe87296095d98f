"""Whole runs: options do what they say, and the real MNIST is learnt."""

from __future__ import annotations

from typing import Any

import pytest

from app.training.callbacks import Callback, Run
from app.training.data import Dataset
from app.training.options import TrainingOptions
from app.training.trainer import CancelledError, TrainingError, build_model, train


def quick(**options: Any) -> TrainingOptions:
    return TrainingOptions(**({"epochs": 2, "hidden_units": 32, "seed": 1} | options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden_units": []},
        {"hidden_units": [32, 16, 8]},
        {"dropout": 0},
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"optimizer": "sgd", "momentum": 0.9},
        {"loss": "mse"},
        {"augment": True},
        {"batch_size": 1},
        {"batch_size": 4096},
        {"validation_split": 0.5},
        {"early_stopping": True},
    ],
)
def test_every_option_trains(small: Dataset, options: dict[str, Any]) -> None:
    result = train(quick(**options), small).result
    assert len(result["history"]) == 2
    assert result["history"][1]["loss"] < result["history"][0]["loss"] or options.get("batch_size") == 1
    assert 0 <= result["test_accuracy"] <= 1
    for name, value in options.items():
        assert result["options"][name] == value


def test_same_seed_same_result(small: Dataset) -> None:
    def told(seed: int) -> Any:
        result = train(quick(seed=seed, validation_split=0.1), small).result
        history = [{key: epoch[key] for key in epoch if key != "seconds"} for epoch in result["history"]]
        return result["test_loss"], history, result["confusion_matrix"], result["mistakes"]

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_early_stopping_stops(small: Dataset) -> None:
    # Nothing improves for long at such a rate.
    options = quick(epochs=50, early_stopping=1, validation_split=0.2, optimizer="sgd", learning_rate=3.0)
    result = train(options, small).result
    assert len(result["history"]) < 50
    assert "val_loss" in result["stopped"]


def test_weights_that_grow_without_bound_are_told(small: Dataset) -> None:
    options = quick(optimizer="sgd", learning_rate=10, momentum=0.99, loss="cross-entropy", epochs=20, dropout=0)
    try:
        result = train(options, small).result
    except TrainingError as error:
        assert "learning_rate" in str(error)  # noqa: PT017
    else:
        assert result["test_loss"] >= 0


def test_a_split_that_leaves_nothing_is_told(small: Dataset) -> None:
    with pytest.raises(TrainingError, match="leaves none"):
        train(quick(validation_split=0.0001), small)


def test_cancellation_has_no_result(small: Dataset) -> None:
    class Cancel(Callback):
        def on_batch_end(self, run: Run, epoch: int, batch: int) -> None:
            run.stop = "cancelled"

    with pytest.raises(CancelledError):
        train(quick(), small, [Cancel()])


def test_a_limit_ends_the_run_with_what_was_learnt(small: Dataset) -> None:
    class Limit(Callback):
        def on_batch_end(self, run: Run, epoch: int, batch: int) -> None:
            if epoch == 1:
                run.stop = "time is up"

    result = train(quick(epochs=9), small, [Limit()]).result
    assert result["stopped"] == "time is up"
    assert len(result["history"]) == 1


def test_options_must_be_resolved_to_build() -> None:
    with pytest.raises(ValueError, match="resolved"):
        build_model(TrainingOptions())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_defaults_learn_mnist(mnist: Dataset, seed: int) -> None:
    assert train(TrainingOptions(seed=seed), mnist).result["test_accuracy"] >= 0.975
