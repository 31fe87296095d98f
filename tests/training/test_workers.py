"""Data-parallel training, by real processes: the run of one worker, divided between several."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.training.batches import Batches
from app.training.data import Dataset
from app.training.events import EXIT_CANCELLED, EXIT_DONE, EXIT_ERROR
from app.training.layers import Dense, Dropout
from app.training.losses import LossName, make_loss
from app.training.model import Sequential
from app.training.optimizers import SGD
from app.training.shares import share_of
from app.training.weights import load_weights
from tests.server import children
from tests.training.test_main import ENDLESS, PATIENCE_S, QUICK, events, out, process


def test_shares_divide_a_batch_and_differ_by_a_row_at_most() -> None:
    for workers in (1, 2, 3, 8):
        for rows in (0, 1, 5, 32, 33):
            shares = [share_of(rows, rank, workers) for rank in range(workers)]
            assert [row for share in shares for row in range(share.start, share.stop)] == list(range(rows))
            assert max(share.rows for share in shares) - min(share.rows for share in shares) <= 1


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("workers", [2, 3, 5])
def test_workers_feed_together_what_one_feeds(small: Dataset, workers: int, augment: bool) -> None:
    images = torch.from_numpy(small.train_images[:1062])  # a last batch of 2: a share of some workers is empty
    targets = torch.arange(1062, dtype=torch.float32).unsqueeze(1)
    order = torch.randperm(1062)

    def fed(rank: int, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        batches = Batches(images, targets, 20, augment, rank, size)
        generator = torch.Generator().manual_seed(4)
        return [(x.clone(), y) for x, y, _ in batches.epoch(order, generator)]

    parts = [fed(rank, workers) for rank in range(workers)]
    for (x, y), *shares in zip(fed(0, 1), *parts, strict=True):
        torch.testing.assert_close(torch.cat([x for x, _ in shares]), x, rtol=0, atol=1e-6)
        assert torch.equal(torch.cat([y for _, y in shares]), y)


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("rows", [1, 32, 33])
def test_the_gradients_of_shares_add_up_to_the_batch_s(loss: LossName, rows: int) -> None:
    def build() -> Sequential:
        model = Sequential([Dense(24, "relu", name="a"), Dropout(0.25), Dense(10, name="b")], (28, 28), seed=3)
        model.compile(SGD(), make_loss(loss))
        return model

    x, targets = torch.rand(rows, 784), torch.eye(10)[torch.arange(rows) % 10]
    alone, expected = build(), torch.empty(rows, 10)
    alone.compute_gradients(x, targets, share_of(rows), expected)
    for workers in (2, 3):
        log_probs, gradients = torch.empty(rows, 10), torch.zeros_like(alone.gradients)
        for rank in range(workers):
            share = share_of(rows, rank, workers)
            mine, worker = slice(share.start, share.stop), build()
            worker.compute_gradients(x[mine], targets[mine], share, log_probs[mine])
            gradients += worker.gradients
        torch.testing.assert_close(log_probs, expected, rtol=1e-5, atol=1e-6)  # dropout drops the same units
        torch.testing.assert_close(gradients, alone.gradients, rtol=1e-4, atol=1e-7)


def trained(folder: Path, *arguments: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The weights and the last event of a run."""
    code, lines, errors = events(*QUICK, *arguments, "--output", str(folder))
    assert (code, errors) == (EXIT_DONE, "")
    return load_weights(folder / "weights.safetensors")[0], lines[-1]["result"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers_learn_what_one_learns(tmp_path: Path, workers: int) -> None:
    # 1,080 rows in batches of 64: the last has 56. Dropout, augmentation and validation all take part.
    same = ["--batch-size", "64", "--augment", "true", "--validation-split", "0.1"]
    weights, result = trained(tmp_path / "one", *same)
    divided, found = trained(tmp_path / "several", *same, "--workers", str(workers))
    assert found["options"] == result["options"] | {"workers": workers}
    for name, kernel in weights.items():
        np.testing.assert_allclose(divided[name], kernel, rtol=0, atol=1e-4)
        assert np.abs(divided[name] - kernel).max() < np.abs(kernel).max() / 100
    for epoch, expected in zip(found["history"], result["history"], strict=True):
        assert epoch["loss"] == pytest.approx(expected["loss"], rel=1e-3)
        assert epoch["accuracy"] == pytest.approx(expected["accuracy"], abs=0.005)
        assert epoch["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-3)
    assert found["test_accuracy"] == pytest.approx(result["test_accuracy"], abs=0.005)
    again, _ = trained(tmp_path / "again", *same, "--workers", str(workers))
    assert all(np.array_equal(again[name], divided[name]) for name in divided)


@pytest.mark.slow
def test_a_last_batch_of_fewer_rows_than_workers(tmp_path: Path) -> None:
    # 1,200 rows in batches of 1,199 leave a batch of one row for three workers.
    weights, _ = trained(tmp_path / "one", "--batch-size", "1199")
    divided, _ = trained(tmp_path / "several", "--batch-size", "1199", "--workers", "3")
    for name, kernel in weights.items():
        np.testing.assert_allclose(divided[name], kernel, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_run_of_several_that_stops_early_is_a_result(tmp_path: Path) -> None:
    _, result = trained(tmp_path, "--workers", "2", "--epochs", "50", "--learning-rate", "3", "--early-stopping", "1")
    assert "early stopping" in result["stopped"]
    assert len(result["history"]) < 50


# -- ends ----------------------------------------------------------------------------------------------------


def workers_of(pid: int) -> list[int]:
    """The workers that a training process has started."""
    return [child for child in children(pid) if b"app.training.worker" in Path(f"/proc/{child}/cmdline").read_bytes()]


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "a worker outlived its run"
        time.sleep(0.02)


def until_it_trains(running: subprocess.Popen[str]) -> None:
    while json.loads(out(running).readline())["event"] != "batch":
        pass


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_the_run_which_says_which_and_how() -> None:
    with process(*ENDLESS, "--workers", "3") as running:
        until_it_trains(running)
        first, second = sorted(workers_of(running.pid))
        os.kill(second, signal.SIGKILL)
        last = json.loads(out(running).readlines()[-1])
        assert running.wait() == EXIT_ERROR
        assert (last["event"], last["kind"]) == ("error", "crashed")
        assert "Worker 3 of 3" in last["message"]
        assert "SIGKILL" in last["message"]
        wait_for_end(first)


@pytest.mark.slow
def test_a_worker_that_is_killed_before_it_begins_fails_the_run() -> None:
    with process(*ENDLESS, "--workers", "2") as running:
        deadline = time.monotonic() + 30
        while not (found := workers_of(running.pid)):
            assert time.monotonic() < deadline, "no worker was started"
            time.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)
        last = json.loads(out(running).readlines()[-1])
        assert running.wait() == EXIT_ERROR
        assert (last["event"], last["kind"]) == ("error", "crashed")
        assert "SIGKILL" in last["message"]


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_cancelling_ends_all_workers(stopped: bool) -> None:
    with process(*ENDLESS, "--workers", "2") as running:
        until_it_trains(running)
        (worker,) = workers_of(running.pid)
        if stopped:
            os.kill(worker, signal.SIGSTOP)
        asked = time.monotonic()
        running.send_signal(signal.SIGTERM)
        rest = [json.loads(line)["event"] for line in out(running)]
        assert running.wait() == EXIT_CANCELLED
        assert time.monotonic() - asked < PATIENCE_S
        assert rest[-1] == "cancelled"
        if stopped:
            os.kill(worker, signal.SIGCONT)
        wait_for_end(worker)


@pytest.mark.slow
def test_no_worker_outlives_a_training_process_that_is_killed() -> None:
    with process(*ENDLESS, "--workers", "2") as running:
        until_it_trains(running)
        (worker,) = workers_of(running.pid)
        running.kill()
        wait_for_end(worker)
