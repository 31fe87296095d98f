"""Worker processes: started, asked, held still while others are measured, and ended with all their children."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import peak_rss_mb
from benchmarks.peers.environments import PEERS, ROOT, UnavailableError, files_of, last_line, python_of
from benchmarks.peers.systems import System
from benchmarks.peers.worker import Generated, Prompts

START_S, ANSWER_S, END_S = 600, 900, 20


class Worker:
    """One loaded system. Raises `UnavailableError` when it cannot be set up, does not start, or fails to answer."""

    def __init__(self, system: System, model: Path, cores: int) -> None:
        python = python_of(system.environment)
        files = files_of(system, python, model)
        self._over_http = system.over_http
        self._log = PEERS / "logs" / f"{system.key}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        threads = {f"{library}_NUM_THREADS": str(cores) for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
        started = time.perf_counter()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(python, "-m", "benchmarks.peers.worker", system.worker),
                    *("--model", files, "--precision", system.precision, "--cores", str(cores)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=os.environ | threads,
                # In one group with this process, those held still would bring it down: when the shell that started it
                # ends, the kernel hangs up on a group that has stopped members.
                start_new_session=True,
            )
        self.version: str = self._read(START_S)["version"]
        self.startup_s = time.perf_counter() - started
        self.pause()

    def generate(self, prompts: Prompts, new: int) -> tuple[Generated, float]:
        """What came, and the most memory in MB that the system's processes held meanwhile."""
        self._signal(signal.SIGCONT)
        pids = self._system_pids()
        for pid in pids:
            _reset_peak_rss(pid)
        if self._process.stdin is None:
            raise UnavailableError("it has no stdin")
        try:
            print(json.dumps({"prompts": prompts, "new": new}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            self._end()
            raise UnavailableError(self._last_words()) from None
        answer = self._read(ANSWER_S)
        memory = sum(peak_rss_mb(pid) for pid in pids)
        self.pause()
        if "error" in answer:
            raise UnavailableError(answer["error"])
        return Generated(**answer), memory

    def pause(self) -> None:
        """Take no processor time from the others. gunicorn would miss its workers' signs of life, so it goes on."""
        if not self._over_http:
            self._signal(signal.SIGSTOP)

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        self._end()

    def _end(self) -> None:
        """No more questions: it should end by itself, and has its last words to say."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._kill()

    def _read(self, timeout: float) -> dict[str, Any]:
        if self._process.stdout is None:
            raise UnavailableError("it has no stdout")
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(timeout, give_up)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self._end()
            raise UnavailableError(f"no answer in {timeout} s" if late.is_set() else self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        """How it ended, and what it wrote before."""
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"it {how}: {last_line(self._log)}"

    def _system_pids(self) -> list[int]:
        pids = list(family(self._process.pid))
        return pids[1:] if self._over_http else pids  # over HTTP the worker itself is the client

    def _signal(self, number: int) -> None:
        for pid in family(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()


def family(pid: int) -> Iterator[int]:
    """A process and all its descendants, as long as it runs."""
    if (Path("/proc") / str(pid)).exists():
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in children.read_text(encoding="ascii").split():
                    yield from family(int(child))


def available_memory() -> int:
    """Bytes that new processes can have."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _reset_peak_rss(pid: int) -> None:
    with contextlib.suppress(OSError):  # where it is not allowed, the peak is that of the process so far
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


class Pool:
    """Workers kept loaded side by side as long as memory allows."""

    def __init__(self, model: Path, cores: int) -> None:
        self._model = model
        self._cores = cores
        self._workers: dict[System, Worker] = {}

    def get(self, system: System, needed: int) -> tuple[Worker, bool]:
        """The system's worker, and whether it was started for this; others end until `needed` bytes are free.

        Those used last go first: all are asked in turn, so they are the ones that are not needed for longest.
        """
        worker = self._workers.pop(system, None)
        while self._workers and available_memory() < needed:
            self._workers.pop(list(self._workers)[-1]).close()
        started = worker is None
        if worker is None:
            worker = Worker(system, self._model, self._cores)
        self._workers[system] = worker
        return worker, started

    def drop(self, system: System) -> None:
        if worker := self._workers.pop(system, None):
            worker.close()

    def close(self) -> None:
        for system in list(self._workers):
            self.drop(system)
