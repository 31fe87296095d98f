"""What the self-check says of a model that computes wrongly, or slowly, or otherwise each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from app.doctor import model
from tests.engine.support import build_loop, save_model


def test_a_model_is_at_parity_with_itself_and_not_with_another(tmp_path: Path) -> None:
    loop = build_loop(save_model(tmp_path / "a"), max_sequences=model.SLOTS)
    other = save_model(tmp_path / "b", seed=1)
    same = model.parity_finding(loop, tmp_path / "a", "float32")
    assert same.level == "ok", same
    wrong = model.parity_finding(loop, other, "float32")
    assert wrong.level == "fail"
    assert "do not serve with this" in wrong.advice


def test_a_checkpoint_that_transformers_cannot_load_is_told(tmp_path: Path) -> None:
    loop = build_loop(save_model(tmp_path / "a"), max_sequences=model.SLOTS)
    (tmp_path / "a" / "model.safetensors").unlink()
    finding = model.parity_finding(loop, tmp_path / "a", "float32")
    assert finding.level == "warn"
    assert "save it again" in finding.advice


@pytest.mark.parametrize(
    ("precision", "error", "level", "said"),
    [
        ("float32", 5e-5, "ok", "5.0e-05"),
        ("float32", 1e-3, "warn", "the tests allow 1e-04"),
        ("float32", 1.0, "fail", "do not serve"),
        ("int8", 0.05, "ok", "int8 logits differ"),
        ("bfloat16", np.nan, "fail", "do not serve"),
        ("float32", np.inf, "fail", "do not serve"),
    ],
)
def test_how_much_difference_is_too_much(precision: str, error: float, level: str, said: str) -> None:
    expected = np.random.default_rng(0).normal(size=(16, 50)).astype(np.float32)
    expected[:, 7] += 10
    logits = expected.copy()
    logits[3, 5] += error
    finding = model.judge_parity(logits, expected, precision)
    assert finding.level == level
    assert said in str(finding)


def test_tokens_that_mostly_differ_are_told_in_every_precision() -> None:
    expected = np.eye(10, dtype=np.float32)
    assert model.judge_parity(np.roll(expected, 1, axis=1) * 0.1, expected, "int8").level == "fail"
    some = expected.copy()
    some[:3] = np.roll(some[:3], 1, axis=1)
    finding = model.judge_parity(some, expected, "int8")
    assert finding.level == "warn"
    assert "TROIKA_PRECISION=float32" in finding.advice


def test_a_missing_kernel_is_told(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", missing)
    from app.engine.loop import build
    from app.engine.messages import EngineConfig
    from tests.engine.support import torch_settings_kept

    with torch_settings_kept():
        loop, ready = build(EngineConfig(folder=str(small_model), device="cpu", threads=1, max_sequences=2))
    finding = model.kernels_finding(loop.model)
    assert not ready.batch_invariant
    assert finding.level == "warn"
    assert "F.linear float32 for" in finding.found
    assert "no such operator" in finding.found
    assert "requirements.txt" in finding.advice


def test_what_was_promised_decides_how_bad_other_bits_are() -> None:
    assert model.judge_determinism(twice=True, in_company=True, promised=True).level == "ok"
    assert model.judge_determinism(twice=True, in_company=False, promised=True).level == "fail"
    assert model.judge_determinism(twice=True, in_company=False, promised=False).level == "warn"
    assert model.judge_determinism(twice=False, in_company=False, promised=False).level == "fail"


def test_a_model_slower_than_a_reader_is_told() -> None:
    assert model.judge_speed(30.0, 300.0).level == "ok"
    assert model.judge_speed(1.5, 9.0).level == "warn"
