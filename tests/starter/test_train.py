"""The training script on a few steps: it learns, it stops and resumes, and leaves a whole checkpoint."""

from __future__ import annotations

import argparse
import itertools
import random
import signal
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import GPT2LMHeadModel

from app.starter import train
from app.starter.muon import Muon
from app.starter.train import CHECKPOINT, batches, encode, rate


def options(folder: Path, steps: int, resume: bool = False, start_from: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(
        seed=1, threads=0, device="cpu", resume=resume, state=folder / "state.pt", steps=steps, max_minutes=0,
        batch_tokens=512, save_minutes=60, out=folder / "checkpoint", start_from=start_from, peak=1.0,
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


@pytest.mark.usefixtures("small")
def test_a_warm_start_takes_over_a_smaller_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train.train(options(tmp_path, steps=3))
    first = tmp_path / "checkpoint"
    tokenizer = Tokenizer.from_file(str(first / "tokenizer.json"))
    monkeypatch.setattr(train, "LAYERS", 3)
    model = train.build_model(tokenizer.get_vocab_size())
    train.warm_start(model, first)
    ids = torch.randint(4, tokenizer.get_vocab_size(), (2, 9))
    small_model = GPT2LMHeadModel.from_pretrained(first, dtype=torch.float32)
    torch.testing.assert_close(model(ids).logits, small_model(ids).logits)

    later = tmp_path / "later"
    train.train(options(later, steps=2, start_from=first))
    grown = GPT2LMHeadModel.from_pretrained(later / "checkpoint")
    assert grown.config.n_layer == 3
    assert Tokenizer.from_file(str(later / "checkpoint" / "tokenizer.json")).get_vocab() == tokenizer.get_vocab()
    monkeypatch.setattr(train, "LAYERS", 1)
    with pytest.raises(ValueError, match="3 layers"):
        train.warm_start(train.build_model(tokenizer.get_vocab_size()), later / "checkpoint")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    loss_of, calls = train.loss_of, []

    def third_time(model: GPT2LMHeadModel, batch: train.Batch) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(number)
        return loss_of(model, batch)

    monkeypatch.setattr(train, "loss_of", third_time)
    train.train(options(tmp_path, steps=50))
    assert len(torch.load(tmp_path / "state.pt", weights_only=True)["losses"]) == 3
    assert (tmp_path / "checkpoint" / "model.safetensors").exists()
    assert signal.getsignal(number) == before


def test_tearing_loses_nothing_and_follows_its_seed() -> None:
    text = "what's the difference between dropout and regularisation? 随机失活"
    torn = [train.tear(text, random.Random(seed)) for seed in range(50)]
    assert all("".join(pieces) == text for pieces in torn)
    assert torn == [train.tear(text, random.Random(seed)) for seed in range(50)]
    assert max(map(len, torn)) > 3


def test_batches_are_repeatable_and_go_on_from_their_place() -> None:
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    whole = list(itertools.islice(batches(1, tokenizer, 4096), 6))
    again = itertools.islice(batches(1, tokenizer, 4096), 6)
    assert all(torch.equal(one.ids, other.ids) for one, other in zip(whole, again, strict=True))
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


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_muon_takes_the_steps_of_torch_s_own(shape: tuple[int, int]) -> None:
    """torch's works in bfloat16, so alike to that precision."""
    draw = torch.Generator().manual_seed(5)
    ours, theirs = (torch.nn.Parameter(torch.zeros(shape)) for _ in range(2))
    steppers = [
        Muon([ours], lr=0.01, weight_decay=0.05, dtype=torch.float32),
        torch.optim.Muon([theirs], lr=0.01, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    ]
    for _ in range(4):
        ours.grad = torch.randn(shape, generator=draw)
        theirs.grad = ours.grad.clone()
        for stepper in steppers:
            stepper.step()
    assert (ours - theirs).norm() < 0.02 * theirs.norm()
