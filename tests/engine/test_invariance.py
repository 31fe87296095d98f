"""Batch invariance: every request gets the tokens it would have got alone, whatever else the engine does.

This is also the proof that no request ever receives a neighbour's tokens.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from app.engine.local import LocalEngine
from app.engine.loop import EngineLoop
from app.engine.messages import EngineConfig, SamplingParams, Submit
from tests.engine.support import Result, build_loop, drive, run_alone, save_model

REQUESTS = 200
VOCABULARY = 499
PRECISIONS = ("float32", "bfloat16", "int8")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The feed-forward layers are as wide as GPT-2's, whose kernels are not invariant by themselves, and so are the
    heads, which have attention of their own.
    """
    return save_model(
        tmp_path_factory.mktemp("wide"),
        n_embd=128,
        n_head=2,
        n_inner=3072,
        n_positions=192,
        vocab_size=VOCABULARY,
        initializer_range=0.05,
    )


@dataclass(frozen=True)
class Case:
    """One precision's engine, the requests and what each gives alone."""

    folder: Path
    precision: str
    loop: EngineLoop
    messages: dict[int, Submit]
    alone: dict[int, Result]


@pytest.fixture(scope="module", params=PRECISIONS)
def case(request: pytest.FixtureRequest, model: Path) -> Case:
    loop = build_loop(model, precision=request.param)
    messages, alone = {}, {}
    for message in make_requests(alone):
        messages[message.request_id] = message
        alone[message.request_id] = run_alone(loop, message)
    return Case(model, request.param, loop, messages, alone)


def make_requests(alone: dict[int, Result]) -> Iterator[Submit]:
    """Random requests of five owners; many continue an earlier one, repeat its prompt or branch off from it.

    `alone` fills up with the results of those already given, which the follow-ups contain.
    """
    generator = np.random.default_rng(7)
    earlier: dict[str, list[Submit]] = defaultdict(list)
    for request_id in range(REQUESTS):
        owner = f"owner {generator.integers(5)}" if generator.random() < 0.9 else ""
        prompt = tuple(generator.integers(0, VOCABULARY, generator.integers(1, 120)).tolist())
        fresh = tuple(generator.integers(0, VOCABULARY, generator.integers(1, 12)).tolist())
        params = random_params(generator)
        if earlier[owner] and (kind := generator.random()) < 0.6:
            base = earlier[owner][generator.integers(len(earlier[owner]))]
            if kind < 0.3:
                prompt = (*base.prompt, *alone[base.request_id].ids, *fresh)
            elif kind < 0.45:
                prompt, params = base.prompt, replace(base.params, choice=base.params.choice + 1)
            else:
                prompt = (*base.prompt[: generator.integers(1, len(base.prompt) + 1)], *fresh)
        message = Submit(request_id, owner, prompt[:150], params)
        earlier[owner].append(message)
        yield message


def random_params(generator: np.random.Generator) -> SamplingParams:
    def some(value: object, otherwise: object, chance: float = 0.4) -> object:
        return value if generator.random() < chance else otherwise

    ids = generator.integers(0, VOCABULARY, 9).tolist()
    return SamplingParams(
        max_new_tokens=int(generator.integers(1, 18)),
        temperature=some(0.0, float(generator.uniform(0.2, 2)), 0.2),
        top_k=some(int(generator.integers(1, 60)), 0),
        top_p=some(float(generator.uniform(0.3, 1)), 1.0),
        min_p=some(float(generator.uniform(0, 0.2)), 0.0),
        repetition_penalty=some(float(generator.uniform(0.8, 1.5)), 1.0),
        frequency_penalty=some(float(generator.uniform(-1, 1)), 0.0),
        presence_penalty=some(float(generator.uniform(-1, 1)), 0.0),
        logit_bias=some(((ids[0], 2.0), (ids[1], -3.0)), ()),
        banned_token_ids=some((ids[2], ids[3]), ()),
        stop_token_ids=some(tuple(ids[4:]), ()),
        seed=int(generator.integers(0, 2**63)),
        choice=int(generator.integers(0, 3)),
        logprobs=bool(some(True, False)),
        top_logprobs=some(3, 0, 0.2),
    )


def check(case: Case, results: dict[int, Result], cancelled: set[int]) -> None:
    assert set(results) == set(case.messages)
    for request_id, result in results.items():
        alone = case.alone[request_id]
        if result.reason == "cancelled":
            assert request_id in cancelled
            assert result.draws == alone.draws[: len(result.draws)], request_id
        else:
            assert result.draws == alone.draws, request_id
            assert result.reason == alone.reason


def traffic(case: Case, seed: int) -> tuple[dict[int, list[Submit]], dict[int, list[int]]]:
    """Arrivals in bursts and lulls, and a fifth cancelled at a random time after it came."""
    generator = np.random.default_rng(seed)
    arrivals, cancels = defaultdict(list), defaultdict(list)
    for request_id, message in case.messages.items():
        step = int(generator.integers(0, 50)) * 4
        arrivals[step].append(message)
        if generator.random() < 0.2:
            cancels[step + int(generator.integers(0, 30))].append(request_id)
    return arrivals, cancels


@pytest.mark.parametrize("prefix_reuse", [True, False], ids=["reuse", "no reuse"])
def test_tokens_do_not_depend_on_the_company(case: Case, prefix_reuse: bool) -> None:
    loop = case.loop
    if not prefix_reuse:
        loop = build_loop(case.folder, precision=case.precision, prefix_reuse=False, max_sequences=7, max_rows=90)
    arrivals, cancels = traffic(case, seed=int(prefix_reuse))

    results = drive(loop, arrivals, cancels)

    check(case, results, {request_id for ids in cancels.values() for request_id in ids})
    reasons = Counter(result.reason for result in results.values())
    assert reasons["cancelled"] >= 15
    assert reasons["stop"] >= 3
    reused = [i for i, result in results.items() if result.reused]
    if prefix_reuse:
        assert len(reused) >= 30, "prefixes should have been shared"
        assert all(case.messages[i].owner for i in reused)
    else:
        assert not reused
    assert loop.scheduler.slots.held == 0


def test_a_sequence_that_goes_on_elsewhere_ends_with_the_same_tokens(case: Case) -> None:
    """From any of its tokens on, as after a crash, with some of the sequences under suspicion."""
    generator = np.random.default_rng(11)
    arrivals = defaultdict(list)
    kept: dict[int, int] = {}
    for request_id, message in case.messages.items():
        ids = case.alone[request_id].ids
        kept[request_id] = int(generator.integers(0, len(ids)))
        arrivals[int(generator.integers(0, 20))].append(
            replace(message, output=tuple(ids[: kept[request_id]]), suspect=bool(generator.random() < 0.2))
        )

    results = drive(case.loop, arrivals)

    assert set(results) == set(case.messages)
    for request_id, result in results.items():
        assert result.draws == case.alone[request_id].draws[kept[request_id] :], request_id
        assert result.reason == case.alone[request_id].reason


def test_seed_and_choice_make_another_reply(case: Case) -> None:
    """What makes the equality above mean something: other random numbers, other tokens."""
    params = SamplingParams(max_new_tokens=20, temperature=1.0)
    variants = [replace(params, seed=seed, choice=choice) for seed in range(5) for choice in range(3)]
    results = drive(case.loop, {0: [Submit(i, "", (1, 2, 3), p) for i, p in enumerate(variants)]})

    assert len({tuple(result.ids) for result in results.values()}) == len(variants)


@pytest.mark.parametrize("case", ["float32"], indirect=True)
def test_the_engine_process_gives_the_same_tokens(case: Case) -> None:
    """Through the client, the pipe and the scheduler's own timing; some cancelled after a few tokens."""
    config = EngineConfig(str(case.folder), "cpu", "float32", max_sequences=12, max_rows=128, prefill_rows=32)
    engine = LocalEngine(config)
    try:
        streams = {}
        for request_id, message in list(case.messages.items())[:100]:
            streams[request_id] = engine.submit(message.prompt, message.params, owner=message.owner)
        cancelled = set(list(streams)[::7])
        results = {}
        for request_id, stream in streams.items():
            results[request_id] = result = Result()
            for token in stream:
                result.tokens.append(token)
                if request_id in cancelled and len(result.tokens) == 2:
                    stream.cancel()
            alone = case.alone[request_id]
            if stream.finish_reason == "cancelled":
                assert result.draws == alone.draws[: len(result.draws)]
            else:
                assert (result.draws, stream.finish_reason) == (alone.draws, alone.reason)
        assert any(stream.prompt_tokens_reused for stream in streams.values())
        assert engine.status().running == engine.status().waiting == 0
    finally:
        engine.close()
