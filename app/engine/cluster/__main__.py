"""`python -m app.engine.cluster`: the engine's replicas on a Ray cluster.

`deploy` starts them or changes them to what the settings want, `status` tells how they are, `remove` takes them away.
`trial` starts a cluster of two nodes on this machine, the replicas and the service.
"""

from __future__ import annotations

import argparse
import sys

from app.engine.cluster import trial
from app.engine.model_source import ModelRefusedError
from config.settings import SettingsError, load_settings


def tell(words: str) -> None:
    print(f"troika: {words}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m app.engine.cluster", description=__doc__)
    parser.add_argument("command", choices=("deploy", "status", "remove", "trial"))
    command = parser.parse_args().command
    try:
        settings = load_settings()
        if command == "trial":
            sys.exit(trial.run(settings, tell))
        from app.engine.cluster import application, deployment

        deployment.connect(settings.cluster_address)
        if command == "deploy":
            deployment.deploy(application.from_settings(settings), tell)
        elif command == "remove":
            deployment.remove()
        found = deployment.status()
    except ModuleNotFoundError as error:
        sys.exit(f"troika: {error.name} is not installed: pip install -r requirements-ray.txt")
    except (SettingsError, ModelRefusedError, ConnectionError, RuntimeError) as error:
        sys.exit(f"troika: {error}")
    tell(found.sentence)
    if command != "remove" and found.state != "RUNNING":
        sys.exit(1)


if __name__ == "__main__":
    main()
