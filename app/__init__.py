"""Troika: GPT-2 chat over HTTP, and a training demo that shows how such models come to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from apiflask import APIFlask

    from app.engine.client import EngineClient, EngineLimits
    from app.engine.cluster.messages import ClusterConfig
    from app.engine.messages import EngineConfig
    from app.engine.observer import EngineObserver
    from app.jobs.runner import TrainingJobs
    from app.storage.database import Database
    from config.settings import Settings

__version__ = "0.1.0"


def create_app(
    settings: Settings | None = None,
    engine: EngineClient | None = None,
    on_refused: Callable[[str], None] | None = None,
) -> APIFlask:
    """Wire the service together.

    `engine` replaces the engine process (the model is still read for its tokenizer and template); `on_refused` is
    called from another thread if the engine finds that it can never serve the model. Raises `SettingsError`,
    `ModelRefusedError`, `TokenizerError`, `TemplateError` or `DatabaseError`.
    """
    # Imported here, because the engine and training processes import this package too and need none of it.
    import atexit

    from apiflask import APIFlask

    from app import logs
    from app.api import (
        admission,
        auth,
        chat,
        conversations,
        errors,
        health,
        lifecycle,
        metrics,
        openai,
        openapi,
        pages,
        rate_limits,
        requests,
        security,
        training,
    )
    from app.api.request_log import RequestLog
    from app.chat.memory import Memory
    from app.chat.service import ChatService
    from app.chat.templates import select_template
    from app.chat.tokenizer import Tokenizer
    from app.engine.client import EngineLimits
    from app.engine.local import LocalEngine
    from app.engine.model_source import resolve_once
    from app.idempotency.records import ReplyRecords
    from app.idempotency.replies import KeptReplies
    from app.storage.database import Database
    from config.settings import load_settings, unknown_variables

    settings = settings or load_settings()
    logs.configure(settings.log_level, settings.log_format)
    for name in unknown_variables():
        logs.log.warning("%s is not a setting; the README lists them all", name)
    keys = auth.ApiKeys.from_settings(settings)
    source = resolve_once(settings.model)
    tokenizer = Tokenizer.from_folder(source.folder)
    template = select_template(settings.template, tokenizer, source.name)
    app = APIFlask(
        __name__,
        title="Troika",
        version=__version__,
        spec_path=None,  # `openapi` serves it, and the docs
        docs_path=None,
        json_errors=False,
        static_folder=None,  # type: ignore[arg-type]
    )
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_body_kb << 10,
        MAX_FORM_MEMORY_SIZE=settings.max_body_kb << 10,
        OPENAPI_VERSION="3.1.0",
    )
    database = Database(app, settings.database_url)
    memory = Memory(
        database,
        longest_turn_s=settings.request_timeout_s,
        max_age_days=settings.conversation_max_age_days,
    )
    counts = metrics.Metrics()
    if engine is None:
        limits = EngineLimits(
            max_waiting=settings.max_waiting,
            max_queued_tokens=settings.max_queued_tokens,
            max_per_owner=settings.max_per_client,
            restart_timeout_s=settings.restart_timeout_s,
            stall_timeout_s=settings.stall_timeout_s,
        )
        if settings.engine == "ray":
            engine = cluster_engine(settings, source.folder, limits, counts)
        else:
            engine = LocalEngine(engine_config(settings, source.folder), limits, on_refused, counts)

    service = app.extensions["chat"] = ChatService(source, tokenizer, template, engine, memory, settings)
    app.extensions["training"] = jobs = training_jobs(settings, database)
    atexit.register(jobs.close)
    replies = app.extensions["replies"] = KeptReplies(
        ReplyRecords(database, settings.idempotency_max_age_s), settings.idempotency_grace_s, database.scrub
    )
    course = lifecycle.Lifecycle(engine, memory, jobs, replies)
    requests.init_app(app, RequestLog(counts, course, tokenizer.decode if settings.log_text else None))
    metrics.init_app(app, counts, service, course, jobs)
    errors.init_app(app)
    lifecycle.init_app(app, course)
    security.init_app(app, settings)
    auth.init_app(app, keys)
    rate_limits.init_app(app, settings)
    admission.init_app(app, settings)
    requests.check_bodies(app)
    app.register_blueprint(chat.blueprint)
    app.register_blueprint(openai.blueprint)
    app.register_blueprint(conversations.blueprint)
    app.register_blueprint(training.blueprint)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(pages.blueprint)
    openapi.init_app(app)
    return app


def engine_config(settings: Settings, folder: Path) -> EngineConfig:
    """What the engine process is told of the settings, for the model in `folder`."""
    from app.engine.messages import EngineConfig

    return EngineConfig(
        folder=str(folder),
        device=settings.device,
        precision=settings.precision,
        threads=settings.engine_threads,
        max_sequences=settings.max_sequences,
        kv_cache_bytes=settings.kv_cache_mb << 20,
        prefill_rows=settings.prefill_rows,
        prefix_reuse=settings.prefix_reuse,
    )


def cluster_engine(
    settings: Settings,
    folder: Path,
    limits: EngineLimits,
    observer: EngineObserver,
) -> EngineClient:
    """The engine's replicas on a Ray cluster; raises `SettingsError` where Ray is not installed."""
    from config.settings import SettingsError

    try:
        from app.engine.cluster.client import RayEngine
        from app.engine.cluster.replica import fingerprint
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"TROIKA_ENGINE=ray needs {error.name}, which is not installed: pip install -r requirements-ray.txt"
        ) from error
    return RayEngine(settings.cluster_address, fingerprint(folder), limits, observer)


def cluster_config(settings: Settings) -> ClusterConfig:
    """How the replicas are placed and filled: a few requests more than slots wait at each, for the next free one."""
    from app.engine.cluster.messages import ClusterConfig

    slots = settings.max_sequences
    return ClusterConfig(
        replicas=settings.cluster_replicas,
        max_replicas=settings.cluster_max_replicas,
        cpus=settings.cluster_cpus,
        gpus=settings.cluster_gpus,
        target_ongoing=settings.cluster_target_ongoing or max(1, slots * 3 // 4),
        max_ongoing=settings.cluster_max_ongoing or slots + max(1, slots // 8),
    )


def training_jobs(settings: Settings, database: Database) -> TrainingJobs:
    """The training runs of this process, which begin as they are asked for."""
    from pathlib import Path

    from app.jobs.records import JobRecords
    from app.jobs.runner import JobLimits, TrainingJobs
    from app.jobs.weights import KeptWeights
    from app.training.process import ProcessLimits
    from config.settings import TRAINING_LISTENERS

    process = ProcessLimits(
        threads=settings.training_threads,
        nice=settings.training_nice,
        max_seconds=settings.training_max_s,
        mnist_path=settings.mnist_path,
        download=settings.training_download,
    )
    weights = KeptWeights(Path(settings.training_folder), settings.training_kept, settings.training_max_age_days)
    records = JobRecords(
        database,
        count=settings.training_records_kept,
        max_age_days=settings.training_records_max_age_days,
        on_interrupted=weights.remove,
    )
    limits = JobLimits(
        settings.training_max_waiting, TRAINING_LISTENERS, settings.training_max_workers, process=process
    )
    return TrainingJobs(records, weights, limits)
