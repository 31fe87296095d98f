"""Remembers which replica has lately computed which prompts, by the prompts' beginnings."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

BLOCK = 16
"""Prefixes are told apart by so many tokens; less is not worth a longer queue."""


class PrefixIndex:
    """Where the longest beginning of a prompt is held; `capacity` blocks are remembered, the latest."""

    def __init__(self, capacity: int = 65_536) -> None:
        self._capacity = capacity
        self._replicas: OrderedDict[bytes, str] = OrderedDict()

    def find(self, owner: str, tokens: Sequence[int], replicas: frozenset[str]) -> str | None:
        """The one of `replicas` that has the longest prefix of a prompt; None without an owner, who alone may reuse."""
        found = None
        for key in self._keys(owner, tokens):
            replica = self._replicas.get(key)
            if replica is None:
                break
            if replica in replicas:
                found = replica
        return found

    def add(self, owner: str, tokens: Sequence[int], replica: str) -> None:
        for key in self._keys(owner, tokens):
            self._replicas[key] = replica
            self._replicas.move_to_end(key)
        for key in list(islice(self._replicas, max(0, len(self._replicas) - self._capacity))):
            del self._replicas[key]

    def _keys(self, owner: str, tokens: Sequence[int]) -> Iterator[bytes]:
        if not owner:
            return
        digest = hashlib.blake2b(owner.encode(), digest_size=16)
        for end in range(BLOCK, len(tokens) + 1, BLOCK):
            digest.update(np.array(tokens[end - BLOCK : end], np.int64).tobytes())
            yield digest.digest()
