"""Which sequence holds which slot of the KV cache, and what finished ones left there for their owners to reuse.

No tensors here: a slot is a number, its content a list of token ids. `kv_cache` holds the tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.engine.sequence import Sequence

Tokens = NDArray[np.int32]
EMPTY: Tokens = np.empty(0, dtype=np.int32)

WORTH_WAITING = 32
"""A sequence waits for a neighbour's prefill to copy it when that saves it at least so many tokens."""


@dataclass(frozen=True, slots=True)
class SlotCopy:
    """Copy the first `length` positions of slot `source` to slot `target` before the step."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to a sequence that wants a slot: it and the copy to make first, or none.

    Without a slot, `waits` tells that one is free, but that a neighbour is just computing what this sequence can
    have for a copy a little later; otherwise all slots are held.
    """

    slot: int | None = None
    copy: SlotCopy | None = None
    waits: bool = False


@dataclass(slots=True)
class Retained:
    """What lies in a slot that no sequence holds."""

    owner: str = ""
    tokens: Tokens = field(default_factory=lambda: EMPTY)
    last_used: int = 0


def common_prefix(a: Tokens, b: Tokens) -> int:
    """Number of leading tokens that are equal."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n


class SlotPool:
    """Hands out slots; looks for the longest prefix that its owner has already computed.

    A prefix is reused in place when the sequence that left it is being continued, and copied when it is still
    held by a running sequence or when taking it would cost its owner more than it saves.
    """

    def __init__(self, count: int, prefix_reuse: bool) -> None:
        self._free = {slot: Retained() for slot in range(count)}
        self._prefix_reuse = prefix_reuse
        self._clock = 0
        self.count = count

    @property
    def held(self) -> int:
        return self.count - len(self._free)

    @property
    def cached_tokens(self) -> int:
        return sum(len(retained.tokens) for retained in self._free.values())

    def acquire(self, sequence: Sequence, running: Iterable[Sequence]) -> Grant:
        """Give `sequence` a slot if it can have one, with `computed` set to the prefix that needs no computing."""
        if not self._free:
            return Grant()
        donor, length = None, 0
        if self._prefix_reuse and sequence.owner:
            wanted = np.array(sequence.tokens[:-1], dtype=np.int32)
            for slot, retained in self._free.items():
                if retained.owner == sequence.owner and len(retained.tokens) > length:
                    shared = common_prefix(wanted, retained.tokens)
                    if shared > length:
                        donor, length = slot, shared
            coming = 0
            for other in running:
                if other.owner == sequence.owner:
                    shared = common_prefix(wanted, np.array(other.tokens, dtype=np.int32))
                    if min(shared, other.computed) > length:
                        donor, length = other.slot, min(shared, other.computed)
                    if not other.is_decoding:
                        coming = max(coming, shared)
            if coming - length >= WORTH_WAITING:
                return Grant(waits=True)
        target, copy = self._place(donor, length)
        del self._free[target]
        sequence.slot = target
        sequence.computed = sequence.reused = length
        return Grant(target, copy)

    def _place(self, donor: int | None, length: int) -> tuple[int, SlotCopy | None]:
        """The slot to use and the copy to make, given where the longest prefix lies."""
        if donor in self._free and (2 * length >= len(self._free[donor].tokens) or len(self._free) == 1):
            return donor, None
        others = [slot for slot in self._free if slot != donor]
        target = min(others, key=lambda slot: self._free[slot].last_used)
        return target, None if donor is None else SlotCopy(donor, target, length)

    def release(self, sequence: Sequence) -> None:
        """Take the slot back; what was computed in it stays for the same owner until the slot is needed.

        What has no owner is nobody's to reuse: its slot is the next to be given away.
        """
        if sequence.slot is None:
            return
        retained = Retained()
        if self._prefix_reuse and sequence.owner:
            self._clock += 1
            computed = np.array(sequence.tokens[: sequence.computed], dtype=np.int32)
            retained = Retained(sequence.owner, computed, self._clock)
        self._free[sequence.slot] = retained
        sequence.slot = None

    def forget(self) -> None:
        """Drop what free slots retain."""
        self._free = {slot: Retained() for slot in self._free}
