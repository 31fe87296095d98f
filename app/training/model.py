"""`Sequential`: a stack of layers that can be compiled, fitted, evaluated and asked, in Keras's vocabulary.

The forward and backward passes are written out by hand over preallocated buffers (`layers`), because on a CPU and with
batches of 32 most of an autograd step is bookkeeping. A test holds the gradients equal to autograd's.
Left to others: the data (`data`), what a run is for (`trainer`), files (`store`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.training.batches import Batches
from app.training.callbacks import Callback, History, Logs, Run
from app.training.group import Group
from app.training.layers import Layer, Pass
from app.training.losses import Loss
from app.training.optimizers import Optimizer
from app.training.shares import Share

EVALUATION_ROWS = 1024


@dataclass(frozen=True)
class LayerSummary:
    """One line of `Sequential.summary`."""

    name: str
    type: str
    output_shape: list[int]
    parameters: int


class Sequential:
    """A stack of layers over images [n, *input_shape] uint8; the last layer gives one logit per class.

    All parameters lie in one vector (`parameters`, float32), all gradients in another (`gradients`).
    """

    def __init__(self, layers: Sequence[Layer], input_shape: tuple[int, ...], seed: int) -> None:
        self.layers = list(layers)
        self.input_shape = input_shape
        self.generator = torch.Generator().manual_seed(seed)
        self._widths = []
        width = math.prod(input_shape)
        for layer in self.layers:
            width = layer.build(width)
            self._widths.append(width)
        self.classes = width
        sizes = [math.prod(shape) for layer in self.layers for shape in layer.parameter_shapes().values()]
        self.parameters = torch.zeros(sum(sizes))
        self.gradients = torch.zeros(sum(sizes))
        self._views = self._bind()
        for layer in self.layers:
            layer.initialize(self.generator)
        self._passes: dict[Share, list[Pass]] = {}

    def _bind(self) -> dict[str, Tensor]:
        views: dict[str, Tensor] = {}
        start = 0
        for layer in self.layers:
            values, gradients = {}, {}
            for name, shape in layer.parameter_shapes().items():
                end = start + math.prod(shape)
                values[name] = self.parameters[start:end].view(shape)
                gradients[name] = self.gradients[start:end].view(shape)
                views[f"{layer.name}.{name}"] = values[name]
                start = end
            layer.bind(values, gradients)
        return views

    @property
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the weights by name (`dense.kernel` [inputs, units], `dense.bias` [units], …)."""
        return {name: view.numpy().copy() for name, view in self._views.items()}

    def compile(self, optimizer: Optimizer, loss: Loss) -> None:
        """Choose how to learn. The optimiser starts from a fresh state."""
        self.loss = loss
        self.optimizer = optimizer
        optimizer.build(self.parameters, self.gradients)

    def summary(self) -> list[LayerSummary]:
        """Name, type, output shape per example and number of parameters of each layer."""
        lines = []
        for layer, width in zip(self.layers, self._widths, strict=True):
            count = sum(math.prod(shape) for shape in layer.parameter_shapes().values())
            lines.append(LayerSummary(layer.name, type(layer).__name__, [width], count))
        return lines

    @torch.inference_mode()
    def train_step(
        self, x: Tensor, targets: Tensor, share: Share, log_probs: Tensor, group: Group | None = None
    ) -> None:
        """One update from x [rows, pixels] in [0, 1] and one-hot targets, which are a share of a batch.

        Writes log p [rows of the whole batch, classes]; a share that is not the whole batch needs the group.
        """
        self.compute_gradients(x, targets, share, log_probs[share.start : share.stop] if group else log_probs)
        if group:
            group.exchange(self.gradients, log_probs, share)
        self.optimizer.step()

    @torch.inference_mode()
    def compute_gradients(self, x: Tensor, targets: Tensor, share: Share, log_probs: Tensor) -> None:
        """The forward and backward pass of `train_step`, which writes log p [rows, classes].

        Leaves in `gradients` what these rows add to the gradient of the whole batch's mean loss.
        """
        passes = self._passes_for(share)
        for each in passes:
            x = each.forward(x, True)
        torch.log_softmax(x, 1, out=log_probs)
        grad: Tensor | None = self.loss.gradient(log_probs, targets, share.whole, out=x)
        for each in reversed(passes):
            if grad is None:
                break
            grad = each.backward(grad)

    @torch.inference_mode()
    def fit(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        *,
        epochs: int,
        batch_size: int,
        validation: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
        augment: bool = False,
        callbacks: Sequence[Callback] = (),
        group: Group | None = None,
    ) -> History:
        """Train on images [n, *input_shape] and labels [n], reshuffled every epoch.

        With a group every worker calls this with the same model and data, and computes its share of each batch; they
        shuffle, augment and drop alike, and end with the same weights. Only one of them may have callbacks.
        Returns the history of whole epochs: running `loss` and `accuracy` as in Keras (each batch measured before its
        own update), `seconds`, and `val_loss`, `val_accuracy` if there is validation data.
        """
        history = History()
        watchers = [history, *callbacks]
        targets = self._one_hot(labels)
        rank, workers = (group.rank, group.size) if group else (0, 1)
        batches = Batches(torch.from_numpy(images), targets, batch_size, augment, rank, workers)
        running = _Running(self.loss, batches.rows, self.classes)
        run = Run(epochs, batches.steps, running.logs, self.parameters.clone, self._restore)
        for each in watchers:
            each.on_train_begin(run)
        for epoch in range(epochs):
            began = time.perf_counter()
            order = torch.randperm(batches.rows, generator=self.generator)
            running.start(targets.index_select(0, order))
            log_probs = running.log_probs.split(batch_size)
            for batch, (x, y, share) in enumerate(batches.epoch(order, self.generator)):
                self.train_step(x, y, share, log_probs[batch], group)
                running.seen += share.whole
                for each in watchers:
                    each.on_batch_end(run, epoch, batch)
                if run.stop:
                    break
            if running.seen < batches.rows:
                break
            logs = {**running.logs(), "seconds": time.perf_counter() - began}
            if validation is not None:
                logs |= {f"val_{name}": value for name, value in self.evaluate(*validation).items()}
            for each in watchers:
                each.on_epoch_end(run, epoch, logs)
            if run.stop:
                break
        for each in watchers:
            each.on_train_end(run)
        self.stopped = run.stop
        return history

    def evaluate(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Logs:
        """Mean `loss` and `accuracy` on images [n, *input_shape] with labels [n]."""
        logits = torch.from_numpy(self.predict(images))
        targets = self._one_hot(labels)
        total = self.loss.total(logits.log_softmax(1), targets)
        right = int((logits.argmax(1).numpy() == labels).sum())
        return {"loss": total / len(labels), "accuracy": right / len(labels)}

    @torch.inference_mode()
    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [n, classes] of images [n, *input_shape]."""
        batches = Batches(torch.from_numpy(images), torch.empty(len(images), 0), EVALUATION_ROWS)
        logits = torch.empty(len(images), self.classes)
        start = 0
        for x, _, share in batches.epoch(torch.arange(len(images)), self.generator):
            for each in self._passes_for(share):
                x = each.forward(x, False)
            logits[start : start + share.rows] = x
            start += share.rows
        return logits.numpy()

    def _passes_for(self, share: Share) -> list[Pass]:
        if share not in self._passes:
            passes: list[Pass] = []
            for layer in self.layers:
                made = layer.make_pass(share, not passes)
                if made is not None:
                    passes.append(made)
            self._passes[share] = passes
        return self._passes[share]

    def _one_hot(self, labels: NDArray[np.uint8]) -> Tensor:
        return torch.eye(self.classes).index_select(0, torch.from_numpy(labels.astype(np.int64)))

    def _restore(self, weights: Any) -> None:
        self.parameters.copy_(weights)


class _Running:
    """Loss and accuracy of the epoch so far. Steps only store log-probabilities; the sums are taken when asked for."""

    def __init__(self, loss: Loss, rows: int, classes: int) -> None:
        self._loss = loss
        self.log_probs = torch.empty(rows, classes)

    def start(self, targets: Tensor) -> None:
        """Begin an epoch whose one-hot targets [rows, classes] come in this order."""
        self._targets = targets
        self.seen = self._summed = 0
        self._total, self._right = 0.0, 0

    def logs(self) -> Logs:
        new = slice(self._summed, self.seen)
        log_probs, targets = self.log_probs[new], self._targets[new]
        if log_probs.shape[0]:
            self._total += self._loss.total(log_probs, targets)
            self._right += int((log_probs.argmax(1) == targets.argmax(1)).sum())
            self._summed = self.seen
        rows = max(self.seen, 1)
        return {"loss": self._total / rows, "accuracy": self._right / rows}
