"""The service as it is run: gunicorn in a process of its own, on a free port, spoken to over a socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class LiveServer:
    """A running service; `log` is what it has written so far."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for something to come true; fails with the log when it does not, or the service dies."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the service ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"waited {seconds} s in vain; the log:\n{self.log}"
            time.sleep(0.05)

    def engine_pid(self) -> int:
        """The engine process."""
        return self._child_of_worker(b"app.engine.process")

    def training_pid(self) -> int:
        """The process of the training run that is under way."""
        return self._child_of_worker(b"app.training")

    def _child_of_worker(self, module: bytes) -> int:
        (found,) = [pid for pid in children(self.worker_pid()) if module in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return found

    def worker_pid(self) -> int:
        master = self.process.pid
        (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return int(worker)

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started, whichever of its threads did; none if it is gone."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # threads come and go
            found += map(int, task.read_text().split())
    return found


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """Stop a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**settings: object) -> dict[str, str]:
    """The environment without any setting of the service but those given."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TROIKA_") and k != "PORT"}
    return kept | {f"TROIKA_{name.upper()}": str(value) for name, value in settings.items()}


@contextlib.contextmanager
def serve(folder: Path, *, wait: bool = True, **settings: object) -> Iterator[LiveServer]:
    """Run the service with these settings; its log goes to `folder`."""
    port = free_port()
    # The port is still free when the next test asks for one, so the log is named by both.
    log_file = folder / f"server-{port}-{time.monotonic_ns()}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "wsgi:app"],
            cwd=ROOT,
            env=clean_environment(
                **{
                    "port": port,
                    "engine_threads": 1,
                    "grace_s": 5,
                    "database_url": f"sqlite:///{folder}/troika.db",
                    "training_folder": folder / "training",
                    "training_download": "false",
                    "training_nice": 0,  # tests side by side leave nothing over
                }
                | settings
            ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = LiveServer(f"http://127.0.0.1:{port}", process, log_file)
    try:
        if wait:
            server.wait_until(server.is_ready)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
