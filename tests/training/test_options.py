"""The door: ranges, unknown fields, what goes together."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from app.training.options import TrainingOptions


def test_defaults_are_the_article_s() -> None:
    options = TrainingOptions()
    assert (options.dataset, options.epochs, options.batch_size, options.widths) == ("auto", 5, 32, [784, 128, 10])
    assert (options.dropout, options.optimizer, options.loss) == (0.2, "adam", "cross-entropy")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epochs": 101}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"batch_size": 5000}, "batch_size"),
        ({"hidden_units": 0}, "hidden_units"),
        ({"hidden_units": [64] * 9}, "hidden_units"),
        ({"hidden_units": [64, "many"]}, "hidden_units"),
        ({"hidden_units": [4096, 4096]}, "hidden_units"),
        ({"dropout": 1.0}, "dropout"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"momentum": 0.9}, "momentum"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"loss": "hinge"}, "loss"),
        ({"validation_split": 0.9}, "validation_split"),
        ({"early_stopping": 0}, "early_stopping"),
        ({"early_stopping": -3}, "early_stopping"),
        ({"train_fraction": 0}, "train_fraction"),
        ({"seed": -1}, "seed"),
        ({"workers": 0}, "workers"),
        ({"workers": 65, "batch_size": 128}, "workers"),
        ({"workers": 5, "batch_size": 4}, "workers"),
        ({"dataset": "cifar"}, "dataset"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_a_bad_value_is_refused_by_name(given: dict[str, Any], names: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingOptions(**given)
    assert names in str(caught.value)


def test_early_stopping_takes_a_switch_or_a_patience() -> None:
    assert TrainingOptions().patience is None
    assert TrainingOptions(early_stopping=True).patience == 2
    assert TrainingOptions(early_stopping=1).patience == 1
    assert TrainingOptions(early_stopping=7).patience == 7


def test_resolved_fills_in_what_a_replay_needs() -> None:
    first, second = TrainingOptions().resolved(), TrainingOptions().resolved()
    assert first.learning_rate == 0.001
    assert first.seed != second.seed
    assert first.resolved() == first
    assert TrainingOptions(optimizer="sgd", momentum=0.9).resolved().learning_rate == 0.01


def test_every_field_is_described_for_openapi() -> None:
    schema = TrainingOptions.model_json_schema()
    assert all(field.get("description") for field in schema["properties"].values())
    assert schema["additionalProperties"] is False


def test_the_http_side_needs_no_torch() -> None:
    modules = "options, cost, images, plots, predictor, metrics, weights, events, process, workers"
    code = f"import sys; from app.training import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
