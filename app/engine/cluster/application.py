"""The replicas as the settings want them: for `python -m app.engine.cluster`, and for KubeRay, which calls `build`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from app import cluster_config, engine_config
from app.engine.model_source import resolve
from config.settings import Settings, load_settings

if TYPE_CHECKING:
    from ray.serve import Application

PASSED_ON = ("HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT", "NUMBA_CACHE_DIR")
"""What a replica needs of the environment to find the model and the kernels as the service does."""


def build(arguments: dict[str, str]) -> Application:
    """By the environment's settings. Ray gives the arguments of `serveConfigV2`, of which there are none."""
    if arguments:
        raise ValueError(f"{', '.join(arguments)}: there are no arguments; settings are TROIKA_… in the environment")
    return from_settings(load_settings())


def from_settings(settings: Settings) -> Application:
    from app.engine.cluster import deployment

    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    engine = engine_config(settings, resolve(settings.model).folder)
    return deployment.application(settings.model, engine, cluster_config(settings), environment)
