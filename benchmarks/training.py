"""Seconds per epoch of the MNIST demo: ours beside Keras 3 on torch, on JAX and on TensorFlow, in one run.

    TROIKA_MNIST_PATH=… python -m benchmarks.training --out file.json

Every contender trains the same network (784 → 128 relu → dropout 0.2 → 10, Adam, batch 32) on the same 60,000 images in
a process of its own, round after round in turn, so that a noisy neighbour disturbs all alike. A peer lives in its own
virtual environment with pinned versions, made on first use; one that can't be had is reported as such.
Without TROIKA_MNIST_PATH the images are the embedded digits: the work is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import UnavailableError, packages_of, python_of

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = ("torch", "jax", "tensorflow")
RUN_S = 600


def main() -> None:
    """Run all contenders and print a table; the first epoch of each (compilation, warm-up) is shown apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="let every contender use this many cores")
    parser.add_argument("--out", type=Path, help="also write the numbers to this JSON file")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        print(json.dumps(_run(arguments.contender, arguments.data, arguments.epochs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report = measure(_data(Path(folder)), arguments.rounds, arguments.epochs, arguments.cores)
    _print(report)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1), encoding="utf-8")


def measure(data: Path, rounds: int, epochs: int, cores: int) -> dict[str, Any]:
    """Medians over rounds: `first_epoch_s`, `epoch_s` (the later ones), `test_accuracy`; or `missing` and why.

    On a machine that others use, measure with one core: threads that wait for each other at every one of 1,875 steps
    are slowed a hundredfold by a neighbour on one of their cores, which says nothing of them.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])  # the contenders inherit it
    ours = {f"troika, {threads} thread(s)": str(threads) for threads in sorted({1, cores})}
    pythons: dict[str, str] = dict.fromkeys(ours, sys.executable)
    missing: dict[str, str] = {}
    for backend in BACKENDS:
        try:
            pythons[f"keras on {backend}"] = str(python_of(f"keras_{backend}"))
        except UnavailableError as error:
            missing[f"keras on {backend}"] = str(error)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
    for _ in range(rounds):
        for name, python in pythons.items():
            if name in missing:
                continue
            script = [
                python,
                "-m",
                "benchmarks.training",
                "--contender",
                name,
                "--data",
                str(data),
                "--epochs",
                str(epochs),
            ]
            quiet = {"KERAS_BACKEND": name.rpartition(" ")[2], "TF_CPP_MIN_LOG_LEVEL": "3"}
            quiet["OMP_NUM_THREADS"] = ours.get(name, str(cores))
            if name == "keras on torch":  # on the project's own torch, rather than on another of the same size
                script[0], quiet["PYTHONPATH"] = sys.executable, packages_of(Path(python))
            try:
                done = subprocess.run(
                    script, capture_output=True, text=True, timeout=RUN_S, cwd=ROOT, env=os.environ | quiet, check=False
                )
            except subprocess.TimeoutExpired:
                missing[name] = f"a run took longer than {RUN_S} s"
                continue
            if done.returncode:
                missing[name] = done.stderr.strip()[-300:]
            else:
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"{name}: {[round(each, 2) for each in runs[name][-1]['seconds']]} s", file=sys.stderr)
    return {
        "data": "mnist" if os.environ.get("TROIKA_MNIST_PATH") else "digits",
        "rounds": rounds,
        "epochs": epochs,
        "cores": cores,
        "contenders": {
            name: {
                "first_epoch_s": statistics.median(run["seconds"][0] for run in done),
                "epoch_s": statistics.median(statistics.median(run["seconds"][1:]) for run in done),
                "test_accuracy": statistics.median(run["test_accuracy"] for run in done),
                "versions": done[0]["versions"],
            }
            for name, done in runs.items()
            if name not in missing
        },
        "missing": missing,
    }


def _data(folder: Path) -> Path:
    """A file in mnist.npz's layout: the real one if its path is known, else the embedded digits."""
    given = os.environ.get("TROIKA_MNIST_PATH")
    if given:
        return Path(given).resolve()
    import numpy as np

    from app.training.data import draw_digits

    drawn = draw_digits("for the benchmark")
    path = folder / "digits.npz"
    np.savez(
        path,
        x_train=drawn.train_images,
        y_train=drawn.train_labels,
        x_test=drawn.test_images,
        y_test=drawn.test_labels,
    )
    return path


def _run(contender: str, data: Path, epochs: int) -> dict[str, Any]:
    import numpy as np

    with np.load(data, allow_pickle=False) as arrays:
        train = arrays["x_train"], arrays["y_train"]
        test = arrays["x_test"], arrays["y_test"]
    if contender.startswith("troika"):
        return _run_ours(train, test, epochs)
    return _run_keras(train, test, epochs)


def _run_ours(train: Any, test: Any, epochs: int) -> dict[str, Any]:
    import torch

    from app.training.options import TrainingOptions
    from app.training.trainer import build_model

    model = build_model(TrainingOptions(seed=1).resolved())
    history = model.fit(*train, epochs=epochs, batch_size=32)
    return {
        "seconds": [epoch["seconds"] for epoch in history.epochs],
        "test_accuracy": model.evaluate(*test)["accuracy"],
        "versions": {"torch": torch.__version__},
    }


def _run_keras(train: Any, test: Any, epochs: int) -> dict[str, Any]:
    import time

    import keras

    seconds: list[float] = []

    class Timer(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds.append(time.perf_counter() - self.began)

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    model.fit(train[0] / 255.0, train[1], epochs=epochs, batch_size=32, verbose=0, callbacks=[Timer()])
    _, accuracy = model.evaluate(test[0] / 255.0, test[1], verbose=0)
    backend = keras.backend.backend()
    versions = {"keras": keras.__version__, backend: __import__(backend).__version__}
    return {"seconds": seconds, "test_accuracy": float(accuracy), "versions": versions}


def _print(report: dict[str, Any]) -> None:
    print(
        f"{report['data']}, 60,000 images, batch 32, {report['cores']} core(s); medians of {report['rounds']} round(s)"
    )
    print(f"{'':20}{'first epoch':>12}{'later epochs':>14}{'test accuracy':>15}")
    for name, row in report["contenders"].items():
        print(f"{name:20}{row['first_epoch_s']:10.2f} s{row['epoch_s']:12.2f} s{row['test_accuracy']:15.2%}")
    for name, why in report["missing"].items():
        print(f"{name:20}not measured: {why}")


if __name__ == "__main__":
    main()
