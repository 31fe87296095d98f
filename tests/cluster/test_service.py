"""gunicorn in front of a cluster: what clients and operators see is what they see with an engine of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.engine.cluster.messages import ClusterConfig
from tests.api.test_chat import post
from tests.api.test_overload import ENDLESS, assert_come_back_later, streams, under_way
from tests.cluster.support import START_S, Cluster, deploy, deployment, running_cluster
from tests.models import save_chat_model
from tests.server import LiveServer, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as started:
        yield started


@contextlib.contextmanager
def service(cluster: Cluster, folder: Path, model: Path, **settings: object) -> Iterator[LiveServer]:
    options = {"engine": "ray", "cluster_address": cluster.address, "model": model, "max_waiting": 3}
    with serve(folder, wait=False, **options | settings) as server:
        yield server


@pytest.fixture(scope="module")
def server(cluster: Cluster, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Two replicas that compute two requests each and take one more; the service lets three wait."""
    deploy(str(model), ClusterConfig(replicas=2, max_ongoing=3), max_sequences=2)
    with service(cluster, tmp_path_factory.mktemp("server"), model) as server:
        server.wait_until(lambda: server.is_ready() and health(server)["engine"]["replicas"] == 2, START_S)
        yield server


def health(server: LiveServer) -> dict:
    return httpx.get(f"{server.url}/health", timeout=10).json()


def is_empty(server: LiveServer) -> bool:
    engine = health(server)["engine"]
    return (engine["running"], engine["waiting"], engine["slots_held"]) == (0, 0, 0)


def test_replies_are_those_of_an_engine_of_its_own(server: LiveServer, model: Path, tmp_path: Path) -> None:
    ask = {"input": "Hello", "seed": 3, "max_new_tokens": 40, "logprobs": 2}
    with serve(tmp_path, model=model) as alone, alone.client() as http:
        expected = post(http, **ask).json()
    with server.client() as http:
        found = post(http, **ask).json()
        assert (found["reply"], found["tokens"]) == (expected["reply"], expected["tokens"])
        with http.stream("POST", "/chat", json=ask | {"stream": True}) as response:
            events = response.read().decode()
        assert events.count("event: token") >= 40
        assert events.count("event: done") == 1
        name = http.get("/v1/models").json()["data"][0]["id"]
        completion = {"model": name, "prompt": "Hello", "seed": 3, "max_tokens": 20}
        assert http.post("/v1/completions", json=completion).json()["usage"]["completion_tokens"] == 20
        with http.stream("POST", "/v1/completions", json=completion | {"stream": True}) as response:
            assert response.read().endswith(b"data: [DONE]\n\n")
        turn = post(http, input="And?", conversation_id=found["conversation_id"], max_new_tokens=5).json()
        assert turn["usage"]["cached_tokens"] >= found["usage"]["prompt_tokens"]


def test_health_and_metrics_tell_of_the_cluster(server: LiveServer) -> None:
    with server.client() as http:
        found = health(server)
        assert found["status"] == "ready"
        assert (found["engine"]["slots"], found["engine"]["replicas"]) == (4, 2)
        assert found["model"]["device"] == "cpu"
        with streams(http, 1) as (lines,):
            assert next(lines)
            server.wait_until(lambda: health(server)["engine"]["slots_held"] == 1)
            metrics = http.get("/metrics").text
            for line in (
                "troika_kv_cache_usage_perc 0.25",
                "troika_kv_cache_slots 4.0",
                "troika_engine_replicas 2.0",
                "troika_num_requests_running 1.0",
                'troika_engine_state{state="ready"} 1.0',
            ):
                assert f"\n{line}\n" in metrics
        server.wait_until(lambda: is_empty(server))
        assert "\ntroika_iteration_batch_size_count 0.0\n" not in http.get("/metrics").text


def test_a_client_that_leaves_frees_its_place_at_the_replica(server: LiveServer) -> None:
    with server.client() as http:
        with streams(http, 2) as both:
            assert all(next(lines) for lines in both)
            server.wait_until(lambda: health(server)["engine"]["slots_held"] == 2)
        server.wait_until(lambda: is_empty(server))


def test_a_full_queue_refuses_as_with_an_engine_of_its_own(server: LiveServer) -> None:
    with server.client() as http:
        with streams(http, 4) as four:
            assert all(next(lines) for lines in four)
            server.wait_until(lambda: under_way(http) == (4, 0))
            with streams(http, 3):
                server.wait_until(lambda: under_way(http) == (4, 3))
                assert_come_back_later(post(http, input="Hello"), 503, "queue_full")
                assert_come_back_later(http.post("/chat", json=ENDLESS), 503, "queue_full")
                assert http.get("/metrics").status_code == 200
        server.wait_until(lambda: is_empty(server))
        assert post(http, input="Hello", max_new_tokens=3).status_code == 200


def test_a_web_process_that_dies_takes_its_requests_with_it(server: LiveServer) -> None:
    with server.client() as http, streams(http, 2) as both:
        assert all(next(lines) for lines in both)
        server.wait_until(lambda: health(server)["engine"]["slots_held"] == 2)
        os.kill(server.worker_pid(), signal.SIGKILL)
        server.wait_until(lambda: server.is_ready() and is_empty(server), START_S)


def test_without_replicas_it_waits_and_finds_new_ones(server: LiveServer, model: Path, cluster: Cluster) -> None:
    """Taken away, then those of another model, then the right ones: by itself, and the worker is the same."""
    worker = server.worker_pid()

    def reason() -> str:
        return httpx.get(f"{server.url}/health/ready", timeout=10).text

    deployment.remove()
    server.wait_until(lambda: "python -m app.engine.cluster deploy" in reason(), START_S)
    deploy("starter", ClusterConfig(replicas=1))
    server.wait_until(lambda: "serves another model than this service" in reason(), START_S)
    deploy(str(model), ClusterConfig(replicas=1), max_sequences=2)
    server.wait_until(server.is_ready, START_S)
    with server.client() as http:
        assert post(http, input="Hello", max_new_tokens=3).status_code == 200
    assert server.worker_pid() == worker
