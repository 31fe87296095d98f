"""`LocalEngine` with its real child process: tokens, limits, crashes, refusals and the end."""

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.engine.client import (
    EngineBusyError,
    EngineCrashedError,
    EngineLimits,
    EngineTimeoutError,
    EngineUnavailableError,
    OwnerBusyError,
    PromptTooLongError,
    TokenStream,
    UnknownTokenError,
)
from app.engine.local import ROOT, LocalEngine
from app.engine.messages import EngineConfig, SamplingParams
from app.engine.requests import DEADLINE_GRACE_S
from tests.engine.support import VOCABULARY, save_model, wait_until

START_S = 120
"""A generous bound on a child's start: it imports torch on a machine that may be busy with other things."""

Engines = Callable[..., LocalEngine]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many positions, so that a stream lasts long enough to be disturbed."""
    return save_model(tmp_path_factory.mktemp("long"), n_positions=4096)


@pytest.fixture
def engines(model: Path) -> Iterator[Engines]:
    """Starts engines that are closed after the test; each must leave no thread, process or open file."""
    files, threads = open_files(), threading.active_count()
    started: list[LocalEngine] = []

    def start(folder: Path = model, limits: EngineLimits | None = None, wait: bool = True, **config: object):
        options = {"precision": "float32", "device": "cpu", "threads": 1, "max_sequences": 4} | config
        engine = LocalEngine(EngineConfig(str(folder), **options), limits)
        started.append(engine)
        if wait:
            assert engine.wait_until_ready(START_S), engine.status()
        return engine

    yield start
    for engine in started:
        pid = engine.pid
        engine.close()
        assert engine.pid is None
        assert pid is None or not is_alive(pid)
        assert (engine.status().state, engine.status().running, engine.status().waiting) == ("closed", 0, 0)
    wait_until(lambda: threading.active_count() <= threads, what="the engine's threads ended")
    wait_until(lambda: open_files() <= files, what="the engine's files are closed")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def take(stream: TokenStream, count: int) -> list[int]:
    tokens = [stream.get(timeout=START_S) for _ in range(count)]
    return [token.token_id for token in tokens if token is not None]


def drain(stream: TokenStream) -> list[int]:
    ids = []
    while (token := stream.get(timeout=START_S)) is not None:
        ids.append(token.token_id)
    return ids


def params(new: int = 20, seed: int = 1, **options: object) -> SamplingParams:
    return SamplingParams(max_new_tokens=new, seed=seed, **options)


def wait_until_empty(engine: LocalEngine) -> None:
    """No request left at the client, no slot and no queue entry at the engine."""

    def empty() -> bool:
        status = engine.status()
        return (status.running, status.waiting) == (0, 0) and (
            status.stats.slots_held,
            status.stats.running,
            status.stats.waiting,
        ) == (0, 0, 0)

    wait_until(empty, what="the engine is empty")


def test_life_of_an_engine(engines: Engines) -> None:
    """Tokens, cancellation, deadlines, refusals at the door: all on one child, and nothing is left behind."""
    engine = engines()
    status = engine.status()
    assert status.state == "ready"
    assert status.ready is not None
    assert (status.ready.device, status.ready.precision, status.ready.vocab_size) == ("cpu", "float32", VOCABULARY)
    assert (status.ready.max_positions, status.ready.max_sequences) == (4096, 4)

    # Tokens arrive, the same for the same request.
    first = engine.submit([1, 2, 3], params())
    ids = drain(first)
    assert (len(ids), first.finish_reason) == (20, "length")
    assert first.get() is None
    assert [token.token_id for token in engine.submit([1, 2, 3], params())] == ids
    stop = engine.submit([1, 2, 3], params(stop_token_ids=(ids[4],)))
    assert (drain(stop), stop.finish_reason) == (ids[: ids.index(ids[4]) + 1], "stop")

    # Prefixes are reused for their owner.
    follow_up = engine.submit([*range(100)], params(2), owner="ann")
    drain(follow_up)
    again = engine.submit([*range(100)], params(2), owner="ann")
    drain(again)
    assert (follow_up.prompt_tokens_reused, again.prompt_tokens_reused) == (0, 99)

    # Cancelled in mid-stream, in the queue, twice, and after the end.
    running = [engine.submit([i], params(4000)) for i in range(4)]
    waiting = engine.submit([9], params(4000))
    for stream in running:
        take(stream, 3)
    waiting.cancel()
    assert (drain(waiting), waiting.finish_reason) == ([], "cancelled")
    for stream in running:
        stream.cancel()
        stream.cancel()
    for stream in running:
        drain(stream)
        assert stream.finish_reason == "cancelled"
    first.cancel()
    engine.cancel(12345)
    wait_until_empty(engine)

    # Deadlines, decoding and waiting.
    late = [engine.submit([i], params(4000), deadline_s=0.3) for i in range(6)]
    for stream in late:
        with pytest.raises(EngineTimeoutError):
            drain(stream)
        assert stream.finish_reason == "error"
        assert stream.get() is None
    wait_until_empty(engine)

    # What can never fit, or names tokens that are not there, is refused before it is queued.
    for prompt, new in (([], 5), ([1] * 4000, 97), ([1] * 5000, 1)):
        with pytest.raises(PromptTooLongError):
            engine.submit(prompt, params(new))
    for prompt, options in (
        ([1, VOCABULARY], {}),
        ([-1], {}),
        ([1], {"logit_bias": ((VOCABULARY, 1.0),)}),
        ([1], {"banned_token_ids": (-3,)}),
    ):
        with pytest.raises(UnknownTokenError):
            engine.submit(prompt, params(**options))
    assert len(drain(engine.submit([1] * 4090, params(6)))) == 6
    wait_until_empty(engine)
    assert engine.status().restarts == 0


def test_a_full_queue_refuses_and_says_when_to_come_back(engines: Engines) -> None:
    engine = engines(limits=EngineLimits(max_waiting=3, max_queued_tokens=500), max_sequences=2)
    running = [engine.submit([i], params(4000)) for i in range(2)]
    for stream in running:
        take(stream, 1)
    waiting = [engine.submit([i], params(4000)) for i in range(3)]
    with pytest.raises(EngineBusyError) as refusal:
        engine.submit([1], params())
    assert refusal.value.retry_after_s >= 1
    waiting.pop().cancel()
    with pytest.raises(EngineBusyError, match="tokens"):
        engine.submit([1] * 499, params())
    waiting.append(engine.submit([1] * 498, params()))
    assert (engine.status().running, engine.status().waiting) == (2, 3)
    for stream in (*running, *waiting):
        stream.cancel()
    wait_until_empty(engine)
    # A prompt beyond the bound on queued tokens is let in when nothing else waits.
    assert len(drain(engine.submit([1] * 600, params(1)))) == 1


def test_one_owner_cannot_take_everybodys_places(engines: Engines) -> None:
    engine = engines(limits=EngineLimits(max_per_owner=3), max_sequences=2)
    streams = [engine.submit([1], params(4000), owner="a") for _ in range(3)]
    with pytest.raises(OwnerBusyError, match="3 of yours") as refusal:
        engine.submit([1], params(), owner="a")
    assert refusal.value.retry_after_s >= 1
    # Others are let in, and so is whoever has no name.
    streams.append(engine.submit([1], params(4000), owner="b"))
    streams += [engine.submit([1], params(4000)) for _ in range(4)]
    streams[0].cancel()
    streams.append(engine.submit([1], params(), owner="a"))
    for stream in streams:
        stream.cancel()
    wait_until_empty(engine)


def test_a_stream_knows_how_many_are_before_it(engines: Engines) -> None:
    engine = engines(max_sequences=1)
    streams = [engine.submit([1], params(4000)) for _ in range(4)]
    take(streams[0], 1)
    assert [stream.ahead for stream in streams] == [None, 0, 1, 2]
    streams[1].cancel()
    assert [stream.ahead for stream in streams] == [None, None, 0, 1]
    streams[0].cancel()
    take(streams[2], 1)
    assert [stream.ahead for stream in streams] == [None, None, None, 0]
    for stream in streams:
        stream.cancel()
    wait_until_empty(engine)


def test_a_reply_that_nobody_takes_in_time_is_given_up(engines: Engines) -> None:
    engine = engines()
    stream = engine.submit([1], params(8), deadline_s=1)
    wait_until_empty(engine)  # all of it is there to be taken
    take(stream, 1)
    time.sleep(1 + DEADLINE_GRACE_S)
    with pytest.raises(EngineTimeoutError):
        stream.get(timeout=0)
    assert stream.get(timeout=0) is None


def test_after_a_crash_every_stream_goes_on_and_ends_with_the_same_bytes(engines: Engines) -> None:
    engine = engines(limits=EngineLimits(first_backoff_s=0.5))
    requests = [([i, i + 1], params(1500, seed=i, repetition_penalty=1.1)) for i in range(6)]
    undisturbed = [drain(stream) for stream in [engine.submit(*request) for request in requests]]
    streams = [engine.submit(*request) for request in requests]
    head = [take(stream, 5) for stream in streams[:3]]
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: engine.status().state == "restarting", what="the crash was noticed")
    assert engine.status().running == 0
    during = engine.submit([1, 2, 3], params())
    cancelled = engine.submit([1, 2, 3], params())
    cancelled.cancel()
    late = engine.submit([1, 2, 3], params(), deadline_s=0.01)
    with pytest.raises(EngineTimeoutError):
        drain(late)
    assert engine.status().state == "restarting", "the deadline was kept though there was no engine"
    assert drain(cancelled) == []
    assert engine.wait_until_ready(START_S)

    tails = [drain(stream) for stream in streams]
    assert [a + b for a, b in zip([*head, [], [], []], tails, strict=True)] == undisturbed
    assert len(drain(during)) == 20
    assert engine.status().restarts == 1
    assert engine.pid != pid
    wait_until_empty(engine)


POISON = 200
FAULT = f"""
import os, sys
# Fault injection: an engine process whose step dies whenever it computes a sequence with one certain token.
if any("app.engine.process" in a for a in sys.orig_argv):
    import importlib.abc, importlib.machinery
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name != "app.engine.loop":
                return None
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            load = spec.loader.exec_module
            def exec_module(module):
                load(module)
                step = module.EngineLoop.step
                def deadly(self, batch):
                    if any({POISON} in c.sequence.tokens[:c.start + c.count] for c in batch.chunks):
                        os.kill(os.getpid(), 9)
                    return step(self, batch)
                module.EngineLoop.step = deadly
            spec.loader.exec_module = exec_module
            return spec
    sys.meta_path.insert(0, Finder())
"""


def test_a_request_that_kills_the_engine_twice_is_failed_alone(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others were in flight in the first crash too, but not when the culprit was tried by itself."""
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine = engines()
    # No reply may contain the deadly token by chance.
    harmless = params(600, banned_token_ids=(POISON,))
    undisturbed = [drain(engine.submit([i], harmless)) for i in range(3)]
    streams = [engine.submit([i], harmless) for i in range(3)]
    for stream in streams:
        take(stream, 1)

    culprit = engine.submit([5, POISON, 6], params())

    with pytest.raises(EngineCrashedError):
        drain(culprit)
    assert [take_all[1:] for take_all in undisturbed] == [drain(stream) for stream in streams]
    assert engine.status().restarts == 2
    wait_until_empty(engine)


def test_a_request_in_flight_in_two_crashes_is_failed_and_later_ones_are_served(engines: Engines) -> None:
    """Guards against blame that stuck to a sequence tried alone after its trial was over."""
    engine = engines()
    victim = engine.submit([1], params(4000))
    take(victim, 2)
    os.kill(engine.pid or 0, signal.SIGKILL)
    wait_until(lambda: engine.status().state == "restarting", what="the crash was noticed")
    newcomer = engine.submit([2], params(4000))
    # Both run: the victim has been tried alone by then.
    take(newcomer, 5)
    os.kill(engine.pid or 0, signal.SIGKILL)

    with pytest.raises(EngineCrashedError):
        drain(victim)
    take(newcomer, 5)
    newcomer.cancel()
    assert len(drain(engine.submit([3], params()))) == 20
    wait_until_empty(engine)


def test_without_a_replacement_in_time_streams_end_with_an_error(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a clock that began anew with every failed start."""
    engine = engines(limits=EngineLimits(restart_timeout_s=3, first_backoff_s=0.1, longest_backoff_s=0.2))
    stream = engine.submit([1], params(4000))
    take(stream, 2)
    (tmp_path / "sitecustomize.py").write_text("import os, sys\nif 'engine' in str(sys.orig_argv): os._exit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    os.kill(engine.pid or 0, signal.SIGKILL)

    with pytest.raises(EngineUnavailableError, match="did not come up in time"):
        drain(stream)
    status = engine.status()
    assert (status.state, status.running, status.waiting) == ("restarting", 0, 0)
    with pytest.raises(EngineUnavailableError):
        drain(engine.submit([1], params()))
    # And once a child starts again, it serves.
    monkeypatch.delenv("PYTHONPATH")
    assert engine.wait_until_ready(START_S) or engine.wait_until_ready(START_S)
    assert len(drain(engine.submit([1], params()))) == 20


def test_the_last_words_of_a_child_are_one_entry_of_the_log(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fault = """
import os, sys
if "app.engine.process" in sys.orig_argv:
    for word in ("Traceback:", "  line 1", "RuntimeError: out of luck"):
        os.write(2, (word + "\\n").encode())
    os._exit(3)
"""
    (tmp_path / "sitecustomize.py").write_text(fault)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine = engines(wait=False)

    def words() -> list[str]:
        return [r.getMessage() for r in caplog.records if "the engine process says" in r.getMessage()]

    wait_until(lambda: engine.status().restarts > 0 and words(), what="the child crashed")
    assert words()[0].endswith("Traceback:\n  line 1\nRuntimeError: out of luck")


def test_a_child_that_hangs_is_replaced(engines: Engines) -> None:
    engine = engines(limits=EngineLimits(stall_timeout_s=2))
    expected = drain(engine.submit([1], params(600)))
    stream = engine.submit([1], params(600))
    head = take(stream, 2)
    pid = engine.pid
    os.kill(pid or 0, signal.SIGSTOP)
    late = engine.submit([2], params(), deadline_s=0.1)

    with pytest.raises(EngineTimeoutError):
        drain(late)
    assert head + drain(stream) == expected
    assert engine.pid != pid


def test_an_idle_child_that_hangs_is_seen_to_and_replaced(engines: Engines) -> None:
    """Nobody asks it anything, so it is given tokens to compute, of which nobody else gets to know."""
    engine = engines(limits=EngineLimits(stall_timeout_s=3, first_backoff_s=0.1))
    drain(engine.submit([*range(50)], params(), owner="ann"))
    pid, cached = engine.pid, engine.status().stats.cached_tokens
    os.kill(pid or 0, signal.SIGSTOP)

    wait_until(lambda: engine.status().state == "stalled", what="the silence was noticed")
    assert "says nothing" in engine.status().reason
    wait_until(lambda: engine.pid not in (None, pid), what="the child was replaced")
    assert engine.wait_until_ready(START_S)
    drain(engine.submit([*range(50)], params(), owner="ann"))
    heard = engine.status().stats
    wait_until(lambda: engine.status().stats is not heard, what="a trial token was computed")
    status = engine.status()
    assert (status.state, status.running, status.waiting, status.restarts) == ("ready", 0, 0, 1)
    assert (status.stats.slots_held, status.stats.cached_tokens) == (0, cached)


def test_a_child_that_never_comes_up_is_given_up(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os, sys\nif 'engine' in str(sys.orig_argv): os._exit(3)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine = engines(limits=EngineLimits(first_backoff_s=0.01, max_failed_starts=3), wait=False)
    early = engine.submit([1], params())

    with pytest.raises(EngineUnavailableError, match="ended 3 times before it could serve, at last with exit code 3"):
        drain(early)
    assert not engine.wait_until_ready(START_S)
    assert (engine.status().state, engine.status().restarts) == ("refused", 3)
    with pytest.raises(EngineUnavailableError):
        engine.submit([1], params())


def test_a_refused_checkpoint_is_refused_once_and_for_all(engines: Engines, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no weights")
    told: list[str] = []
    engine = LocalEngine(EngineConfig(str(folder), device="cpu", threads=1), on_refused=told.append)
    early = engine.submit([1], params())
    try:
        assert not engine.wait_until_ready(START_S)
        assert engine.status().state == "refused"
        assert "model.safetensors" in engine.status().reason
        with pytest.raises(EngineUnavailableError, match=r"model\.safetensors"):
            drain(early)
        with pytest.raises(EngineUnavailableError, match=r"model\.safetensors"):
            engine.submit([1], params())
        wait_until(lambda: told == [engine.status().reason], what="the refusal was told")
        wait_until(lambda: engine.pid is None, what="the child ended")
        assert (engine.status().running, engine.status().waiting) == (0, 0)
    finally:
        engine.close()
    engine.close()


def test_what_was_submitted_while_loading_is_looked_at_when_the_model_is_known(engines: Engines) -> None:
    """Guards against a prompt longer than the model that took the engine down, and its neighbours with it."""
    engine = engines(wait=False)
    assert engine.status().state == "loading"
    good = engine.submit([1], params())
    long, unknown = engine.submit([1] * 5000, params()), engine.submit([VOCABULARY], params())

    assert len(drain(good)) == 20
    with pytest.raises(PromptTooLongError):
        drain(long)
    with pytest.raises(UnknownTokenError):
        drain(unknown)
    assert engine.status().restarts == 0


def test_closing_ends_every_stream(engines: Engines) -> None:
    for wait in (True, False):
        engine = engines(wait=wait)
        streams = [engine.submit([i], params(4000)) for i in range(6)]
        started = time.monotonic()
        engine.close()
        assert time.monotonic() - started < 20
        for stream in streams:
            with pytest.raises(EngineUnavailableError):
                drain(stream)
        with pytest.raises(EngineUnavailableError):
            engine.submit([1], params())
        streams[0].cancel()


def test_a_stopped_child_can_be_closed(engines: Engines) -> None:
    engine = engines()
    os.kill(engine.pid or 0, signal.SIGSTOP)
    engine.submit([1], params())
    engine.close()


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_the_child_dies_with_its_parent(model: Path, stopped: bool) -> None:
    code = f"""
        import sys, time
        from app.engine.local import LocalEngine
        from app.engine.messages import EngineConfig, SamplingParams
        engine = LocalEngine(EngineConfig({str(model)!r}, device="cpu", threads=1))
        assert engine.wait_until_ready({START_S})
        stream = engine.submit([1], SamplingParams(max_new_tokens=4000))
        stream.get()
        print(engine.pid, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = int(parent.stdout.readline())
    assert is_alive(child)
    if stopped:
        os.kill(child, signal.SIGSTOP)
    parent.kill()
    parent.wait()

    wait_until(lambda: not is_alive(child), what="the child died")


def test_a_child_that_can_t_take_a_message_ends() -> None:
    """Guards against a thread that died alone of too little memory, and left an engine that heard nothing more."""
    code = """
        import queue, threading
        from app.engine.process import _receive
        class Connection:
            def recv(self):
                raise MemoryError
        inbox = queue.SimpleQueue()
        threading.Thread(target=_receive, args=(Connection(), inbox), daemon=True).start()
        inbox.get()
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert (result.returncode, result.stderr.splitlines()[-1]) == (1, "MemoryError")


def test_a_stream_can_be_waited_for_with_a_timeout(engines: Engines) -> None:
    engine = engines()
    blockers = [engine.submit([i], params(4000)) for i in range(4)]
    stream = engine.submit([1], params())
    with pytest.raises(queue.Empty):
        stream.get(timeout=0.01)
    for blocker in blockers:
        blocker.cancel()
    assert len(drain(stream)) == 20


def test_many_threads_may_use_one_engine(engines: Engines) -> None:
    engine = engines()
    expected = [drain(engine.submit([i], params(50, seed=i))) for i in range(8)]
    got: dict[int, list[int]] = {}

    def chat(i: int) -> None:
        got[i] = [token.token_id for token in engine.submit([i % 8], params(50, seed=i % 8))]

    threads = [threading.Thread(target=chat, args=(i,)) for i in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(START_S)

    assert got == {i: expected[i % 8] for i in range(32)}
    wait_until_empty(engine)


def test_the_engine_may_be_started_from_any_folder(model: Path, tmp_path: Path) -> None:
    """Guards against a child that found the package `app` only where the service was started."""
    code = f"""
        from app.engine.local import LocalEngine
        from app.engine.messages import EngineConfig, SamplingParams
        engine = LocalEngine(EngineConfig({model.name!r}, device="cpu", threads=1))
        assert engine.wait_until_ready({START_S}), engine.status()
        print(len(list(engine.submit([1], SamplingParams(max_new_tokens=7)))))
        engine.close()
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=model.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert result.stdout == "7\n", result.stderr
