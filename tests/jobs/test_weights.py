"""The files of trained classifiers: not too many, not too old, and nothing else is touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from app.jobs.weights import FILE, KeptWeights, WeightsGoneError
from app.training.weights import WeightsError, save_weights

DAY_S = 86_400


def job(number: int) -> str:
    return f"train_{number:032x}"


def trained(root: Path, number: int, age_s: float) -> Path:
    """The folder of a job that was done so long ago."""
    folder = root / job(number)
    folder.mkdir(parents=True)
    layers = [{"type": "Dense", "name": "dense", "units": 10, "activation": None}]
    weights = {"dense.kernel": np.zeros((784, 10), np.float32), "dense.bias": np.zeros(10, np.float32)}
    save_weights(folder / FILE, weights, {"layers": layers})
    os.utime(folder / FILE, (time.time() - age_s,) * 2)
    return folder


def test_the_newest_are_kept(tmp_path: Path) -> None:
    folders = [trained(tmp_path, number, age_s=60 * number) for number in range(5)]
    KeptWeights(tmp_path, count=3, max_age_days=1).purge()
    assert [folder.exists() for folder in folders] == [True, True, True, False, False]


def test_none_is_kept_for_longer_than_asked(tmp_path: Path) -> None:
    young, old = trained(tmp_path, 1, age_s=1.9 * DAY_S), trained(tmp_path, 2, age_s=2.1 * DAY_S)
    KeptWeights(tmp_path, count=10, max_age_days=2).purge()
    assert (young.exists(), old.exists()) == (True, False)


def test_what_runs_is_left_alone_and_what_a_crash_left_goes_in_time(tmp_path: Path) -> None:
    running, crashed = tmp_path / job(1), tmp_path / job(2)
    running.mkdir()
    crashed.mkdir()
    os.utime(crashed, (time.time() - 2 * DAY_S,) * 2)
    KeptWeights(tmp_path, count=1, max_age_days=1).purge()
    assert (running.exists(), crashed.exists()) == (True, False)


def test_what_is_somebody_else_s_stays(tmp_path: Path) -> None:
    others = [tmp_path / "train_notes", tmp_path / "holidays"]
    for folder in others:
        folder.mkdir()
        os.utime(folder, (0, 0))
    kept = KeptWeights(tmp_path, count=1, max_age_days=1)
    kept.purge()
    KeptWeights(tmp_path / "nowhere", count=1, max_age_days=1).purge()
    assert all(folder.exists() for folder in others)


def test_weights_are_loaded_until_they_are_removed(tmp_path: Path) -> None:
    trained(tmp_path, 1, age_s=0)
    kept = KeptWeights(tmp_path, count=1, max_age_days=1)
    assert kept.load(job(1)).predict(np.zeros((28, 28), np.uint8)).probabilities == [pytest.approx(0.1)] * 10
    kept.remove(job(1))
    with pytest.raises(WeightsGoneError, match=job(1)):
        kept.load(job(1))


def test_a_damaged_file_is_told_from_one_that_is_gone(tmp_path: Path) -> None:
    file = trained(tmp_path, 1, age_s=0) / FILE
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        KeptWeights(tmp_path, count=1, max_age_days=1).load(job(1))
