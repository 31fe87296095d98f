"""Reads digits with trained weights, in numpy: what the HTTP process uses, which must not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.metrics import softmax
from app.training.weights import WeightsError, load_weights

CLASSES = 10
PIXELS = 28 * 28


@dataclass(frozen=True)
class Prediction:
    """The digit read, and the probability of each of the ten."""

    digit: int
    probabilities: list[float]


@dataclass(frozen=True)
class _Dense:
    kernel: NDArray[np.float32]  # [inputs, units]
    bias: NDArray[np.float32]  # [units]
    relu: bool


class Predictor:
    """A trained stack of dense layers. Thread-safe: nothing changes after loading."""

    def __init__(self, layers: list[_Dense]) -> None:
        self._layers = layers

    @classmethod
    def load(cls, path: Path) -> Predictor:
        """Read a file of `save_weights`, checking names, shapes and numbers. Raises WeightsError or OSError."""
        tensors, architecture = load_weights(path)
        layers = []
        inputs = PIXELS
        for spec in _dense_specs(path, architecture):
            name, units = spec["name"], spec["units"]
            kernel, bias = tensors.pop(f"{name}.kernel", None), tensors.pop(f"{name}.bias", None)
            if kernel is None or bias is None or kernel.shape != (inputs, units) or bias.shape != (units,):
                raise WeightsError(f"{path}: layer {name!r} should have a kernel [{inputs}, {units}] and a bias")
            if kernel.dtype != np.float32 or not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
                raise WeightsError(f"{path}: layer {name!r} has weights that are not finite float32 numbers")
            layers.append(_Dense(kernel, bias, spec.get("activation") == "relu"))
            inputs = units
        if tensors or inputs != CLASSES:
            raise WeightsError(f"{path} does not end in {CLASSES} classes, or has unknown tensors {sorted(tensors)}")
        return cls(layers)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Probabilities [n, 10] of images [n, 28, 28] uint8, white on black."""
        x = images.reshape(len(images), PIXELS).astype(np.float32) / np.float32(255)
        for layer in self._layers:
            x = x @ layer.kernel + layer.bias
            if layer.relu:
                x = np.maximum(x, 0)
        return softmax(x)

    def predict(self, image: NDArray[np.uint8]) -> Prediction:
        """Read one image [28, 28] uint8, as `images.normalize` makes it."""
        probabilities = self.probabilities(image[None])[0]
        return Prediction(int(probabilities.argmax()), probabilities.tolist())


def _dense_specs(path: Path, architecture: Any) -> list[dict[str, Any]]:
    try:
        specs = [spec for spec in architecture["layers"] if spec["type"] == "Dense"]
        complete = all(isinstance(spec["name"], str) and isinstance(spec["units"], int) for spec in specs)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{path}: its architecture is not understood ({error!r})") from error
    if not complete:
        raise WeightsError(f"{path}: its architecture has a layer without name or units")
    return specs
