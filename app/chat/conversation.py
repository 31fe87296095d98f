"""A reply that is remembered: it's stored as a turn of its conversation when it ends, however it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.chat.memory import ConversationBusyError, Lease, Memory, StoredTurn
from app.chat.reply import Piece, Reply
from app.engine.client import EngineClosedError
from app.storage.database import DatabaseError

log = logging.getLogger(__name__)


class ConversationTurn:
    """One turn in the making: iterate over it as over its `reply`, and `close` it in any case.

    Who has something to store with it iterates over the `reply` itself, and then calls `store`.

    - A reply that comes to its end is stored before the iteration ends; raises `DatabaseError` or
      `ConversationBusyError` if it can't be.
    - One whose client left is stored as far as it was sent (`streamed`: a piece counts as sent when the next one is
      asked for; otherwise nothing is sent before the end). If nothing was, nothing is stored.
    - So is one that the end of the service cuts off.
    - Of one that failed nothing is stored.
    """

    def __init__(
        self, memory: Memory, lease: Lease, reply: Reply, model: str, user: str, system: str | None, *, streamed: bool
    ) -> None:
        self.conversation_id = lease.conversation_id
        self.reply = reply
        reply.prompt = replace(reply.prompt, turns_dropped=reply.prompt.turns_dropped + lease.earlier)
        self._memory = memory
        self._lease = lease
        self._model = model
        self._user = user
        self._system = system
        self._streamed = streamed
        self._sent = ""
        self._cut = "cancelled"
        self._ended = False

    def __iter__(self) -> Iterator[Piece]:
        try:
            for piece in self.reply:
                yield piece
                if self._streamed:
                    self._sent += piece.text
            if self.reply.finish_reason != "cancelled":
                self.store()
        except EngineClosedError:
            self._cut = "shutdown"
            raise
        except Exception:
            self._sent = ""
            raise
        finally:
            self.close()

    def store(self, alongside: Callable[[Session], None] = lambda _: None) -> None:
        """Store the reply, which has come to its end, and what is to be written `alongside`: both or neither.

        Raises what `alongside` does, `DatabaseError` or `ConversationBusyError`.
        """
        self._store(self.reply.text, self.reply.finish_reason or "stop", alongside, complete=True)
        self._ended = True

    def close(self) -> None:
        """Give up what isn't finished. Raises nothing: whoever could be told has gone."""
        self.reply.close()
        if self._ended:
            return
        self._ended = True
        try:
            if self._sent:
                self._store(self._sent, self._cut, lambda _: None, complete=False)
            else:
                self._memory.release(self._lease)
        except (DatabaseError, ConversationBusyError) as error:
            log.warning("a turn of %s that was cut short was not stored: %s", self.conversation_id, error)

    def _store(self, text: str, finish_reason: str, alongside: Callable[[Session], None], *, complete: bool) -> None:
        self._memory.store(
            self._lease,
            StoredTurn(
                user=self._user,
                system=self._system,
                reply=text,
                complete=complete,
                finish_reason=finish_reason,
                model=self._model,
                seed=self.reply.seed,
                prompt_tokens=self.reply.prompt.prompt_tokens,
                completion_tokens=len(self.reply.tokens),
                cached_tokens=self.reply.prompt_tokens_reused,
                created_at=datetime.now(UTC),
            ),
            alongside,
        )
