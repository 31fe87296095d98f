"""`/conversations`: what was said, to be read, taken along and erased. `POST /chat` adds to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from apiflask import APIBlueprint
from flask import Response, jsonify
from pydantic import BaseModel, Field

from app.api.chat import service
from app.api.requests import conversation_owner
from app.api.schemas import Usage
from app.chat.memory import StoredConversation, StoredTurn

blueprint = APIBlueprint("conversations", __name__, url_prefix="/conversations", tag="Conversations")

EXAMPLE_ID = "conv_8d2f6c1e0b7a4953a1f0e2d4c6b8a793"


class ConversationTurnOut(BaseModel):
    position: int = Field(description="0 for the first turn, then 1, 2, …", examples=[0])
    input: str = Field(description="What was said to the model.", examples=["My name is Lin."])
    system: str | None = Field(
        description="The system message that came with this turn: it holds from here on; empty ends the earlier one; "
        "null changes nothing.",
        examples=["You are a friendly assistant."],
    )
    reply: str = Field(description="The model's words, as far as they were sent.", examples=["Hello, Lin!"])
    complete: bool = Field(
        description="False if the client left, or the service stopped, before the reply's end.", examples=[True]
    )
    finish_reason: str = Field(
        description="stop: it ended by itself or at a stop string; length: it was cut; cancelled: the client left; "
        "shutdown: the service stopped.",
        examples=["stop"],
    )
    model: str = Field(description="The model that answered.", examples=["starter"])
    seed: int = Field(description="The seed of the reply.", examples=[7])
    usage: Usage = Field(description="Counts of tokens.")
    created_at: datetime = Field(description="When the turn was stored, in UTC.", examples=["2026-11-23T14:40:00Z"])


class ConversationOut(BaseModel):
    """A conversation with all its turns."""

    id: str = Field(description="Its name for `/chat`. Who knows it can read it.", examples=[EXAMPLE_ID])
    model: str = Field(description="The model of the last turn.", examples=["starter"])
    created_at: datetime = Field(description="When it began, in UTC.", examples=["2026-11-23T14:40:00Z"])
    updated_at: datetime = Field(
        description="When the last turn was stored, in UTC.", examples=["2026-11-23T14:41:00Z"]
    )
    busy: bool = Field(description="Whether a turn is being made now: another one gets 409.", examples=[False])
    turns: list[ConversationTurnOut] = Field(description="The turns, oldest first.")


@blueprint.get("/<conversation_id>")
@blueprint.output(ConversationOut)
@blueprint.doc(summary="Read a conversation", responses={404: "There is none", 503: "Try later"})
def read(conversation_id: str) -> ConversationOut:
    return _out(service().memory.read(conversation_id, conversation_owner()))


@blueprint.get("/<conversation_id>/export")
@blueprint.output(ConversationOut)
@blueprint.doc(summary="Download a conversation as a JSON file", responses={404: "There is none", 503: "Try later"})
def export(conversation_id: str) -> Response:
    found = _out(service().memory.read(conversation_id, conversation_owner()))
    response = jsonify(found.model_dump(mode="json"))
    response.headers["Content-Disposition"] = f'attachment; filename="{found.id}.json"'
    return response


@blueprint.delete("/<conversation_id>")
@blueprint.output({}, status_code=204)
@blueprint.doc(summary="Erase a conversation for good", responses={404: "There is none", 503: "Try later"})
def erase(conversation_id: str) -> Any:
    service().memory.erase(conversation_id, conversation_owner())
    return ""


def _out(conversation: StoredConversation) -> ConversationOut:
    return ConversationOut(
        id=conversation.id,
        model=conversation.model,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        busy=conversation.busy,
        turns=[_turn(position, turn) for position, turn in enumerate(conversation.turns)],
    )


def _turn(position: int, turn: StoredTurn) -> ConversationTurnOut:
    return ConversationTurnOut(
        position=position,
        input=turn.user,
        system=turn.system,
        reply=turn.reply,
        complete=turn.complete,
        finish_reason=turn.finish_reason,
        model=turn.model,
        seed=turn.seed,
        usage=Usage(
            prompt_tokens=turn.prompt_tokens,
            completion_tokens=turn.completion_tokens,
            total_tokens=turn.prompt_tokens + turn.completion_tokens,
            cached_tokens=turn.cached_tokens,
        ),
        created_at=turn.created_at,
    )
