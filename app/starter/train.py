"""Trains the starter from nothing: `python -m app.starter.train`.

The defaults are the full recipe, at most 2.5 hours on two cores and minutes on a GPU; `--quick` ends within 20 minutes.
Training can be stopped at any time (Ctrl+C, SIGTERM) and goes on with `--resume`. The checkpoint folder is replaced
only by a complete one.

How it learns: dialogues of like length are batched without packing, so that attention never crosses from one
conversation into another; the loss counts only what the starter itself says; Muon trains the matrices of the blocks,
AdamW everything else.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from llvmlite import binding as llvm
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import GPT2Config, GPT2LMHeadModel

from app.starter.corpus import Dialogue, dialogues
from app.starter.muon import Muon
from app.starter.tokenizer import ASSISTANT, END, SYSTEM, USER, id_of, save_tokenizer, train_tokenizer

CHECKPOINT = Path(__file__).parent / "checkpoint"
STATE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "troika" / "starter-training.pt"
CONTEXT = 512
WIDTH, LAYERS, HEADS = 256, 6, 4
FULL_STEPS, QUICK_STEPS = 7_000, 1_300
TOKENIZER_DIALOGUES = 25_000
CHUNK = 3_000
"""Dialogues that are tokenised and sorted by length together."""
FIRST_WORDS = 5
"""Tokens of a long reply that a brief dialogue keeps."""
BRIEF = 0.75
"""Share of brief dialogues: which reply is the hard part, so most of the time goes into that."""
TORN, TORN_AT = 0.12, 0.08
"""Share of dialogues whose questions are torn (see `tear`), against slips of the finger, and of letters torn there."""
SAMPLING = {"do_sample": True, "temperature": 0.3, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.0}
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """Token ids `[batch, time]` and, for each, whether the loss counts it as a target.

    `after` is where in the corpus the next batch is: its chunk and its number within.
    """

    ids: Tensor
    counted: Tensor
    after: tuple[int, int] = (0, 0)


def tear(text: str, rng: random.Random) -> list[str]:
    """The text cut between letters at random places, so that its words meet the model as other tokens.

    Does what BPE dropout does, with a seed: the tokenizers library draws its dropout without one.
    """
    cuts = [i for i in range(1, len(text)) if text[i - 1 : i + 1].isalpha() and rng.random() < TORN_AT]
    return [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def encode(
    dialogue: Dialogue, tokenizer: Tokenizer, torn: random.Random | None = None, brief: bool = False
) -> tuple[list[int], list[bool]]:
    """Ids exactly as the chat template renders them, and which the starter has to produce.

    `torn` tears what the person says. `brief` leaves out the rest of a long reply once its first words have decided
    which reply it is (its end isn't counted then).
    """
    system, user, assistant, end = (id_of(tokenizer, token) for token in (SYSTEM, USER, ASSISTANT, END))
    ids: list[int] = []
    counted: list[bool] = []

    def add(role: int, text: str, own: bool, rng: random.Random | None = None) -> None:
        pieces = tear(text.strip(), rng) if rng else [text.strip()]
        words = [i for piece in pieces for i in tokenizer.encode(piece, add_special_tokens=False).ids]
        short = brief and own and len(words) > 2 * FIRST_WORDS
        words = words[:FIRST_WORDS] if short else words
        ids.extend([role, *words, end])
        counted.extend([False, *[own] * len(words), own and not short])

    if dialogue.system:
        add(system, dialogue.system, False)
    for turn in dialogue.turns:
        add(user, turn.user, False, torn)
        add(assistant, turn.assistant, True)
    return ids, counted


def batches(seed: int, tokenizer: Tokenizer, tokens: int, start: tuple[int, int] = (0, 0)) -> Iterator[Batch]:
    """Endless batches of about `tokens` tokens from the place `start` on, the same for the same seed."""
    chunk, first = start
    while True:
        rng = random.Random(f"{seed}/{chunk}")
        rows = []
        for dialogue in dialogues(seed, chunk * CHUNK, CHUNK):
            ids, counted = encode(dialogue, tokenizer, rng if rng.random() < TORN else None, rng.random() < BRIEF)
            rows.append((ids[:CONTEXT], counted[:CONTEXT]))
        rows.sort(key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], list[bool]]]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for i, group in enumerate(groups[first:], first):
            yield _pad(group, (chunk, i + 1))
        chunk, first = chunk + 1, 0


def _pad(rows: list[tuple[list[int], list[bool]]], after: tuple[int, int]) -> Batch:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    counted = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, (row, mask) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        counted[i, : len(row)] = torch.tensor(mask)
    return Batch(ids, counted, after)


def build_model(vocabulary: int) -> GPT2LMHeadModel:
    """The starter's architecture with fresh weights."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=CONTEXT,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=3,
        pad_token_id=3,
        tie_word_embeddings=True,
    )
    return GPT2LMHeadModel(config)


def warm_start(model: GPT2LMHeadModel, folder: Path) -> None:
    """Takes over the weights of a checkpoint of the same width and at most as many layers.

    Layers it lacks are put in evenly, as copies of the one before that add nothing yet: both of their output
    projections are zero, so the grown model starts with exactly the outputs of the small one.
    """
    small = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)
    weights = {name: value for name, value in small.state_dict().items() if ".h." not in name}
    old, new = small.config.n_layer, model.config.n_layer
    if old > new:
        raise ValueError(f"{folder} has {old} layers, more than the {new} of the model to train")
    taken = -1
    for i in range(new):
        source = i * old // new
        for name, value in small.transformer.h[source].state_dict().items():
            idle = source == taken and ".c_proj." in f".{name}"
            weights[f"transformer.h.{i}.{name}"] = torch.zeros_like(value) if idle else value
        taken = source
    model.load_state_dict(weights)


def forward(model: GPT2LMHeadModel, ids: Tensor) -> Tensor:
    """Hidden states `[batch, time, width]` of GPT-2, from the model's own parameters.

    The same function as `model.transformer`, cheaper to train on a CPU: for some dozens of positions two batched
    products beat the fused attention, whose backward pass is slow there.
    """
    body: Any = model.transformer
    rows, time_ = ids.shape
    hidden = body.wte(ids) + body.wpe.weight[:time_]
    ahead = torch.full((time_, time_), -1e4, device=ids.device).triu(1)

    def split(x: Tensor) -> Tensor:  # [batch, time, width] -> [batch * head, time, width / head]
        return x.view(rows, time_, HEADS, -1).transpose(1, 2).reshape(rows * HEADS, time_, -1)

    for block in body.h:
        width = hidden.shape[-1]
        attention = block.attn
        qkv = torch.addmm(attention.c_attn.bias, block.ln_1(hidden).view(-1, width), attention.c_attn.weight)
        q, k, v = (split(x) for x in qkv.split(width, dim=-1))
        scores = torch.baddbmm(ahead.to(q.dtype), q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
        mixed = torch.bmm(scores.softmax(-1).to(v.dtype), v)
        mixed = mixed.view(rows, HEADS, time_, -1).transpose(1, 2).reshape(-1, width)
        hidden = hidden + torch.addmm(attention.c_proj.bias, mixed, attention.c_proj.weight).view_as(hidden)
        mlp = block.mlp
        inner = torch.addmm(mlp.c_fc.bias, block.ln_2(hidden).view(-1, width), mlp.c_fc.weight)
        inner = F.gelu(inner, approximate="tanh")
        hidden = hidden + torch.addmm(mlp.c_proj.bias, inner, mlp.c_proj.weight).view_as(hidden)
    return body.ln_f(hidden)


def loss_of(model: GPT2LMHeadModel, batch: Batch) -> Tensor:
    """Mean cross-entropy over the counted targets; the head runs on their positions only."""
    hidden = forward(model, batch.ids[:, :-1])  # [batch, time - 1, width]
    targets = batch.ids[:, 1:][batch.counted[:, 1:]]  # [counted]
    logits = model.lm_head(hidden[batch.counted[:, 1:]])  # [counted, vocabulary]
    return F.cross_entropy(logits, targets)


def keep_memory() -> None:
    """Asks glibc to keep freed blocks: handing large tensors back to the kernel took 18% of the processor time."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # another C library: slower, nothing else


def working_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it; a processor that emulates it is 30 times slower than with float32."""
    features = llvm.get_host_cpu_features()
    native = any(features.get(name) for name in ("avx512bf16", "amx-bf16", "bf16"))
    return torch.bfloat16 if device.type == "cuda" or native else torch.float32


def optimizers(model: GPT2LMHeadModel, precision: torch.dtype) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, biases and norms; `lr0` holds each group's peak."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".h." in name)]
    muon = Muon(matrices, lr=4e-3, weight_decay=0.05, dtype=precision)
    adam = torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["lr0"] = group["lr"]
    return [muon, adam]


def rate(progress: float) -> float:
    """Share of the peak learning rate: a short warm-up, level, then down to nothing over the last two thirds."""
    if progress < 0.02:
        return progress / 0.02
    if progress < 0.35:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.35) / 0.65)))


def save_checkpoint(model: GPT2LMHeadModel, tokenizer: Tokenizer, folder: Path, losses: list[float]) -> None:
    """Replaces the checkpoint folder by a complete new one; files it doesn't write (the model card) are kept."""
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    if folder.exists():
        shutil.copytree(folder, beside)
    half = GPT2LMHeadModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(beside)
    (beside / "model.safetensors").chmod(0o644)  # safetensors writes for the owner only
    sampling = {**SAMPLING, "eos_token_id": 3, "pad_token_id": 3}
    (beside / "generation_config.json").write_text(json.dumps(sampling, indent=2) + "\n")
    save_tokenizer(tokenizer, beside, CONTEXT)
    draw_losses(losses, beside / "loss.png")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def draw_losses(losses: list[float], path: Path) -> None:
    """The loss of every step, and its running mean, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    smooth, mean = [], losses[0] if losses else 0.0
    for loss in losses:
        mean = 0.97 * mean + 0.03 * loss
        smooth.append(mean)
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(losses, color="0.8", linewidth=0.5)
    axes.plot(smooth, color="tab:blue")
    axes.set(
        xlabel="step", ylabel="cross-entropy of the starter's own words", yscale="log", title="Training the starter"
    )
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


class Stop:
    """Notes Ctrl+C and SIGTERM, so that the run ends after the step under way; `restore` puts the handlers back."""

    def __init__(self) -> None:
        self.asked = False
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, _number: int, _frame: object) -> None:
        self.asked = True

    def restore(self) -> None:
        """The handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _texts(seed: int, count: int) -> Iterator[str]:
    for dialogue in dialogues(seed, 0, count):
        for turn in dialogue.turns:
            yield turn.user
            yield turn.assistant


def train(options: argparse.Namespace) -> None:
    """The whole run: tokenizer, model, steps, checkpoint."""
    torch.manual_seed(options.seed)
    keep_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    state: dict[str, Any] = {}
    if options.resume and options.state.exists():
        state = torch.load(options.state, weights_only=True)
    if state:
        tokenizer = Tokenizer.from_str(state["tokenizer"])
    elif options.start_from:
        tokenizer = Tokenizer.from_file(str(options.start_from / "tokenizer.json"))
    else:
        tokenizer = train_tokenizer(_texts(options.seed, TOKENIZER_DIALOGUES))
    model = build_model(tokenizer.get_vocab_size())
    if options.start_from and not state:
        warm_start(model, options.start_from)
    nn.Module.to(model, device)
    precision = working_precision(device)
    steppers = optimizers(model, precision)
    losses: list[float] = []
    place = (0, 0)
    spent = 0.0  # seconds of the runs before this one
    if state:
        model.load_state_dict(state["model"])
        for stepper, saved in zip(steppers, state["optimizers"], strict=True):
            stepper.load_state_dict(saved)
        losses, spent, place = state["losses"], state["seconds"], state["place"]
    print(f"{model.num_parameters():,} parameters, {tokenizer.get_vocab_size()} tokens, from step {len(losses)}")
    stop = Stop()
    started = time.monotonic() - spent
    saved_at = time.monotonic()
    bar = tqdm(total=options.steps, initial=len(losses), unit="step", mininterval=5)
    for batch in batches(options.seed, tokenizer, options.batch_tokens, place):
        seconds = time.monotonic() - started
        progress = len(losses) / options.steps
        if options.max_minutes:
            progress = max(progress, seconds / (60 * options.max_minutes))
        if progress >= 1 or stop.asked:
            break
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = group["lr0"] * options.peak * rate(progress)
        place = batch.after
        batch = Batch(batch.ids.to(device), batch.counted.to(device))
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = loss_of(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
            stepper.zero_grad()
        losses.append(loss.item())
        bar.update()
        if len(losses) % 20 == 0:
            bar.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.3f}", progress=f"{progress:.2f}")
        if time.monotonic() - saved_at > 60 * options.save_minutes:
            _save_state(options.state, model, tokenizer, steppers, losses, place, time.monotonic() - started)
            save_checkpoint(model, tokenizer, options.out, losses)
            saved_at = time.monotonic()
    bar.close()
    stop.restore()
    _save_state(options.state, model, tokenizer, steppers, losses, place, time.monotonic() - started)
    save_checkpoint(model, tokenizer, options.out, losses)
    minutes, recent = (time.monotonic() - started) / 60, losses[-100:]
    print(f"{len(losses)} steps in {minutes:.0f} minutes, loss {sum(recent) / len(recent):.4f}: {options.out}")


def _save_state(
    path: Path,
    model: GPT2LMHeadModel,
    tokenizer: Tokenizer,
    steppers: list[torch.optim.Optimizer],
    losses: list[float],
    place: tuple[int, int],
    seconds: float,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "model": model.state_dict(),
        "optimizers": [stepper.state_dict() for stepper in steppers],
        "tokenizer": tokenizer.to_str(),
        "losses": losses,
        "place": place,
        "seconds": seconds,
    }
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def main() -> None:
    """Reads the options and trains."""
    parser = argparse.ArgumentParser(description="Train the starter model.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STEPS} steps instead of {FULL_STEPS}")
    parser.add_argument("--steps", type=int, help="steps to train")
    parser.add_argument(
        "--max-minutes", type=float, default=150, help="end by then, with the rate brought down in time (150)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last saved state")
    parser.add_argument(
        "--start-from",
        type=Path,
        help="warm start: weights and tokenizer of this checkpoint folder, nothing else of it",
    )
    parser.add_argument("--peak", type=float, default=1.0, help="share of the full learning rate (1)")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="tokens per step, padding included (4096)")
    parser.add_argument(
        "--save-minutes", type=float, default=6, help="minutes between saved states and checkpoints (6)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (all)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="checkpoint folder")
    parser.add_argument("--state", type=Path, default=STATE, help="where the state to resume from is kept")
    options = parser.parse_args()
    options.steps = options.steps or (QUICK_STEPS if options.quick else FULL_STEPS)
    if options.quick:
        options.max_minutes = min(options.max_minutes, 19)
    train(options)


if __name__ == "__main__":
    main()
