"""Small real engines for the tests, and a driver that gives them requests at given steps."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from app.engine.loop import EngineLoop, build
from app.engine.messages import EngineConfig, Finished, StepOutput, Submit, Token

VOCABULARY = 211


def save_model(folder: Path, *, seed: int = 0, **overrides: object) -> Path:
    """A random GPT-2 as transformers saves it, with weights large enough that every layer matters."""
    options = {
        "vocab_size": VOCABULARY,
        "n_positions": 128,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "initializer_range": 0.15,
        "bos_token_id": None,
        "eos_token_id": None,
    } | overrides
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = GPT2LMHeadModel(GPT2Config(**options))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "ln_" in name or name.endswith(".bias"):
                    # transformers starts norms at 1 and biases at 0, where a mistake in them would not show.
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(folder)
    finally:
        torch.random.set_rng_state(generator_state)
    return folder


def reference(folder: Path) -> GPT2LMHeadModel:
    """The same checkpoint in transformers."""
    return GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").eval()


@contextmanager
def torch_settings_kept():
    """`build` sets torch up for a process of its own; tests of other things run in this one."""
    grad, threads = torch.is_grad_enabled(), torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_num_threads(threads)


def build_loop(folder: Path, **config: object) -> EngineLoop:
    """An engine in this process, batch-invariant; skips the test where the processor has no packed bfloat16."""
    if config.get("precision") == "bfloat16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16 that oneDNN can use")
    # One thread: two that wait for each other on a busy machine take many times as long.
    options = {"device": "cpu", "precision": "float32", "threads": 1, "max_sequences": 16, "max_rows": 128}
    with torch_settings_kept():
        loop, ready = build(EngineConfig(folder=str(folder), **({"prefill_rows": 32} | options | config)))
    assert ready.batch_invariant, ready.notes
    return loop


class Result:
    """What came of one request."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.finished: Finished | None = None
        self.reused = 0

    @property
    def ids(self) -> list[int]:
        return [token.token_id for token in self.tokens]

    @property
    def reason(self) -> str | None:
        return None if self.finished is None else self.finished.reason

    @property
    def draws(self) -> list[tuple[int, float | None, tuple[tuple[int, float], ...]]]:
        """Everything about the tokens but the number of the request."""
        return [(token.token_id, token.logprob, token.top) for token in self.tokens]


def drive(
    loop: EngineLoop,
    arrivals: Mapping[int, Iterable[Submit]],
    cancels: Mapping[int, Iterable[int]] | None = None,
) -> dict[int, Result]:
    """Run the loop to its end, submitting and cancelling before the steps that are given by number."""
    results: dict[int, Result] = defaultdict(Result)
    last = max([*arrivals, *(cancels or {})])
    step = 0
    while step <= last or loop.scheduler.has_work:
        for message in arrivals.get(step, ()):
            loop.submit(message)
        for request_id in (cancels or {}).get(step, ()):
            if (finished := loop.scheduler.cancel(request_id)) is not None:
                results[request_id].finished = finished
        batch, expired = loop.schedule()
        if batch is not None:
            for request_id, reused in zip(batch.admitted, batch.reused, strict=True):
                results[request_id].reused = reused
        output = StepOutput() if batch is None else loop.step(batch)
        for token in output.tokens:
            results[token.request_id].tokens.append(token)
        for finished in (*expired, *output.finished):
            assert results[finished.request_id].finished is None, "a sequence ended twice"
            results[finished.request_id].finished = finished
        step += 1
    return results


def run_alone(loop: EngineLoop, message: Submit) -> Result:
    """One request on an engine that holds nothing else."""
    assert not loop.scheduler.has_work
    loop.scheduler.slots.forget()
    return drive(loop, {0: [message]})[message.request_id]


def wait_until(condition: Callable[[], object], seconds: float = 60, what: str = "the condition") -> None:
    """Poll until `condition` holds; a generous bound on liveness, never a measure of speed."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        pause.wait(0.01)
