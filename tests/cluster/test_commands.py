"""`python -m app.engine.cluster`, as an operator uses it, and what it and the service say where there is no cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from app.doctor import services
from app.engine.cluster.messages import ClusterConfig
from app.engine.messages import SamplingParams
from tests.api.test_chat import post
from tests.cluster.support import START_S, Cluster, client, deploy, deployment, drain, running_cluster, serve
from tests.deploy.test_files import DEPLOY
from tests.engine.support import wait_until
from tests.engine.test_client import is_alive
from tests.server import ROOT, LiveServer, clean_environment, free_port
from tests.server import serve as run_service
from tests.test_shutdown import descendants

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


def command(*words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.engine.cluster", *words],
        cwd=ROOT,
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def words_of(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in (result.stdout + result.stderr).splitlines() if line.startswith("troika: ")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as started:
        yield started


def test_deploy_status_and_remove(cluster: Cluster) -> None:
    address = {"cluster_address": cluster.address, "model": "starter", "engine_threads": 1}
    result = command("status", **address)
    assert (result.returncode, words_of(result)) == (1, ["troika: NOT DEPLOYED, 0 replicas running."])
    result = command("deploy", **address, cluster_replicas=2)
    assert result.returncode == 0, result.stderr
    assert words_of(result)[-1] == "troika: RUNNING, 2 replicas running."
    # The same again changes nothing; other settings do.
    result = command("deploy", **address, cluster_replicas=1)
    assert words_of(result)[-1] == "troika: RUNNING, 1 replicas running."
    result = command("status", **address)
    assert (result.returncode, words_of(result)) == (0, ["troika: RUNNING, 1 replicas running."])
    result = command("remove", **address)
    assert (result.returncode, words_of(result)) == (0, ["troika: NOT DEPLOYED, 0 replicas running."])


def test_the_number_of_replicas_follows_the_load_where_a_most_is_given(cluster: Cluster) -> None:
    deploy(config=ClusterConfig(replicas=1, max_replicas=2, target_ongoing=2))
    with client(cluster, replicas=1) as engine:
        params = SamplingParams(max_new_tokens=400, temperature=1.0)
        while engine.status().replicas < 2:  # until the test's time is over
            for stream in [engine.submit((5, 6, number), params) for number in range(8)]:
                drain(stream)
    deployment.remove()


def test_what_kuberay_deploys_can_be_deployed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the manifest's `serveConfigV2`, as the head's REST interface would, but with the settings of this cluster."""
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    documents = list(yaml.safe_load_all((DEPLOY / "ray" / "rayservice.yaml").read_text(encoding="utf-8")))
    (text,) = [document["spec"]["serveConfigV2"] for document in documents if document["kind"] == "RayService"]
    config = yaml.safe_load(text)
    settings = {"TROIKA_MODEL": "starter", "TROIKA_ENGINE_THREADS": "1", "PYTHONPATH": str(ROOT)}
    config["applications"][0]["runtime_env"] = {"env_vars": settings}
    serve.start(proxy_location="Disabled")
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
    wait_until(lambda: deployment.status().state not in ("NOT DEPLOYED", "NOT_STARTED", "DEPLOYING"), START_S)
    assert deployment.status().sentence == "RUNNING, 1 replicas running."
    deployment.remove()


def test_without_a_cluster_command_and_service_say_so(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    said = f"no Ray cluster at TROIKA_CLUSTER_ADDRESS={nowhere}"
    result = command("status", cluster_address=nowhere)
    assert result.returncode == 1
    assert [line.startswith(f"troika: {said}: ") for line in words_of(result)] == [True]
    assert "Traceback" not in result.stderr
    finding = services.cluster(nowhere)
    assert (finding.level, finding.found.startswith(said)) == ("fail", True)
    settings = {"engine": "ray", "cluster_address": nowhere, "model": "starter", "restart_timeout_s": 2}
    with run_service(tmp_path, wait=False, **settings) as server, server.client() as http:
        server.wait_until(lambda: "/health" in server.log or answers(server))
        server.wait_until(lambda: said in http.get("/health").json()["reason"], START_S)
        assert http.get("/health").json()["engine"]["state"] == "loading"
        refused = post(http, input="Hello")
        assert refused.status_code == 503
        assert said in refused.json()["error"]["message"]
        assert refused.headers["Retry-After"]


def answers(server: LiveServer) -> bool:
    try:
        return httpx.get(f"{server.url}/health/live", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_trial_serves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    port = free_port()
    settings = {"port": port, "model": "starter", "grace_s": 2, "database_url": f"sqlite:///{tmp_path}/troika.db"}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.engine.cluster", "trial"],
            cwd=ROOT,
            env=clean_environment(**settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = LiveServer(f"http://127.0.0.1:{port}", process, log)
    try:
        server.wait_until(lambda: server.is_ready() and replicas(server) == 2, 2 * START_S)
        with server.client() as http:
            assert post(http, input="Hello").status_code == 200
        family = descendants(process.pid)
        assert len(family) > 6
        process.send_signal(signal.SIGINT)
        process.wait(timeout=START_S)
        wait_until(lambda: not any(is_alive(pid) for pid in family), START_S, "all processes have ended")
    finally:
        process.kill()
        process.wait()


def replicas(server: LiveServer) -> int:
    return int(httpx.get(f"{server.url}/health", timeout=5).json()["engine"]["replicas"])
