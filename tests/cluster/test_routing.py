"""Which replica gets which request, and that it makes no difference to the tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engine.cluster.board import BOARD
from app.engine.cluster.messages import ClusterConfig
from app.engine.cluster.prefixes import BLOCK
from app.engine.messages import SamplingParams
from tests.cluster.support import START_S, Cluster, client, deploy, drain, running_cluster, wait_until_empty
from tests.engine.support import Result, build_loop, run_alone, wait_until
from tests.engine.test_invariance import make_requests, model  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

CONVERSATIONS, TURNS = 12, 5


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as started:
        yield started


def test_tokens_do_not_depend_on_the_company_nor_on_the_replica(cluster: Cluster, model: Path) -> None:  # noqa: F811
    """200 random requests of five owners, alone on an engine in this process and together on two replicas."""
    loop = build_loop(model, precision="float32")
    messages, alone = [], {}
    for message in make_requests(alone):
        messages.append(message)
        alone[message.request_id] = run_alone(loop, message)
    deploy(str(model), ClusterConfig(replicas=2), max_sequences=12, max_rows=128, prefill_rows=32)
    with client(cluster, str(model), max_waiting=len(messages)) as engine:
        streams = [engine.submit(message.prompt, message.params, owner=message.owner) for message in messages]
        cancelled = set(range(0, len(messages), 7))
        results = []
        for message, stream in zip(messages, streams, strict=True):
            result = Result()
            while (token := stream.get(timeout=START_S)) is not None:
                result.tokens.append(token)
                if message.request_id in cancelled and len(result.tokens) == 2:
                    stream.cancel()
            results.append(result)
        for message, stream, result in zip(messages, streams, results, strict=True):
            expected = alone[message.request_id]
            if stream.finish_reason == "cancelled":
                assert result.draws == expected.draws[: len(result.draws)]
            else:
                assert (result.draws, stream.finish_reason) == (expected.draws, expected.reason)
        assert any(stream.prompt_tokens_reused for stream in streams)
        wait_until_empty(engine)


def test_follow_up_turns_find_the_replica_that_holds_their_prefix(cluster: Cluster) -> None:
    deploy()
    draw = random.Random(1)
    histories = {number: [draw.randrange(4000) for _ in range(2 * BLOCK)] for number in range(CONVERSATIONS)}
    found = 0
    with client(cluster) as engine:
        for turn in range(TURNS):
            running = {}
            for number in draw.sample(sorted(histories), CONVERSATIONS):
                params = SamplingParams(max_new_tokens=draw.randrange(8, 24), temperature=1.0, seed=number)
                running[number] = engine.submit(histories[number], params, owner=f"owner {number % 3}")
            if turn == 0:
                wait_until(lambda: all(r.stats.cached_tokens for r in BOARD.replicas), START_S, "both have some")
            for number, stream in running.items():
                reply = [token for token, _ in drain(stream)]
                found += bool(turn) and stream.prompt_tokens_reused >= len(histories[number]) - 20
                histories[number] += [*reply, *(draw.randrange(4000) for _ in range(10))]
    rate = found / CONVERSATIONS / (TURNS - 1)
    print(f"hit rate: {rate:.2f}")
    assert rate >= 0.95, "half of them would find it by chance"


def test_an_overloaded_replica_gets_no_more_than_its_share(cluster: Cluster) -> None:
    """All have the same prefix. The replica that holds it takes more of them than the other, but not all."""
    deploy()
    with client(cluster) as engine:
        prefix = list(range(5, 5 + 4 * BLOCK))
        drain(engine.submit(prefix, SamplingParams(max_new_tokens=1), owner="alice"))
        streams = [
            engine.submit([*prefix, number], SamplingParams(max_new_tokens=400, seed=number), owner="alice")
            for number in range(20)
        ]
        wait_until(lambda: sum(r.stats.running for r in BOARD.replicas) == len(streams), START_S, "all run")
        fewer, more = sorted(replica.stats.running for replica in BOARD.replicas)
        assert 4 <= fewer < more <= 16
        for stream in streams:
            stream.cancel()
        wait_until_empty(engine)
