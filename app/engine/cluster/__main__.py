"""`python -m app.engine.cluster deploy|status|remove`: the engine's replicas on a Ray cluster."""

from __future__ import annotations

import argparse
import os
import sys

from app import engine_config
from app.engine.model_source import resolve
from config.settings import Settings, SettingsError, load_settings

PASSED_ON = ("HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT")
"""What a replica needs of the environment to find the model as the service does."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m app.engine.cluster", description=__doc__)
    parser.add_argument("command", choices=("deploy", "status", "remove"))
    command = parser.parse_args().command
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(f"troika: {error}")
    try:
        from app.engine.cluster import deployment
    except ModuleNotFoundError as error:
        sys.exit(f"troika: {error.name} is not installed: pip install -r requirements-ray.txt")
    try:
        deployment.connect(settings.cluster_address)
    except ConnectionError as error:
        sys.exit(f"troika: no Ray cluster at TROIKA_CLUSTER_ADDRESS={settings.cluster_address}: {error}")
    if command == "deploy":
        deploy(settings)
    elif command == "remove":
        deployment.remove()
    found = deployment.status()
    print(f"troika: {found.state}, {found.running} replicas running. {found.message}".rstrip())


def deploy(settings: Settings) -> None:
    from app import cluster_config
    from app.engine.cluster import deployment

    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    engine = engine_config(settings, resolve(settings.model).folder)
    deployment.deploy(settings.model, engine, cluster_config(settings), environment)


if __name__ == "__main__":
    main()
