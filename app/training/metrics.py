"""How good a classifier is, from its probabilities: accuracy, confusion matrix, most confident mistakes."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.training.images import encode_png

Floats = NDArray[np.floating]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Mistake:
    """A test image that was read wrongly; `image` is a PNG in base64, `index` its place in the test set."""

    index: int
    label: int
    predicted: int
    confidence: float
    image: str


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Probabilities [n, classes] of logits [n, classes]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def accuracy(predicted: NDArray[np.integer], labels: Labels) -> float:
    """Fraction of predictions [n] that are right."""
    return float((predicted == labels).mean())


def confusion_matrix(predicted: NDArray[np.integer], labels: Labels, classes: int = 10) -> NDArray[np.int64]:
    """Counts [classes, classes]: row = what it is, column = what it was read as."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def confident_mistakes(
    probabilities: Floats, labels: Labels, images: NDArray[np.uint8], count: int = 16
) -> list[Mistake]:
    """The `count` wrong readings of images [n, 28, 28] with the highest probability, surest first."""
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:count]
    return [
        Mistake(
            index=int(index),
            label=int(labels[index]),
            predicted=int(predicted[index]),
            confidence=float(probabilities[index, predicted[index]]),
            image=base64.b64encode(encode_png(images[index])).decode("ascii"),
        )
        for index in surest
    ]
