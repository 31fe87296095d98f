"""The training script on a few steps: it learns, it stops and resumes, and leaves a whole checkpoint."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from app.starter import train
from app.starter.train import CHECKPOINT, batches, encode, rate


def options(folder: Path, steps: int, resume: bool = False) -> argparse.Namespace:
    return argparse.Namespace(
        seed=1, threads=0, device="cpu", resume=resume, state=folder / "state.pt", steps=steps, max_minutes=0,
        batch_tokens=512, save_minutes=60, out=folder / "checkpoint",
    )  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model and a tokenizer corpus that train in a second."""
    monkeypatch.setattr(train, "WIDTH", 64)
    monkeypatch.setattr(train, "HEADS", 1)
    monkeypatch.setattr(train, "LAYERS", 1)
    monkeypatch.setattr(train, "TOKENIZER_DIALOGUES", 200)
    monkeypatch.setattr(train, "CHUNK", 100)


@pytest.mark.usefixtures("small")
def test_training_learns_and_resumes(tmp_path: Path) -> None:
    train.train(options(tmp_path, steps=6))
    first = torch.load(tmp_path / "state.pt", weights_only=True)["losses"]
    train.train(options(tmp_path, steps=12, resume=True))
    losses = torch.load(tmp_path / "state.pt", weights_only=True)["losses"]
    assert losses[:6] == first
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3])
    names = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "loss.png"} <= names
    assert not (tmp_path / "checkpoint.new").exists()
    assert not (tmp_path / "checkpoint.old").exists()


def test_batches_go_on_from_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "TORN", 0.0)  # the tokenizers library draws its dropout without a seed
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    whole = list(itertools.islice(batches(1, tokenizer, 4096), 6))
    later = list(itertools.islice(batches(1, tokenizer, 4096, whole[3].after), 2))
    for one, other in zip(whole[4:], later, strict=True):
        assert one.after == other.after
        assert torch.equal(one.ids, other.ids)
    assert all(batch.ids.numel() <= 4096 or len(batch.ids) == 1 for batch in whole)
    assert all(bool(batch.counted.any()) for batch in whole)


def test_the_rate_warms_up_and_ends_at_nothing() -> None:
    assert rate(0.0) == 0.0
    assert rate(0.2) == 1.0
    assert 0 < rate(0.9) < rate(0.5) < 1
    assert rate(1.0) == pytest.approx(0.0)


def test_encoding_keeps_ids_and_mask_aligned() -> None:
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    for item in train.dialogues(1, 0, 50):
        ids, counted = encode(item, tokenizer)
        assert len(ids) == len(counted)
        assert counted[-1]
        assert not counted[0]
