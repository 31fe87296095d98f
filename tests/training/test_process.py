"""The training process from its parent's side: heard, stopped, and told of however it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.training import process as module
from app.training.options import TrainingOptions
from app.training.process import ProcessLimits, TrainingProcess

pytestmark = pytest.mark.slow

QUICK = TrainingOptions(dataset="digits", train_fraction=0.02, epochs=1, seed=1)
ENDLESS = TrainingOptions(dataset="digits", train_fraction=0.05, epochs=100, hidden_units=2000)


def until_it_trains(process: TrainingProcess) -> Any:
    """Its events, from the first batch on."""
    events = process.events()
    for event in events:
        if event["event"] == "batch":
            return events
    raise AssertionError("it never trained")


def test_a_run_is_heard_to_its_end(tmp_path: Path) -> None:
    events = list(TrainingProcess(QUICK, tmp_path / "run", ProcessLimits()).events())
    assert events[0]["event"] == "started"
    assert events[-1]["event"] == "done"
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_a_run_that_is_stopped_says_so(tmp_path: Path) -> None:
    process = TrainingProcess(ENDLESS, tmp_path, ProcessLimits())
    events = until_it_trains(process)
    process.stop()
    assert [event["event"] for event in events][-1] == "cancelled"
    process.stop()  # it has ended: nothing happens


def test_a_run_that_can_t_take_notice_is_killed(tmp_path: Path) -> None:
    process = TrainingProcess(ENDLESS, tmp_path, ProcessLimits())
    events = until_it_trains(process)
    os.kill(process.pid, signal.SIGSTOP)
    process.stop()
    last = list(events)[-1]
    assert (last["event"], last["kind"]) == ("error", "crashed")
    assert "SIGKILL" in last["message"]


def test_the_last_words_of_a_crash_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\nseq 100000 >&2\necho 'Illegal instruction' >&2\nexit 4\n")
    (tmp_path / "python").chmod(0o755)
    (event,) = TrainingProcess(QUICK, tmp_path, ProcessLimits()).events()
    assert (event["event"], event["kind"]) == ("error", "crashed")
    assert "exit code 4" in event["message"]
    assert event["message"].endswith("Its last words: Illegal instruction.")


def test_what_is_cut_off_in_mid_sentence_is_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("""#!/bin/sh\nprintf '{"event": "sta'\nexit 0\n""")
    (tmp_path / "python").chmod(0o755)
    (event,) = TrainingProcess(QUICK, tmp_path, ProcessLimits()).events()
    assert (event["event"], event["kind"]) == ("error", "crashed")


def test_limits_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text(f'#!/bin/sh\nfor each in "$@"; do echo "$each"; done > {tmp_path}/arguments\n')
    (tmp_path / "python").chmod(0o755)
    limits = ProcessLimits(threads=3, nice=7, max_seconds=9, mnist_path="/there/mnist.npz", download=False)
    list(TrainingProcess(QUICK, tmp_path / "run", limits).events())
    arguments = (tmp_path / "arguments").read_text().splitlines()
    for name, value in (("threads", "3"), ("nice", "7"), ("max-seconds", "9"), ("mnist-path", "/there/mnist.npz")):
        assert arguments[arguments.index(f"--{name}") + 1] == value
    assert "--no-download" in arguments


def test_a_program_that_isn_t_there_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError):
        TrainingProcess(QUICK, tmp_path, ProcessLimits())
