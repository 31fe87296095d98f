"""Replicas on a real Ray cluster of a head and two nodes, all on this machine, with the bundled model."""

# ruff: noqa: E402  (Ray may not be there to be imported, and warns of itself when it is)

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-ray.txt")
pytestmark = pytest.mark.filterwarnings("default")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray
    from ray import serve  # noqa: F401
    from ray.cluster_utils import Cluster

from app.engine.client import TokenStream
from app.engine.cluster import deployment
from app.engine.cluster.client import RayEngine
from app.engine.cluster.messages import ClusterConfig
from app.engine.cluster.replica import fingerprint
from app.engine.messages import EngineConfig, SamplingParams
from app.engine.model_source import resolve
from tests.engine.support import wait_until
from tests.server import ROOT

STORE = 80 << 20
REQUESTS = 32


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE}
    )
    for _ in range(2):
        started.add_node(num_cpus=1, object_store_memory=STORE)
    yield started
    ray.shutdown()
    started.shutdown()


def params(seed: int) -> SamplingParams:
    return SamplingParams(max_new_tokens=150, temperature=1.0, seed=seed, repetition_penalty=1.1, logprobs=True)


def drain(stream: TokenStream) -> list[tuple[int, float | None]]:
    draws = []
    while (token := stream.get(timeout=120)) is not None:
        draws.append((token.token_id, token.logprob))
    return draws


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_streams_of_a_killed_node_end_with_the_bytes_of_an_undisturbed_run(cluster: Cluster) -> None:
    """Alone, together over two replicas, and when the node of one is killed: the same tokens."""
    folder = resolve("starter").folder
    config = ClusterConfig(replicas=2)
    deployment.connect(cluster.address)
    deployment.deploy("starter", EngineConfig(str(folder), "cpu", "float32", threads=1), config, {})
    engine = RayEngine(cluster.address, config, fingerprint(folder))
    try:
        assert engine.wait_until_ready(120), engine.status()
        requests = [((5, 6, 7 + i), params(i)) for i in range(REQUESTS)]
        alone = [drain(engine.submit(*request)) for request in requests]

        together = [drain(stream) for stream in [engine.submit(*request) for request in requests]]
        assert together == alone

        streams = [engine.submit(*request) for request in requests]
        heads = []
        for stream in streams:
            token = stream.get(timeout=120)
            assert token is not None
            heads.append((token.token_id, token.logprob))
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

        assert [[head, *drain(stream)] for head, stream in zip(heads, streams, strict=True)] == alone
        assert {stream.finish_reason for stream in streams} <= {"length", "stop"}
        wait_until(lambda: engine.status().restarts, what="the loss was noticed")
        assert (engine.status().running, engine.status().waiting) == (0, 0)
    finally:
        engine.close()
