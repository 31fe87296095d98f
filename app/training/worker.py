"""`python -m app.training.worker`: one more worker of a data-parallel run. `workers` starts it.

The first line of its stdin says where the workers meet; the end of its stdin, that the run is over, however it ended.
It takes the data from the training process, computes its share of every batch, and tells nothing: the training
process knows all there is to tell.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from app.training.options import TrainingOptions


def main() -> None:
    """Compute until the run is over."""
    parser = argparse.ArgumentParser(prog="python -m app.training.worker")
    parser.add_argument("--rank", type=int, required=True, metavar="N", help="which worker this is, from 1")
    parser.add_argument("--threads", type=int, required=True, metavar="N", help="threads of torch")
    parser.add_argument("--options", required=True, metavar="JSON", help="training options, with a seed")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all processes; the training process decides
    options = TrainingOptions.model_validate_json(arguments.options)

    import torch

    from app.training.group import Group, GroupError
    from app.training.trainer import build_model

    torch.set_num_threads(arguments.threads)
    meeting_place = sys.stdin.readline().rstrip("\n")
    if not meeting_place:
        return
    over = threading.Thread(target=_wait_for_the_end, name="watch-stdin", daemon=True)
    over.start()
    try:
        group = Group(arguments.rank, options.workers, Path(meeting_place))
        images, labels = group.take()
        build_model(options).fit(
            images,
            labels,
            epochs=options.epochs,
            batch_size=options.batch_size,
            augment=options.augment,
            group=group,
        )
    except GroupError:
        pass  # another worker has ended, and so the run is about to
    over.join()


def _wait_for_the_end() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
