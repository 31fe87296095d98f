"""Health: `live` is whether the process answers, `ready` whether it can generate now, `/health` the whole state."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from apiflask import APIBlueprint
from flask import current_app
from pydantic import BaseModel, Field

import app
from app.api.chat import service as chat_service
from app.api.errors import ServiceNotReadyError
from app.api.lifecycle import Lifecycle
from app.engine.client import EngineStatus, State

blueprint = APIBlueprint("health", __name__, url_prefix="/health", tag="Health")


class Live(BaseModel):
    status: Literal["live"] = Field("live", description="The process answers.", examples=["live"])


class Ready(BaseModel):
    status: Literal["ready"] = Field("ready", description="The service can generate.", examples=["ready"])


class Model(BaseModel):
    name: str = Field(description="What the model is called in replies.", examples=["starter"])
    reason: str = Field(description="Why this one is served.", examples=["asked for by TROIKA_MODEL"])
    template: str = Field(description="How conversations become prompts.", examples=["transcript"])
    parameters: int | None = Field(
        description="Trained numbers in the model; null while it is loading.", examples=[124439808]
    )
    device: str | None = Field(description="Where it runs.", examples=["cpu"])
    precision: str | None = Field(description="What its weights are computed in.", examples=["float32"])
    max_positions: int = Field(description="Tokens that prompt and reply may have together.", examples=[1024])


class Engine(BaseModel):
    state: str = Field(description="loading, ready, stalled, restarting, refused or closed.", examples=["ready"])
    reason: str = Field(description="Why it is not ready; empty when it is.", examples=[""])
    running: int = Field(description="Requests being computed.", examples=[3])
    waiting: int = Field(description="Requests in the queue.", examples=[0])
    slots: int | None = Field(description="Sequences that can be computed at once.", examples=[64])
    slots_held: int = Field(description="Slots of the KV cache that running sequences hold.", examples=[3])
    cached_tokens: int = Field(description="Tokens whose keys and values are in the KV cache.", examples=[512])
    restarts: int = Field(description="Times that a crashed engine process was replaced.", examples=[0])
    replicas: int = Field(description="Engines that share the work: on a cluster its replicas, else one.", examples=[1])
    batch_invariant: bool | None = Field(
        description="Whether a reply is the same bits whatever else is computed.", examples=[True]
    )
    notes: list[str] = Field(description="What falls short of the best on this machine.", examples=[[]])


class Health(BaseModel):
    """The state of the service."""

    status: Literal["ready", "not ready"] = Field(description="Whether it can generate now.", examples=["ready"])
    reason: str = Field(description="Why it can't; empty if it can.", examples=[""])
    version: str = Field(description="Of the service.", examples=["0.1.0"])
    model: Model = Field(description="What is served.")
    engine: Engine = Field(description="What computes it.")


class WhyNot(NamedTuple):
    code: str
    reason: str


CODES: dict[State, str] = {
    "loading": "loading",
    "stalled": "stalled",
    "restarting": "crashed",
    "refused": "refused",
    "closed": "draining",
}


def _why_not(status: EngineStatus) -> WhyNot | None:
    """Why the service is not ready, or None if it is: the engine has lately computed a token."""
    lifecycle: Lifecycle = current_app.extensions["lifecycle"]
    if lifecycle.is_draining:
        return WhyNot("draining", "it is shutting down")
    return None if status.state == "ready" else WhyNot(CODES[status.state], status.reason)


@blueprint.get("/live")
@blueprint.output(Live)
@blueprint.doc(summary="Whether the process answers")
def live() -> Live:
    return Live()


@blueprint.get("/ready")
@blueprint.output(Ready)
@blueprint.doc(summary="Whether the service can generate now", responses={503: "Not ready; the message says why"})
def ready() -> Ready:
    if (why := _why_not(chat_service().status())) is not None:
        raise ServiceNotReadyError(why.reason, why.code)
    return Ready()


@blueprint.get("")
@blueprint.output(Health)
@blueprint.doc(summary="The state of the service", responses={503: "The same, when it is not ready"})
def health() -> Any:
    service = chat_service()
    status = service.status()
    ready, stats = status.ready, status.stats
    why = _why_not(status)
    body = Health(
        status="not ready" if why else "ready",
        reason=why.reason if why else "",
        version=app.__version__,
        model=Model(
            name=service.source.name,
            reason=service.source.reason,
            template=service.template.name,
            parameters=ready and ready.parameters,
            device=ready and ready.device,
            precision=ready and ready.precision,
            max_positions=service.max_positions,
        ),
        engine=Engine(
            state=status.state,
            reason=status.reason,
            running=status.running,
            waiting=status.waiting,
            slots=ready and ready.max_sequences,
            slots_held=stats.slots_held,
            cached_tokens=stats.cached_tokens,
            restarts=status.restarts,
            replicas=status.replicas,
            batch_invariant=ready and ready.batch_invariant,
            notes=list(ready.notes) if ready else [],
        ),
    )
    return body, 503 if why else 200
