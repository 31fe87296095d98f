"""A kernel that is compiled now and one that numba kept from an earlier process give the same bits.

They did not while the compiler was free to reorder sums: a sequence that went on in another process after a crash could
get other log-probabilities, in their last bit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib, sys
import numpy as np
from app.engine import attention, attention_kernel
from app.engine.sampler import _log_sum_exp, _draw

draw = np.random.default_rng(0)
rows, heads = 6, 2
seen = hashlib.sha256()
for dim, kernel in ((24, attention.attend_rows), (64, attention_kernel.attend_rows)):
    keys, values = (draw.standard_normal((rows, heads, 100, dim), np.float32) for _ in range(2))
    qkv = draw.standard_normal((rows, 3 * heads * dim), np.float32)
    out = np.zeros((rows, heads * dim), np.float32)
    kernel(qkv, keys, values, np.arange(rows), draw.integers(0, 100, rows), np.float32(0.2), out)
    seen.update(out.tobytes())
for _ in range(50):
    logits = 4 * draw.standard_normal(1003, np.float32)
    seen.update(np.float32(_log_sum_exp(logits)).tobytes())
    seen.update(np.int64(_draw(logits, np.float32(0.9), 0, np.float32(0.9), np.float32(0), draw.random())).tobytes())
hits = sum(sum(f.stats.cache_hits.values()) for f in (attention.attend_rows, attention_kernel.attend_rows, _draw))
print(hits, seen.hexdigest())
"""


@pytest.mark.slow
def test_fresh_and_kept_kernels_give_the_same_bits(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_THREADING_LAYER": "workqueue"}
    root = Path(__file__).parents[2]

    def run() -> tuple[int, str]:
        program = [sys.executable, "-c", PROGRAM]
        output = subprocess.run(program, env=environment, cwd=root, check=True, capture_output=True, text=True).stdout
        hits, digest = output.split()
        return int(hits), digest

    (fresh_hits, fresh), (kept_hits, kept) = run(), run()

    assert (fresh_hits, kept_hits) == (0, 3)
    assert fresh == kept
