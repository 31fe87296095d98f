"""The forward pass against transformers' own, on random models."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from app.engine import attention, attention_kernel
from app.engine.attention import attend_torch, attention_scale
from app.engine.checkpoint import ACTIVATIONS
from app.engine.gpt2 import GPT2
from app.engine.loop import EngineLoop
from app.engine.messages import SamplingParams, Submit
from app.engine.simd import has
from tests.engine.support import VOCABULARY, build_loop, drive, reference, save_model

needs_fma = pytest.mark.skipif(not has("fma"), reason="this processor has no fused multiply-add")

CLOSE = 1e-4
"""Largest difference to transformers' float32 logits."""

VARIANTS: dict[str, dict[str, object]] = {
    "plain": {},
    "12 layers": {"n_layer": 12},
    "scores divided by the layer": {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3},
    "scores not scaled": {"scale_attn_weights": False, "initializer_range": 0.05},
    "scores divided by the layer only": {
        "scale_attn_weights": False,
        "scale_attn_by_inverse_layer_idx": True,
        "initializer_range": 0.05,
    },
    "own head": {"tie_word_embeddings": False},
    "narrow feed-forward": {"n_inner": 96},
    "one head": {"n_head": 1},
    "large epsilon": {"layer_norm_epsilon": 0.1},
    "odd width": {"n_embd": 60, "n_head": 5, "vocab_size": 101},
    **{activation: {"activation_function": activation} for activation in ACTIVATIONS if activation != "gelu_new"},
}


@pytest.fixture(scope="module")
def loop(small_model: Path) -> EngineLoop:
    return build_loop(small_model)


def random_ids(count: int, seed: int = 0, vocabulary: int = VOCABULARY) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocabulary, count).tolist()


def expected_logits(folder: Path, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        return reference(folder)(torch.tensor([ids])).logits[0].numpy()


def compute(model: GPT2, slot: int, ids: list[int], start: int, count: int) -> np.ndarray:
    """The logits of positions start .. start + count, given that those before are in the slot."""
    out = []
    # The head takes as many rows at once as there are slots.
    most = model.cache.padding_slot
    for first in range(0, count, most):
        part = range(start + first, start + min(count, first + most))
        positions = np.array(part, np.int64)
        rows = np.arange(len(part), dtype=np.int64)
        slots = np.full(len(part), slot, np.int64)
        out.append(model.forward(np.array(ids, np.int64)[positions], positions, slots, rows).numpy())
    return np.concatenate(out)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_those_of_transformers(variant: str, tmp_path: Path) -> None:
    folder = save_model(tmp_path, **VARIANTS[variant])
    model = build_loop(folder).model
    ids = random_ids(model.config.n_positions, vocabulary=model.config.vocab_size)

    logits = compute(model, 3, ids, 0, len(ids))

    expected = expected_logits(folder, ids)
    assert np.abs(expected).max() > 0.5, "the model is too tame to tell right from wrong"
    assert np.abs(logits - expected).max() <= CLOSE


def chunkings(length: int) -> Iterator[list[int]]:
    yield [length]
    yield [1] * length
    yield [length - 1, 1]
    yield [1, length - 1]
    generator = np.random.default_rng(1)
    for _ in range(5):
        cuts = np.sort(generator.choice(np.arange(1, length), 6, replace=False))
        yield np.diff([0, *cuts, length]).tolist()


def test_any_chunking_of_a_prompt_gives_the_same_bits_up_to_the_last_position(
    loop: EngineLoop, small_model: Path
) -> None:
    ids = random_ids(loop.model.config.n_positions, seed=2)
    whole = compute(loop.model, 0, ids, 0, len(ids))

    assert np.abs(whole - expected_logits(small_model, ids)).max() <= CLOSE
    for slot, chunks in enumerate(chunkings(len(ids))):
        starts = np.cumsum([0, *chunks[:-1]])
        parts = [compute(loop.model, slot, ids, s, n) for s, n in zip(starts.tolist(), chunks, strict=True)]
        assert (np.concatenate(parts) == whole).all(), chunks


@pytest.mark.parametrize("position", [0, 1, 31, 32, 63, 100, 126, 127])
def test_a_decoded_token_at_any_position_has_the_logits_of_transformers(
    loop: EngineLoop, small_model: Path, position: int
) -> None:
    ids = random_ids(position + 1, seed=position)
    if position:
        compute(loop.model, 5, ids, 0, position)

    logits = compute(loop.model, 5, ids, position, 1)

    assert np.abs(logits[0] - expected_logits(small_model, ids)[-1]).max() <= CLOSE


def test_sequences_in_one_batch_do_not_see_each_other(loop: EngineLoop, small_model: Path) -> None:
    """Rows of eight sequences, at different positions, mixed into one forward pass."""
    sequences = [random_ids(5 + 9 * i, seed=i) for i in range(8)]
    ids = np.concatenate(sequences)
    positions = np.concatenate([np.arange(len(s)) for s in sequences])
    slots = np.concatenate([np.full(len(s), 7 - i) for i, s in enumerate(sequences)])
    lasts = np.cumsum([len(s) for s in sequences]) - 1
    # In pieces that fit the largest batch; the rows of one sequence stay in order.
    at = 0
    logits = []
    while at < len(ids):
        part = slice(at, at + 100)
        sampled = lasts[(lasts >= at) & (lasts < at + 100)] - at
        logits.append(loop.model.forward(ids[part], positions[part], slots[part], sampled).numpy())
        at += 100

    for got, sequence in zip(np.concatenate(logits), sequences, strict=True):
        assert np.abs(got - expected_logits(small_model, sequence)[-1]).max() <= CLOSE


def test_greedy_output_equals_generate_token_for_token(loop: EngineLoop, small_model: Path) -> None:
    """50 random prompts, all in the engine together."""
    model = reference(small_model)
    generator = np.random.default_rng(3)
    prompts = [random_ids(int(n), seed=i) for i, n in enumerate(generator.integers(1, 100, 50))]
    lengths = [min(24, 128 - len(prompt)) for prompt in prompts]
    arrivals = {
        step: [
            Submit(i, "", tuple(prompts[i]), SamplingParams(max_new_tokens=lengths[i], temperature=0.0))
            for i in range(step, 50, 10)
        ]
        for step in range(10)
    }

    results = drive(loop, arrivals)

    for i, prompt in enumerate(prompts):
        with torch.no_grad():
            expected = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                max_new_tokens=lengths[i],
                pad_token_id=0,
            )
        assert results[i].ids == expected[0, len(prompt) :].tolist()
        assert results[i].reason == "length"


def test_log_probabilities_are_those_of_transformers(loop: EngineLoop, small_model: Path) -> None:
    prompt = random_ids(20, seed=9)
    params = SamplingParams(max_new_tokens=10, seed=1, temperature=2.0, top_k=50, top_logprobs=3)

    result = drive(loop, {0: [Submit(0, "", tuple(prompt), params)]})[0]

    logits = torch.from_numpy(expected_logits(small_model, prompt + result.ids))
    expected = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    for token, row in zip(result.tokens, expected, strict=True):
        assert token.logprob == pytest.approx(row[token.token_id].item(), abs=CLOSE)
        best = row.topk(3)
        assert [token_id for token_id, _ in token.top] == best.indices.tolist()
        assert [logprob for _, logprob in token.top] == pytest.approx(best.values.tolist(), abs=CLOSE)


@pytest.mark.parametrize("position", [126, 127])
def test_a_prompt_up_to_the_last_position_gets_the_tokens_that_fit(loop: EngineLoop, position: int) -> None:
    """The last position can be read from; what is sampled there is never fed back."""
    prompt = tuple(random_ids(position + 1))

    result = drive(loop, {0: [Submit(0, "", prompt, SamplingParams(max_new_tokens=50))]})[0]

    assert (len(result.tokens), result.reason) == (128 - position, "length")


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_narrow_precisions_keep_the_offset_of_the_logits(precision: str, tmp_path: Path) -> None:
    """A repetition penalty depends on the logits' sign, so what all tokens share may not be dropped."""
    folder = save_model(tmp_path, tie_word_embeddings=False)
    with torch.no_grad():
        model = reference(folder)
        # GPT-2's own logits lie around -100.
        model.lm_head.weight -= model.transformer.ln_f.bias.detach() * 30
        model.save_pretrained(folder)
    ids = random_ids(40)
    expected = expected_logits(folder, ids)

    logits = compute(build_loop(folder, precision=precision).model, 0, ids, 0, len(ids))

    assert expected.mean() < -10
    assert logits.mean() == pytest.approx(expected.mean(), rel=0.05)


@pytest.mark.parametrize(
    ("kernel", "dim", "dtype", "close"),
    [
        pytest.param(attention.attend_rows, 16, torch.float32, 1e-5, id="any size of head"),
        pytest.param(attention_kernel.attend_rows, 64, torch.float32, 1e-5, id="heads of 64", marks=needs_fma),
        pytest.param(attention_kernel.attend_rows, 64, torch.bfloat16, 1e-5, id="narrow cache", marks=needs_fma),
    ],
)
def test_attention_kernels_agree(kernel: Callable[..., None], dim: int, dtype: torch.dtype, close: float) -> None:
    """`attend_torch` is what CUDA runs; here it runs on the CPU, beside the CPU's own."""
    generator = torch.Generator().manual_seed(0)
    slots_count, heads, span = 4, 3, 40
    shape = (slots_count + 1, heads, span, dim)
    keys, values = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    other_keys, other_values = keys.float(), values.float()
    # A chunk of slot 2, one decoding row of slot 0 at the last position, one row at position 0, two of padding.
    slots = torch.tensor([2, 2, 2, 2, 0, 3, 4, 4])
    positions = torch.tensor([5, 6, 7, 8, span - 1, 0, 0, 0])
    qkv = torch.randn(len(slots), 3 * heads * dim, generator=generator)
    if dtype == torch.bfloat16:  # so that the reference, which keeps what it is given, keeps the same
        qkv = qkv.to(dtype).float()
    qkv[-1] = qkv[-2]
    scale = attention_scale(dim, 1, scale_weights=True, by_inverse_layer=True)
    out, other_out = torch.empty(len(slots), heads * dim), torch.empty(len(slots), heads * dim)

    bits = [part.view(torch.uint16) if dtype == torch.bfloat16 else part for part in (keys, values)]
    kernel(
        qkv.numpy(), bits[0].numpy(), bits[1].numpy(), slots.numpy(), positions.numpy(), np.float32(scale), out.numpy()
    )
    attend_torch(qkv, other_keys, other_values, slots, positions, scale, other_out)

    assert torch.equal(keys.float(), other_keys)
    assert torch.equal(values.float(), other_values)
    assert torch.allclose(out, other_out, atol=close)


@needs_fma
def test_narrow_cache_rounds_to_the_nearest() -> None:
    qkv = torch.randn(1, 3 * 64, generator=torch.Generator().manual_seed(0))
    qkv[0, 64:66] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8])  # halfway between two: to the even one
    keys, values = (torch.zeros(1, 1, 1, 64, dtype=torch.bfloat16) for _ in range(2))
    nowhere = np.zeros(1, np.int64)

    attention_kernel.attend_rows(
        qkv.numpy(), keys.view(torch.uint16).numpy(), values.view(torch.uint16).numpy(), nowhere, nowhere,
        np.float32(1), np.empty((1, 64), np.float32),
    )  # fmt: skip

    assert torch.equal(keys.flatten(), qkv[0, 64:128].bfloat16())
    assert torch.equal(values.flatten(), qkv[0, 128:].bfloat16())


def test_attend_torch_gives_the_same_in_pieces() -> None:
    """Rows are attended some at a time when their gathered keys would take too much memory."""
    generator = torch.Generator().manual_seed(0)
    # 2 * heads * span * dim is large enough that three rows go together.
    heads, span, dim = 16, 8192, 320
    keys = torch.zeros(1, heads, span, dim)
    values = torch.zeros(1, heads, span, dim)
    rows = 7
    qkv = torch.randn(rows, 3 * heads * dim, generator=generator)
    positions = torch.arange(rows)
    out, other_out = torch.empty(rows, heads * dim), torch.empty(rows, heads * dim)

    attend_torch(qkv, keys, values, torch.zeros(rows, dtype=torch.int64), positions, 0.1, out)

    attention.attend_rows(
        qkv.numpy(), keys.numpy(), values.numpy(), np.zeros(rows, np.int64), positions.numpy(), np.float32(0.1),
        other_out.numpy(),
    )  # fmt: skip
    assert torch.allclose(out, other_out, atol=1e-5)


def test_cuda_path_gives_the_tokens_of_transformers(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole forward pass with the attention that CUDA uses, on the CPU."""

    def attend(self: GPT2, layer: int, qkv: torch.Tensor, place: tuple[np.ndarray, np.ndarray], scale: float):
        out = torch.empty(qkv.shape[0], self.config.n_embd)
        slots, positions = (torch.from_numpy(part) for part in place)
        attend_torch(qkv, self.cache.keys[layer], self.cache.values[layer], slots, positions, scale, out)
        return out

    monkeypatch.setattr(GPT2, "_attend", attend)
    model = build_loop(small_model).model
    ids = random_ids(128, seed=4)

    parts = [compute(model, 2, ids, 0, 50), compute(model, 2, ids, 50, 77), compute(model, 2, ids, 127, 1)]

    assert np.abs(np.concatenate(parts) - expected_logits(small_model, ids)).max() <= CLOSE
