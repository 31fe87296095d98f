"""What crosses between a replica and the service, and how a deployment is sized. No Ray here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from app.engine.messages import Ready, StepStats, Token

APPLICATION = "troika"
DEPLOYMENT = "engine"


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of one request since the message before. One without anything new says that the replica lives.

    `replica` is its name, in the first message, sent as soon as the request has come. `reused` is set once, when the
    request has a place; `finish_reason` or `failure` in the last one. `failure` is the name of the error's class and
    its message.
    """

    replica: str = ""
    reused: int | None = None
    tokens: tuple[Token, ...] = ()
    finish_reason: str | None = None
    failure: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica as the service sees it. `fingerprint` is that of its model's configuration and tokenizer."""

    name: str
    fingerprint: str
    ready: Ready
    stats: StepStats
    restarts: int

    @classmethod
    def from_dicts(cls, name: str, fixed: dict[str, Any], moving: dict[str, Any]) -> Replica | None:
        """What `describe` and `measure` gave, after their way through Serve's controller; None before they came."""
        if not fixed:
            return None
        stats = StepStats(**moving.get("stats", {}))
        return cls(name, fixed["fingerprint"], Ready(**fixed["ready"]), stats, moving.get("restarts", 0))


def describe(fingerprint: str, ready: Ready) -> dict[str, Any]:
    """What stays as it is, in plain types, so that the controller needs none of this code."""
    return {"fingerprint": fingerprint, "ready": asdict(ready)}


def measure(stats: StepStats, restarts: int) -> dict[str, Any]:
    """What moves, likewise."""
    return {"stats": asdict(stats), "restarts": restarts}


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """How the replicas are placed and filled.

    With `max_replicas` above `replicas` there are as many as keep about `target_ongoing` requests at each.
    `max_ongoing` counts those of a replica that run and wait there; all others wait at the service.
    """

    replicas: int = 1
    max_replicas: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    target_ongoing: int = 48
    max_ongoing: int = 72
