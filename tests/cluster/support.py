"""A real Ray cluster on this machine, with replicas of the engine; imported only where Ray is installed."""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections.abc import Iterator

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-ray.txt")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from app.engine.cluster import deployment
    from app.engine.cluster.client import RayEngine
    from app.engine.cluster.replica import EngineReplica, fingerprint

from app.engine.client import EngineLimits, TokenStream
from app.engine.cluster.messages import ClusterConfig
from app.engine.cluster.trial import ENVIRONMENT, STORE_BYTES
from app.engine.messages import EngineConfig
from app.engine.model_source import resolve
from tests.engine.support import wait_until

START_S = 120
"""A generous bound on the start of replicas, on a machine that may be busy with other things."""

Draws = list[tuple[int, float | None]]


@contextlib.contextmanager
def running_cluster(nodes: int = 2, cpus: int = 1) -> Iterator[Cluster]:
    """A head that computes nothing, and nodes with so many CPUs each."""
    os.environ |= ENVIRONMENT
    started = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES},
    )
    try:
        for _ in range(nodes):
            add_node(started, cpus)
        deployment.connect(started.address)
        yield started
    finally:
        with contextlib.suppress(Exception):
            serve.shutdown()
        ray.shutdown()
        started.shutdown()


def add_node(cluster: Cluster, cpus: int = 1) -> None:
    cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)


def deploy(
    model: str = "starter",
    config: ClusterConfig | None = None,
    replica: type[EngineReplica] = EngineReplica,
    environment: dict[str, str] | None = None,
    **engine: object,
) -> None:
    """Put replicas of a model on the cluster that this process has joined."""
    options = {"device": "cpu", "precision": "float32", "threads": 1} | engine
    engine_config = EngineConfig(str(resolve(model).folder), **options)
    config = config or ClusterConfig(replicas=2)
    deployment.deploy(deployment.application(model, engine_config, config, environment or {}, replica))


@contextlib.contextmanager
def client(cluster: Cluster, model: str = "starter", replicas: int = 2, **limits: object) -> Iterator[RayEngine]:
    """The service's side, once so many replicas are known to it."""
    engine = RayEngine(cluster.address, fingerprint(resolve(model).folder), EngineLimits(**limits))
    try:
        wait_until(lambda: engine.status().replicas == replicas, START_S, "the replicas are there")
        yield engine
    finally:
        engine.close()


def drain(stream: TokenStream) -> Draws:
    """The tokens of a stream to its end, with their log-probabilities."""
    draws = []
    while (token := stream.get(timeout=START_S)) is not None:
        draws.append((token.token_id, token.logprob))
    return draws


def wait_until_empty(engine: RayEngine) -> None:
    """No request left at the service, none at a replica, no slot held."""

    def empty() -> bool:
        status = engine.status()
        stats = status.stats
        return (status.running, status.waiting, stats.running, stats.waiting, stats.slots_held) == (0, 0, 0, 0, 0)

    wait_until(empty, START_S, "everything is empty")


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
