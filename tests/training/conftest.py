"""Small real datasets, and the real MNIST where its path is known."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from app.training.data import Dataset, draw_digits, read_mnist


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small() -> Dataset:
    """1,200 drawn digits to train on and 10,000 to test with."""
    return draw_digits("a test", 0.02)


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    path = os.environ.get("TROIKA_MNIST_PATH")
    if not path:
        pytest.skip("TROIKA_MNIST_PATH does not say where the real mnist.npz is")
    return read_mnist(Path(path), "a test")
