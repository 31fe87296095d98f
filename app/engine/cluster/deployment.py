"""Puts the replicas on a cluster, tells how they are, and takes them away."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import ray
from ray import serve
from ray._private.services import canonicalize_bootstrap_address
from ray.serve.config import AutoscalingConfig, RequestRouterConfig

from app.engine.cluster.messages import APPLICATION, DEPLOYMENT, ClusterConfig
from app.engine.cluster.replica import EngineReplica
from app.engine.cluster.router import PrefixRouter
from app.engine.messages import EngineConfig

ROOT = Path(__file__).parents[3]
"""Where a replica finds the package `app`: the same folder on every machine."""

REPLICA_ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    # What a replica does in Python waits for its engine, and nothing else: from thread to thread each token costs more.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}

SHUTDOWN_S = 20.0
"""How long a replica that is taken away may finish what it computes; what is left then goes on at another."""

LOAD_S = 900.0

REACH_S = 4.0
"""How long a cluster may take to answer at all."""

UPSCALE_S, DOWNSCALE_S = 5.0, 300.0
"""How long the load must ask for another number of replicas: they take a while to load, and are soon missed."""

STATS_S = 2.0
"""How often the services are told how busy each replica is."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`state` is Serve's word for the application; `message` what it says when something is wrong."""

    state: str
    message: str
    running: int
    starting: int

    @property
    def sentence(self) -> str:
        starting = f", {self.starting} starting" if self.starting else ""
        return f"{self.state}, {self.running} replicas running{starting}. {self.message}".rstrip()


def connect(address: str) -> None:
    """Join the cluster as a driver: a node of it must run on this machine. Raises `ConnectionError`."""
    if ray.is_initialized():
        return
    for name in ("ray", "ray.serve"):  # they would write to stderr in a form of their own
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    try:
        found = canonicalize_bootstrap_address(address)
        host, _, port = str(found).rpartition(":")
        # Ray itself would try for minutes, and then end the process.
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
        ray.init(address=found, namespace="troika", log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        why = str(error).strip().splitlines()[0]
        raise ConnectionError(f"no Ray cluster at TROIKA_CLUSTER_ADDRESS={address}: {why}") from error


def disconnect() -> None:
    """Leave the cluster, or what is left of it."""
    ray.shutdown()


def application(
    model: str,
    engine: EngineConfig,
    config: ClusterConfig,
    environment: dict[str, str],
    replica: type[EngineReplica] = EngineReplica,
) -> serve.Application:
    """The replicas as Serve runs them. `environment` is set for each, which finds its model for itself."""
    engine = replace(engine, threads=engine.threads or max(1, int(config.cpus)))
    options: dict[str, object] = {"num_replicas": config.replicas}
    if config.max_replicas > config.replicas:
        scaling = AutoscalingConfig(
            min_replicas=config.replicas,
            max_replicas=config.max_replicas,
            target_ongoing_requests=config.target_ongoing,
            upscale_delay_s=UPSCALE_S,
            downscale_delay_s=DOWNSCALE_S,
        )
        options = {"autoscaling_config": scaling}
    deployment = serve.deployment(
        replica,
        name=DEPLOYMENT,
        max_ongoing_requests=config.max_ongoing,
        ray_actor_options={
            "num_cpus": config.cpus,
            "num_gpus": config.gpus,
            "runtime_env": {"env_vars": REPLICA_ENVIRONMENT | environment},
        },
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
        request_router_config=RequestRouterConfig(
            request_router_class=PrefixRouter, request_routing_stats_period_s=STATS_S
        ),
        **options,
    )
    return deployment.bind(model, engine, LOAD_S)


def deploy(application: serve.Application, tell: Callable[[str], None] = lambda _: None) -> None:
    """Start the replicas, or change those there are; blocks until they serve, and tells how it goes.

    Raises `RuntimeError`.
    """
    serve.start(proxy_location="Disabled")
    target = serve.RunTarget(application, name=APPLICATION, route_prefix=None)
    serve.run_many([target], wait_for_applications_running=False)
    said = ""
    while (found := status()).state != "RUNNING":
        if found.state in ("DEPLOY_FAILED", "NOT DEPLOYED"):
            raise RuntimeError(found.sentence)
        if found.sentence != said:
            said = found.sentence
            tell(said)
        time.sleep(0.2)


def status() -> ClusterStatus:
    """How the replicas are."""
    application = serve.status().applications.get(APPLICATION)
    if application is None:
        return ClusterStatus("NOT DEPLOYED", "", 0, 0)
    deployment = application.deployments.get(DEPLOYMENT)
    states = {} if deployment is None else deployment.replica_states
    message = application.message or (deployment.message if deployment else "")
    starting = sum(states.get(name, 0) for name in ("STARTING", "UPDATING", "RECOVERING", "PENDING_MIGRATION"))
    return ClusterStatus(str(application.status.value), message, states.get("RUNNING", 0), starting)


def remove() -> None:
    """Take the replicas away; those who use them wait for others."""
    serve.delete(APPLICATION)
