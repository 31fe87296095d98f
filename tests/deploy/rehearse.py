"""Execute the Dockerfile without a Docker engine: `python -m tests.deploy.rehearse FOLDER` (as root, on Linux).

Every RUN and COPY is carried out in a root made by debootstrap (Debian bookworm with its Python 3.11, for which
python:3.11-slim-bookworm stands). Then the image runs as with `--read-only --tmpfs /tmp --cap-drop ALL` and a volume
for /data: process 1 of a PID namespace of its own, as the image's user. What Docker adds beyond that (a network of its
own, its seccomp filter, its storage driver) is not rehearsed. FOLDER keeps the root, so that a second run is quicker.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.deploy.dockerfile import Instruction, expand, parse
from tests.server import free_port

ROOT = Path(__file__).parents[2]
INSIDE = "TROIKA_TEST_REHEARSAL"
NOWHERE = "http://127.0.0.1:9"
"""A hub that is not there: what is tried must not depend on a network."""
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], check=True, text=True, **options)  # type: ignore[call-overload,no-any-return]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Stage:
    """One FROM: a writable layer over the base root."""

    def __init__(self, folder: Path, base: Path, binds: list[Path]) -> None:
        self.root = folder / "root"
        self.folder = Path("/")
        self.env = {"PATH": BASE_PATH}
        self.arguments: dict[str, str] = {}
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("upper", "work", "root"):
            (folder / name).mkdir(parents=True)
        layers = f"lowerdir={base},upperdir={folder}/upper,workdir={folder}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        run("mount", "--rbind", "/dev", self.root / "dev")
        run("mount", "-t", "proc", "proc", self.root / "proc")
        for path in binds:
            inside = self.root / path.relative_to("/")
            if path.is_dir():
                inside.mkdir(parents=True, exist_ok=True)
            else:
                inside.parent.mkdir(parents=True, exist_ok=True)
                inside.touch()
            run("mount", "--bind", path, inside)

    def variables(self) -> dict[str, str]:
        return self.arguments | self.env

    def path(self, name: str) -> Path:
        return self.root / (self.folder / name).relative_to("/")


def build(base: Path, work: Path, binds: list[Path], arguments: dict[str, str]) -> tuple[Stage, list[Instruction]]:
    """Carry out the Dockerfile; returns its last stage and instructions."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    last: list[Instruction] = []
    for instruction in parse(ROOT / "Dockerfile"):
        if instruction.name == "FROM":
            words = instruction.words()
            assert words[0] == "python:3.11-slim-bookworm", "the root stands for this image and no other"
            name = words[2] if len(words) > 2 else "final"
            stage = stages[name] = Stage(work / name, base, binds)
            last = []
            continue
        assert stage is not None
        last.append(instruction)
        match instruction.name:
            case "ARG":
                key, value = next(iter(instruction.pairs().items()))
                stage.arguments[key] = arguments.get(key, value)
            case "ENV":
                stage.env |= {k: expand(v, stage.variables()) for k, v in instruction.pairs().items()}
            case "WORKDIR":
                stage.folder = Path(instruction.rest)
                stage.path(".").mkdir(parents=True, exist_ok=True)
            case "COPY":
                copy(instruction, stage, stages)
            case "RUN":
                say(f"RUN {instruction.rest[:100]}…")
                started = time.monotonic()
                # What the machine's package clients need to reach their index is no part of the image.
                host = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_", "REQUESTS_"))}
                env = host | stage.variables()
                run("chroot", stage.root, "sh", "-c", f"cd {stage.folder} && {instruction.rest}", env=env)
                say(f"    took {time.monotonic() - started:.0f} s")
    assert stage is not None
    return stage, last


def copy(instruction: Instruction, stage: Stage, stages: dict[str, Stage]) -> None:
    options = dict(word[2:].split("=", 1) for word in instruction.words() if word.startswith("--"))
    source, target = (word for word in instruction.words() if not word.startswith("--"))
    if "from" in options:
        found = stages[options["from"]].root / source.lstrip("/")
    else:
        assert f"!{source}" in (ROOT / ".dockerignore").read_text().split(), f"{source} is not in the build context"
        found = ROOT / source
    inside = stage.path(target)
    if found.is_dir():
        run("mkdir", "-p", inside)
        run("cp", "-a", f"{found}/.", inside)
        if "from" not in options:
            for cache in inside.rglob("__pycache__"):
                shutil.rmtree(cache)
            run("chown", "-R", "0:0", inside)
    else:
        run("cp", found, inside / found.name if inside.is_dir() else inside)
    if "chown" in options:
        run("chown", "-R", options["chown"], inside)


def container(stage: Stage, user: str, *command: str, **settings: str) -> list[str]:
    """The command line that runs a command as Docker would in the image."""
    uid, gid = user.split(":")
    variables = [f"{k}={v}" for k, v in (stage.env | settings).items()]
    return [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={stage.root}/proc"),
        *("chroot", str(stage.root), "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
        *("env", "-i", f"--chdir={stage.folder}", *variables, *command),
    ]


class Image:
    """What was built, to be run with a read-only root file system and a volume."""

    def __init__(self, stage: Stage, instructions: list[Instruction], volume: Path) -> None:
        found = {instruction.name: instruction for instruction in instructions}
        self.user, self.port = found["USER"].rest, str(free_port())
        self._command, self._health = found["CMD"].exec_form(), found["HEALTHCHECK"].exec_form()
        self._stage, self._volume = stage, volume
        run("mount", "-o", "remount,ro", stage.root)
        run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", stage.path("/tmp"))
        run("mount", "--bind", volume, stage.path("/data"))

    def inside(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = container(self._stage, self.user, *command, HF_ENDPOINT=NOWHERE, TROIKA_PORT=self.port)
        return subprocess.run(words, check=check, text=True, capture_output=True)

    def serve(self) -> None:
        """Started, healthy, answering, ended by SIGTERM."""
        log = self._volume.parent / f"{self._volume.name}.log"
        with log.open("w") as output:
            words = container(self._stage, self.user, *self._command, HF_ENDPOINT=NOWHERE, TROIKA_PORT=self.port)
            process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
        started = time.monotonic()
        while self.inside(*self._health, check=False).returncode != 0:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() - started < 300, log.read_text()
            time.sleep(0.5)
        say(f"HEALTHCHECK passes after {time.monotonic() - started:.0f} s")
        say(f"POST /chat: {self._post('/chat', input='Hello', seed=1)['reply']!r}")
        job = self._post("/train-demo?wait=true", dataset="digits", epochs=1, train_fraction=0.02)
        say(f"POST /train-demo: {job['status']}")
        assert job["status"] == "done", job
        (first,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        status = Path(f"/proc/{first}/status").read_text().splitlines()
        assert next(line for line in status if line.startswith("NSpid")).split()[-1] == "1"
        say(f"process 1 is {Path(f'/proc/{first}/cmdline').read_bytes().split(bytes(1))[1].decode()}")
        os.kill(int(first), 15)
        code = process.wait(timeout=60)
        say(f"SIGTERM to process 1: ended with {code}")
        assert code == 0, log.read_text()
        for line in ("Traceback", "Read-only file system", "Permission denied"):
            assert line not in log.read_text(), log.read_text()

    def _post(self, path: str, **fields: object) -> dict[str, Any]:
        body = urllib.parse.urlencode(fields).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", body, timeout=300) as reply:
            return dict(json.load(reply))


def try_out(stage: Stage, instructions: list[Instruction]) -> None:
    """Run the image on the volume that Docker fills from it, and on an empty one as Kubernetes has them."""
    filled, empty = stage.root.parent / "filled", stage.root.parent / "empty"
    run("cp", "-a", stage.path("/data"), filled)
    image = Image(stage, instructions, filled)
    say(f"id: {image.inside('id').stdout.strip()}")
    refused = image.inside("sh", "-c", "touch /srv/troika/x || touch /opt/venv/x", check=False)
    assert refused.returncode != 0, "the root file system can be written to"
    say(f"read-only: {refused.stderr.strip().splitlines()[-1]}")
    image.serve()
    say("python -m app.doctor:")
    doctor = image.inside("python", "-m", "app.doctor", check=False)
    print(doctor.stdout + doctor.stderr)
    assert doctor.returncode == 0
    print(run("du", "-sh", stage.path("/opt/venv"), stage.path("/srv"), filled, stdout=subprocess.PIPE).stdout)
    say("the same on an empty volume:")
    empty.mkdir()
    run("chown", image.user, empty)
    Image(stage, instructions, empty).serve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the roots are kept; some 5 GB")
    parser.add_argument("--mirror", default="", help="the Debian mirror; debootstrap's own if none is given")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="a path of this machine to show inside")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    if INSIDE not in os.environ:  # every mount goes with the namespace when this ends
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "tests.deploy.rehearse"]
        os.execvpe(command[0], command + sys.argv[1:], os.environ | {INSIDE: "1"})
    base = options.folder.resolve() / "base"
    if not (base / "usr/local/bin/python").is_symlink():
        packages = "--include=python3,python3-venv,ca-certificates"
        mirror = [options.mirror] if options.mirror else []
        run("debootstrap", "--variant=minbase", packages, "bookworm", base, *mirror, stdout=subprocess.DEVNULL)
        (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    binds = [Path("/etc/resolv.conf"), *options.bind]
    stage, instructions = build(base, options.folder.resolve(), binds, dict(a.split("=", 1) for a in options.build_arg))
    try_out(stage, instructions)
    say("all of it worked")


if __name__ == "__main__":
    main()
