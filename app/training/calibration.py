"""Measures this machine's speed on three small networks, for `cost` to predict the time of any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.training.cost import Calibration, NetworkCost, network_cost
from app.training.layers import Dense, Dropout, Layer
from app.training.losses import CrossEntropy
from app.training.model import Sequential
from app.training.optimizers import Adam

PIXELS, CLASSES = 28 * 28, 10
# Hidden units, batch size: little work; many parameters a step; much work per parameter; much of both.
PROBES = [(8, 8), (192, 8), (64, 64), (192, 64)]
STEPS = 48


def calibrate() -> Calibration:
    """Train each probe for a moment on random images (about a tenth of a second in all) and fit the constants."""
    rng = np.random.default_rng(0)
    samples = []
    for hidden, batch_size in PROBES:
        rows = STEPS * batch_size
        images = rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, CLASSES, rows, dtype=np.uint8)
        layers: list[Layer] = [Dense(hidden, "relu", name="hidden"), Dropout(0.2), Dense(CLASSES, name="logits")]
        model = Sequential(layers, (28, 28), seed=0)
        model.compile(Adam(), CrossEntropy())
        history = model.fit(images, labels, epochs=3, batch_size=batch_size)
        fastest = min(epoch["seconds"] for epoch in history.epochs)
        samples.append(Sample(network_cost([PIXELS, hidden, CLASSES]), batch_size, fastest / STEPS))
    return fit_calibration(samples)


@dataclass(frozen=True)
class Sample:
    """A measured step."""

    cost: NetworkCost
    batch_size: int
    seconds: float


def fit_calibration(samples: Sequence[Sample]) -> Calibration:
    """The constants that fit measured steps best, by relative error; at least three different steps are needed.

    A constant that noise would make negative is taken as (next to) nothing, and the others are fitted without it.
    """
    if len(samples) < 3:
        raise ValueError(f"three constants need at least three measured steps, not {len(samples)}")
    rows = np.array([[1.0, s.cost.flops * s.batch_size, s.cost.parameters] for s in samples])
    rows /= np.array([[s.seconds] for s in samples])
    used = [0, 1, 2]
    while True:
        found = np.linalg.lstsq(rows[:, used], np.ones(len(rows)), rcond=None)[0]
        if (found >= 0).all() or len(used) == 1:
            break
        used.pop(int(found.argmin()))
    constants = dict(zip(used, found.tolist(), strict=True))
    return Calibration(
        overhead_s=constants.get(0, 0.0),
        flops_per_s=1.0 / max(constants.get(1, 0.0), 1e-15),
        seconds_per_parameter=constants.get(2, 0.0),
    )
