"""A cluster of two nodes on this machine, the engine on it and the service in front: to try it, and to lose a node.

All of it ends with the service. Ray's ports ask for a token that only these processes have.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable

from config.settings import Settings

NODES = 2
STORE_BYTES = 80 << 20
"""Ray's store of objects, the smallest that it takes: nothing goes through it."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's own default would have all else on this machine go before the replicas
}
"""For a cluster that is started here."""


def run(settings: Settings, tell: Callable[[str], None]) -> int:
    """Serve until SIGINT or SIGTERM, and tell how it goes; returns the service's exit code."""
    cpus = max(1, (os.cpu_count() or 1) // NODES)
    os.environ |= ENVIRONMENT | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    from ray.cluster_utils import Cluster

    from app.engine.cluster import application, deployment

    tell(f"starting a Ray cluster of {NODES} nodes with {cpus} CPUs each on this machine")
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(NODES):
            cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)
        deployment.connect(cluster.address)
        shape = settings.model_copy(
            update={"cluster_replicas": NODES, "cluster_max_replicas": 0, "cluster_cpus": float(cpus)}
        )
        deployment.deploy(application.from_settings(shape), tell)
        deployment.disconnect()
        tell("serving; kill -9 one of the processes ray::ServeReplica, and no stream breaks")
        return _serve(cluster.address)
    finally:
        deployment.disconnect()
        cluster.shutdown()


def _serve(address: str) -> int:
    """Run gunicorn, which gets the signals that tell this process to end."""
    service = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.py", "wsgi:app"],
        env=os.environ | {"TROIKA_ENGINE": "ray", "TROIKA_CLUSTER_ADDRESS": address},
        start_new_session=True,  # or a Ctrl-C would reach it twice
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: service.send_signal(received))
    return service.wait()
