"""Chooses a replica for each request, in the process that sends it.

A follow-up turn goes to the replica that holds its prefix, unless that one is so much busier than another that the
wait would cost more than the prefix saves. All else goes to the least busy.
"""

from __future__ import annotations

import random
import time
from collections import Counter

from ray.serve.request_router import (
    PendingRequest,
    ReplicaID,
    ReplicaResult,
    RequestRouter,
    RunningReplica,
)

from app.engine.cluster import board
from app.engine.cluster.messages import Replica
from app.engine.cluster.prefixes import PrefixIndex
from app.engine.messages import Submit

LEAD = 8
"""How many more requests than the least busy replica the one with the prefix may have."""

ON_THE_WAY_S = 1.0
"""How long a request that was given a replica counts there without having been sent: it may have been cancelled."""


class PrefixRouter(RequestRouter):
    """Requests are those of `EngineReplica.generate`: what to compute, and the fingerprint of the model for it."""

    def initialize_state(self) -> None:
        self._prefixes = PrefixIndex()
        self._on_the_way: dict[str, tuple[str, float]] = {}

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        described = [Replica.from_dicts(r.replica_id.unique_id, r.replica_metadata, r.routing_stats) for r in replicas]
        board.BOARD.replicas = tuple(replica for replica in described if replica is not None)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The one with the prefix or the least busy first; then, if that is full, all that have the model."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # when all of them are full
        submit, fingerprint = _asked(pending_request)
        by_name = {
            replica.replica_id.unique_id: replica
            for replica in candidate_replicas
            if replica.replica_metadata.get("fingerprint") == fingerprint
        }
        if not by_name:
            return [[]]
        lengths = self._lengths(by_name)
        best = min(lengths, key=lambda name: (lengths[name], random.random()))  # noqa: S311
        held = self._prefixes.find(submit.owner, (*submit.prompt, *submit.output), frozenset(by_name))
        if held is not None:
            slots = by_name[held].replica_metadata["ready"]["max_sequences"]
            waits = lengths[best] < slots <= lengths[held]  # there, and nowhere else
            if not waits and lengths[held] - lengths[best] <= LEAD:
                best = held
        self._on_the_way[pending_request.metadata.internal_request_id] = best, time.monotonic()
        return [[by_name[best]], list(by_name.values())]

    def _lengths(self, replicas: dict[str, RunningReplica]) -> dict[str, int]:
        """Requests at each, with those that were given it a moment ago: of many at once Serve sends none before all
        have their replica.
        """
        since = time.monotonic() - ON_THE_WAY_S
        self._on_the_way = {key: way for key, way in self._on_the_way.items() if way[1] > since}
        coming = Counter(name for name, _ in self._on_the_way.values())
        return {name: self._length(replica) + coming[name] for name, replica in replicas.items()}

    def _length(self, replica: RunningReplica) -> int:
        """Requests at a replica: as counted here, for some seconds after it was asked; else as it told all."""
        counted = self.replica_queue_len_cache.get(replica.replica_id)
        if counted is not None:
            return int(counted)
        stats = replica.routing_stats.get("stats", {})
        return int(stats.get("running", 0) + stats.get("waiting", 0))

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: ReplicaResult) -> None:
        submit, _ = _asked(pending_request)
        self._on_the_way.pop(pending_request.metadata.internal_request_id, None)
        self._prefixes.add(submit.owner, (*submit.prompt, *submit.output), replica_id.unique_id)


def _asked(request: PendingRequest) -> tuple[Submit, str]:
    submit, fingerprint = request.args
    return submit, fingerprint
