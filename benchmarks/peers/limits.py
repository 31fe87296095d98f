"""What this machine can do at most, as JSON: bytes a second read, operations a second in each kind of number.

python -m benchmarks.peers.limits --cores 2
"""

from __future__ import annotations

import argparse
import json

import torch

from benchmarks.common import read_bandwidth, timed

SIZE, TRIES = 2048, 3


def operations_per_s() -> dict[str, float]:
    """The best of a few products of square matrices, by each way of torch's to compute them."""
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    packed = torch.ops.mkldnn._reorder_linear_weight(b, None)
    halves = a.bfloat16(), b.bfloat16()
    c, d = torch.randint(-99, 99, (2, SIZE, SIZE), dtype=torch.int8)
    ways = {
        "float32": [lambda: a @ b, lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")],
        "bfloat16": [lambda: halves[0] @ halves[1]],
        "int8": [lambda: torch._int_mm(c, d)],
    }
    return {kind: 2 * SIZE**3 / min(timed(way) for way in calls for _ in range(TRIES)) for kind, calls in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, required=True)
    torch.set_num_threads(parser.parse_args().cores)
    torch.set_grad_enabled(False)
    print(json.dumps({"bandwidth": read_bandwidth(), "operations": operations_per_s()}))


if __name__ == "__main__":
    main()
