"""Small models for the tests, in the form that transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.engine.support import save_model

END = "<|endoftext|>"


def save_chat_model(folder: Path, words: int = 0, **overrides: object) -> Path:
    """A random two-layer GPT-2 with a tokenizer of the 256 bytes and an end of text that never comes by chance.

    `words` are further tokens, for a model whose logits take some memory.
    """
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(symbols)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    tokenizer.add_tokens([f"[{number}]" for number in range(words)])
    sizes = {"vocab_size": len(symbols) + 1 + words, "n_positions": 4096, "eos_token_id": 256}
    save_model(folder, **sizes | overrides)
    _never_end_by_chance(folder / "model.safetensors", end=len(symbols))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}), encoding="utf-8")
    return folder


def _never_end_by_chance(weights: Path, end: int) -> None:
    """Give the end of text a logit far below all others: a test that wants 40 tokens must not get 3 at times."""
    tensors = load_file(weights)
    prefix = "transformer."
    tensors[f"{prefix}ln_f.bias"][0] += 3
    tensors[f"{prefix}wte.weight"][:, 0] = 0
    tensors[f"{prefix}wte.weight"][end, 0] = -10
    save_file(tensors, weights, metadata={"format": "pt"})
