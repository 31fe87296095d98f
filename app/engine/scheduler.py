"""Decides what each step computes: which sequences join, who decodes, how much of which prompt is prefilled.

Pure bookkeeping over token ids; never imports torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from app.engine.messages import Finished, Token
from app.engine.sequence import Sequence
from app.engine.slots import SlotCopy, SlotPool


@dataclass(frozen=True, slots=True)
class Chunk:
    """Compute `count` tokens of `sequence` from position `start` on; sample after them if they are its last."""

    sequence: Sequence
    start: int
    count: int

    @property
    def samples(self) -> bool:
        return self.start + self.count == len(self.sequence.tokens)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's work. `admitted` are the sequences that it computes for the first time, and `reused` how many
    tokens of each need no computing.
    """

    chunks: tuple[Chunk, ...]
    copies: tuple[SlotCopy, ...]
    admitted: tuple[int, ...]
    reused: tuple[int, ...]
    probing: int | None

    @property
    def rows(self) -> int:
        return sum(chunk.count for chunk in self.chunks)

    @property
    def sampled(self) -> list[Sequence]:
        return [chunk.sequence for chunk in self.chunks if chunk.samples]


class Scheduler:
    """Continuous batching: a sequence joins at the next step when a slot is free, and leaves when it ends.

    Every running sequence decodes in every step. Prompts share what is left of the step's budget equally, so
    a long one neither holds up the streams that are running nor the short prompts behind it. Waiting
    sequences are admitted in the order they came, but for one that waits for a neighbour's prefix.
    """

    def __init__(self, slots: SlotPool, *, max_positions: int, max_rows: int, prefill_rows: int) -> None:
        self.slots = slots
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._max_positions = max_positions
        self._max_rows = max(max_rows, slots.count + prefill_rows)
        self._prefill_rows = prefill_rows

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def cancel(self, request_id: int) -> Finished | None:
        """End a sequence now, wherever it is; None if it has already ended."""
        for sequence in (*self.waiting, *self.running):
            if sequence.request_id == request_id:
                return self._finish(sequence, "cancelled")
        return None

    def expire(self, now: float) -> list[Finished]:
        """End every sequence whose deadline has passed."""
        late = [s for s in (*self.waiting, *self.running) if s.deadline is not None and s.deadline <= now]
        return [self._finish(sequence, "timeout") for sequence in late]

    def schedule(self) -> Batch | None:
        """The next step's work, or None when there is nothing to do."""
        admitted, copies = self._admit()
        if not self.running:
            return None
        # A sequence that was in flight when an engine crashed is first computed alone: if it is the culprit, it
        # takes none of the others with it.
        probe = next((s for s in self.running if s.suspect), None)
        if probe is not None:
            count = min(probe.remaining, self._max_rows)
            chunks = [Chunk(probe, probe.computed, count)]
        else:
            decoding = [s for s in self.running if s.is_decoding]
            chunks = [Chunk(s, s.computed, 1) for s in decoding]
            chunks += self._prefill(len(decoding))
        return Batch(
            tuple(chunks),
            tuple(copies),
            tuple(sequence.request_id for sequence in admitted),
            tuple(sequence.reused for sequence in admitted),
            probe.request_id if probe else None,
        )

    def _admit(self) -> tuple[list[Sequence], list[SlotCopy]]:
        """Give slots to those who wait. The copies must be made in this order, and before anything is computed:
        a slot that one of them reads may be handed out by a later one.
        """
        admitted: list[Sequence] = []
        copies: list[SlotCopy] = []
        for sequence in list(self.waiting):
            grant = self.slots.acquire(sequence, self.running)
            if grant.waits:
                continue
            if grant.slot is None:
                break
            self.waiting.remove(sequence)
            self.running.append(sequence)
            admitted.append(sequence)
            if grant.copy is not None:
                copies.append(grant.copy)
        return admitted, copies

    def _prefill(self, decoding: int) -> list[Chunk]:
        """Share the step's budget equally among the prompts; what the short ones leave goes to the long ones."""
        prefilling = sorted((s for s in self.running if not s.is_decoding), key=lambda s: s.remaining)
        budget = self._max_rows
        if decoding:
            # A reader who waits for the first token counts as much as one who waits for the next: prompts that
            # outnumber the replies under way may hold those up in proportion. Each gets a token at least, however
            # many they are: `max_rows` has room for one of every slot.
            share = self._prefill_rows * max(1, len(prefilling) // decoding)
            budget = max(min(share, self._max_rows - decoding), len(prefilling))
        chunks = []
        for i, sequence in enumerate(prefilling):
            count = min(sequence.remaining, budget // (len(prefilling) - i))
            chunks.append(Chunk(sequence, sequence.computed, count))
            budget -= count
        return chunks

    def update(self, batch: Batch, tokens: Seq[Token]) -> list[Finished]:
        """Book what a step computed; `tokens` are those sampled for `batch.sampled`, in that order."""
        for chunk in batch.chunks:
            chunk.sequence.computed = chunk.start + chunk.count
        finished = []
        for sequence, token in zip(batch.sampled, tokens, strict=True):
            sequence.append(token.token_id)
            sequence.suspect = False
            reason = sequence.finish_reason(self._max_positions)
            if reason is not None:
                finished.append(self._finish(sequence, reason))
        return finished

    def _finish(self, sequence: Sequence, reason: str) -> Finished:
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self.slots.release(sequence)
        return Finished(sequence.request_id, reason)
