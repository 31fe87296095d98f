"""`python -m app.engine.compile`: have numba compile the kernels now, so that the first start need not.

numba keeps the result beside the sources, for this processor; a start that finds none compiles them again.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from app.engine.checkpoint import GPT2Config
from app.engine.loop import build
from app.engine.messages import EngineConfig


def main() -> None:
    """Serve two requests on models of next to no size, in each precision and size of head that has its own kernels."""
    config = GPT2Config(
        vocab_size=64,
        n_positions=8,
        n_embd=64,
        n_layer=1,
        n_head=1,
        n_inner=64,
        activation_function="gelu_new",
        layer_norm_epsilon=1e-5,
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        tie_word_embeddings=True,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for heads, precision in ((1, "float32"), (1, "int8"), (2, "float32")):  # heads of 64 have a kernel of their own
            _save(replace(config, n_head=heads), folder)
            build(EngineConfig(folder=name, device="cpu", precision=precision, max_sequences=2, max_rows=4))


def _save(config: GPT2Config, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **asdict(config)}), encoding="utf-8")
    save_file({name: torch.zeros(shape) for name, shape in config.shapes().items()}, folder / "model.safetensors")


if __name__ == "__main__":
    main()
