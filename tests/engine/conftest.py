"""Checkpoints for the engine's tests: random GPT-2 models, saved by transformers."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# As the engine process does, and like there before numba starts its threads.
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

import torch

from tests.engine.support import save_model


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, 64 wide, 128 positions, 211 tokens."""
    return save_model(tmp_path_factory.mktemp("small"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads that wait for each other on a busy machine take many times as long as one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
