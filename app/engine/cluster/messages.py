"""What crosses from a replica to the service, and how a deployment is sized. No Ray here."""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.messages import Ready, StepStats, Token

APPLICATION = "troika"
DEPLOYMENT = "engine"


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of one request since the message before. One without anything new says that the replica lives.

    `reused` is set once, when the request has a place; `finish_reason` or `failure` in the last one. `failure` is the
    name of the error's class and its message.
    """

    replica: str
    stats: StepStats
    reused: int | None = None
    tokens: tuple[Token, ...] = ()
    finish_reason: str | None = None
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """What a replica tells of itself. `fingerprint` is that of its model's configuration and tokenizer."""

    name: str
    ready: Ready
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """How the replicas are placed and filled.

    With `max_replicas` above `replicas` there are as many as keep about `target_ongoing` requests at each.
    `max_ongoing` counts those of a replica that run and wait there; `max_queued` those that each web process holds.
    """

    replicas: int = 1
    max_replicas: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    target_ongoing: int = 48
    max_ongoing: int = 72
    max_queued: int = 128
