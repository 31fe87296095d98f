"""Each peer's own virtual environment and model files: made once, below benchmarks/.cache, and again for other pins."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common import CACHE
from benchmarks.peers.systems import System

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"
PEERS = CACHE.resolve() / "peers"
BUILDS = {
    "llama_cpp": {
        "CMAKE_ARGS": "-DLLAVA_BUILD=OFF",  # pictures: half of what there is to compile
        # GCC 12 drops the second half of what llama.cpp writes before `ldtilecfg` as a dead store, and on a processor
        # with AMX its int8 then dies of a general protection fault.
        "CXXFLAGS": "-fno-tree-dse -fno-dse",
    }
}
"""Environment variables for what an environment compiles."""
SETUP_S = 7200
"""The longest that one step may take: a compiled peer takes its time on a small machine."""


class UnavailableError(Exception):
    """A peer cannot be set up or run here; says why."""


def python_of(environment: str | None, requirements: Path = REQUIREMENTS, cache: Path = PEERS) -> Path:
    """The Python of an environment, which is made if it is not there yet. Raises `UnavailableError`."""
    if environment is None:
        return Path(sys.executable)
    pins = requirements / f"{environment}.txt"
    folder = cache / "environments" / environment
    python = folder / "bin" / "python"
    build = BUILDS.get(environment, {})
    state = "\n".join([sys.version, _digest(pins), *map(str, build.items())])
    if not _is_current(folder, state):
        print(f"setting up {environment} (a few minutes; compiled ones take longer)", file=sys.stderr, flush=True)
        log = cache / "logs" / f"set-up-{environment}.log"
        _run([sys.executable, "-m", "venv", "--clear", folder], log)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", pins]
        _run(pip, log, build)
        _mark(folder, state)
    return python


def packages_of(python: Path) -> str:
    """The folder of an environment's packages, for a Python that borrows them."""
    return sysconfig.get_path("purelib", vars={"base": str(python.parents[1])})


def files_of(system: System, python: Path, model: Path) -> Path:
    """The folder with the model as the system reads it. Raises `UnavailableError`."""
    if not system.converted:
        return model
    folder = PEERS / "models" / system.key
    state = f"{_digest(model / 'model.safetensors')}\n{_digest(REQUIREMENTS / f'{system.environment}.txt')}"
    if not _is_current(folder, state):
        print(f"converting the model for {system}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        converter, environment = _converter(system, python)
        arguments = ["--model", model, "--precision", system.precision, "--prepare", folder]
        command = [converter, "-m", "benchmarks.peers.worker", system.worker, *arguments]
        _run(command, PEERS / "logs" / f"convert-{system.key}.log", environment)
        _mark(folder, state)
    return folder


def _converter(system: System, python: Path) -> tuple[Path, dict[str, str]]:
    """The Python to convert with, and its environment variables.

    CTranslate2 imports torch and transformers wherever they are installed, which would count as its own start-up and
    memory: its environment goes without, and the project's own lends them for converting.
    """
    if system.worker != "ctranslate2":
        return python, {}
    return Path(sys.executable), {"PYTHONPATH": packages_of(python)}


def last_line(log: Path) -> str:
    """The last words of a process that failed, which mostly are the reason."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip()[-300:] for line in reversed(lines) if line.strip()), "it said nothing")


def _run(command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a step of setting up, at low priority. Raises `UnavailableError`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    polite = ["nice", "-n", "19"] if shutil.which("nice") else []
    with log.open("ab") as output:
        try:
            subprocess.run(
                [*polite, *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                check=True,
                timeout=SETUP_S,
                cwd=ROOT,
                env=os.environ | (environment or {}),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"setting it up failed: {last_line(log)} (all of it: {log})") from error


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnavailableError(f"setting it up failed: {error}") from error


def _is_current(folder: Path, state: str) -> bool:
    marker = folder / "ready"
    return marker.is_file() and marker.read_text(encoding="utf-8") == state


def _mark(folder: Path, state: str) -> None:
    (folder / "ready").write_text(state, encoding="utf-8")
