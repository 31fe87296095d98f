"""Replicas that die under their streams: the streams go on and end with the bytes of an undisturbed run."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engine.client import EngineCrashedError
from app.engine.cluster.messages import ClusterConfig
from app.engine.messages import SamplingParams
from tests.cluster.support import (
    START_S,
    Cluster,
    Draws,
    EngineReplica,
    RayEngine,
    add_node,
    client,
    deploy,
    drain,
    kill,
    running_cluster,
    wait_until_empty,
)
from tests.engine.support import wait_until
from tests.engine.test_client import is_alive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]

REQUESTS = 32
POISON = (9, 9, 9)

KILLING_S = float(os.environ.get("TROIKA_TEST_KILLING_S", "60"))


class Poisoned(EngineReplica):
    """A replica that dies of one certain prompt, before it has brought a token."""

    async def generate(self, submit, fingerprint):
        async for progress in super().generate(submit, fingerprint):
            if submit.prompt == POISON and not progress.replica:
                os._exit(1)
            yield progress


class Announced(EngineReplica):
    """A replica that leaves its process's number in a folder once it can serve."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        (Path(os.environ["REPLICAS"]) / str(os.getpid())).touch()


def alive(folder: Path) -> list[int]:
    """The replicas that have announced themselves and are not dead, the oldest first."""
    announced = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    return [int(file.name) for file in announced if is_alive(int(file.name))]


def processes(name: bytes) -> list[int]:
    """Those that Ray has given a name that begins so."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (folder / "cmdline").read_bytes().startswith(name):
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as started:
        yield started


def request(number: int, new: int = 150) -> tuple[tuple[int, ...], SamplingParams]:
    return (5, 6, 7 + number), SamplingParams(
        max_new_tokens=new, temperature=1.0, seed=number, repetition_penalty=1.1, logprobs=True
    )


def undisturbed(engine: RayEngine, count: int) -> list[Draws]:
    return [drain(engine.submit(*request(number))) for number in range(count)]


def test_streams_of_a_killed_node_end_with_the_bytes_of_an_undisturbed_run(cluster: Cluster) -> None:
    """Alone, together over two replicas, and when the node of one is killed: the same tokens."""
    deploy()
    with client(cluster) as engine:
        alone = undisturbed(engine, REQUESTS)
        streams = [engine.submit(*request(number)) for number in range(REQUESTS)]
        heads = []
        for stream in streams:
            token = stream.get(timeout=START_S)
            assert token is not None
            heads.append((token.token_id, token.logprob))
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

        assert [[head, *drain(stream)] for head, stream in zip(heads, streams, strict=True)] == alone
        assert {stream.finish_reason for stream in streams} <= {"length", "stop"}
        assert engine.status().restarts == 1
        wait_until(lambda: engine.status().replicas == 1, START_S, "the loss was noticed")
        add_node(cluster)
        wait_until(lambda: engine.status().replicas == 2, START_S, "the new node has a replica")
        wait_until_empty(engine)


def test_replicas_killed_again_and_again_break_no_stream(cluster: Cluster, tmp_path: Path) -> None:
    """Every five seconds the one that serves longest is killed, while eight clients ask for reply after reply.

    At times there is none, and all wait.
    """
    deploy(replica=Announced, environment={"REPLICAS": str(tmp_path)})
    with client(cluster, restart_timeout_s=300) as engine:
        alone = undisturbed(engine, 16)
        over = threading.Event()
        wrong: list[object] = []
        served = itertools.count()

        def ask(first: int) -> None:
            for number in itertools.cycle(range(first, first + 2)):
                if over.is_set():
                    return
                try:
                    if drain(engine.submit(*request(number))) != alone[number]:
                        wrong.append(f"request {number} got other tokens")
                except Exception as error:
                    wrong.append(error)
                next(served)

        askers = [threading.Thread(target=ask, args=(2 * i,)) for i in range(8)]
        for thread in askers:
            thread.start()
        killed = 0
        until = time.monotonic() + KILLING_S
        while time.monotonic() < until:
            over.wait(5)
            if pids := alive(tmp_path):
                kill(pids[0])
                killed += 1
        over.set()
        for thread in askers:
            thread.join(timeout=START_S)
        assert not any(thread.is_alive() for thread in askers), "a request hangs"
        assert wrong == []
        assert killed > 1
        assert next(served) > 16
        wait_until(lambda: engine.status().replicas == 2, START_S, "the replicas are back")
        wait_until_empty(engine)


def test_a_request_that_kills_two_replicas_fails_by_itself(cluster: Cluster) -> None:
    deploy(replica=Poisoned, config=ClusterConfig(replicas=2))
    with client(cluster) as engine:
        alone = undisturbed(engine, 8)
        streams = [engine.submit(*request(number)) for number in range(8)]
        for stream in streams:
            assert stream.get(timeout=START_S) is not None
        poison = engine.submit(POISON, SamplingParams(max_new_tokens=400, temperature=1.0, seed=1))
        with pytest.raises(EngineCrashedError, match="Two replicas were lost"):
            drain(poison)
        assert [drain(stream) for stream in streams] == [draws[1:] for draws in alone]
        assert engine.status().restarts >= 1


def test_the_loss_of_the_controller_disturbs_no_stream(cluster: Cluster) -> None:
    """Serve's controller watches over the replicas; requests do not pass through it."""
    deploy()
    with client(cluster) as engine:
        alone = undisturbed(engine, 8)
        streams = [engine.submit(*request(number)) for number in range(8)]
        heads = [stream.get(timeout=START_S) for stream in streams]
        (controller,) = processes(b"ray::ServeController")
        kill(controller)
        assert all(heads)
        assert [drain(stream) for stream in streams] == [draws[1:] for draws in alone]
        assert drain(engine.submit(*request(0))) == alone[0]
        assert (engine.status().state, engine.status().restarts) == ("ready", 0)
        wait_until(lambda: processes(b"ray::ServeController") not in ([], [controller]), START_S, "there is another")
        wait_until_empty(engine)
