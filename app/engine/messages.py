"""What crosses the pipe between the service and the engine process: small frozen dataclasses of numbers.

No torch here: both sides import this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one sequence is sampled. Checked at the door by whoever builds it; trusted from here on.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1 and `min_p` 0 switch the filter off. The penalties are
    those of transformers (`repetition_penalty`, over prompt and output) and of the OpenAI API (`frequency_penalty`
    and `presence_penalty`, over the output). Token n of a sequence depends on nothing but the prompt, these
    values and the tokens before it: `seed` and `choice` (which of several replies to one prompt) key its
    random numbers, the position counts them.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    banned_token_ids: tuple[int, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int = 0
    choice: int = 0
    logprobs: bool = False
    top_logprobs: int = 0

    @property
    def has_penalties(self) -> bool:
        return self.repetition_penalty != 1.0 or self.frequency_penalty != 0.0 or self.presence_penalty != 0.0


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """All that an engine process needs to start.

    `max_rows` bounds the tokens computed in one step; `prefill_rows` is the share of them that prompts may
    take while other sequences decode. `kv_cache_bytes` bounds the KV cache: it can lower `max_sequences`.
    """

    folder: str
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    max_sequences: int = 64
    kv_cache_bytes: int = 2 << 30
    max_rows: int = 512
    prefill_rows: int = 64
    prefix_reuse: bool = True


# -- service to engine ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submit:
    """A new sequence, or with `output` one that goes on where a lost engine left it."""

    request_id: int
    owner: str
    prompt: tuple[int, ...]
    params: SamplingParams
    deadline_s: float | None = None
    output: tuple[int, ...] = ()
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    request_id: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    pass


# -- engine to service ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and warm."""

    device: str
    precision: str
    max_sequences: int
    max_positions: int
    vocab_size: int
    parameters: int
    kv_bytes_per_sequence: int
    batch_invariant: bool
    notes: tuple[str, ...] = ()
    load_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine can never serve this checkpoint or these settings: no use to try again."""

    message: str


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Sent before a step that computes sequences for the first time, so that a crash can be laid at a door.

    `reused` is how many tokens of each admitted sequence were computed before. `probing` is the one sequence that the
    step computes alone because it was in flight in an earlier crash; when that changes, this is sent too.
    """

    admitted: tuple[int, ...]
    reused: tuple[int, ...]
    probing: int | None


@dataclass(frozen=True, slots=True)
class Token:
    """One sampled token of one sequence; log-probabilities are the model's own, before any filter."""

    request_id: int
    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """`reason` is stop (a stop token), length, cancelled or timeout."""

    request_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class StepStats:
    """Counts after the step; `seconds` is what it took, `rows` the tokens it computed, of `sequences` sequences."""

    running: int = 0
    waiting: int = 0
    slots_held: int = 0
    cached_tokens: int = 0
    rows: int = 0
    sequences: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StepOutput:
    """All that one step brought, in one message."""

    tokens: tuple[Token, ...] = ()
    finished: tuple[Finished, ...] = ()
    stats: StepStats = field(default_factory=StepStats)
