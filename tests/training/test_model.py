"""The hand-written passes against torch's autograd and optimisers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from app.training.batches import Batches
from app.training.callbacks import Callback, Run
from app.training.data import Dataset
from app.training.layers import Dense, Dropout, Flatten, Layer
from app.training.losses import LossName, make_loss
from app.training.model import Sequential
from app.training.optimizers import SGD, Adam, Optimizer
from app.training.shares import share_of

RATE = 0.25


def build(
    seed: int = 3, dropout: float = RATE, optimizer: Optimizer | None = None, loss: LossName = "cross-entropy"
) -> Sequential:
    layers: list[Layer] = [
        Flatten(),
        Dense(24, "relu", name="a"),
        Dropout(dropout),
        Dense(12, "relu", name="b"),
        Dense(10, name="c"),
    ]
    model = Sequential(layers, (28, 28), seed)
    model.compile(optimizer or Adam(), make_loss(loss))
    return model


def reference(weights: dict[str, torch.Tensor], x: torch.Tensor, mask: torch.Tensor | float) -> torch.Tensor:
    """The same network, eager."""
    x = F.relu(x @ weights["a.kernel"] + weights["a.bias"]) * mask
    x = F.relu(x @ weights["b.kernel"] + weights["b.bias"])
    return x @ weights["c.kernel"] + weights["c.bias"]


def dropout_mask(rows: int) -> torch.Tensor:
    """What a fresh model's dropout draws first, found by sending ones through a twin's."""
    twin = build()
    dropout = next(layer for layer in twin.layers if isinstance(layer, Dropout))
    made = dropout.make_pass(share_of(rows), False)
    assert made is not None
    return made.forward(torch.ones(rows, 24), True).clone()


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("rows", [1, 7, 32])
def test_gradients_equal_autograd_s(loss: LossName, rows: int) -> None:
    model = build(loss=loss)
    x = torch.rand(rows, 784)
    labels = torch.arange(rows) % 10
    targets = torch.eye(10)[labels]
    log_probs = torch.empty(rows, 10)
    weights = {name: torch.tensor(array, requires_grad=True) for name, array in model.weights.items()}
    model.compute_gradients(x, targets, share_of(rows), log_probs)

    logits = reference(weights, x, dropout_mask(rows))
    expected = F.cross_entropy(logits, labels) if loss == "cross-entropy" else F.mse_loss(logits.softmax(1), targets)
    expected.backward()
    gradients = torch.cat([w.grad.flatten() for w in weights.values() if w.grad is not None])
    torch.testing.assert_close(log_probs, logits.log_softmax(1).detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.gradients, gradients, rtol=1e-4, atol=1e-6)
    assert make_loss(loss).total(log_probs, targets) / rows == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Adam(0.003), lambda p: torch.optim.Adam([p], 0.003, eps=1e-7)),
        (SGD(0.1), lambda p: torch.optim.SGD([p], 0.1)),
        (SGD(0.1, 0.9), lambda p: torch.optim.SGD([p], 0.1, momentum=0.9)),
    ],
)
def test_optimizers_equal_torch_s(ours: Optimizer, theirs) -> None:
    values, gradients = torch.randn(500), torch.zeros(500)
    parameter = torch.nn.Parameter(values.clone())
    ours.build(values, gradients)
    expected = theirs(parameter)
    for _ in range(5):
        gradients.normal_()
        parameter.grad = gradients.clone()
        ours.step()
        expected.step()
    torch.testing.assert_close(values, parameter.detach(), rtol=1e-5, atol=1e-7)


def test_fit_equals_an_eager_loop(small: Dataset) -> None:
    images, labels = small.train_images[:200], small.train_labels[:200]
    model = build(dropout=0.0, optimizer=SGD(0.1))
    order = torch.randperm(200, generator=build(dropout=0.0).generator)
    weights = {name: torch.tensor(array, requires_grad=True) for name, array in model.weights.items()}
    losses = []
    for rows in order.split(32):  # the last batch has 8
        x = torch.from_numpy(images).flatten(1)[rows].float() / 255
        loss = F.cross_entropy(reference(weights, x, 1.0), torch.from_numpy(labels).long()[rows], reduction="sum")
        losses.append(loss.item())
        (loss / len(rows)).backward()
        for weight in weights.values():
            assert weight.grad is not None
            weight.data -= 0.1 * weight.grad
            weight.grad = None
    history = model.fit(images, labels, epochs=1, batch_size=32)
    assert history.epochs[0]["loss"] == pytest.approx(sum(losses) / 200, rel=1e-5)
    for name, array in model.weights.items():
        np.testing.assert_allclose(array, weights[name].detach().numpy(), rtol=1e-3, atol=1e-6)


def test_initial_weights_are_keras_s() -> None:
    model = Sequential([Dense(300, "relu", name="a"), Dense(10, name="b")], (28, 28), seed=0)
    kernel = model.weights["a.kernel"]
    limit = np.sqrt(6 / (784 + 300))
    assert np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert not model.weights["a.bias"].any()


def test_dropout_keeps_the_mean_and_does_nothing_when_predicting() -> None:
    layer = Dropout(0.2)
    layer.build(500)
    layer.initialize(torch.Generator().manual_seed(1))
    made = layer.make_pass(share_of(400), False)
    assert made is not None
    ones = torch.ones(400, 500)
    assert made.forward(ones, False) is ones
    out = made.forward(ones, True)
    assert (out == 0).float().mean().item() == pytest.approx(0.2, abs=0.005)
    assert out.mean().item() == pytest.approx(1, abs=0.01)
    assert not torch.equal(out.clone(), made.forward(ones, True))


def test_summary_names_layers_shapes_and_parameters() -> None:
    lines = [(line.name, line.type, line.output_shape, line.parameters) for line in build().summary()]
    assert lines == [
        ("flatten", "Flatten", [784], 0),
        ("a", "Dense", [24], 784 * 24 + 24),
        ("dropout", "Dropout", [24], 0),
        ("b", "Dense", [12], 24 * 12 + 12),
        ("c", "Dense", [10], 12 * 10 + 10),
    ]


def test_same_seed_same_bits(small: Dataset) -> None:
    def fitted(seed: int, augment: bool) -> dict[str, np.ndarray]:
        model = build(seed)
        model.fit(small.train_images, small.train_labels, epochs=2, batch_size=32, augment=augment)
        return model.weights

    for augment in (False, True):
        first, second, other = fitted(1, augment), fitted(1, augment), fitted(2, augment)
        assert all(np.array_equal(first[name], second[name]) for name in first)
        assert not np.array_equal(first["a.kernel"], other["a.kernel"])


def test_validation_and_evaluation_agree_with_predict(small: Dataset) -> None:
    model = build()
    held = small.test_images[:1500], small.test_labels[:1500]  # more than one evaluation batch, the last one short
    history = model.fit(small.train_images, small.train_labels, epochs=2, batch_size=64, validation=held)
    found = model.evaluate(*held)
    logits = torch.from_numpy(model.predict(held[0]))
    labels = torch.from_numpy(held[1]).long()
    assert found["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert history.epochs[-1]["val_loss"] == found["loss"]
    assert history.epochs[-1]["val_accuracy"] == found["accuracy"]


def test_a_callback_stops_the_run_at_once_and_only_whole_epochs_are_history(small: Dataset) -> None:
    seen = []

    class Stop(Callback):
        def on_batch_end(self, run: Run, epoch: int, batch: int) -> None:
            seen.append((epoch, batch, run.logs()["loss"]))
            if (epoch, batch) == (1, 3):
                run.stop = "enough"

    model = build()
    history = model.fit(small.train_images, small.train_labels, epochs=5, batch_size=100, callbacks=[Stop()])
    assert seen[-1][:2] == (1, 3)
    assert len(history.epochs) == 1
    assert model.stopped == "enough"
    assert seen[11][2] == history.epochs[0]["loss"]  # the running loss after the last batch is the epoch's


@pytest.mark.parametrize("batch_size", [1, 3, 32, 500, 4096])
def test_an_epoch_feeds_every_image_once_with_its_label(batch_size: int) -> None:
    rows = 1100
    images = torch.zeros(rows, 28, 28, dtype=torch.uint8)
    images[:, 0, 0], images[:, 0, 1] = torch.arange(rows) // 256, torch.arange(rows) % 256
    targets = torch.arange(rows, dtype=torch.float32).unsqueeze(1)
    batches = Batches(images, targets, batch_size)
    order = torch.randperm(rows)
    fed = [(x.clone(), y) for x, y, _ in batches.epoch(order, torch.Generator())]
    assert len(fed) == batches.steps
    x, y = torch.cat([a for a, _ in fed]), torch.cat([b for _, b in fed])
    assert torch.equal(y[:, 0].long(), order)
    assert torch.equal((x[:, 0] * 255 * 256 + x[:, 1] * 255).round().long(), order)
    assert x.max() <= 1
