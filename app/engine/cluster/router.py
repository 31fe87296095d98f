"""Chooses a replica for each request, in the process that sends it.

A follow-up turn goes to the replica that holds its prefix, unless that one is so much busier than another that the
wait would cost more than the prefix saves. All else goes to the least busy.
"""

from __future__ import annotations

from ray.serve.request_router import (
    FIFOMixin,
    PendingRequest,
    ReplicaID,
    ReplicaResult,
    RequestRouter,
    RunningReplica,
)

from app.engine.cluster.prefixes import PrefixIndex
from app.engine.messages import Submit

LEAD = 8
"""How many more requests than the least busy replica the one with the prefix may have."""


class PrefixRouter(FIFOMixin, RequestRouter):
    def initialize_state(self) -> None:
        self._prefixes = PrefixIndex()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replica with the prefix first, if any; then all, of which Serve takes the least busy."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # when all of them are full
        submit = pending_request.args[0] if pending_request.args else None
        if not isinstance(submit, Submit):
            return [candidate_replicas]
        by_name = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        name = self._prefixes.find(submit.owner, (*submit.prompt, *submit.output), frozenset(by_name))
        if name is None:
            return [candidate_replicas]
        lengths = {n: self.replica_queue_len_cache.get(r.replica_id) or 0 for n, r in by_name.items()}
        if lengths[name] - min(lengths.values()) > LEAD:
            return [candidate_replicas]
        return [[by_name[name]], candidate_replicas]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: ReplicaResult) -> None:
        submit = pending_request.args[0] if pending_request.args else None
        if isinstance(submit, Submit):
            self._prefixes.add(submit.owner, (*submit.prompt, *submit.output), replica_id.unique_id)
