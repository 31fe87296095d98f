"""How gunicorn runs the service: `gunicorn -c config/gunicorn.py wsgi:app`.

One worker, because the engine it starts is what should use the cores; many threads, because each open stream
holds one and does next to nothing.
"""

from __future__ import annotations

import sys
from typing import Any

from config.settings import SettingsError, load_settings

try:
    _settings = load_settings()
except SettingsError as error:
    sys.exit(f"troika: {error}")


bind = f"{_settings.host}:{_settings.port}"
workers = 1
worker_class = "app.server.Worker"
threads = _settings.http_threads
preload_app = False
timeout = 120
graceful_timeout = _settings.grace_s + 20  # the worker keeps the grace itself; then it stores, and ends its processes
keepalive = 75
worker_connections = _settings.max_connections + _settings.http_threads  # the worker itself makes room before that
logger_class = "app.server.ServerLogger"
loglevel = _settings.log_level
control_socket_disable = True
forwarded_allow_ips = ""  # which proxies are believed, and in what, is the application's affair


def on_starting(server: Any) -> None:
    """Find the model before the first worker is forked.

    A model that cannot be served then stops the start with a sentence, a download shows its progress here and is
    not cut off by the worker's timeout, and the worker inherits the answer.
    """
    from app.engine.model_source import ModelRefusedError, resolve_once

    try:
        resolve_once(_settings.model)
    except ModelRefusedError as error:
        sys.exit(f"troika: {error}")


def post_worker_init(worker: Any) -> None:
    """Log the cheap part of the self-check, when the service already answers."""
    from app.doctor import at_start

    at_start.report(_settings)
