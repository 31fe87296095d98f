"""What the narrow precisions cost on the bundled starter, in perplexity over dialogues it was not trained on."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from app.engine.model_source import STARTER_FOLDER
from app.starter.corpus import dialogues
from app.starter.train import encode
from tests.engine.support import build_loop

SEED = 987_654_321
"""Not one that training draws from; what the starter says there is known to it, how the talk goes is not."""
DIALOGUES = 150


@cache
def perplexity(precision: str) -> float:
    """exp of the mean negative log-likelihood of all that the starter has to say itself."""
    tokenizer = Tokenizer.from_file(str(STARTER_FOLDER / "tokenizer.json"))
    model = build_loop(STARTER_FOLDER, precision=precision, max_sequences=64, max_rows=64).model
    total, count = 0.0, 0
    for dialogue in dialogues(SEED, 0, DIALOGUES):
        ids, counted = encode(dialogue, tokenizer)
        tokens = np.array(ids[: model.config.n_positions], np.int64)
        for start in range(0, len(tokens) - 1, 64):
            positions = np.arange(start, min(start + 64, len(tokens) - 1))
            rows = np.arange(len(positions))
            logits = model.forward(tokens[positions], positions, np.zeros_like(positions), rows)
            wanted = torch.tensor([counted[position + 1] for position in positions])
            targets = torch.from_numpy(tokens[positions + 1])
            losses = torch.nn.functional.cross_entropy(logits.double(), targets, reduction="none")[wanted]
            total += losses.sum().item()
            count += len(losses)
    assert count > 3000
    return math.exp(total / count)


def test_the_starter_knows_what_it_says() -> None:
    """The comparison below means something only for a model that has learnt."""
    assert perplexity("float32") < 20


@pytest.mark.parametrize(("precision", "share"), [("bfloat16", 0.01), ("int8", 0.02)])
def test_narrow_precisions_keep_the_perplexity(precision: str, share: float) -> None:
    assert perplexity(precision) == pytest.approx(perplexity("float32"), rel=share)
