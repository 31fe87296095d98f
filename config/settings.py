"""The settings of the service: one frozen, typed object, and the only reader of environment and TOML.

Order: environment variables `TROIKA_*` (and `PORT`), over `config/*.toml`, over the defaults below.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

RATE = r"[1-9]\d{0,8}/([1-9]\d{0,5} )?(second|minute|hour|day)s?"

ORIGIN = r"https?://[^/,*\s?#@]+"

CONFIG_FOLDER = Path(__file__).parent

TRAINING_LISTENERS = 32
"""Requests that may follow training runs at once: each holds a thread, and chat's are not to run out."""


class SettingsError(Exception):
    """A setting is wrong; the message is one sentence that names it, its value and what is allowed."""


def _setting(default: Any, description: str, allowed: str, **constraints: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"allowed": allowed}, **constraints)


class Settings(BaseSettings):
    """Every setting, validated. `description` and `allowed` are what the README's table and the errors say."""

    model_config = SettingsConfigDict(
        env_prefix="TROIKA_", frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )

    host: str = _setting("127.0.0.1", "Address to listen on; 0.0.0.0 is all of them.", "an address", min_length=1)
    port: int = _setting(5000, "Port to listen on. `PORT` works too.", "1 to 65535", ge=1, le=65535)
    model: str = _setting(
        "auto",
        "The model to serve; `auto` is gpt2 from the local Hugging Face cache or the hub, else the bundled starter.",
        "auto, starter, a hub name or a folder",
        min_length=1,
    )
    device: str = _setting(
        "auto",
        "Where the model runs.",
        "auto, cpu, cuda or cuda:N",
        pattern=r"^(auto|cpu|cuda|cuda:\d{1,3})$",
    )
    precision: Literal["auto", "float32", "bfloat16", "int8"] = _setting(
        "auto",
        "What the weights are computed in; `auto` is float32 on the CPU and bfloat16 on CUDA.",
        "auto, float32, bfloat16 or int8",
    )
    template: Literal["auto", "checkpoint", "transcript", "dialogpt", "raw"] = _setting(
        "auto",
        "How a conversation becomes a prompt; `auto` goes by the model.",
        "auto, checkpoint, transcript, dialogpt or raw",
    )
    engine_threads: int = _setting(
        0, "Threads that compute; 0 is one for each core this process may use.", "0 to 256", ge=0, le=256
    )
    max_sequences: int = _setting(64, "Sequences computed at once.", "1 to 1024", ge=1, le=1024)
    kv_cache_mb: int = _setting(
        2048,
        "Memory for the KV cache in MiB; too little for `max_sequences` lowers those.",
        "16 to 1048576",
        ge=16,
        le=1 << 20,
    )
    prefill_rows: int = _setting(
        64, "Prompt tokens computed in one step beside running replies.", "8 to 4096", ge=8, le=4096
    )
    prefix_reuse: bool = _setting(True, "Compute only what is new of a follow-up turn.", "true or false")
    engine: Literal["local", "ray"] = _setting(
        "local",
        "Where replies are computed: in a process of this service, or by replicas on a Ray cluster.",
        "local or ray",
    )
    cluster_address: str = _setting(
        "auto",
        "The Ray cluster, of which a node must run on this machine; `auto` finds that node.",
        "auto or HOST:PORT",
        pattern=r"^(auto|[^/\s]+:\d{1,5})$",
    )
    cluster_replicas: int = _setting(1, "Replicas of the engine, at least.", "1 to 1000", ge=1, le=1000)
    cluster_max_replicas: int = _setting(
        0, "Replicas at most, as many as the load needs; 0 keeps the least.", "0 to 1000", ge=0, le=1000
    )
    cluster_cpus: float = _setting(
        1.0, "CPUs that a replica reserves, and computes with.", "0.1 to 1024", ge=0.1, le=1024
    )
    cluster_gpus: float = _setting(0.0, "GPUs that a replica reserves.", "0 to 16", ge=0, le=16)
    cluster_max_ongoing: int = _setting(
        0,
        "Requests that a replica takes at once, the rest waits at the service; 0 is an eighth more than it computes.",
        "0 to 100000",
        ge=0,
        le=100_000,
    )
    cluster_target_ongoing: int = _setting(
        0,
        "Requests that each replica should have where their number follows the load; 0 is three quarters of what it "
        "can compute.",
        "0 to 100000",
        ge=0,
        le=100_000,
    )
    max_waiting: int = _setting(
        128, "Requests that may wait for a place; more get 503.", "0 to 100000", ge=0, le=100_000
    )
    max_queued_tokens: int = _setting(
        65_536,
        "Prompt tokens that may wait for a place; more get 503.",
        "1 to 100000000",
        ge=1,
        le=100_000_000,
    )
    max_per_client: int = _setting(
        64,
        "Requests, and replies, that one key's name or address may have under way; more get 429.",
        "1 to 100000",
        ge=1,
        le=100_000,
    )
    max_new_tokens: int = _setting(
        256, "Length of a reply when the request names none.", "1 to 100000", ge=1, le=100_000
    )
    max_input_chars: int = _setting(
        32_768, "Longest message in characters; a longer one gets 422.", "1 to 10000000", ge=1, le=10_000_000
    )
    max_body_kb: int = _setting(
        1024, "Largest request body in KiB; a larger one gets 413.", "1 to 1048576", ge=1, le=1 << 20
    )
    max_connections: int = _setting(
        2048,
        "Connections at once; for one more, the one that has been idle longest is closed.",
        "64 to 100000",
        ge=64,
        le=100_000,
    )
    receive_timeout_s: float = _setting(
        30.0,
        "Seconds in which a request must have come, headers and body; one that has not gets 408.",
        "1 to 3600",
        ge=1,
        le=3600,
    )
    send_timeout_s: float = _setting(
        30.0,
        "Seconds after which a client that takes nothing of its answer is let go.",
        "1 to 3600",
        ge=1,
        le=3600,
    )
    request_timeout_s: float = _setting(
        300.0, "Seconds after which a reply that is not finished is given up.", "1 to 86400", ge=1, le=86_400
    )
    restart_timeout_s: float = _setting(
        60.0,
        "Seconds that open streams wait for the engine to come back after a crash.",
        "1 to 3600",
        ge=1,
        le=3600,
    )
    stall_timeout_s: float = _setting(
        30.0,
        "Seconds after which an engine that has work but does nothing is replaced; more than its longest step takes.",
        "1 to 3600",
        ge=1,
        le=3600,
    )
    grace_s: int = _setting(30, "Seconds that running replies get to finish after SIGTERM.", "0 to 3600", ge=0, le=3600)
    api_keys: str = _setting(
        "",
        "API keys; with any, every request but those for health and pages needs one. See Access.",
        "NAME:SHA256,NAME:SHA256,…",
        repr=False,
    )
    api_keys_file: str = _setting("", "A file with one such entry in each line.", "a file")
    rate_limit: str = _setting(
        "",
        "How often each key's name, or address, may ask (health and pages are not counted); more get 429.",
        "a rate such as 60/minute, or several with ; between them",
        pattern=rf"^({RATE}(;{RATE})*)?$",
    )
    training_rate_limit: str = _setting(
        "",
        "How often each of them may begin a training.",
        "as TROIKA_RATE_LIMIT",
        pattern=rf"^({RATE}(;{RATE})*)?$",
    )
    redis_url: str = _setting(
        "",
        "Redis that counts for the rate limits; without it, or while it is away, memory does.",
        "redis://[:PASSWORD@]HOST[:PORT][/N], rediss://… or redis+unix:///PATH",
        pattern=r"^((redis|rediss|redis\+unix)://.+)?$",
    )
    cors_origins: str = _setting(
        "",
        "Sites whose pages may use the service from a browser, besides its own.",
        "https://HOST[:PORT],… or *",
        pattern=rf"^({ORIGIN}(,{ORIGIN})*|\*)?$",
    )
    trusted_proxies: int = _setting(
        0,
        "Proxies in front of the service that add to X-Forwarded-For and set X-Forwarded-Proto; 0 believes neither.",
        "0 to 16",
        ge=0,
        le=16,
    )
    database_url: str = _setting(
        "sqlite:///data/troika.db",
        "Where conversations are kept; a relative path starts at the working folder.",
        "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
        pattern=r"^(sqlite:///[^:?]+|postgres(ql)?(\+psycopg)?://.+)$",
    )
    conversation_max_age_days: int = _setting(
        0,
        "Days after which a conversation that nobody has added to is erased; 0 keeps it.",
        "0 to 36500",
        ge=0,
        le=36_500,
    )
    idempotency_max_age_s: int = _setting(
        86_400,
        "Seconds that what was answered under an `Idempotency-Key` is kept.",
        "1 to 31536000",
        ge=1,
        le=31_536_000,
    )
    idempotency_grace_s: float = _setting(
        60.0,
        "Seconds that a reply under such a key goes on being made with nobody there to read it.",
        "0 to 86400",
        ge=0,
        le=86_400,
    )
    mnist_path: str = _setting(
        "",
        "Where mnist.npz is; empty is Keras's cache (~/.keras/datasets), else a download.",
        "a file, or empty",
    )
    training_download: bool = _setting(True, "Whether MNIST may be downloaded.", "true or false")
    training_folder: str = _setting(
        "data/training",
        "Where trained classifiers are kept; a relative path starts at the working folder.",
        "a folder",
        min_length=1,
    )
    training_kept: int = _setting(
        50, "Trained classifiers that are kept; one more, and the oldest goes.", "1 to 100000", ge=1, le=100_000
    )
    training_max_age_days: float = _setting(
        30, "Days that a trained classifier is kept.", "0.01 to 36500", ge=0.01, le=36_500
    )
    training_records_kept: int = _setting(
        1000,
        "Training runs that have ended whose records are kept; one more, and the oldest goes.",
        "1 to 1000000",
        ge=1,
        le=1_000_000,
    )
    training_records_max_age_days: float = _setting(
        365, "Days that the record of a training run is kept after its end.", "0.01 to 36500", ge=0.01, le=36_500
    )
    training_max_waiting: int = _setting(
        4, "Training runs that may wait for the one under way; more get 429.", "0 to 1000", ge=0, le=1000
    )
    training_max_s: int = _setting(
        600, "Seconds after which a training run stops, with what it has learnt.", "5 to 86400", ge=5, le=86_400
    )
    training_threads: int = _setting(1, "Threads of each worker of a training run.", "1 to 256", ge=1, le=256)
    training_nice: int = _setting(
        10,
        "How far training steps back for chat: from 1 on it gets what chat leaves, 0 shares alike.",
        "0 to 19",
        ge=0,
        le=19,
    )
    training_max_workers: int = _setting(
        4, "Workers that a training run may ask for: processes of about 300 MB each.", "1 to 64", ge=1, le=64
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "How much is logged.", "debug, info, warning or error"
    )
    log_format: Literal["auto", "json", "console"] = _setting(
        "auto", "How a line of the log looks; `auto` is console on a terminal, else JSON.", "auto, json or console"
    )
    log_text: bool = _setting(False, "Log what people write and what the model replies.", "true or false")

    @field_validator("model", "host")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("it must not be blank")
        return value.strip()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        files = sorted(CONFIG_FOLDER.glob("*.toml"))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=files)

    @property
    def max_requests(self) -> int:
        """Requests answered at once, each on a thread: all that may run, wait or follow a training, and some more."""
        return self.max_sequences + self.max_waiting + TRAINING_LISTENERS + 32

    @property
    def http_threads(self) -> int:
        """Some more, which refuse what is too much and answer health checks meanwhile."""
        return self.max_requests + 16


def load_settings(**overrides: Any) -> Settings:
    """Read and validate the settings; raises `SettingsError` for the first one that is wrong."""
    port = os.environ.get("PORT")
    if port is not None and "TROIKA_PORT" not in os.environ:
        overrides = {"port": port, **overrides}
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"A file in {CONFIG_FOLDER} cannot be read as TOML: {error}.") from error


def _sentence(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    name = str(problem["loc"][0])
    field = Settings.model_fields.get(name)
    if field is None:
        return f"config/*.toml sets {name!r}, which is not a setting; the README lists them all."
    variable = f"TROIKA_{name.upper()}"
    if name == "port" and variable not in os.environ and "PORT" in os.environ:
        variable = "PORT"
    value = re.sub(r"://.*@", "://***@", str(os.environ.get(variable, problem.get("input"))))  # no password in a log
    if not field.repr:
        value = "***"
    return f"{variable}={value} is not allowed: it must be {allowed_values(name)}."


def allowed_values(name: str) -> str:
    """What a setting may be, in words."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else ""


def unknown_variables() -> list[str]:
    """Environment variables that look like settings and are none: most likely misspelt.

    They only earn a warning: Kubernetes and Docker add variables of their own to a service of this name.
    """
    known = {f"TROIKA_{name.upper()}" for name in Settings.model_fields}
    return sorted(
        name
        for name in os.environ
        if name.startswith("TROIKA_") and name not in known and not name.startswith("TROIKA_TEST_")
    )
