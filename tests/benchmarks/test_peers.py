"""What `make bench-peers` tells is right: arrivals and rows written down here, real workers on a small model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import write_json
from benchmarks.peers import environments, processes
from benchmarks.peers.__main__ import Run, same_share
from benchmarks.peers.environments import UnavailableError, python_of
from benchmarks.peers.measure import LONG, MIXED, SHORT, Machine, Workload, empty_row, figures, merged, workloads
from benchmarks.peers.processes import Worker, family
from benchmarks.peers.report import TARGETS, like_rows, markdown, plot, target_rows, unavailable
from benchmarks.peers.systems import ARTICLE, GENERATE, LLAMA_CPP, OPENVINO, OURS, OURS_OVER_HTTP, SYSTEMS, System
from benchmarks.peers.worker import Generated
from tests.engine.support import VOCABULARY, save_model
from tests.models import save_chat_model

NOBODY = System("nobody", "float32", "nobody", "float32", 4, 4, environment="nobody")


def steps(start: float, count: int, gap: float = 0.1) -> list[float]:
    return [start + gap * i for i in range(count)]


# -- figures ---------------------------------------------------------------------------------------------------


def test_the_decoding_rate_is_that_of_all_sequences_together() -> None:
    told = figures(Generated(0.0, [steps(1.0, 11), steps(1.0, 11)]), is_whole=False)
    assert told["tokens_per_s"] == pytest.approx(20)
    assert told["ttft_ms"] == pytest.approx(1000)
    assert told["gap_p99_ms"] == pytest.approx(100)
    assert told["total_tokens_per_s"] == pytest.approx(22 / 2.0)


def test_it_starts_when_the_last_sequence_does() -> None:
    """The first one's fast steps, alone, are no batch of two."""
    alone, together = steps(0.0, 10, gap=0.01), steps(1.0, 11)
    told = figures(Generated(0.0, [alone + together, together]), is_whole=False)
    assert told["decode_tokens_per_s"] == pytest.approx(20)


def test_a_moment_between_two_sequences_arrivals_takes_nothing_from_the_rate() -> None:
    told = figures(Generated(0.0, [steps(1.0, 11), steps(1.001, 11)]), is_whole=False)
    assert told["decode_tokens_per_s"] == pytest.approx(20)


def test_there_is_no_decoding_rate_without_steps_together() -> None:
    run = Generated(0.0, [steps(1.0, 5), steps(3.0, 5)])
    assert figures(run, is_whole=False)["tokens_per_s"] is None
    assert figures(run, is_whole=True)["tokens_per_s"] == pytest.approx(10 / 3.4)


def test_replies_that_come_whole_are_counted_by_what_they_say() -> None:
    told = figures(Generated(0.0, [[2.0], [4.0]], counts=[30, 50]), is_whole=True)
    assert told["tokens_per_s"] == pytest.approx(20)
    assert told["ttft_ms"] == pytest.approx(3000)
    assert told["gap_p99_ms"] is None


def test_rounds_merge_to_medians_and_spread() -> None:
    rounds = [figures(Generated(0.0, [steps(1.0, 11, gap)]), is_whole=False) for gap in (0.1, 0.2, 0.5)]
    row = merged([{**told, "peak_rss_mb": memory} for told, memory in zip(rounds, (1.0, 2.0, 9.0), strict=True)])
    assert (row["tokens_per_s"], row["tokens_per_s_lowest"], row["tokens_per_s_highest"]) == (5, 2, 10)
    assert row["peak_rss_mb"] == 2


def test_workloads_are_the_same_for_all_and_new_each_round() -> None:
    load = Workload(16, MIXED, 8)
    assert load.prompts(1) == load.prompts(1) != load.prompts(2)
    lengths = sorted(map(len, load.prompts(1)))
    assert (lengths[0], lengths[-1], len(set(lengths))) == (16, 700, 16)
    assert {len(prompt) for prompt in Workload(4, LONG, 8).prompts(0)} == {700}
    assert Workload(1, MIXED, 8) not in workloads((1, 4), (SHORT, MIXED), 8)
    assert len(workloads((1, 4), (SHORT, MIXED), 8)) == 3


def test_the_limit_is_reading_for_few_sequences_and_computing_for_many() -> None:
    machine = Machine(bandwidth=1e9, operations={"int8": 1e12}, layers=1, width=10, vocabulary=880)
    system = System("x", "int8", "x", "int8", weight_bytes=1, cache_bytes=1)
    weights = 12 * 100 + 8800  # 10,000: 10 us to read, 0.02 us to compute for one sequence
    assert machine.limit(system, Workload(1, SHORT, 0)) == pytest.approx(1e9 / (weights + 20 * 32))
    slow = Machine(bandwidth=1e18, operations={"int8": 1e12}, layers=1, width=10, vocabulary=880)
    assert slow.limit(system, Workload(64, SHORT, 0)) == pytest.approx(1e12 / (2 * weights))


def test_tokens_count_as_the_same_up_to_the_first_that_differs() -> None:
    assert same_share([[1, 2, 3, 4], [1, 9, 3, 4]], [[1, 2, 3, 4], [1, 2, 3, 4]]) == pytest.approx(5 / 8)


# -- tables ----------------------------------------------------------------------------------------------------


def recorded(system: str, precision: str, speed: float | None, batch: int = 16, **more: Any) -> dict[str, Any]:
    """A row as a run writes it."""
    known = next(each for each in SYSTEMS if (each.name, each.precision) == (system, precision))
    row = empty_row(known, Workload(batch, SHORT, 64))
    spread = {"tokens_per_s": speed, "tokens_per_s_lowest": speed, "tokens_per_s_highest": speed}
    return row | spread | {"ttft_ms": 40.0, "unavailable": None} | more


def ratio(rows: list[dict[str, Any]], against: str, batch: int = 16) -> dict[str, Any]:
    return next(row for row in target_rows(rows) if row["against"].startswith(against) and row["batch"] == batch)


def test_every_target_is_of_a_system_that_is_measured() -> None:
    known = {(system.name, system.precision) for system in SYSTEMS} | {(system.name, None) for system in SYSTEMS}
    assert all({(t.peer, t.peer_precision), (t.ours, t.our_precision)} <= known for t in TARGETS)


def test_a_ratio_is_held_against_its_target() -> None:
    rows = [recorded(OURS, "float32", 300.0), recorded(GENERATE, "float32", 100.0), recorded(GENERATE, "bfloat16", 1.0)]
    reached = ratio(rows, "transformers")
    assert (reached["ratio"], reached["target"], reached["reached"]) == (3.0, 3.0, "yes")
    rows[0]["tokens_per_s"] = 299.0
    assert ratio(rows, "transformers")["reached"] == "no"


def test_openvinos_best_is_held_against_our_best() -> None:
    rows = [
        recorded(OURS, precision, speed) for precision, speed in (("float32", 1.0), ("bfloat16", 9.0), ("int8", 6.0))
    ]
    rows += [recorded(OPENVINO, "bfloat16", 3.0), recorded(OPENVINO, "int8", 10.0)]
    assert ratio(rows, "OpenVINO")["ratio"] == 0.9
    rows[-1] = recorded(OPENVINO, "int8", None, unavailable="no wheel")
    assert ratio(rows, "OpenVINO")["reached"] == "yes, without OpenVINO GenAI int8: no wheel"


def test_http_is_held_against_http() -> None:
    rows = [
        recorded(OURS, "float32", 900.0),
        recorded(OURS_OVER_HTTP, "float32", 600.0),
        recorded(ARTICLE, "float32", 50.0),
    ]
    assert ratio(rows, "the article's app") == {
        "against": "the article's app, 16 clients over HTTP, ours float32 over HTTP",
        "batch": 16,
        "ours_tokens_per_s": 600.0,
        "theirs_tokens_per_s": 50.0,
        "ratio": 12.0,
        "target": 12.0,
        "reached": "yes",
    }


def test_a_peer_that_is_missing_is_not_beaten() -> None:
    missing = recorded(LLAMA_CPP, "Q8_0", None, unavailable="no compiler")
    rows = [recorded(OURS, "int8", 300.0), missing]
    told = ratio(rows, "llama.cpp")
    assert (told["ratio"], told["reached"]) == (None, "not measured: llama.cpp: no compiler")
    assert ratio(rows, "CTranslate2")["reached"] == "not measured: CTranslate2 was left out"


def test_all_others_are_compared_in_like_precision() -> None:
    rows = [recorded(OURS, "bfloat16", 300.0), recorded(OURS, "int8", 800.0), recorded(LLAMA_CPP, "F16", 200.0)]
    rows.append(recorded(LLAMA_CPP, "F16", 100.0, batch=4))
    assert like_rows(rows) == [{"peer": "llama.cpp F16", "ours": "bfloat16", "prompt": SHORT, "4": None, "16": 1.5}]


def test_the_plot_has_what_was_measured(tmp_path: Path) -> None:
    rows = [recorded(OURS, "int8", 100.0 * batch, batch) for batch in (1, 4)]
    plot([*rows, recorded(LLAMA_CPP, "Q8_0", None, unavailable="no compiler")], tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


# -- peers that are not to be had ------------------------------------------------------------------------------


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path) -> None:
    (tmp_path / "nobody.txt").write_text(f"{tmp_path}/no-such-package.whl\n", encoding="utf-8")
    with pytest.raises(UnavailableError, match=r"setting it up failed: .*no-such-package\.whl"):
        python_of("nobody", requirements=tmp_path, cache=tmp_path / "cache")
    with pytest.raises(UnavailableError, match="no-such-package"):  # and is not taken for ready the next time
        python_of("nobody", requirements=tmp_path, cache=tmp_path / "cache")


def test_a_peer_that_is_not_to_be_had_is_reported_and_never_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path, [NOBODY], workloads((1, 4), (SHORT,), 8), cores=1)
    run.set_up()
    write_json(run.rows(), str(tmp_path / "rows.json"))
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert [(row["system"], row["batch"], row["tokens_per_s"]) for row in rows] == [
        ("nobody", 1, None),
        ("nobody", 4, None),
    ]
    assert all("nobody.txt" in row["unavailable"] for row in rows)
    assert len(unavailable(rows)) == 1
    assert f"- nobody float32: {rows[0]['unavailable']}" in markdown(rows, ["a machine"])


# -- real workers ----------------------------------------------------------------------------------------------


@contextmanager
def running(worker: str, model: Path) -> Iterator[Worker]:
    system = next(each for each in SYSTEMS if (each.worker, each.precision) == (worker, "float32"))
    process = Worker(system, model, cores=1)
    try:
        yield process
    finally:
        process.close()


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "PEERS", tmp_path)
    return tmp_path / "logs"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_answer_alike_and_end_with_their_children(tmp_path: Path, logs: Path) -> None:
    model = save_model(tmp_path / "model")
    prompts = [[(7 * i + n) % VOCABULARY for i in range(n)] for n in (3, 11, 5)]
    answers = {}
    for name in ("troika", "generate", "continuous"):
        with running(name, model) as worker:
            pids = list(family(worker._process.pid))
            generated, memory = worker.generate(prompts, 6)
        assert not any((Path("/proc") / str(pid)).exists() for pid in pids)
        assert [len(times) for times in generated.arrivals] == [6, 6, 6]
        assert min(times[0] for times in generated.arrivals) > generated.started
        assert worker.startup_s > 0
        assert memory > 10
        answers[name] = generated.tokens
    assert answers["troika"] == answers["generate"] == answers["continuous"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_both_services_answer_all_clients(tmp_path: Path, logs: Path) -> None:
    model = save_chat_model(tmp_path / "model")
    for name in ("http_troika", "http_article"):
        with running(name, model) as worker:
            generated, memory = worker.generate([[1, 2, 3]] * 4, 5)
        assert generated.counts == [5] * 4
        assert len(generated.arrivals) == 4
        assert memory > 10


@pytest.mark.timeout(600)
def test_a_worker_that_fails_says_why(tmp_path: Path, logs: Path) -> None:
    with (
        pytest.raises(UnavailableError, match=r"it ended with code 1: .*no-model"),
        running("generate", tmp_path / "no-model"),
    ):
        pass
    assert (logs / "generate-float32.log").read_text(encoding="utf-8")


def test_pins_are_exact() -> None:
    """A later run measures what the earlier one did."""
    pinned = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in environments.REQUIREMENTS.iterdir()}
    assert {system.environment for system in SYSTEMS if system.environment} < set(pinned)
    for lines in pinned.values():
        assert all("==" in line for line in lines if line and not line.startswith("#"))
