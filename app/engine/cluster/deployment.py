"""Puts the replicas on a cluster, tells how they are, and takes them away."""

from __future__ import annotations

from dataclasses import dataclass, replace

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig, RequestRouterConfig

from app.engine.cluster.messages import APPLICATION, DEPLOYMENT, ClusterConfig
from app.engine.cluster.replica import EngineReplica
from app.engine.cluster.router import PrefixRouter
from app.engine.messages import EngineConfig

SHUTDOWN_S = 20.0
"""How long a replica that is taken away may finish what it computes; what is left then goes on at another."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`state` is Serve's word for the application; `message` what it says when something is wrong."""

    state: str
    message: str
    running: int


def connect(address: str) -> None:
    """Join the cluster as a driver: a node of it must run on this machine. Raises `ConnectionError`."""
    if not ray.is_initialized():
        ray.init(address=address, namespace="troika", log_to_driver=False, configure_logging=False)


def deploy(model: str, engine: EngineConfig, config: ClusterConfig, environment: dict[str, str]) -> None:
    """Start the replicas, or change those there are; blocks until they serve. Raises `RuntimeError`.

    `environment` is set for each replica, which finds its model for itself.
    """
    engine = replace(engine, threads=engine.threads or max(1, int(config.cpus)))
    options: dict[str, object] = {"num_replicas": config.replicas}
    if config.max_replicas > config.replicas:
        scaling = AutoscalingConfig(
            min_replicas=config.replicas,
            max_replicas=config.max_replicas,
            target_ongoing_requests=config.target_ongoing,
        )
        options = {"autoscaling_config": scaling}
    serve.start(proxy_location="Disabled")
    deployment = serve.deployment(
        EngineReplica,
        name=DEPLOYMENT,
        max_ongoing_requests=config.max_ongoing,
        max_queued_requests=config.max_queued,
        ray_actor_options={
            "num_cpus": config.cpus,
            "num_gpus": config.gpus,
            "runtime_env": {"env_vars": environment},
        },
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
        request_router_config=RequestRouterConfig(request_router_class=PrefixRouter),
        **options,
    )
    waiting = max(0, config.max_ongoing - engine.max_sequences)
    serve.run(deployment.bind(model, engine, waiting, 900.0), name=APPLICATION, route_prefix=None)


def status() -> ClusterStatus:
    """How the replicas are."""
    application = serve.status().applications.get(APPLICATION)
    if application is None:
        return ClusterStatus("NOT DEPLOYED", "", 0)
    deployment = application.deployments.get(DEPLOYMENT)
    running = 0 if deployment is None else deployment.replica_states.get("RUNNING", 0)
    return ClusterStatus(str(application.status.value), application.message, running)


def remove() -> None:
    """Take the replicas away; those who use them wait for others."""
    serve.delete(APPLICATION)
