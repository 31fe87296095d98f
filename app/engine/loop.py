"""The heart of the engine: one step computes one forward pass over everything that runs."""

from __future__ import annotations

import time
from pathlib import Path

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from app.engine.checkpoint import GPT2Config, load_weights, parameter_count
from app.engine.cores import available_cores
from app.engine.gpt2 import GPT2, cache_dtype
from app.engine.kv_cache import bytes_per_slot
from app.engine.messages import EngineConfig, Finished, Ready, SamplingParams, StepOutput, StepStats, Submit
from app.engine.model_source import ModelRefusedError
from app.engine.sampler import sample
from app.engine.scheduler import Batch, Scheduler
from app.engine.sequence import Sequence
from app.engine.slots import SlotPool


class EngineLoop:
    """Model and scheduler; `step` is called for as long as there is work."""

    def __init__(self, model: GPT2, scheduler: Scheduler) -> None:
        self.model = model
        self.scheduler = scheduler

    def submit(self, message: Submit) -> None:
        self.scheduler.add(Sequence.from_submit(message, time.monotonic()))

    def schedule(self) -> tuple[Batch | None, list[Finished]]:
        """What the next step will compute, and the sequences whose time ran out before it."""
        expired = self.scheduler.expire(time.monotonic())
        return self.scheduler.schedule(), expired

    def step(self, batch: Batch) -> StepOutput:
        """Compute a batch, sample, and book the result."""
        started = time.perf_counter()
        tokens = sample(self._forward(batch), batch.sampled)
        finished = self.scheduler.update(batch, tokens)
        seconds = time.perf_counter() - started
        return StepOutput(tuple(tokens), tuple(finished), self.stats(batch.rows, len(batch.chunks), seconds))

    def _forward(self, batch: Batch) -> NDArray[np.float32]:
        """The logits of `batch.sampled`, [n, vocabulary]."""
        for copy in batch.copies:
            self.model.cache.copy(copy)
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        sampled: list[int] = []
        for chunk in batch.chunks:
            end = chunk.start + chunk.count
            token_ids += chunk.sequence.tokens[chunk.start : end]
            positions += range(chunk.start, end)
            slots += [chunk.sequence.slot or 0] * chunk.count
            if chunk.samples:
                sampled.append(len(token_ids) - 1)
        return self.model.forward(
            np.array(token_ids, np.int64),
            np.array(positions, np.int64),
            np.array(slots, np.int64),
            np.array(sampled, np.int64),
        ).numpy()

    def stats(self, rows: int = 0, sequences: int = 0, seconds: float = 0.0) -> StepStats:
        pool = self.scheduler.slots
        return StepStats(
            running=len(self.scheduler.running),
            waiting=len(self.scheduler.waiting),
            slots_held=pool.held,
            cached_tokens=pool.cached_tokens + sum(s.computed for s in self.scheduler.running),
            rows=rows,
            sequences=sequences,
            seconds=seconds,
        )


def build(config: EngineConfig) -> tuple[EngineLoop, Ready]:
    """Load and warm the model; raises `ModelRefusedError` for a checkpoint or device that cannot be served."""
    started = time.perf_counter()
    torch.set_grad_enabled(False)
    threads = config.threads or available_cores()
    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    folder = Path(config.folder)
    model_config = GPT2Config.from_folder(folder)
    slot_bytes = bytes_per_slot(model_config, cache_dtype(device, precision, model_config.head_dim))
    slots = max(1, min(config.max_sequences, config.kv_cache_bytes // slot_bytes))
    max_rows = max(config.max_rows, slots + config.prefill_rows)
    model = GPT2(
        model_config,
        load_weights(folder, model_config),
        device=device,
        precision=precision,
        slots=slots,
        max_rows=max_rows,
    )
    scheduler = Scheduler(
        SlotPool(slots, config.prefix_reuse),
        max_positions=model_config.n_positions,
        max_rows=max_rows,
        prefill_rows=config.prefill_rows,
    )
    loop = EngineLoop(model, scheduler)
    notes = list(model.linears.notes)
    if slots < config.max_sequences:
        notes.append(
            f"The KV cache has room for {slots} sequences, not {config.max_sequences}: each takes "
            f"{slot_bytes >> 20} MiB of TROIKA_KV_CACHE_MB."
        )
    warm_up(loop)
    return loop, Ready(
        device=str(device),
        precision=precision,
        max_sequences=slots,
        max_positions=model_config.n_positions,
        vocab_size=model_config.vocab_size,
        parameters=parameter_count(model_config),
        kv_bytes_per_sequence=slot_bytes,
        batch_invariant=model.linears.invariant,
        notes=tuple(notes),
        load_s=time.perf_counter() - started,
    )


def warm_up(loop: EngineLoop) -> None:
    """Run every kernel once, so that the first request finds them compiled."""
    for request_id, temperature in ((-1, 0.0), (-2, 1.0)):
        params = SamplingParams(max_new_tokens=2, temperature=temperature, top_p=0.9, logprobs=True, top_logprobs=1)
        loop.submit(Submit(request_id, "", (0, 0), params))
    while (batch := loop.schedule()[0]) is not None:
        loop.step(batch)
    loop.scheduler.slots.forget()


def choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ModelRefusedError(f"TROIKA_DEVICE={name}: torch finds no CUDA device here; use auto or cpu.")
        if (device.index or 0) >= torch.cuda.device_count():
            raise ModelRefusedError(f"TROIKA_DEVICE={name}: there are only {torch.cuda.device_count()} CUDA devices.")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    if name == "auto":
        return "bfloat16" if device.type == "cuda" else "float32"
    if name == "int8" and device.type == "cuda":
        raise ModelRefusedError("TROIKA_PRECISION=int8 is for the CPU; on CUDA use bfloat16 or float32.")
    return name
