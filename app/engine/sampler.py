"""Draws the next token of each sequence from its logits, every row by its own parameters.

The random number of a draw is a pure function of (seed, choice, position): Philox4x32-10 in counter mode (Salmon
et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011). So a token does not depend on what else is in the
batch, on the order of requests, or on how often an engine was restarted.

Order of the filters, as in transformers: penalties, logit bias, temperature, top-k, top-p, min-p. Log-probabilities
are the model's own, before all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from app.engine.attention import fast_exp, ordered_sum
from app.engine.messages import Token
from app.engine.sequence import Sequence
from app.engine.simd import EXACT

BINS = 1024
BIN_WIDTH = 1 / 32
"""Histogram over the gap to the best logit, by which the cut of top-k and top-p is found without a full sort."""

BLOCK = 256
"""Logits that are looked at together, so that a search for one of them can skip the rest."""


@dataclass(frozen=True, slots=True)
class RowParams:
    """The parameters of a batch's rows as arrays; edits and counts of row r lie at starts[r] : starts[r + 1]."""

    temperature: NDArray[np.float32]
    top_k: NDArray[np.int64]
    top_p: NDArray[np.float64]
    min_p: NDArray[np.float32]
    uniforms: NDArray[np.float64]
    penalties: NDArray[np.float32]
    count_starts: NDArray[np.int64]
    count_ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    bias_starts: NDArray[np.int64]
    bias_ids: NDArray[np.int64]
    biases: NDArray[np.float32]
    wants_logprob: NDArray[np.bool_]
    top_logprobs: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Seq[Sequence]) -> RowParams:
        params = [sequence.params for sequence in sequences]
        count_starts, count_ids, counts = [0], [], []
        bias_starts, bias_ids, biases = [0], [], []
        for sequence, p in zip(sequences, params, strict=True):
            if p.has_penalties:
                output = sequence.output_counts
                seen: Iterable[int] = set(sequence.tokens) if p.repetition_penalty != 1.0 else output
                for token_id in seen:
                    count_ids.append(token_id)
                    counts.append(output.get(token_id, 0))
            for token_id, bias in p.logit_bias:
                bias_ids.append(token_id)
                biases.append(bias)
            for token_id in p.banned_token_ids:
                bias_ids.append(token_id)
                biases.append(-np.inf)
            count_starts.append(len(count_ids))
            bias_starts.append(len(bias_ids))
        return cls(
            temperature=np.array([p.temperature for p in params], np.float32),
            top_k=np.array([p.top_k for p in params], np.int64),
            top_p=np.array([p.top_p for p in params], np.float64),
            min_p=np.array([p.min_p for p in params], np.float32),
            uniforms=np.array(
                [uniform(p.seed, p.choice, len(s.tokens)) for s, p in zip(sequences, params, strict=True)]
            ),
            penalties=np.array(
                [(p.repetition_penalty, p.frequency_penalty, p.presence_penalty) for p in params], np.float32
            ),
            count_starts=np.array(count_starts, np.int64),
            count_ids=np.array(count_ids, np.int64),
            counts=np.array(counts, np.int64),
            bias_starts=np.array(bias_starts, np.int64),
            bias_ids=np.array(bias_ids, np.int64),
            biases=np.array(biases, np.float32),
            wants_logprob=np.array([p.logprobs or p.top_logprobs > 0 for p in params], np.bool_),
            top_logprobs=np.array([p.top_logprobs for p in params], np.int64),
        )


def sample(logits: NDArray[np.float32], sequences: Seq[Sequence]) -> list[Token]:
    """One token for each row of `logits` [rows, vocabulary]; the rows are overwritten.

    Equal logits go to the lower id, in greedy choice and in every cut.
    """
    if not sequences:
        return []
    rows = len(sequences)
    p = RowParams.of(sequences)
    width = min(int(p.top_logprobs.max(initial=0)), logits.shape[1])
    ids = np.empty(rows, np.int64)
    logprobs = np.zeros(rows, np.float32)
    top_ids = np.zeros((rows, width), np.int64)
    top_logprobs = np.zeros((rows, width), np.float32)
    sample_rows(
        logits, p.temperature, p.top_k, p.top_p, p.min_p, p.uniforms, p.penalties, p.count_starts, p.count_ids,
        p.counts, p.bias_starts, p.bias_ids, p.biases, p.wants_logprob, p.top_logprobs,
        ids, logprobs, top_ids, top_logprobs,
    )  # fmt: skip
    tokens = []
    for r, sequence in enumerate(sequences):
        wanted = min(sequence.params.top_logprobs, width)
        top = tuple(zip(top_ids[r, :wanted].tolist(), top_logprobs[r, :wanted].tolist(), strict=True))
        logprob = float(logprobs[r]) if p.wants_logprob[r] else None
        tokens.append(Token(sequence.request_id, int(ids[r]), logprob, top))
    return tokens


# -- random numbers ------------------------------------------------------------------------------------------


def uniform(seed: int, choice: int, position: int) -> float:
    """The draw for one position of one sequence: 53 random bits in [0, 1)."""
    return float(_philox_uniform(np.uint64(seed & (2**64 - 1)), np.uint32(choice), np.uint64(position)))


@njit(cache=True)
def _philox_uniform(seed, choice, position):  # type: ignore[no-untyped-def]
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    counter = position & mask, position >> shift, np.uint64(choice), np.uint64(0)
    block = philox4x32(*counter, seed & mask, seed >> shift)
    bits = (block[0] << np.uint64(21)) ^ (block[1] >> np.uint64(11))
    return np.float64(bits) * (1.0 / 9007199254740992.0)


@njit(cache=True)
def philox4x32(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Ten rounds of Philox over a counter of four words and a key of two, 32 bits each in a uint64."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        product_0 = np.uint64(0xD2511F53) * c0
        product_1 = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (product_1 >> shift) ^ c1 ^ k0,
            product_1 & mask,
            (product_0 >> shift) ^ c3 ^ k1,
            product_0 & mask,
        )
        k0 = (k0 + np.uint64(0x9E3779B9)) & mask
        k1 = (k1 + np.uint64(0xBB67AE85)) & mask
    return c0, c1, c2, c3


# -- one row -------------------------------------------------------------------------------------------------


@njit(parallel=True, cache=True, nogil=True)
def sample_rows(  # type: ignore[no-untyped-def]
    logits, temperature, top_k, top_p, min_p, uniforms, penalties, count_starts, count_ids, counts, bias_starts,
    bias_ids, biases, wants_logprob, top_logprobs, out_ids, out_logprobs, out_top_ids, out_top_logprobs,
):  # fmt: skip
    """Fill `out_ids` [rows] and, where wanted, the log-probabilities; rows are independent of one another."""
    for r in prange(logits.shape[0]):
        row = logits[r]
        first, last = count_starts[r], count_starts[r + 1]
        bias_first, bias_last = bias_starts[r], bias_starts[r + 1]
        # What the edits are about to overwrite, so that the chosen token's own log-probability can be told.
        originals = np.empty(last - first, np.float32)
        bias_originals = np.empty(bias_last - bias_first, np.float32)
        offset = np.float32(0.0)
        if wants_logprob[r]:
            offset = _log_sum_exp(row)
            _top(row, offset, top_logprobs[r], out_top_ids[r], out_top_logprobs[r])
        repetition, frequency, presence = penalties[r, 0], penalties[r, 1], penalties[r, 2]
        for i in range(first, last):
            value = row[count_ids[i]]
            originals[i - first] = value
            value = value / repetition if value > 0 else value * repetition
            if counts[i] > 0:
                value -= frequency * np.float32(counts[i]) + presence
            row[count_ids[i]] = value
        for i in range(bias_first, bias_last):
            bias_originals[i - bias_first] = row[bias_ids[i]]
            row[bias_ids[i]] += biases[i]
        if temperature[r] == 0:
            chosen = _best(row)
        else:
            chosen = _draw(row, temperature[r], top_k[r], top_p[r], min_p[r], uniforms[r])
        out_ids[r] = chosen
        if wants_logprob[r]:
            value = row[chosen]
            for i in range(bias_last - 1, bias_first - 1, -1):
                if bias_ids[i] == chosen:
                    value = bias_originals[i - bias_first]
            for i in range(first, last):
                if count_ids[i] == chosen:
                    value = originals[i - first]
            out_logprobs[r] = value - offset


@njit(fastmath={"nnan", "nsz"}, cache=True)
def _highest(row):  # type: ignore[no-untyped-def]
    """The highest logit: `np.max`, but that the compiler may take eight at a time, since none is NaN."""
    top = np.float32(-np.inf)
    for i in range(len(row)):
        top = max(top, row[i])
    return top


@njit(cache=True)
def _best(row):  # type: ignore[no-untyped-def]
    """The first token with the highest logit. Only the block that has it is searched one by one.

    MEASURED, 64 rows of GPT-2's vocabulary on two cores: 1.3 ms, with `np.argmax` 2.3.
    """
    top, place = np.float32(-np.inf), 0
    for first in range(0, len(row), BLOCK):
        highest = _highest(row[first : first + BLOCK])
        if highest > top:
            top, place = highest, first
    for i in range(place, len(row)):
        if row[i] == top:
            return i
    return place


@njit(fastmath=EXACT, cache=True)
def _log_sum_exp(row):  # type: ignore[no-untyped-def]
    top = _highest(row)
    weights = np.empty(len(row), np.float32)
    for i in range(len(row)):
        weights[i] = fast_exp(row[i] - top)
    return np.float32(top + np.log(ordered_sum(weights)))


@njit(cache=True)
def _top(row, offset, count, ids, logprobs):  # type: ignore[no-untyped-def]
    """The `count` best tokens in falling order, by insertion: `count` is small."""
    count = min(count, len(ids))
    held = 0
    for i in range(len(row)):
        if held == count and (count == 0 or row[i] <= logprobs[held - 1]):
            continue
        place = held if held < count else count - 1
        while place > 0 and row[i] > logprobs[place - 1]:
            ids[place], logprobs[place] = ids[place - 1], logprobs[place - 1]
            place -= 1
        ids[place], logprobs[place] = i, row[i]
        held = min(held + 1, count)
    for place in range(held):
        logprobs[place] -= offset


@njit(fastmath=EXACT, cache=True)
def _weights(row, inverse_temperature, gaps, weights):  # type: ignore[no-untyped-def]
    """gaps = how far below the best each token is, after temperature; weights = exp(-gaps), 0 where banned."""
    top = _highest(row)
    for i in range(len(row)):
        gaps[i] = (top - row[i]) * inverse_temperature
    for i in range(len(row)):
        weights[i] = fast_exp(-gaps[i])
    for i in range(len(row)):
        # Beyond float32's range fast_exp stops falling; such tokens, banned ones among them, have no chance.
        if not gaps[i] < np.float32(87.0):
            weights[i] = np.float32(0.0)


@njit(cache=True)
def _draw(row, temperature, top_k, top_p, min_p, u):  # type: ignore[no-untyped-def]
    """One draw by inversion: walk the kept tokens in the order of their ids until their mass passes `u`."""
    size = len(row)
    gaps = np.empty(size, np.float32)
    weights = np.empty(size, np.float32)
    _weights(row, np.float32(1.0) / temperature, gaps, weights)
    if 0 < top_k < size or top_p < 1.0:
        _filter(gaps, weights, top_k, top_p)
    if min_p > 0.0:
        for i in range(size):
            if weights[i] < min_p:
                weights[i] = np.float32(0.0)
    # Sums of blocks first: the walk then skips whole blocks.
    blocks = (size + BLOCK - 1) // BLOCK
    sums = np.empty(blocks, np.float64)
    total = 0.0
    for b in range(blocks):
        sums[b] = ordered_sum(weights[b * BLOCK : min((b + 1) * BLOCK, size)])
        total += sums[b]
    target = u * total
    passed = 0.0
    last_kept = 0
    for b in range(blocks):
        if sums[b] > 0.0 and passed + sums[b] > target:
            for i in range(b * BLOCK, min((b + 1) * BLOCK, size)):
                if weights[i] > 0.0:
                    passed += np.float64(weights[i])
                    last_kept = i
                    if passed > target:
                        return i
            return last_kept
        passed += sums[b]
    # Rounding can leave the target at the very end: the best token is always kept.
    return np.argmin(gaps)


@njit(cache=True)
def _filter(gaps, weights, top_k, top_p):  # type: ignore[no-untyped-def]
    """Set the weight of every token to 0 that top-k, and then top-p of what it kept, cut away.

    The cut lies in one bin of a histogram over the gaps; only that bin's tokens are sorted. Tokens come in the
    order (gap, id), and the one that reaches top-p's mass is kept. The last bin, of all tokens with less than
    e^-32 of the best one's chance, can hold most of the vocabulary: it goes as a whole instead of being sorted.
    """
    size, last = len(gaps), BINS - 1
    counts = np.zeros(BINS, np.int64)
    masses = np.zeros(BINS, np.float64)
    bins = np.empty(size, np.int16)
    for i in range(size):
        scaled = gaps[i] * np.float32(1 / BIN_WIDTH)
        bins[i] = np.int16(scaled) if scaled < np.float32(last) else np.int16(last)
    for i in range(size):
        counts[bins[i]] += 1
        masses[bins[i]] += np.float64(weights[i])
    cut, mass = 0, 0.0
    left = top_k if 0 < top_k < size else size
    while cut < last and counts[cut] < left:
        left -= counts[cut]
        mass += masses[cut]
        cut += 1
    # Those of bin `cut` that are kept, in order.
    members = _sorted_bin(gaps, bins, cut)[:left] if cut < last else np.empty(0, np.int64)
    if top_p < 1.0:
        for i in members:
            mass += np.float64(weights[i])
        wanted = top_p * mass
        mass = 0.0
        b = 0
        while b < cut and mass + masses[b] < wanted:
            mass += masses[b]
            b += 1
        if b < cut:
            cut = b
            members = _sorted_bin(gaps, bins, cut)
        n = 0
        while n < len(members):
            mass += np.float64(weights[members[n]])
            n += 1
            if mass >= wanted:
                break
        members = members[:n]
    kept = weights[members]
    for i in range(size):
        if bins[i] >= cut:
            weights[i] = np.float32(0.0)
    for n in range(len(members)):
        weights[members[n]] = kept[n]


@njit(cache=True)
def _sorted_bin(gaps, bins, b):  # type: ignore[no-untyped-def]
    """The ids of the tokens in bin `b`, by gap and then by id."""
    members = np.flatnonzero(bins == b)
    return members[np.argsort(gaps[members], kind="mergesort")]
