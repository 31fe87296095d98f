"""One training run: from options and a dataset to a trained model and everything there is to tell about it.

Left to others: where the data came from (`data`), who is told while it runs (`callbacks`, `__main__`), files
(`weights`), pictures (`plots`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from app.training.calibration import calibrate
from app.training.callbacks import Callback, Cancellation, EarlyStopping, Logs
from app.training.cost import network_cost
from app.training.data import Dataset
from app.training.group import Group
from app.training.layers import Dense, Dropout, Flatten, Layer
from app.training.losses import make_loss
from app.training.metrics import accuracy, confident_mistakes, confusion_matrix, softmax
from app.training.model import Sequential
from app.training.optimizers import SGD, Adam, Optimizer
from app.training.options import CLASSES, DEFAULT_LEARNING_RATE, TrainingOptions

INPUT_SHAPE = (28, 28)


class CancelledError(Exception):
    """The run was asked to stop before its end; there is no result."""


class TrainingError(Exception):
    """The run can't go on or gave nothing of use; the message says why."""


@dataclass(frozen=True)
class Trained:
    """A trained model and its result, ready for JSON (`train` says what is in it)."""

    model: Sequential
    architecture: dict[str, Any]
    result: dict[str, Any]


def build_model(options: TrainingOptions) -> Sequential:
    """Flatten → (Dense(relu) → Dropout) for each hidden layer → Dense(10), with options that are `resolved()`."""
    layers: list[Layer] = [Flatten()]
    for index, units in enumerate(options.hidden_layers):
        suffix = f"_{index}" if index else ""
        layers.append(Dense(units, "relu", name=f"dense{suffix}"))
        layers.append(Dropout(options.dropout, name=f"dropout{suffix}"))
    depth = len(options.hidden_layers)
    layers.append(Dense(CLASSES, name=f"dense_{depth}" if depth else "dense"))
    if options.seed is None:
        raise ValueError("options without a seed: call resolved() first")
    model = Sequential(layers, INPUT_SHAPE, options.seed)
    model.compile(_optimizer(options), make_loss(options.loss))
    return model


def train(
    options: TrainingOptions, dataset: Dataset, callbacks: Sequence[Callback] = (), group: Group | None = None
) -> Trained:
    """Train and evaluate, as the first worker of `group` if `options` ask for several.

    Raises TrainingError, GroupError, or CancelledError if a `Cancellation` among the callbacks asked for it.
    The result has `options, dataset, stopped, test_loss, test_accuracy, history, confusion_matrix, mistakes,
    summary, cost`. `stopped` says why the run ended before its last epoch, if it did.
    """
    options = options.resolved()
    rows, validation_rows = split_rows(options, dataset)
    validation = None
    if validation_rows:
        validation = (dataset.train_images[rows:], dataset.train_labels[rows:])
    watchers = list(callbacks)
    if options.patience is not None:
        watchers.append(EarlyStopping("val_loss" if validation else "loss", options.patience))

    calibration = calibrate()
    model = build_model(options)
    images, labels = dataset.train_images[:rows], dataset.train_labels[:rows]
    if group:
        group.hand_out(images, labels)
    history = model.fit(
        images,
        labels,
        epochs=options.epochs,
        batch_size=options.batch_size,
        validation=validation,
        augment=options.augment,
        callbacks=watchers,
        group=group,
    )
    if model.stopped == Cancellation.REASON:
        raise CancelledError
    if not bool(torch.isfinite(model.parameters).all()):
        raise TrainingError(
            f"the weights grew without bound: try a learning_rate below {options.learning_rate} "
            f"({options.optimizer}'s default is {DEFAULT_LEARNING_RATE[options.optimizer]})"
        )

    logits = model.predict(dataset.test_images)
    probabilities = softmax(logits)
    predicted = probabilities.argmax(1)
    test = model.evaluate(dataset.test_images, dataset.test_labels)
    cost = network_cost(options.widths)
    steps = math.ceil(rows / options.batch_size)
    predicted_step = calibration.step_seconds(cost, math.ceil(options.batch_size / options.workers))
    result = {
        "options": options.model_dump(),
        "dataset": describe(options, dataset),
        "stopped": model.stopped,
        "test_loss": test["loss"],
        "test_accuracy": accuracy(predicted, dataset.test_labels),
        "history": history.epochs,
        "confusion_matrix": confusion_matrix(predicted, dataset.test_labels, CLASSES).tolist(),
        "mistakes": [
            asdict(each) for each in confident_mistakes(probabilities, dataset.test_labels, dataset.test_images)
        ],
        "summary": [asdict(line) for line in model.summary()],
        "cost": {
            "parameters": cost.parameters,
            "multiply_adds_forward": cost.multiply_adds_forward,
            "forward_flops": cost.forward_flops,
            "backward_flops": cost.backward_flops,
            "layers": [asdict(layer) for layer in cost.layers],
            "calibration": asdict(calibration),
            "steps_per_epoch": steps,
            "predicted_step_s": predicted_step,
            "predicted_total_s": predicted_step * steps * options.epochs,
            **_measured(history.epochs, steps),
        },
    }
    return Trained(model, _architecture(options, model), result)


def split_rows(options: TrainingOptions, dataset: Dataset) -> tuple[int, int]:
    """How many of the training images are trained on, and how many are kept for validation. Raises TrainingError."""
    kept = len(dataset.train_labels)
    validation = math.floor(kept * options.validation_split)
    if options.validation_split and not validation:
        raise TrainingError(f"validation_split {options.validation_split} of {kept} examples leaves none to validate")
    return kept - validation, validation


def describe(options: TrainingOptions, dataset: Dataset) -> dict[str, Any]:
    """Which dataset, why, and how many examples of it."""
    train, validation = split_rows(options, dataset)
    return {
        "name": dataset.name,
        "reason": dataset.reason,
        "train": train,
        "validation": validation,
        "test": len(dataset.test_labels),
    }


def _measured(epochs: list[Logs], steps: int) -> dict[str, float | None]:
    """Time of the whole epochs alone: loading, validation and evaluation left out, as in the prediction."""
    seconds = sum(epoch["seconds"] for epoch in epochs)
    per_step = seconds / (len(epochs) * steps) if epochs else None
    return {"measured_step_s": per_step, "measured_total_s": seconds}


def _optimizer(options: TrainingOptions) -> Optimizer:
    rate = options.learning_rate or DEFAULT_LEARNING_RATE[options.optimizer]
    return Adam(rate) if options.optimizer == "adam" else SGD(rate, options.momentum)


def _architecture(options: TrainingOptions, model: Sequential) -> dict[str, Any]:
    layers: list[dict[str, Any]] = []
    for layer in model.layers:
        spec: dict[str, Any] = {"type": type(layer).__name__, "name": layer.name}
        if isinstance(layer, Dense):
            spec |= {"units": layer.units, "activation": layer.activation}
        if isinstance(layer, Dropout):
            spec["rate"] = layer.rate
        layers.append(spec)
    return {"input_shape": list(INPUT_SHAPE), "layers": layers, "seed": options.seed}
