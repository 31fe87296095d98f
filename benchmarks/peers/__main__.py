"""`make bench-peers`: the engine beside every peer, one model, one machine, one run.

Every system runs in a process of its own, a peer's in an environment of its own (made on first use below
benchmarks/.cache/peers), on the same cores. In each round all systems get the same prompts one after the other, while
those that are not asked are held still; figures are medians over the rounds. A peer that can't be set up or run is
reported with the reason. `make bench-peers QUICK=1` does one round of short prompts; `OUT=file.json` writes the rows;
`ARGS="--prompts 32 --rounds 3"` passes on any option below.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import CACHE, random_gpt2, table, write_json
from benchmarks.peers.environments import ROOT, UnavailableError
from benchmarks.peers.measure import (
    BATCHES,
    PROMPTS,
    SHORT,
    Machine,
    Workload,
    empty_row,
    figures,
    is_measured,
    is_whole,
    merged,
    workloads,
)
from benchmarks.peers.processes import Pool
from benchmarks.peers.report import markdown, plot
from benchmarks.peers.systems import GENERATE, WORKERS, System, chosen

ROUNDS, NEW, QUICK_NEW = 5, 64, 48
CHECK = Workload(batch=4, prompt=SHORT, new=16)
CACHE_BYTES_PER_TOKEN = 2 * 12 * 768 * 4
"""Of GPT-2 124M in float32."""
SPARE_BYTES = 3 << 30
"""What a system takes beside its KV cache, and what the machine should keep."""


class Run:
    """Everything measured so far."""

    def __init__(self, model: Path, systems: Sequence[System], loads: Sequence[Workload], cores: int) -> None:
        self._model = model
        self._systems = systems
        self._loads = loads
        self._cores = cores
        self._pool = Pool(model, cores)
        self._startups: dict[System, list[float]] = {}
        self._tokens: dict[System, list[list[int]]] = {}
        self._figures: dict[tuple[System, Workload], list[dict[str, float | None]]] = {}
        self._failures: dict[tuple[System, Workload], str] = {}
        self._limits: list[dict[str, Any]] = []
        self.versions: dict[System, str] = {}

    def set_up(self) -> None:
        """Start every system once, take down what it generates, and let it meet each batch size."""
        for system in self._systems:
            print(f"starting {system}", file=sys.stderr, flush=True)
            try:
                self._tokens[system] = self._ask(system, CHECK, 0)[0].tokens
                for batch in sorted({load.batch for load in self._loads if is_measured(system, load)}):
                    self._ask(system, Workload(batch, SHORT, 4), 0)
            except UnavailableError as error:
                self._fail(system, self._loads, str(error))

    def round(self, number: int) -> None:
        """Every workload on every system once."""
        self._limits.append(measure_limits(self._cores))
        for load in self._loads:
            for system in self._systems:
                if not is_measured(system, load) or (system, load) in self._failures:
                    continue
                try:
                    generated, memory = self._ask(system, load, number)
                except UnavailableError as error:
                    self._fail(system, [load], str(error))
                    continue
                found = figures(generated, is_whole(system, load)) | {"peak_rss_mb": memory}
                self._figures.setdefault((system, load), []).append(found)
                speed = found["tokens_per_s"]
                told = "no steps that all sequences took together" if speed is None else f"{speed:.1f} tokens/s"
                print(f"  {system}, batch {load.batch}, prompt {load.prompt}: {told}", file=sys.stderr, flush=True)

    def _ask(self, system: System, load: Workload, seed: int) -> tuple[Any, float]:
        needed = SPARE_BYTES + CACHE_BYTES_PER_TOKEN * sum(length + load.new for length in load.lengths())
        worker, started = self._pool.get(system, needed)
        if started:
            self._startups.setdefault(system, []).append(worker.startup_s)
            self.versions[system] = worker.version
        return worker.generate(load.prompts(seed), load.new)

    def _fail(self, system: System, loads: Sequence[Workload], reason: str) -> None:
        print(f"  {system}: not measured: {reason}", file=sys.stderr, flush=True)
        self._pool.drop(system)
        self._failures |= {(system, load): reason for load in loads}

    @property
    def machine(self) -> Machine:
        """Medians over the rounds."""
        config = json.loads((self._model / "config.json").read_text(encoding="utf-8"))
        return Machine(
            statistics.median(limits["bandwidth"] for limits in self._limits),
            {
                kind: statistics.median(limits["operations"][kind] for limits in self._limits)
                for kind in self._limits[0]["operations"]
            },
            *(config["n_layer"], config["n_embd"], config["vocab_size"]),
        )

    def rows(self) -> list[dict[str, Any]]:
        """One for each system, batch and prompt: also those that could not be measured."""
        machine = self.machine if self._limits else None
        rows = []
        for load in self._loads:
            for system in self._systems:
                if not is_measured(system, load):
                    continue
                row = empty_row(system, load)
                if rounds := self._figures.get((system, load)):
                    row |= merged(rounds)
                if system in self._startups:
                    row["startup_s"] = round(statistics.median(self._startups[system]), 3)
                if machine and not system.over_http:
                    limit = machine.limit(system, load)
                    decode = row.get("decode_tokens_per_s")
                    row["limit_tokens_per_s"] = round(limit, 1)
                    row["of_limit"] = None if decode is None else round(decode / limit, 3)
                row["same_tokens"] = self.same_tokens(system)
                row["version"] = self.versions.get(system)
                row["unavailable"] = self._failures.get((system, load))
                rows.append(row)
        return rows

    def same_tokens(self, system: System) -> float | None:
        """Of the tokens of `CHECK`, the share that are those of `generate` in float32, up to the first that is not."""
        reference = next((t for s, t in self._tokens.items() if (s.name, s.precision) == (GENERATE, "float32")), None)
        tokens = self._tokens.get(system)
        return same_share(tokens, reference) if tokens and reference else None

    def startups(self) -> list[dict[str, Any]]:
        """What `set_up` found, for those who want no more."""
        return [
            {
                "system": str(system),
                "version": self.versions.get(system),
                "startup_s": statistics.median(self._startups[system]) if system in self._startups else None,
                "same_tokens": self.same_tokens(system),
                "unavailable": next((reason for (s, _), reason in self._failures.items() if s == system), None),
            }
            for system in self._systems
        ]

    def close(self) -> None:
        self._pool.close()


def same_share(tokens: Sequence[Sequence[int]], reference: Sequence[Sequence[int]]) -> float:
    """How much of `reference` its sequences repeat, each counted up to where it first differs."""
    same = 0
    for ours, theirs in zip(tokens, reference, strict=True):
        differ = (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
        same += next(differ, min(len(ours), len(theirs)))
    return round(same / sum(map(len, reference)), 3)


def measure_limits(cores: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.peers.limits", "--cores", str(cores)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    limits: dict[str, Any] = json.loads(done.stdout)
    return limits


def about(run: Run, rounds: int, cores: int, new: int) -> list[str]:
    """Machine, versions and how it was measured, a line each."""
    machine = run.machine
    operations = ", ".join(f"{kind} {value / 1e9:,.0f}" for kind, value in machine.operations.items())
    versions = dict.fromkeys(version for version in run.versions.values() if version != "this checkout")
    return [
        f"{processor()}, {cores} cores for each system; {time.strftime('%Y-%m-%d', time.gmtime())}",
        f"memory read at {machine.bandwidth / 1e9:.1f} GB/s",
        f"products of matrices, in billion operations a second: {operations}",
        f"Python {platform.python_version()}; {'; '.join(versions)}",
        f"GPT-2 124M with random weights, {new} new tokens for each prompt, medians of {rounds} rounds",
    ]


def processor() -> str:
    """Its name, as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--prompts", nargs="+", choices=PROMPTS, default=list(PROMPTS))
    parser.add_argument("--new", type=int, default=NEW, help="new tokens for each prompt")
    parser.add_argument("--only", nargs="+", choices=WORKERS, default=[], help="leave out all other systems")
    parser.add_argument("--skip", nargs="+", choices=WORKERS, default=[])
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--cores", type=int, default=cores, choices=range(1, cores + 1), help="for each system")
    parser.add_argument("--quick", action="store_true", help="one round of short prompts")
    parser.add_argument("--set-up", action="store_true", help="set up and start every system, and measure nothing")
    parser.add_argument("--out", help="write the rows to this JSON file")
    parser.add_argument("--into", type=Path, help="folder for the report and the plot (benchmarks/.cache/peers/report)")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.prompts, arguments.new = 1, [SHORT], QUICK_NEW
    return arguments


def main() -> None:
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("ended"))  # so that no worker is left behind, held still
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])  # all children inherit it
    loads = workloads(arguments.batches, arguments.prompts, arguments.new)
    run = Run(random_gpt2().resolve(), chosen(arguments.only, arguments.skip), loads, arguments.cores)
    subprocess.run([sys.executable, "-m", "app.engine.compile"], check=True, cwd=ROOT)  # as `make serve` does
    try:
        run.set_up()
        if arguments.set_up:
            print(table(run.startups()))
            return
        for number in range(1, arguments.rounds + 1):
            print(f"round {number} of {arguments.rounds}", file=sys.stderr, flush=True)
            run.round(number)
            write(run, number, arguments)  # after each round, so that a run that is cut short leaves what it found
    finally:
        run.close()
    print((folder_of(arguments) / "peers.md").read_text(encoding="utf-8"))


def folder_of(arguments: argparse.Namespace) -> Path:
    into: Path = arguments.into or CACHE / "peers" / "report"
    return into


def write(run: Run, rounds: int, arguments: argparse.Namespace) -> None:
    folder = folder_of(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    rows = run.rows()
    lines = about(run, rounds, arguments.cores, arguments.new)
    (folder / "peers.md").write_text(markdown(rows, lines), encoding="utf-8")
    plot(rows, folder / "peers.png")
    write_json(rows, arguments.out)


if __name__ == "__main__":
    main()
