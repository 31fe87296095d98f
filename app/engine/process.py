"""The engine process: reads requests from a pipe, steps, and writes one message a step.

Run as `python -m app.engine.process FD`, where FD is the service's end of a socket pair. It ends when the service
does: the pipe closes then, whatever the service died of.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection

from app.engine.messages import (
    Cancel,
    EngineConfig,
    Finished,
    Refused,
    Scheduled,
    Shutdown,
    StepOutput,
    Submit,
)
from app.engine.model_source import ModelRefusedError

Inbox = queue.SimpleQueue[Submit | Cancel | Shutdown]


def main(fd: int) -> None:
    connection: Connection = Connection(fd)
    # The service decides when this process ends; a Ctrl-C in the terminal reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    config: EngineConfig = connection.recv()
    # OpenMP's threads spin for a while after each region, where numba's should be running by then; read as torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        from app.engine.loop import build

        loop, ready = build(config)
    except ModelRefusedError as error:
        connection.send(Refused(str(error)))
        return
    connection.send(ready)
    inbox: Inbox = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(connection, inbox), name="inbox", daemon=True).start()
    probing: int | None = None
    while True:
        finished: list[Finished] = []
        # Wait for a message when there is nothing to compute; otherwise take what has come and go on.
        while not loop.scheduler.has_work or not inbox.empty():
            match inbox.get():
                case Submit() as message:
                    loop.submit(message)
                case Cancel(request_id):
                    if (ended := loop.scheduler.cancel(request_id)) is not None:
                        finished.append(ended)
                case Shutdown():
                    return
            if finished and not loop.scheduler.has_work:
                break
        batch, expired = loop.schedule()
        finished += expired
        if finished:
            connection.send(StepOutput(finished=tuple(finished), stats=loop.stats()))
        if batch is None:
            continue
        if batch.admitted or batch.probing != probing:
            probing = batch.probing
            connection.send(Scheduled(batch.admitted, batch.reused, probing))
        connection.send(loop.step(batch))


def _receive(connection: Connection, inbox: Inbox) -> None:
    """Move messages from the pipe to the inbox; end the process when the service has gone, or this can't go on."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)
        except BaseException:
            # Such as no memory for a message: without this thread the process would compute on, deaf to all requests.
            traceback.print_exc()
            os._exit(1)


def die_with_parent() -> None:
    """Have the kernel kill this process with its parent, even while it is stopped and cannot see the pipe close."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
