"""Which process is which, and whether one that left a mark in the database is surely gone.

Only Linux tells: elsewhere, and across hosts and containers, nobody can know, and a lease's expiry has to do.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PROC = Path("/proc")


def this_process() -> str:
    """`boot/pid namespace/pid/start time`: no other process ever has the same."""
    try:
        return f"{_world()}/{os.getpid()}/{_start_time(os.getpid())}"
    except OSError:
        return secrets.token_hex(16)


def is_gone(process: str) -> bool:
    """Whether it has ended for certain; False where that can't be seen from here."""
    try:
        boot, namespace, pid, start_time = process.split("/")
        if f"{boot}/{namespace}" != _world():
            return False
    except (OSError, ValueError):
        return False
    try:
        return _start_time(int(pid)) != start_time
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:
        return False


def _world() -> str:
    """The boot of the kernel and the namespace of process ids: within both, pid and start time name a process."""
    boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{(PROC / 'self/ns/pid').readlink()}"


def _start_time(pid: int) -> str:
    """In clock ticks since the boot; raises `ProcessLookupError` for a process that only waits to be reaped."""
    # The second field is the program's name in brackets, which may hold anything; the third is the state.
    state, *rest = (PROC / f"{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    if state in "ZX":
        raise ProcessLookupError(pid)
    return rest[18]
