"""Our service, as an operator runs it."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from benchmarks.http import Service
from benchmarks.peers.worker import System
from benchmarks.peers.workers.http_client import HttpService


def load(folder: str, precision: str, cores: int) -> System:
    os.environ["TROIKA_ENGINE_THREADS"] = str(cores)
    service = Service(folder, precision, data=tempfile.mkdtemp(prefix="troika-peers-"))
    return HttpService("this checkout", service.port, service.process, _fields, _count)


def _fields(new: int) -> dict[str, str]:
    return {"max_new_tokens": str(new), "temperature": "0"}


def _count(reply: Any) -> int:
    return int(reply["usage"]["completion_tokens"])
