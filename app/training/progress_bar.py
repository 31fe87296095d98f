"""A training run for someone at a terminal: a bar that moves, a line per epoch, a summary at the end."""

from __future__ import annotations

import threading
from typing import IO, Any

from app.training.events import FINAL, EventName

WIDTH = 28


class ProgressBar:
    """A `Reporter` that writes text: the bar only where the output is a terminal, failures to `errors`."""

    def __init__(self, output: IO[str], errors: IO[str]) -> None:
        self._output, self._errors = output, errors
        self._moves = output.isatty()
        self._lock = threading.Lock()
        self._finished = False

    def write(self, event: EventName, **fields: Any) -> bool:
        with self._lock:
            if self._finished:
                return False
            self._finished = event in FINAL
            getattr(self, f"_{event}")(**fields)
            return True

    def _started(self, *, dataset: dict[str, Any], options: dict[str, Any], parameters: int, **_: Any) -> None:
        self._line(f"{dataset['name']}: {dataset['reason']}")
        self._line(f"{dataset['train']:,} images, {parameters:,} parameters, seed {options['seed']}")

    def _batch(self, **step: Any) -> None:
        if self._moves:
            full = round(WIDTH * step["batch"] / step["batches"])
            bar = "━" * full + "─" * (WIDTH - full)
            self._output.write(f"\r\033[K{self._head(step)} {bar} {self._scores(step)} · {step['eta_s']:.0f} s left")
            self._output.flush()

    def _epoch(self, **step: Any) -> None:
        self._line(f"{self._head(step)} {self._scores(step)} · {step['seconds']:.2f} s")

    def _done(self, *, result: dict[str, Any], files: dict[str, str], **_: Any) -> None:
        if result["stopped"]:
            self._line(f"stopped: {result['stopped']}")
        self._line(f"test loss {result['test_loss']:.4f}, test accuracy {result['test_accuracy']:.2%}")
        cost = result["cost"]
        if cost["measured_step_s"]:
            predicted, measured = cost["predicted_step_s"] * 1e6, cost["measured_step_s"] * 1e6
            self._line(f"a step: {predicted:.0f} µs predicted, {measured:.0f} µs measured")
        for path in files.values():
            self._line(f"wrote {path}")

    def _error(self, *, message: str, **_: Any) -> None:
        self._clear()
        self._errors.write(f"error: {message}\n")

    def _cancelled(self, **_: Any) -> None:
        self._clear()
        self._errors.write("cancelled\n")

    def _head(self, step: dict[str, Any]) -> str:
        return f"epoch {step['epoch']}/{step['epochs']}"

    def _scores(self, step: dict[str, Any]) -> str:
        names = [name for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in step]
        return " · ".join(f"{name} {step[name]:.4f}" for name in names)

    def _clear(self) -> None:
        if self._moves:
            self._output.write("\r\033[K")
            self._output.flush()

    def _line(self, text: str) -> None:
        self._clear()
        self._output.write(text + "\n")
        self._output.flush()
