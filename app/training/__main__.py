"""`python -m app.training`: one training run in a process of its own, for a person or for the job runner.

With `--events` it speaks to a parent: one JSON object a line on stdout (`started`, `batch`, `epoch`, and last exactly
one of `done`, `error`, `cancelled`), and the end of its stdin means that the parent is gone, or wants it to stop.
SIGTERM and SIGINT cancel too. Exit codes: 0 done, 1 error, 2 bad options, 3 cancelled.

torch is imported only once the options are known to be good and the limits of threads are set.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError

from app.training.callbacks import Cancellation, Progress, Step, TimeLimit
from app.training.events import (
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_ERROR,
    EXIT_OPTIONS,
    EventWriter,
    Reporter,
)
from app.training.files import write_atomically
from app.training.options import TrainingOptions
from app.training.progress_bar import ProgressBar
from app.training.workers import Workers

CANCEL_GRACE_S = 0.5  # how long a cancelled run may take to notice, before the process ends under it
LOST_GRACE_S = 2.0  # and how long the end of a worker may take, when it can't be reached any more
LIMIT_GRACE_S = 10.0  # for a run whose time is up, which then still evaluates and saves


def main(argv: Sequence[str] | None = None) -> int:
    """Run with command-line arguments; returns the exit code."""
    arguments = _parser().parse_args(argv)
    reporter: Reporter
    if arguments.events:
        # Events get stdout to themselves: whatever a library prints goes to stderr.
        stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        reporter = EventWriter(stream)
    else:
        reporter = ProgressBar(sys.stdout, sys.stderr)
    try:
        options = _options(arguments).resolved()
    except ValueError as error:  # ValidationError and JSONDecodeError are ValueErrors
        reporter.write("error", kind="options", message=_explain(error))
        return EXIT_OPTIONS
    cancelled = threading.Event()
    _watch(arguments, reporter, cancelled)
    step_back(arguments.nice)
    return _run(arguments, options, reporter, cancelled)


def step_back(nice: int) -> None:
    """Lower this process's priority; 0 leaves it as it is.

    Where the kernel can (Linux), it then runs only while nobody else wants the core: of two that are merely less and
    more important, the kernel lets the less important one end its turn before it wakes the other, and the engine, whose
    threads wait for each other some hundred times a step, waits every time.
    """
    if not nice:
        return
    os.nice(nice)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _run(
    arguments: argparse.Namespace, options: TrainingOptions, reporter: Reporter, cancelled: threading.Event
) -> int:
    # Before numpy and torch start their pools. Only torch's is raised again: drawing digits needs no more than one.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    from app.training import data
    from app.training.cost import network_cost
    from app.training.group import GroupError
    from app.training.trainer import CancelledError, TrainingError, describe, train
    from app.training.weights import save_weights

    torch.set_num_threads(arguments.threads)
    output: Path | None = arguments.output
    reason = f"time limit of {arguments.max_seconds} s reached"
    deadline = arguments.began + (arguments.max_seconds or float("inf"))
    callbacks = [
        Cancellation(cancelled.is_set),
        TimeLimit(deadline, reason),
        Progress(lambda step: _report(reporter, step)),
    ]
    try:
        if output is not None:
            output.mkdir(parents=True, exist_ok=True)
        url = None if arguments.no_download else data.MNIST_URL
        with _workers(arguments, options, reporter) as workers:
            dataset = data.load(options.dataset, arguments.mnist_path, options.train_fraction, url=url)
            reporter.write(
                "started",
                dataset=describe(options, dataset),
                options=options.model_dump(),
                parameters=network_cost(options.widths).parameters,
            )
            try:
                trained = train(options, dataset, callbacks, workers.join() if workers else None)
            except GroupError:
                time.sleep(LOST_GRACE_S)  # whoever waits for the workers' ends can say which it was, and how
                raise
        files: dict[str, str] = {}
        if output is not None:
            weights, result = output / "weights.safetensors", output / "result.json"
            save_weights(weights, trained.model.weights, trained.architecture)
            write_atomically(result, json.dumps(trained.result, allow_nan=False).encode())
            files = {"weights": str(weights), "result": str(result)}
    except CancelledError:
        reporter.write("cancelled")
        return EXIT_CANCELLED
    except data.DatasetError as error:
        reporter.write("error", kind="dataset", message=str(error))
    except TrainingError as error:
        reporter.write("error", kind="training", message=str(error))
    except GroupError as error:
        reporter.write("error", kind="crashed", message=f"A worker can't be reached: {error}")
    except OSError as error:
        reporter.write("error", kind="storage", message=f"could not write to {output}: {error.strerror or error}")
    except Exception as error:
        traceback.print_exc()
        reporter.write("error", kind="internal", message=f"{type(error).__name__}: {error}")
    else:
        reporter.write("done", result=trained.result, files=files)
        return EXIT_DONE
    return EXIT_ERROR


def _workers(
    arguments: argparse.Namespace, options: TrainingOptions, reporter: Reporter
) -> AbstractContextManager[Workers | None]:
    """The other workers, if there are to be any. If one of them is lost, so is the run."""

    def on_lost(message: str) -> None:
        if reporter.write("error", kind="crashed", message=message):
            os._exit(EXIT_ERROR)

    return Workers(options, arguments.threads, on_lost) if options.workers > 1 else nullcontext()


def _watch(arguments: argparse.Namespace, reporter: Reporter, cancelled: threading.Event) -> None:
    """Let signals and the end of stdin set `cancelled`, and end the process if the run takes no notice."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        cancelled.set()

    def read_stdin() -> None:
        while os.read(0, 4096):  # not sys.stdin: a thread that waits in it would block the interpreter's exit
            pass
        cancelled.set()

    def enforce() -> None:
        limit = arguments.max_seconds + LIMIT_GRACE_S if arguments.max_seconds else None
        if cancelled.wait(limit):
            time.sleep(CANCEL_GRACE_S)
            if reporter.write("cancelled"):
                os._exit(EXIT_CANCELLED)
        else:
            message = f"not done after the limit of {arguments.max_seconds} s"
            if reporter.write("error", kind="time_limit", message=message):
                os._exit(EXIT_ERROR)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    threading.Thread(target=enforce, name="enforce-limits", daemon=True).start()
    if arguments.events:
        threading.Thread(target=read_stdin, name="watch-stdin", daemon=True).start()


def _report(reporter: Reporter, step: Step) -> None:
    reporter.write(
        step.kind,
        epoch=step.epoch,
        epochs=step.epochs,
        batch=step.batch,
        batches=step.batches,
        progress=step.progress,
        elapsed_s=step.elapsed_s,
        eta_s=step.eta_s,
        **step.logs,
    )


def _options(arguments: argparse.Namespace) -> TrainingOptions:
    given = json.loads(arguments.options)
    if not isinstance(given, dict):
        raise ValueError("--options must be a JSON object")  # noqa: TRY004
    flags = {name: getattr(arguments, name) for name in TrainingOptions.model_fields}
    return TrainingOptions(**given, **{name: value for name, value in flags.items() if value is not None})


def _explain(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return f"options: {error}"
    return "; ".join(
        ".".join(str(part) for part in each["loc"][:1]) + (": " if each["loc"] else "") + each["msg"]
        for each in error.errors()
    )


def _value(text: str) -> Any:
    """A flag's value as JSON where it is JSON (numbers, lists, true), else as the word it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _at_least(minimum: int) -> Any:
    def parse(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, not {value}")
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app.training", description="Train a digit classifier.")
    parser.set_defaults(began=time.monotonic())
    parser.add_argument("--options", default="{}", metavar="JSON", help="training options as one JSON object")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write weights.safetensors and result.json here")
    parser.add_argument("--events", action="store_true", help="JSON lines on stdout; stop when stdin ends")
    parser.add_argument(
        "--mnist-path",
        type=Path,
        default=os.environ.get("TROIKA_MNIST_PATH") or None,
        metavar="FILE",
        help="mnist.npz (default: $TROIKA_MNIST_PATH, then Keras's cache, then a download)",
    )
    parser.add_argument("--no-download", action="store_true", help="never ask the network for MNIST")
    parser.add_argument("--threads", type=_at_least(1), default=1, metavar="N", help="threads of torch (1)")
    parser.add_argument(
        "--nice", type=_at_least(0), default=0, metavar="N", help="let others go first, the more so with a larger N (0)"
    )
    parser.add_argument(
        "--max-seconds", type=_at_least(1), metavar="N", help="stop training after N seconds and keep what was learnt"
    )
    group = parser.add_argument_group("training options (over those in --options)")
    for name, field in TrainingOptions.model_fields.items():
        text = (field.description or "").replace("%", "%%")
        group.add_argument(f"--{name.replace('_', '-')}", type=_value, metavar="VALUE", help=text)
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is written: unloading torch would only make a cancelled run linger
