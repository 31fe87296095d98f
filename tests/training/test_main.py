"""The training process, as the job runner and a person start it: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from app.training.events import EXIT_CANCELLED, EXIT_DONE, EXIT_ERROR, EXIT_OPTIONS
from app.training.predictor import Predictor

COMMAND = [sys.executable, "-m", "app.training"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "TROIKA_MNIST_PATH"}
QUICK = ["--dataset", "digits", "--train-fraction", "0.02", "--epochs", "2", "--seed", "1"]
# Long enough never to end by itself in a test.
ENDLESS = ["--dataset", "digits", "--train-fraction", "0.05", "--epochs", "100", "--hidden-units", "2000"]

# A second is promised, and takes a tenth; the rest is for a machine that others keep busy.
PATIENCE_S = 2

pytestmark = pytest.mark.slow


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The process in --events mode, with a pipe on its stdin, as the runner starts it."""
    with subprocess.Popen(
        [*COMMAND, "--events", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def out(running: subprocess.Popen[str]) -> IO[str]:
    assert running.stdout is not None
    return running.stdout


def events(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, events and stderr of a run that is left to end."""
    with process(*arguments) as running:
        lines = [json.loads(line) for line in out(running)]
        assert running.stderr is not None
        return running.wait(), lines, running.stderr.read()


def test_a_run_tells_its_story_and_leaves_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    code, lines, errors = events(*QUICK, "--output", str(folder))
    assert (code, errors) == (EXIT_DONE, "")
    names = [line["event"] for line in lines]
    assert names[0] == "started"
    assert names[-1] == "done"
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2]
    assert set(names[1:-1]) <= {"batch", "epoch"}
    started, done = lines[0], lines[-1]
    assert started["dataset"]["name"] == "digits"
    assert started["options"]["seed"] == 1
    assert started["parameters"] == 101_770
    assert sorted(path.name for path in folder.iterdir()) == ["result.json", "weights.safetensors"]
    assert json.loads((folder / "result.json").read_text()) == done["result"]
    assert done["files"]["weights"] == str(folder / "weights.safetensors")
    Predictor.load(folder / "weights.safetensors").predict(np.zeros((28, 28), np.uint8))


def test_batches_are_told_about_ten_times_a_second() -> None:
    with process(*ENDLESS) as running:
        batches = []
        for line in out(running):
            event = json.loads(line)
            if event["event"] == "batch":
                batches.append(event)
            if len(batches) == 8:
                break
        assert batches[-1]["elapsed_s"] - batches[0]["elapsed_s"] >= 0.69
        progress = [event["progress"] for event in batches]
        assert progress == sorted(progress)
        assert all(event["eta_s"] > 0 and event["loss"] > 0 and 0 <= event["accuracy"] <= 1 for event in batches)


@pytest.mark.parametrize("nice", [0, 10])
def test_it_steps_back_if_it_is_told_to(nice: int) -> None:
    with process(*QUICK, "--events", "--nice", str(nice)) as running:
        assert json.loads(out(running).readline())["event"] == "started"
        assert os.getpriority(os.PRIO_PROCESS, running.pid) == os.getpriority(os.PRIO_PROCESS, 0) + nice
        if hasattr(os, "SCHED_IDLE"):
            assert (os.sched_getscheduler(running.pid) == os.SCHED_IDLE) == (nice > 0)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stdin"])
def test_cancelling_takes_less_than_a_second(how: str) -> None:
    with process(*ENDLESS) as running:
        while json.loads(out(running).readline())["event"] != "batch":
            pass
        asked = time.monotonic()
        if how == "stdin":
            assert running.stdin is not None
            running.stdin.close()
        else:
            running.send_signal(getattr(signal, how))
        rest = [json.loads(line)["event"] for line in out(running)]
        assert running.wait() == EXIT_CANCELLED
        assert time.monotonic() - asked < PATIENCE_S
        assert rest[-1] == "cancelled"
        assert not {"done", "error"} & set(rest)


def test_cancelling_while_the_data_is_drawn_does_not_wait_for_it() -> None:
    with process("--dataset", "digits") as running:
        time.sleep(2)  # torch is loaded or loading; drawing 70,000 digits takes longer
        asked = time.monotonic()
        running.send_signal(signal.SIGTERM)
        rest = [json.loads(line)["event"] for line in out(running)]
        assert running.wait() == EXIT_CANCELLED
        assert time.monotonic() - asked < PATIENCE_S
        assert rest[-1] == "cancelled"


def test_a_time_limit_ends_with_a_result() -> None:
    code, lines, _ = events(*ENDLESS, "--max-seconds", "4")
    assert code == EXIT_DONE
    assert lines[-1]["event"] == "done"
    assert "time limit of 4 s" in lines[-1]["result"]["stopped"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--options", '{"epoch": 3}'], "epoch"),
        (["--options", '{"epochs": 3'], "options"),
        (["--options", "[]"], "JSON object"),
        (["--epochs", "0"], "epochs"),
        (["--hidden-units", "[64, 0]"], "hidden_units"),
        (["--momentum", "0.5"], "momentum"),
    ],
)
def test_bad_options_are_an_error_event(arguments: list[str], said: str) -> None:
    code, lines, errors = events(*arguments)
    assert (code, errors) == (EXIT_OPTIONS, "")
    assert [line["event"] for line in lines] == ["error"]
    assert lines[0]["kind"] == "options"
    assert said in lines[0]["message"]


def test_a_bad_file_is_an_error_event(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"PK\x03\x04 cut short")
    code, lines, errors = events("--dataset", "mnist", "--mnist-path", str(path))
    assert (code, errors) == (EXIT_ERROR, "")
    assert [line["event"] for line in lines] == ["error"]
    assert lines[0]["kind"] == "dataset"
    assert str(path) in lines[0]["message"]


def test_a_full_disk_is_an_error_event_and_leaves_no_half_files(tmp_path: Path) -> None:
    # A limit on the size of files stands in for the disk's: the write fails at the same place.
    shell = f'ulimit -f 16; exec "$@" --events --output {tmp_path}'
    with subprocess.Popen(
        ["bash", "-c", shell, "-", *COMMAND, *QUICK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as running:
        last = json.loads(out(running).readlines()[-1])
        assert running.stderr is not None
        assert (running.wait(), running.stderr.read()) == (EXIT_ERROR, "")
    assert (last["event"], last["kind"]) == ("error", "storage")
    assert str(tmp_path) in last["message"]
    assert "File too large" in last["message"]
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_can_t_be_a_folder_is_told_before_training(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("in the way")
    code, lines, _ = events(*QUICK, "--output", str(path))
    assert code == EXIT_ERROR
    assert [line["event"] for line in lines] == ["error"]
    assert lines[0]["kind"] == "storage"


def test_a_person_sees_lines_and_needs_no_stdin() -> None:
    done = subprocess.run(
        [*COMMAND, *QUICK, "--validation-split", "0.1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "epoch 2/2" in done.stdout
    assert "val_loss" in done.stdout
    assert "test accuracy" in done.stdout
    refused = subprocess.run([*COMMAND, "--epochs", "0"], capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert refused.returncode == EXIT_OPTIONS
    assert "epochs" in refused.stderr
