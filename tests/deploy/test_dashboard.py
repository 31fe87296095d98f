"""Grafana's dashboard: every name in it is really exported, and a real Prometheus answers every expression."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server import LiveServer, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "troika.json").read_text(encoding="utf-8"))
OF_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus adds to whatever it scrapes."""

FUNCTIONS = {"rate", "increase", "sum", "max", "histogram_quantile", "vector", "by", "or"}


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def expressions() -> list[tuple[str, str, str]]:
    """Title, expression and legend of every target."""
    return [(p["title"], t["expr"], t["legendFormat"]) for p in panels() for t in p["targets"]]


@pytest.fixture(scope="module")
def exported(live_server: LiveServer) -> dict[str, set[str]]:
    """The samples of a service that has answered and refused, each with its labels."""
    with live_server.client() as client:
        assert client.post("/chat", data={"input": "Hello", "max_new_tokens": "4"}).status_code == 200
        assert client.post("/chat", data={"input": ""}).status_code == 422
        labels: dict[str, set[str]] = defaultdict(set)
        for family in text_string_to_metric_families(client.get("/metrics").text):
            for sample in family.samples:
                labels[sample.name] |= set(sample.labels)
    return labels


def names(expression: str) -> set[str]:
    """The metrics of an expression: whatever is left when labels, ranges and functions are taken away."""
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)|"[^"]*"', " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", bare)) - FUNCTIONS


@pytest.mark.parametrize(("title", "expression", "legend"), expressions())
def test_every_metric_and_label_is_exported(
    title: str, expression: str, legend: str, exported: dict[str, set[str]]
) -> None:
    used = names(expression)
    assert used, "an expression without a metric"
    assert used <= set(exported), title
    labels = set().union(*(exported[name] for name in used)) | OF_PROMETHEUS
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in re.split(r",\s*", group)}
    matched = {
        label for group in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)\s*[=!]", group)
    }
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert grouped | matched | shown <= labels, title
    if "sum" in expression and shown:
        assert shown <= grouped, f"{title}: the legend names a label that the sum has dropped"


def test_most_of_what_is_exported_is_shown(exported: dict[str, set[str]]) -> None:
    shown = set().union(*(names(expression) for _, expression, _ in expressions()))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("troika_")}
    missing = {name for name in families if not any(s.startswith(name) for s in shown)}
    # Of the engine's process the processor and the memory are shown; the number of slots is in the share of them.
    assert {name for name in missing if not name.startswith("troika_engine_process_")} <= {"troika_kv_cache_slots"}


def test_panels_have_titles_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert panel["title"]
        assert place["x"] + place["w"] <= 24
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_data_source_is_a_choice_and_no_installation_s_own() -> None:
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@pytest.mark.slow
def test_a_real_prometheus_answers_every_expression(
    exported: dict[str, set[str]], live_server: LiveServer, tmp_path: Path
) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian has a package of that name)")
    (tmp_path / "key").write_text("any")
    config = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    address = live_server.url.removeprefix("http://")
    for ours, here in (
        ("/run/secrets/metrics_key", str(tmp_path / "key")),
        ("troika:5000", address),
        ("scrape_interval: 10s", "scrape_interval: 1s"),
        ("scrape_timeout: 5s", "scrape_timeout: 1s"),
    ):
        assert ours in config
        config = config.replace(ours, here)
    (tmp_path / "prometheus.yml").write_text(config)
    port = free_port()
    with (tmp_path / "prometheus.log").open("wb") as log:
        prometheus = subprocess.Popen(
            [
                program,
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10) as client:

            def query(expression: str) -> list[dict[str, Any]]:
                response = client.get("/query", params={"query": expression})
                assert response.status_code == 200, f"{expression}: {response.text}"
                return list(response.json()["data"]["result"])

            def scraped() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    # It answers 503 while it reads its write-ahead log.
                    if client.get("/query", params={"query": "1"}).status_code == 200:
                        return bool(query("count_over_time(troika_num_requests_running[1m]) >= 3"))
                return False

            deadline = time.monotonic() + 90
            while not scraped():
                assert prometheus.poll() is None, (tmp_path / "prometheus.log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "prometheus.log").read_text()
                time.sleep(0.2)
            for title, expression, _ in expressions():
                found = query(expression.replace("$__rate_interval", "1m").replace("$instance", ".*"))
                assert found, f"{title}: {expression} finds nothing"
    finally:
        prometheus.terminate()
        prometheus.wait(timeout=30)
