"""The model: loaded as the engine loads it, held against transformers, and asked for tokens alone and in company."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.doctor.finding import Finding, fail, ok, warn
from app.engine.client import EngineClient, EngineError
from app.engine.gpt2 import GPT2
from app.engine.local import LocalEngine
from app.engine.loop import EngineLoop, build
from app.engine.messages import EngineConfig, SamplingParams
from app.engine.model_source import ModelRefusedError, first_line

TOLERANCE = 1e-4
"""Largest difference to transformers' float32 logits: that of the tests."""
MISTAKEN = 1e-2
"""A float32 difference that rounding can't explain."""
SLOTS = 4
LOAD_S = 300.0
TOGETHER = 16
SLOW = 4.0
"""Tokens a second below which a reader outruns the reply."""

Floats = NDArray[np.float32]


def check(config: EngineConfig) -> Iterator[Finding]:
    """Every finding about the model of `config`, in the order in which they are reached."""
    yield torch_finding()
    try:
        loop, ready = build(replace(config, max_sequences=SLOTS, kv_cache_bytes=1 << 40))
    except ModelRefusedError as error:
        yield fail("model", str(error), "correct TROIKA_MODEL, TROIKA_DEVICE or TROIKA_PRECISION, or serve the starter")
        return
    yield ok(
        "model", f"{config.folder}: {ready.parameters:,} parameters on {ready.device}, loaded in {ready.load_s:.1f} s"
    )
    yield kernels_finding(loop.model)
    yield parity_finding(loop, Path(config.folder), ready.precision)
    del loop
    engine = LocalEngine(config)
    try:
        if not engine.wait_until_ready(LOAD_S):
            yield fail(
                "engine", engine.status().reason, "see the lines above, and start it with TROIKA_LOG_LEVEL=debug"
            )
            return
        yield from tokens_findings(engine)
    finally:
        engine.close()


def torch_finding() -> Finding:
    found = f"torch {torch.__version__}, vector code {torch.backends.cpu.get_cpu_capability()}"
    if torch.cuda.is_available():
        return ok("torch", f"{found}, CUDA {torch.version.cuda} on {torch.cuda.get_device_name()}")
    if not torch.backends.mkldnn.is_available():
        return warn("torch", f"{found}, without oneDNN", "install the torch that requirements.txt names: it has oneDNN")
    return ok("torch", f"{found}, oneDNN, no CUDA device")


def kernels_finding(model: GPT2) -> Finding:
    """Which kernel computes each shape of linear layer, and whether batches change bits."""
    shapes: dict[str, list[str]] = {}
    for shape, kernel in model.linears.kernels.items():
        shapes.setdefault(kernel, []).append(shape)
    found = "; ".join(f"{kernel} for {', '.join(of)}" for kernel, of in shapes.items())
    if model.linears.notes:
        return warn(
            "kernels", f"{found}. {' '.join(model.linears.notes)}", "install the torch that requirements.txt names"
        )
    return ok("kernels", found)


def parity_finding(loop: EngineLoop, folder: Path, precision: str) -> Finding:
    """The engine's logits beside those of transformers in float32, over one prompt of random tokens."""
    config = loop.model.config
    ids = np.random.default_rng(0).integers(0, config.vocab_size, min(64, config.n_positions))
    try:
        expected = transformers_logits(folder, ids)
    except (OSError, ValueError, RuntimeError) as error:
        return warn(
            "parity", f"transformers cannot load the model ({first_line(error)})", "save it again with transformers"
        )
    return judge_parity(engine_logits(loop.model, ids), expected, precision)


def judge_parity(logits: Floats, expected: Floats, precision: str) -> Finding:
    """logits, expected [positions, vocabulary]."""
    difference = float(np.abs(logits - expected).max())
    agree = float((logits.argmax(1) == expected.argmax(1)).mean())
    found = (
        f"{precision} logits differ from transformers' float32 by {difference:.1e} at most; the likeliest token is "
        f"the same at {agree:.0%} of {len(logits)} positions"
    )
    wrong = "do not serve with this: run `make test`, and reinstall requirements.txt if tests/engine fails"
    # Not <=: a difference that is not a number is no small one.
    if not difference < np.inf or (precision == "float32" and difference > MISTAKEN) or agree < 0.5:
        return fail("parity", found, wrong)
    if precision == "float32" and difference > TOLERANCE:
        return warn("parity", f"{found}; the tests allow {TOLERANCE:.0e}", "harmless if the tokens agree; report it")
    if agree < 0.9:
        return warn("parity", found, "replies lose quality: TROIKA_PRECISION=float32 is exact")
    return ok("parity", found)


def engine_logits(model: GPT2, ids: NDArray[np.int64]) -> Floats:
    """The logits at every position of one sequence, [positions, vocabulary], a few at a time as prefill does."""
    parts = []
    for start in range(0, len(ids), SLOTS):
        positions = np.arange(start, min(start + SLOTS, len(ids)), dtype=np.int64)
        rows = np.arange(len(positions), dtype=np.int64)
        parts.append(model.forward(ids[positions], positions, np.zeros_like(rows), rows).numpy())
    return np.concatenate(parts)


def transformers_logits(folder: Path, ids: NDArray[np.int64]) -> Floats:
    """The same from `GPT2LMHeadModel` in float32 on the CPU."""
    from transformers import GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    reference = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        logits: Floats = reference(torch.from_numpy(ids)[None]).logits[0].numpy()
    return logits


@dataclass(frozen=True, slots=True)
class Run:
    """What prompts that were submitted together became: tokens with log-probabilities, and the tokens a second."""

    replies: list[list[tuple[int, float | None]]]
    tokens_per_s: float


def tokens_findings(engine: EngineClient) -> Iterator[Finding]:
    """Same prompt alone, again, and beside others: the same bits? And how fast it was."""
    ready = engine.status().ready
    if ready is None:
        yield fail("determinism", "the engine was lost", "start again; if it recurs, see the log for the reason")
        return
    generator = np.random.default_rng(1)
    longest = min(12, ready.max_positions - 1)
    prompts = [generator.integers(0, ready.vocab_size, generator.integers(1, longest + 1)).tolist() for _ in range(16)]
    try:
        alone, again, together = (run(engine, prompts[:n], ready.max_positions - longest) for n in (1, 1, TOGETHER))
    except EngineError as error:
        yield fail("determinism", str(error), "see the log for why the engine failed; is memory short?")
        return
    yield judge_determinism(
        alone.replies[0] == again.replies[0], alone.replies[0] == together.replies[0], ready.batch_invariant
    )
    yield judge_speed(again.tokens_per_s, together.tokens_per_s)


def run(engine: EngineClient, prompts: list[list[int]], room: int) -> Run:
    """Submit all at once and wait for all."""
    started = time.perf_counter()
    count = min(32, room)
    streams = [
        engine.submit(prompt, SamplingParams(max_new_tokens=count, seed=seed, logprobs=True))
        for seed, prompt in enumerate(prompts)
    ]
    replies = [[(token.token_id, token.logprob) for token in stream] for stream in streams]
    return Run(replies, sum(map(len, replies)) / (time.perf_counter() - started))


def judge_determinism(twice: bool, in_company: bool, promised: bool) -> Finding:
    if not twice:
        return fail(
            "determinism", "the same request gave other tokens the second time", "do not rely on seeds; report it"
        )
    if in_company:
        return ok("determinism", f"the same bits alone, again, and beside {TOGETHER - 1} others")
    found = "a request gave other bits beside others than alone"
    if promised:
        return fail("determinism", f"{found}, though the kernels held", "report it with the lines above")
    return warn("determinism", f"{found}, as the kernels here may", "for repeatable replies serve float32 on a CPU")


def judge_speed(one: float, many: float) -> Finding:
    found = f"{one:.0f} tokens/s for one request, {many:.0f} for {TOGETHER} at once"
    if one < SLOW:
        return warn("speed", found, "free the cores, give it more of them, or try TROIKA_PRECISION=int8")
    return ok("speed", found)
