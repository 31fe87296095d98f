"""GPT-2's forward pass over a ragged batch: any mixture of prefill chunks and decoding sequences, one row a token.

A row carries its token, position and slot; nothing else tells prefill from decode. Rows never meet but in
attention over their own slot, and every kernel gives a row the same bits whatever the others are: so a sequence
gets the same tokens alone and in company. What is computed is `GPT2LMHeadModel` of transformers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from app.engine import attention, attention_kernel
from app.engine.attention import attend_torch, attention_scale
from app.engine.checkpoint import GPT2Config
from app.engine.cuda_graphs import DecodeGraphs
from app.engine.kv_cache import KVCache
from app.engine.linear import Linear, LinearFactory, row_buckets
from app.engine.pointwise import Norm, activate, add_and_norm, norm

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """One transformer layer's weights; each norm is (weight, bias)."""

    norm_1: Norm
    qkv: Linear
    attention_out: Linear
    norm_2: Norm
    mlp_in: Linear
    mlp_out: Linear
    scale: float


class GPT2:
    """The model on its device, with its KV cache. Not thread-safe: one loop drives it."""

    def __init__(
        self,
        config: GPT2Config,
        weights: dict[str, torch.Tensor],
        *,
        device: torch.device,
        precision: str,
        slots: int,
        max_rows: int,
    ) -> None:
        self.config = config
        self.device = device
        self._buckets = row_buckets(max_rows)
        self._sampled_buckets = row_buckets(slots)
        self._slots = slots
        self.cache = KVCache(config, slots, device, cache_dtype(device, precision, config.head_dim))
        fast = attention_kernel.is_supported(config.head_dim)
        self._attend_rows = attention_kernel.attend_rows if fast else attention.attend_rows
        self.linears = LinearFactory(device, precision, self._buckets)
        self._embeddings = weights["wte.weight"].to(device)
        self._positions = weights["wpe.weight"].to(device)
        self._blocks = [self._block(i, weights) for i in range(config.n_layer)]
        self._norm_f = (weights["ln_f.weight"].to(device), weights["ln_f.bias"].to(device))
        head = weights.get("lm_head.weight", weights["wte.weight"])
        self._head_mean: torch.Tensor | None = None
        if precision != "float32":
            # GPT-2's logits share an offset of about -100, which eats the digits of a narrow type: the mean row of
            # the head stays float32. Softmax would not miss it, but a repetition penalty goes by the logits' sign.
            self._head_mean = head.mean(dim=0).to(device)
            head = head - head.mean(dim=0)
        self._head = self.linears.make(head, None, max_rows=slots)
        self._graphs: DecodeGraphs | None = None
        if device.type == "cuda":
            with torch.no_grad():
                self._graphs = DecodeGraphs(self._decode, device, self._sampled_buckets, self.cache.padding_slot)

    def _block(self, i: int, weights: dict[str, torch.Tensor]) -> Block:
        def norm_of(name: str) -> Norm:
            return (
                weights[f"h.{i}.{name}.weight"].to(self.device),
                weights[f"h.{i}.{name}.bias"].to(self.device),
            )

        def linear(name: str) -> Linear:
            # Conv1D stores [inputs, outputs]; linear kernels want [outputs, inputs].
            dense = weights[f"h.{i}.{name}.weight"].t().contiguous()
            return self.linears.make(dense, weights[f"h.{i}.{name}.bias"])

        config = self.config
        return Block(
            norm_1=norm_of("ln_1"),
            qkv=linear("attn.c_attn"),
            attention_out=linear("attn.c_proj"),
            norm_2=norm_of("ln_2"),
            mlp_in=linear("mlp.c_fc"),
            mlp_out=linear("mlp.c_proj"),
            scale=attention_scale(
                config.head_dim, i, config.scale_attn_weights, config.scale_attn_by_inverse_layer_idx
            ),
        )

    def forward(self, token_ids: Ints, positions: Ints, slots: Ints, sampled: Ints) -> torch.Tensor:
        """Compute all rows, and the logits of the rows `sampled`.

        token_ids, positions, slots [rows] and sampled [n] are int64; returns float32 [n, vocab_size] on the CPU.
        The rows of one sequence stand in the order of their positions.
        """
        rows = self._pad(len(token_ids), self._buckets)
        n = len(sampled)
        if self._graphs is not None and n == len(token_ids) <= self._slots:
            return self._graphs.run(token_ids, positions, slots).cpu()
        out_rows = self._pad(n, self._sampled_buckets) if n else 0
        hidden = self._hidden(
            _padded(token_ids, rows, 0),
            _padded(positions, rows, 0),
            _padded(slots, rows, self.cache.padding_slot),
        )
        if not n:
            return torch.empty(0, self.config.vocab_size)
        picked = hidden[torch.from_numpy(_padded(sampled, out_rows, 0)).to(self.device)]
        return self._logits(picked)[:n].cpu()

    def _embed(self, token_ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return self._embeddings[token_ids] + self._positions[positions]

    def _decode(self, token_ids: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """The logits of every row, from and to the device: what a graph records."""
        return self._logits(self._layers(self._embed(token_ids, positions), (slots, positions)))

    def _hidden(self, token_ids: Ints, positions: Ints, slots: Ints) -> torch.Tensor:
        """The rows after the last layer norm, [rows, n_embd]."""
        ids, at = torch.from_numpy(token_ids).to(self.device), torch.from_numpy(positions).to(self.device)
        x = self._embed(ids, at)
        place = (slots, positions) if self.device.type == "cpu" else (torch.from_numpy(slots).to(self.device), at)
        return self._layers(x, place)

    def _layers(self, x: torch.Tensor, place: tuple[Ints, Ints] | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The last layer norm of every row of the residual stream; x is overwritten by the stream."""
        epsilon = self.config.layer_norm_epsilon
        following = [*(block.norm_1 for block in self._blocks[1:]), self._norm_f]
        normed = norm(x, self._blocks[0].norm_1, epsilon)
        for i, block in enumerate(self._blocks):
            attended = self._attend(i, block.qkv(normed), place, block.scale)
            normed = add_and_norm(x, block.attention_out(attended), block.norm_2, epsilon)
            inner = activate(self.config.activation_function, block.mlp_in(normed))
            normed = add_and_norm(x, block.mlp_out(inner), following[i], epsilon)
        return normed

    def _attend(
        self,
        layer: int,
        qkv: torch.Tensor,
        place: tuple[Ints, Ints] | tuple[torch.Tensor, torch.Tensor],
        scale: float,
    ) -> torch.Tensor:
        out = torch.empty(qkv.shape[0], self.config.n_embd, device=self.device)
        slots, positions = place
        if isinstance(slots, torch.Tensor) and isinstance(positions, torch.Tensor):
            attend_torch(qkv, self.cache.keys[layer], self.cache.values[layer], slots, positions, scale, out)
        else:
            keys, values = self.cache.arrays[layer]
            self._attend_rows(qkv.numpy(), keys, values, slots, positions, np.float32(scale), out.numpy())
        return out

    def _logits(self, normed: torch.Tensor) -> torch.Tensor:
        logits = self._head(normed)
        return logits if self._head_mean is None else logits.add_((normed * self._head_mean).sum(dim=1, keepdim=True))

    @staticmethod
    def _pad(n: int, buckets: list[int]) -> int:
        return next(bucket for bucket in buckets if bucket >= n)


def cache_dtype(device: torch.device, precision: str, head_dim: int) -> torch.dtype:
    """float32, or bfloat16 where the precision is narrow and the device's attention can read it.

    MEASURED on two cores, attention of one layer of GPT-2 124M with 64 rows, at position 64 (300): float32 through
    `attention` 1.8 ms (6.2), through `attention_kernel` 1.4 (5.1), bfloat16 1.0 (3.9).
    """
    narrow = precision == "bfloat16" if device.type == "cuda" else precision != "float32"
    able = device.type == "cuda" or attention_kernel.is_supported(head_dim)
    return torch.bfloat16 if narrow and able else torch.float32


def _padded(values: Ints, length: int, fill: int) -> Ints:
    out = np.full(length, fill, dtype=np.int64)
    out[: len(values)] = values
    return out
