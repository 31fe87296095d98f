"""What the training process tells its parent: one JSON object a line, the last of them `done`, `error` or `cancelled`.

Both sides import this: the process to write, the job runner to know the words. No torch.
"""

from __future__ import annotations

import json
import math
import threading
from typing import IO, Any, Literal, Protocol

EventName = Literal["started", "batch", "epoch", "done", "error", "cancelled"]
FINAL: frozenset[EventName] = frozenset({"done", "error", "cancelled"})

# Exit codes of `python -m app.training`.
EXIT_DONE = 0
EXIT_ERROR = 1
EXIT_OPTIONS = 2
EXIT_CANCELLED = 3


class Reporter(Protocol):
    """Takes the events of a run, from any thread."""

    def write(self, event: EventName, **fields: Any) -> bool:
        """False, and nothing is written, if a final event has been written already."""
        ...


class EventWriter:
    """Writes events to a stream from any thread. After a final event nothing more is written.

    A parent that no longer reads is no error: the events are lost, and its closed stdin ends the run.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._finished = False

    def write(self, event: EventName, **fields: Any) -> bool:
        """Write one line `{"event": …, …}`, as `Reporter` says."""
        with self._lock:
            if self._finished:
                return False
            self._finished = event in FINAL
            try:
                self._stream.write(json.dumps(finite({"event": event, **fields}), allow_nan=False) + "\n")
                self._stream.flush()
            except BrokenPipeError:
                self._finished = True
            return True


def finite(value: Any) -> Any:
    """`value` for JSON, which has no NaN and no infinity: they become null. A diverged run has such losses."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return value
