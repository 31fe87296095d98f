"""Finds the first of several stop strings in text that arrives bit by bit, holding as little as possible.

An Aho-Corasick automaton over characters. Its state is the longest end of the text so far that begins some
stop
string: exactly the text that must be held back, found in constant time per character however many and however
long the stop strings are.
"""

from collections import deque
from collections.abc import Iterable


class StopMatcher:
    """Passes text on up to the stop string that starts earliest (at the same start, that completes first).

    That is a property of the whole text, so it doesn't depend on how the text was cut.
    """

    def __init__(self, stop_strings: Iterable[str]) -> None:
        # Node 0 is the empty string; node n is the beginning of a stop string.
        self._next: list[dict[str, int]] = [{}]
        self._fail = [0]  # the longest proper end of the node's string that is a node too
        self._depth = [0]
        self._ends: list[str | None] = [None]  # the longest stop string that the node's string ends with
        for stop in stop_strings:
            self._add(stop)
        self._link()
        self._node = 0
        self._held = ""
        self._position = 0  # characters seen
        self._candidate = ""  # complete, but one that starts earlier may still come
        self._candidate_start = -1
        self.matched: str | None = None

    def feed(self, text: str) -> str:
        """Take `text` and return what can be passed on now; nothing after a match."""
        if self.matched is not None:
            return ""
        base = self._position - len(self._held)
        held = self._held + text
        for character in text:
            self._advance(character)
            if self.matched is not None:
                self._held = ""
                return held[: self._candidate_start - base]
        keep = self._depth[self._node]
        cut = len(held) - keep
        self._held = held[cut:]
        return held[:cut]

    def finish(self) -> str:
        """The text has ended: return what was held back, up to a stop string that is complete in it."""
        held, self._held = self._held, ""
        if self.matched is None and self._candidate:
            self.matched = self._candidate
            return held[: self._candidate_start - (self._position - len(held))]
        return held

    def _advance(self, character: str) -> None:
        node = self._node
        while node and character not in self._next[node]:
            node = self._fail[node]
        self._node = node = self._next[node].get(character, 0)
        self._position += 1
        under_way = self._position - self._depth[node]  # where a stop string may still have begun
        if self._candidate and under_way >= self._candidate_start:
            self.matched = self._candidate
            return
        complete = self._ends[node]
        if complete is not None:
            start = self._position - len(complete)
            if not self._candidate or start < self._candidate_start:
                self._candidate, self._candidate_start = complete, start
            if start == under_way:
                self.matched = complete

    def _add(self, stop: str) -> None:
        if not stop:
            raise ValueError("a stop string can't be empty")
        node = 0
        for character in stop:
            if character not in self._next[node]:
                self._next[node][character] = len(self._next)
                self._next.append({})
                self._fail.append(0)
                self._depth.append(self._depth[node] + 1)
                self._ends.append(None)
            node = self._next[node][character]
        self._ends[node] = stop

    def _link(self) -> None:
        """Breadth first, because a node's failure link is shallower than the node."""
        queue = deque(self._next[0].values())
        while queue:
            node = queue.popleft()
            for character, child in self._next[node].items():
                fail = self._fail[node]
                while fail and character not in self._next[fail]:
                    fail = self._fail[fail]
                self._fail[child] = self._next[fail].get(character, 0)
                if self._ends[child] is None:
                    self._ends[child] = self._ends[self._fail[child]]
                queue.append(child)
