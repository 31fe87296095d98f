"""Trained weights as a file: safetensors, with the architecture as JSON in its metadata. Needs no torch.

The format holds tensors and text only, so reading a file runs nothing in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from app.training.files import write_atomically

FORMAT = "troika-dense-1"


class WeightsError(ValueError):
    """A file of weights can't be used; the message says why."""


def save_weights(path: Path, weights: Mapping[str, NDArray[np.float32]], architecture: Mapping[str, Any]) -> None:
    """Write weights by name (`dense.kernel` [inputs, units], …) and the architecture, atomically. Raises OSError."""
    metadata = {"format": FORMAT, "architecture": json.dumps(architecture)}
    write_atomically(path, save(dict(weights), metadata=metadata))


def load_weights(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """Weights and architecture from `save_weights`. Raises WeightsError, or OSError if the file can't be opened."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{path} is not a classifier of this project (format {metadata.get('format')!r})")
    try:
        architecture = json.loads(metadata["architecture"])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path} does not say its architecture: {error}") from error
    return tensors, architecture
