"""One sequence on its way through the engine: its tokens, and how far they are computed."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.engine.messages import SamplingParams, Submit


@dataclass(slots=True, eq=False)
class Sequence:
    """Prompt and output as one list of token ids, and the number of them whose keys and values are in the cache.

    Whether a sequence waits, prefills or decodes is not stored: it follows from `slot` and `computed`.
    """

    request_id: int
    owner: str
    tokens: list[int]
    prompt_len: int
    params: SamplingParams
    deadline: float | None = None
    suspect: bool = False
    slot: int | None = None
    computed: int = 0
    reused: int = 0
    output_counts: dict[int, int] = field(default_factory=dict)

    @classmethod
    def from_submit(cls, message: Submit, now: float) -> Sequence:
        sequence = cls(
            request_id=message.request_id,
            owner=message.owner,
            tokens=list(message.prompt),
            prompt_len=len(message.prompt),
            params=message.params,
            deadline=None if message.deadline_s is None else now + message.deadline_s,
            suspect=message.suspect,
        )
        for token_id in message.output:
            sequence.append(token_id)
        return sequence

    def append(self, token_id: int) -> None:
        self.tokens.append(token_id)
        self.output_counts[token_id] = self.output_counts.get(token_id, 0) + 1

    @property
    def output_len(self) -> int:
        return len(self.tokens) - self.prompt_len

    @property
    def remaining(self) -> int:
        """Tokens still to be computed before the next one can be sampled; 1 for a sequence that decodes."""
        return len(self.tokens) - self.computed

    @property
    def is_decoding(self) -> bool:
        return self.remaining == 1 and self.output_len > 0

    def finish_reason(self, max_positions: int) -> str | None:
        """Why the sequence ends after its last token, or None while it goes on."""
        if self.output_len > 0 and self.tokens[-1] in self.params.stop_token_ids:
            return "stop"
        # The last position can still be read from: the token sampled there is the last one, and is never fed back.
        if self.output_len >= self.params.max_new_tokens or len(self.tokens) > max_positions:
            return "length"
        return None
