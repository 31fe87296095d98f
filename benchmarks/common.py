"""What the benchmarks share: a random GPT-2 124M with a tokenizer, memory and bandwidth readings, tables."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parent / ".cache"
VOCABULARY = 50257


def random_gpt2(folder: Path = CACHE / "gpt2-124m") -> Path:
    """GPT-2 124M with random weights: speed does not depend on their values. Made once.

    They are larger than those GPT-2's training starts from (0.02), with which it repeats its last token for ever, and
    nobody could tell a right output from a wrong one.
    """
    if (folder / "tokenizer.json").is_file():
        return folder
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(initializer_range=0.05)).save_pretrained(folder)
    _tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _tokenizer() -> Any:
    """A byte-level tokenizer of GPT-2's size: the 256 bytes, then words that no merge leads to."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for i in range(len(vocabulary), VOCABULARY - 1):
        vocabulary[f"Ġw{i}"] = i
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    return tokenizer


def read_bandwidth() -> float:
    """Bytes a second at which this machine reads memory: the sum of half a gigabyte, best of three."""
    import torch

    data = torch.ones(1 << 27)
    best = min(timed(data.sum) for _ in range(4))
    return data.numel() * data.itemsize / best


def timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak_rss_mb(pid: int | str = "self") -> float:
    """The most memory a process ever held, from the kernel."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median_rows(rows: list[dict[str, Any]], key: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each distinct `key`, every number the median over its rounds."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in key), []).append(row)
    merged = []
    for group in groups.values():
        numbers = {
            name: round(statistics.median(row[name] for row in group), 3)
            for name, value in group[0].items()
            if name not in key and isinstance(value, float)
        }
        merged.append({**group[0], **numbers})
    return merged


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row.get(name)) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return (
        f"{value:,.1f}"
        if isinstance(value, float) and value >= 10
        else f"{value:.2f}"
        if isinstance(value, float)
        else str(value)
    )


def write_json(rows: list[dict[str, Any]], path: str | None) -> None:
    if path:
        Path(path).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
