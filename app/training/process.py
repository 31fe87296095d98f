"""The training process as its parent sees it: started, listened to, stopped. What runs in it is `__main__`."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from app.training.events import FINAL
from app.training.options import TrainingOptions

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 0.75  # how long a process may take to end by itself after SIGTERM; it promises 0.5
LEAVE_S = 5.0  # and after its last event
KEPT_LINES, KEPT_CHARACTERS = 20, 500  # of what it writes to stderr


@dataclass(frozen=True)
class ProcessLimits:
    """What a training process may use. No `mnist_path` means Keras's cache, else a download if that is allowed."""

    threads: int = 1
    nice: int = 0
    max_seconds: int = 600
    mnist_path: str = ""
    download: bool = True


class TrainingProcess:
    """A run of `python -m app.training --events`. It dies with its parent: it holds a pipe that then ends.

    Raises OSError if it can't be started.
    """

    def __init__(self, options: TrainingOptions, output: Path, limits: ProcessLimits) -> None:
        command = [sys.executable, "-m", "app.training", "--events", "--options", options.model_dump_json()]
        command += ["--output", str(output.resolve()), "--threads", str(limits.threads), "--nice", str(limits.nice)]
        command += ["--max-seconds", str(limits.max_seconds)]
        command += ["--mnist-path", str(Path(limits.mnist_path).resolve())] if limits.mnist_path else []
        command += [] if limits.download else ["--no-download"]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A Ctrl-C at the terminal is for the parent. Not a session of its own: Linux would then give it a share of
            # the processor like the parent's (autogroup), and low priority would count for nothing.
            process_group=0,
        )
        self._last_words: deque[str] = deque(maxlen=KEPT_LINES)
        self._listener = threading.Thread(target=self._keep_last_words, name="training-stderr", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        """What it tells, to its end: the last event is exactly one `done`, `error` or `cancelled`.

        A process that ends without one gets an `error` that says how it ended.
        """
        final: dict[str, Any] | None = None
        for line in _open(self._process.stdout):
            try:
                event = json.loads(line)
            except ValueError:  # killed in the middle of a line
                break
            if event["event"] in FINAL:
                final = event
                break
            yield event
        yield final or {"event": "error", "kind": "crashed", "message": self._obituary()}
        self._see_off()

    def stop(self) -> None:
        """Have it cancel, and kill it if it doesn't. From any thread; `events` then comes to its end."""
        self._process.send_signal(signal.SIGTERM)
        killer = threading.Timer(STOP_S, self._process.kill)
        killer.daemon = True
        killer.start()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def _see_off(self) -> None:
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._listener.join(LEAVE_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                _open(pipe).close()

    def _obituary(self) -> str:
        self._see_off()
        code = self._process.returncode
        last = self._last_words[-1] if self._last_words else ""
        return (
            f"The training process came to no end: {how_it_ended(code)}{f'. Its last words: {last}' if last else ''}."
        )

    def _keep_last_words(self) -> None:
        # Whatever it says is read, so that it never waits for a reader, and little is kept.
        with contextlib.suppress(ValueError, OSError):
            for line in _open(self._process.stderr):
                if line.strip():
                    self._last_words.append(line.strip()[:KEPT_CHARACTERS])


def how_it_ended(code: int) -> str:
    """A process's return code, as `subprocess` gives it, in words."""
    if code >= 0:
        return f"it ended with exit code {code}"
    how = f"it was killed by {signal.Signals(-code).name}"
    return f"{how}, which is what the kernel does when memory runs out" if -code == signal.SIGKILL else how


def _open(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the process was started without pipes")
    return pipe
