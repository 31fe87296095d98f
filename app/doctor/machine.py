"""The machine: processor, memory, folders. Needs no torch and costs next to nothing."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path

from app.doctor.finding import Finding, fail, ok, warn
from app.engine.cores import available_cores
from app.storage.database import normalised
from config.settings import Settings

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
    "asimd": "NEON",
    "bf16": "BF16",
    "i8mm": "I8MM",
}
"""The kernel's names of the instructions that the kernels live on, and everyone else's."""

INT8 = {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
LITTLE_DISK = 1 << 30
NO_DISK = 64 << 20


def processor(precision: str = "auto", cpuinfo: Path = CPUINFO) -> Finding:
    """What the processor can do, and whether it suits the precision asked for."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ok(
            "processor", f"{platform.machine()}, {available_cores()} cores; what else it can do is not known here"
        )
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    named = [name for flag, name in FEATURES.items() if flag in flags]
    found = f"{fields.get('model name', platform.machine())}, {available_cores()} of {os.cpu_count()} cores: " + (
        ", ".join(named) or "none of the vector instructions that speed this up"
    )
    needs = {"int8": INT8, "bfloat16": BFLOAT16}.get(precision, set())
    if needs and not needs & flags:
        return warn(
            "processor", found, f"nothing here speeds {precision} up: TROIKA_PRECISION=float32 may well be faster"
        )
    if platform.machine() in ("x86_64", "AMD64") and "avx2" not in flags:
        return warn("processor", found, "replies will be slow; a processor with AVX2 or newer is several times faster")
    return ok("processor", found)


def memory(needed: int, meminfo: Path = MEMINFO) -> Finding:
    """Whether about `needed` bytes, of the weights and the KV cache, are available."""
    try:
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        available = int(fields["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return ok("memory", "how much is available is not known here")
    found = f"{_size(available)} available, about {_size(needed)} needed"
    if available < needed:
        return warn("memory", found, "lower TROIKA_KV_CACHE_MB, or take a smaller model or TROIKA_PRECISION=int8")
    return ok("memory", found)


def folders(settings: Settings) -> list[Finding]:
    """The folders that are written to: for the database, trainings, models, kernels and what is temporary."""
    found = []
    url = normalised(settings.database_url)
    if url.get_backend_name() == "sqlite":
        folder = Path(url.database or "").parent
        found.append(folder_finding("data", folder, needed=True, use="conversations"))
    place = Path(settings.training_folder).resolve()
    found.append(folder_finding("training", place, needed=True, use="trained classifiers"))
    from huggingface_hub import constants

    found.append(folder_finding("models", Path(constants.HF_HUB_CACHE), needed=False, use="downloaded models"))
    kernels = os.environ.get("NUMBA_CACHE_DIR")
    place = Path(kernels) if kernels else Path(__file__).parents[1] / "engine" / "__pycache__"
    found.append(folder_finding("kernels", place, needed=False, use="compiled kernels"))
    found.append(folder_finding("temporary", Path(tempfile.gettempdir()), needed=True, use="uploads and links"))
    return found


def folder_finding(name: str, folder: Path, *, needed: bool, use: str) -> Finding:
    """Whether `folder` can be written to, or made, and has room."""
    complain = fail if needed else warn
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(nearest).free
    except OSError as error:
        return complain(
            name,
            f"{folder} cannot be written to ({error.strerror or error})",
            f"{use} go there: give user {os.getuid()} the right to write to {nearest}, free space, or mount a volume",
        )
    found = f"{folder} is writable, {_size(free)} free"
    if free < NO_DISK and needed:
        return fail(name, found, f"free space: {use} go there")
    if free < LITTLE_DISK:
        return warn(name, found, f"free space soon: {use} go there")
    return ok(name, found)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
