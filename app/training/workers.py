"""The other workers of a data-parallel run, as the training process that starts them sees them. No torch.

Each is a `python -m app.training.worker` that dies with its parent: it holds a pipe that then ends. What runs in it
is `worker`; how they speak to each other is `group`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from app.training.options import TrainingOptions
from app.training.process import ROOT, how_it_ended

if TYPE_CHECKING:
    from app.training.group import Group


class Workers:
    """Starts all but the first of `options.workers`, with so many threads of torch each.

    If one of them ends before `close`, `on_lost` is called with a sentence that says how, from another thread.
    Raises OSError if one can't be started.
    """

    def __init__(self, options: TrainingOptions, threads: int, on_lost: Callable[[str], None]) -> None:
        self.size = options.workers
        self._on_lost = on_lost
        self._closing = threading.Event()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(1, self.size):
                command = [sys.executable, "-m", "app.training.worker", "--rank", str(rank)]
                command += ["--threads", str(threads), "--options", options.model_dump_json()]
                self._processes.append(
                    # What it says goes where this process's own errors go: nobody else reads its output.
                    subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=sys.stderr.fileno())
                )
        except OSError:
            self.close()
            raise
        self._watchers = [
            threading.Thread(target=self._watch, args=(rank, process), name=f"watch-worker-{rank}", daemon=True)
            for rank, process in enumerate(self._processes, 1)
        ]
        for watcher in self._watchers:
            watcher.start()

    def join(self) -> Group:
        """Meet them as the first of the group, when all have loaded torch. Raises GroupError or OSError."""
        from app.training.group import Group

        with tempfile.TemporaryDirectory(prefix="training-") as folder:
            meeting_place = Path(folder, "workers")
            for process in self._processes:
                if process.stdin:
                    process.stdin.write(f"{meeting_place}\n".encode())
                    process.stdin.flush()
            return Group(0, self.size, meeting_place)

    def close(self) -> None:
        """End them, wherever they are: from now on they have nothing to add."""
        self._closing.set()
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            if process.stdin:
                process.stdin.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _watch(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if not self._closing.is_set():
            self._on_lost(f"Worker {rank + 1} of {self.size} came to no end: {how_it_ended(code)}.")
