"""Processor, memory, folders and cores: each finding for what is really there, and what to do."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from app.doctor import at_start, machine
from app.engine.cores import available_cores
from config.settings import load_settings
from tests.faults.support import full_folder

CPU = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: {name}\nflags\t\t: fpu sse2 {flags}\n\n"


@pytest.mark.parametrize(
    ("flags", "precision", "level", "said"),
    [
        ("avx2 avx512f avx512_vnni amx_int8", "auto", "ok", "AVX2, AVX-512, AVX-512 VNNI, AMX INT8"),
        ("avx2", "float32", "ok", "AVX2"),
        ("avx2", "int8", "warn", "TROIKA_PRECISION=float32"),
        ("avx2", "bfloat16", "warn", "TROIKA_PRECISION=float32"),
        ("avx2 avx512_bf16", "bfloat16", "ok", "AVX-512 BF16"),
        ("", "auto", "warn", "a processor with AVX2"),
    ],
)
def test_the_processor_and_whether_it_suits_the_precision(
    flags: str, precision: str, level: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(CPU.format(name="A 9000", flags=flags) * 2)
    finding = machine.processor(precision, cpuinfo)
    assert finding.level == level
    assert finding.found.startswith("A 9000, ")
    assert said in str(finding)


def test_a_machine_that_does_not_tell_is_no_failure(tmp_path: Path) -> None:
    assert machine.processor("auto", tmp_path / "none").level == "ok"
    assert machine.memory(1 << 30, tmp_path / "none").level == "ok"


def test_too_little_memory_is_told(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  8000000 kB\nMemAvailable:    1048576 kB\n")
    assert machine.memory(1 << 29, meminfo).level == "ok"
    finding = machine.memory(3 << 30, meminfo)
    assert finding.level == "warn"
    assert "1.0 GiB available, about 3.0 GiB needed" in finding.found
    assert "TROIKA_KV_CACHE_MB" in finding.advice


def test_a_folder_that_is_not_there_yet_is_judged_by_where_it_will_be(tmp_path: Path) -> None:
    finding = machine.folder_finding("data", tmp_path / "a" / "b", needed=True, use="conversations")
    assert finding.level == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("needed", "level"), [(True, "fail"), (False, "warn")])
def test_a_folder_that_cannot_be_written_to_is_told(needed: bool, level: str) -> None:
    finding = machine.folder_finding("data", Path("/proc/troika"), needed=needed, use="conversations")
    assert finding.level == level
    assert "/proc/troika cannot be written to" in finding.found
    assert "the right to write to /proc" in finding.advice


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = machine.folder_finding("data", tmp_path / "file" / "x", needed=True, use="conversations")
    assert finding.level == "fail"
    assert "Not a directory" in finding.found


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with full_folder(tmp_path) as folder:
        finding = machine.folder_finding("data", folder, needed=True, use="conversations")
    assert finding.level == "fail"
    assert "No space left on device" in finding.found
    assert "free space" in finding.advice


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({}, 8),
    ],
)
def test_a_container_s_share_of_the_processor_counts(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert available_cores(tmp_path) == cores


def test_the_start_logs_what_is_wrong_as_such(caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings(database_url="sqlite:////proc/troika/troika.db")
    with caplog.at_level(logging.INFO, "troika.self-check"):
        at_start.report(settings).join(timeout=60)
    levels = {record.getMessage().partition(":")[0]: record.levelname for record in caplog.records}
    assert levels["data"] == "ERROR"
    assert levels["processor"] in ("INFO", "WARNING")
    assert {"models", "kernels", "temporary"} <= set(levels)
