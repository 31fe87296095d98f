"""The sampler against exact distributions, computed apart in float64."""

from collections import Counter
from collections.abc import Sequence as Seq

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers.generation import logits_process as hf

from app.engine.messages import SamplingParams, Submit, Token
from app.engine.sampler import philox4x32, sample, uniform
from app.engine.sequence import Sequence

PROMPT = (3, 5, 5, 7, 11)
OUTPUT = (2, 2, 2, 5, 13, 30)
DRAWS = 20_000


def spread(size: int, seed: int = 0, scale: float = 2.0) -> NDArray[np.float32]:
    """Logits of both signs, no two alike."""
    return np.random.default_rng(seed).normal(0, scale, size).astype(np.float32)


def make_sequence(params: SamplingParams, prompt: Seq[int] = PROMPT, output: Seq[int] = OUTPUT) -> Sequence:
    return Sequence.from_submit(Submit(0, "", tuple(prompt), params, output=tuple(output)), now=0.0)


def draw(logits: NDArray[np.float32], count: int = DRAWS, **options: object) -> NDArray[np.int64]:
    """`count` independent draws of one position: each seed is another sequence."""
    ids = []
    for first in range(0, count, 2000):
        seeds = range(first, min(count, first + 2000))
        sequences = [make_sequence(SamplingParams(max_new_tokens=100, seed=seed, **options)) for seed in seeds]
        ids += [token.token_id for token in sample(np.tile(logits, (len(seeds), 1)), sequences)]
    return np.array(ids)


def sample_one(logits: NDArray[np.float32], params: SamplingParams, output: Seq[int] = OUTPUT) -> Token:
    return sample(logits[None].copy(), [make_sequence(params, output=output)])[0]


def exact(
    logits: NDArray[np.float32],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    frequency_penalty: float = 0.0,
    presence_penalty: float = 0.0,
    logit_bias: tuple[tuple[int, float], ...] = (),
    banned_token_ids: tuple[int, ...] = (),
) -> NDArray[np.float64]:
    """The probability of each token by the definitions of transformers and the OpenAI API."""
    x = logits.astype(np.float64)
    if repetition_penalty != 1.0:
        for token_id in {*PROMPT, *OUTPUT}:
            x[token_id] *= 1 / repetition_penalty if x[token_id] > 0 else repetition_penalty
    if frequency_penalty or presence_penalty:
        for token_id, count in Counter(OUTPUT).items():
            x[token_id] -= frequency_penalty * count + presence_penalty
    for token_id, bias in logit_bias:
        x[token_id] += bias
    x[list(banned_token_ids)] = -np.inf
    x /= temperature
    p = np.exp(x - x.max())
    p /= p.sum()
    order = np.lexsort((np.arange(len(p)), -p))
    if top_k:
        p[order[top_k:]] = 0
        p /= p.sum()
    # Keep the smallest set that reaches top_p: a token goes when those before it reach it already.
    before = np.cumsum(p[order]) - p[order]
    p[order[before >= top_p]] = 0
    p[p < min_p * p.max()] = 0
    return p / p.sum()


def chi_squared_p(ids: NDArray[np.int64], p: NDArray[np.float64]) -> float:
    """How likely such a deviation from `p` is by chance; tokens expected less than 5 times are taken together."""
    observed = np.bincount(ids, minlength=len(p)).astype(np.float64)
    assert (observed[p == 0] == 0).all(), f"impossible tokens: {np.flatnonzero((observed > 0) & (p == 0))}"
    expected = p * len(ids)
    rare = expected < 5
    observed = np.append(observed[~rare], observed[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 5:
        # Too few even together to say anything of.
        observed, expected = observed[:-1], expected[:-1]
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    if freedom == 0:
        return 1.0
    return torch.special.gammaincc(torch.tensor(freedom / 2), torch.tensor(statistic / 2)).item()


CASES: dict[str, dict[str, object]] = {
    "as it is": {},
    "cool": {"temperature": 0.5},
    "warm": {"temperature": 1.7},
    "top-k": {"top_k": 7},
    "top-k of all": {"top_k": 60},
    "top-k beyond all": {"top_k": 1000},
    "top-p": {"top_p": 0.8},
    "narrow top-p": {"top_p": 0.3},
    "wide top-p": {"top_p": 0.999},
    "min-p": {"min_p": 0.1},
    "repetition penalty": {"repetition_penalty": 1.4},
    "repetition reward": {"repetition_penalty": 0.7},
    "frequency penalty": {"frequency_penalty": 0.6},
    "frequency reward": {"frequency_penalty": -0.4},
    "presence penalty": {"presence_penalty": 1.5},
    "bias": {"logit_bias": ((4, 3.0), (5, -2.0), (2, 100.0), (2, -99.0))},
    "banned": {"banned_token_ids": (1, 2, 3, 40)},
    "penalties together": {"repetition_penalty": 1.2, "frequency_penalty": 0.3, "presence_penalty": 0.2},
    "top-k then top-p": {"top_k": 12, "top_p": 0.7},
    "all together": {
        "temperature": 1.3,
        "top_k": 20,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.3,
        "presence_penalty": 0.2,
        "logit_bias": ((4, 3.0), (5, 1.0), (2, 2.0)),
        "banned_token_ids": (6, 7),
    },
}


@pytest.mark.parametrize("case", CASES)
def test_draws_follow_the_exact_distribution(case: str) -> None:
    logits = spread(60, seed=1)

    ids = draw(logits, **CASES[case])

    assert chi_squared_p(ids, exact(logits, **CASES[case])) > 1e-3


def test_the_chi_squared_test_tells_a_wrong_distribution() -> None:
    """The tests above would see an error of a tenth in the temperature."""
    logits = spread(60, seed=1)

    ids = draw(logits, temperature=1.1)

    assert chi_squared_p(ids, exact(logits)) < 1e-6


@pytest.mark.parametrize("case", [name for name in CASES if not name.startswith(("frequency", "presence"))])
def test_the_exact_distribution_is_that_of_transformers(case: str) -> None:
    """The reference of these tests, against the processors of transformers, which know no frequency penalty."""
    options = {k: v for k, v in CASES[case].items() if k not in ("frequency_penalty", "presence_penalty")}
    logits = spread(60, seed=1)
    scores = torch.from_numpy(logits)[None].double()
    tokens = torch.tensor([[*PROMPT, *OUTPUT]])
    bias: Counter[int] = Counter()
    for token_id, value in options.get("logit_bias", ()):
        bias[token_id] += value

    scores = hf.RepetitionPenaltyLogitsProcessor(options.get("repetition_penalty", 1.0))(tokens, scores)
    for token_id, value in bias.items():
        scores[0, token_id] += value
    scores[0, list(options.get("banned_token_ids", ()))] = -np.inf
    scores = hf.TemperatureLogitsWarper(options.get("temperature", 1.0))(tokens, scores)
    if "top_k" in options:
        scores = hf.TopKLogitsWarper(options["top_k"])(tokens, scores)
    scores = hf.TopPLogitsWarper(options.get("top_p", 1.0))(tokens, scores)
    scores = hf.MinPLogitsWarper(options.get("min_p", 0.0))(tokens, scores)

    assert exact(logits, **options) == pytest.approx(scores.softmax(-1)[0].numpy(), abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [{}, {"top_k": 40}, {"top_p": 0.9}, {"top_p": 0.9999}, {"min_p": 0.02}, {"temperature": 0.2, "top_p": 0.95}],
    ids=str,
)
def test_draws_from_a_large_vocabulary(options: dict[str, object]) -> None:
    logits = spread(50_257, seed=2, scale=3.0)

    ids = draw(logits, count=4000, **options)

    assert chi_squared_p(ids, exact(logits, **options)) > 1e-3


@pytest.mark.parametrize("seed", range(20))
def test_filters_cut_exactly_where_sorting_would(seed: int) -> None:
    generator = np.random.default_rng(seed)
    size = int(generator.integers(2, 3000))
    logits = spread(size, seed=seed, scale=float(generator.choice([0.01, 1, 10, 100])))
    options = {
        "temperature": float(generator.uniform(0.3, 3)),
        "top_k": int(generator.integers(1, size + 1)),
        "top_p": float(generator.uniform(0.05, 0.98)),
    }

    ids = draw(logits, count=500, **options)

    assert chi_squared_p(ids, exact(logits, **options)) > 1e-4


@pytest.mark.parametrize("temperature", [1e-3, 1e-6, 1e-30, 1e-40])
def test_a_tiny_temperature_is_as_good_as_greedy(temperature: float) -> None:
    logits = spread(1000, scale=5.0)

    assert set(draw(logits, count=200, temperature=temperature)) == {int(logits.argmax())}
    assert set(draw(logits, count=200, temperature=temperature, top_p=0.9, top_k=5)) == {int(logits.argmax())}


@pytest.mark.parametrize("temperature", [100.0, 1e6])
def test_a_huge_temperature_makes_all_tokens_alike(temperature: float) -> None:
    logits = spread(50)

    assert chi_squared_p(draw(logits, temperature=temperature), exact(logits, temperature=temperature)) > 1e-3


def test_equal_logits_go_to_the_lower_id() -> None:
    logits = np.zeros(50, np.float32)
    logits[[7, 9, 30]] = 2.0

    greedy = sample_one(logits, SamplingParams(max_new_tokens=1, temperature=0.0, top_logprobs=4))

    assert greedy.token_id == 7
    assert [token_id for token_id, _ in greedy.top] == [7, 9, 30, 0]
    assert set(draw(logits, count=300, top_k=2)) == {7, 9}
    assert set(draw(logits, count=2000, top_k=5)) == {7, 9, 30, 0, 1}
    assert set(draw(logits, count=300, top_p=0.1)) == {7}


def test_greedy_minds_penalties_bias_and_bans() -> None:
    logits = np.zeros(40, np.float32)
    logits[[2, 5, 20]] = [3.0, 2.9, 2.8]

    def greedy(**options: object) -> int:
        return sample_one(logits, SamplingParams(max_new_tokens=1, temperature=0.0, **options)).token_id

    assert greedy() == 2
    assert greedy(frequency_penalty=0.06) == 5
    assert greedy(repetition_penalty=1.5) == 20
    assert greedy(logit_bias=((20, 1.0),)) == 20
    assert greedy(banned_token_ids=(2, 5)) == 20


def test_log_probabilities_are_the_models_own() -> None:
    """Before penalties, bias, bans, temperature and filters."""
    logits = spread(50_257, scale=4.0)
    expected = torch.from_numpy(logits).double().log_softmax(0)
    options = CASES["all together"] | {"logit_bias": ((2, 20.0), (2, -1.0), (30, 19.0), (17, 19.0))}
    seen = set()
    for seed in range(50):
        token = sample_one(logits, SamplingParams(max_new_tokens=1, seed=seed, top_logprobs=5, **options))
        seen.add(token.token_id)
        assert token.logprob == pytest.approx(expected[token.token_id].item(), abs=1e-5)
        assert [token_id for token_id, _ in token.top] == expected.topk(5).indices.tolist()
        assert [value for _, value in token.top] == pytest.approx(expected.topk(5).values.tolist(), abs=1e-5)
    assert {2, 17} <= seen, "tokens with penalty and bias, and with bias alone, should have been drawn"


def test_log_probabilities_come_only_where_asked_for() -> None:
    logits = np.tile(spread(30), (4, 1))
    asked = [
        SamplingParams(max_new_tokens=1),
        SamplingParams(max_new_tokens=1, logprobs=True),
        SamplingParams(max_new_tokens=1, top_logprobs=2),
        SamplingParams(max_new_tokens=1, top_logprobs=100),
    ]

    tokens = sample(logits.copy(), [make_sequence(params, (1,), (2,)) for params in asked])

    assert [token.logprob is not None for token in tokens] == [False, True, True, True]
    assert [len(token.top) for token in tokens] == [0, 0, 2, 30]
    assert sorted(token_id for token_id, _ in tokens[3].top) == list(range(30))


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.5}, {"temperature": 0.0}], ids=str)
def test_tokens_whose_logit_is_minus_infinity_are_never_drawn(options: dict[str, object]) -> None:
    logits = np.full(60, -np.inf, np.float32)
    logits[[10, 20]] = [1.0, 1.5]

    assert set(draw(logits, count=300, **options)) <= {10, 20}


def test_each_row_has_its_own_parameters() -> None:
    logits = np.stack([spread(60, seed=row) for row in range(len(CASES))])
    sequences = [
        make_sequence(SamplingParams(max_new_tokens=1, seed=row, top_logprobs=row % 4, **options))
        for row, options in enumerate(CASES.values())
    ]
    alone = [sample(logits[row : row + 1].copy(), [sequences[row]])[0] for row in range(len(sequences))]

    assert sample(logits.copy(), sequences) == alone
    # In another order, too.
    assert sample(logits[::-1].copy(), sequences[::-1]) == alone[::-1]


def test_no_rows_give_no_tokens() -> None:
    assert sample(np.empty((0, 60), np.float32), []) == []


# -- random numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    got = philox4x32(*(np.uint64(word) for word in (*counter, *key)))

    assert tuple(int(word) for word in got) == expected


def test_uniforms_are_the_first_53_bits_of_the_block() -> None:
    # 6627e8d5 e169c58d is the block of an all-zero counter and key.
    assert uniform(0, 0, 0) == (0x6627E8D5E169C58D >> 11) / 2**53


def test_uniforms_are_uniform_and_differ_by_seed_choice_and_position() -> None:
    by_seed = [uniform(seed, 0, 17) for seed in range(5000)]
    by_choice = [uniform(1, choice, 17) for choice in range(5000)]
    by_position = [uniform(1, 0, position) for position in range(5000)]
    for values in (by_seed, by_choice, by_position):
        assert len(set(values)) == 5000
        assert 0 <= min(values) < max(values) < 1
        assert chi_squared_p((np.array(values) * 50).astype(np.int64), np.full(50, 1 / 50)) > 1e-3
    assert abs(np.corrcoef(by_position[:-1], by_position[1:])[0, 1]) < 0.05
    for other in (by_choice, by_position):
        assert abs(np.corrcoef(by_seed, other)[0, 1]) < 0.05


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64 - 1, 0])
def test_any_64_bit_seed_will_do(seed: int) -> None:
    assert 0 <= uniform(seed, 0, 0) < 1
    assert uniform(seed, 0, 0) == uniform(seed % 2**64, 0, 0)


def test_the_high_half_of_a_seed_counts() -> None:
    assert uniform(1, 0, 0) != uniform(1 + 2**32, 0, 0)
