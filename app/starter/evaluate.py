"""Measures the starter: `python -m app.starter.evaluate`.

Asks what training never asked (held-out questions, frames and wrappings, see `corpus.held_out_exchanges`) and judges
each reply by the key words that any right answer must hold. Prints a table per category and language, greedy and with
the starter's own sampling settings, and with `--card` writes it into the model card.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import GPT2LMHeadModel

from app.starter.corpus import Dialogue, Probe, held_out_exchanges
from app.starter.tokenizer import ASSISTANT, END, USER, id_of
from app.starter.topics import Required
from app.starter.train import CHECKPOINT, SAMPLING, encode

MARK = ("<!-- measured -->", "<!-- /measured -->")
MOST_TOKENS = 100


@dataclass
class Score:
    """Counts of one row of the table, and the replies that missed."""

    asked: int = 0
    right: int = 0
    ended: int = 0
    empty: int = 0
    missed: list[tuple[str, str]] = field(default_factory=list)


def is_right(reply: str, required: Required) -> bool:
    """Whether a reply holds a word of every group."""
    lower = reply.lower()
    return all(any(word.lower() in lower for word in group) for group in required)


def prompt_ids(probe: Probe, tokenizer: Tokenizer) -> list[int]:
    """The conversation so far and the question, ready for the starter to answer."""
    before, _ = encode(Dialogue(probe.turns), tokenizer)
    user, end, assistant = (id_of(tokenizer, token) for token in (USER, END, ASSISTANT))
    asked = tokenizer.encode(probe.question.strip(), add_special_tokens=False).ids
    return [*before, user, *asked, end, assistant]


@torch.inference_mode()
def replies(
    model: GPT2LMHeadModel, tokenizer: Tokenizer, prompts: Sequence[list[int]], sampled: bool, seed: int = 1
) -> list[tuple[str, bool]]:
    """The reply to each prompt and whether it ended by itself. Prompts of one call run as one batch."""
    end = id_of(tokenizer, END)
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), end)
    seen = torch.zeros(len(prompts), longest, dtype=torch.long)
    for i, prompt in enumerate(prompts):  # padded on the left, so that all replies start at one place
        ids[i, longest - len(prompt) :] = torch.tensor(prompt)
        seen[i, longest - len(prompt) :] = 1
    torch.manual_seed(seed)
    settings: dict[str, Any] = {"do_sample": False}
    if sampled:
        settings = {"do_sample": True, **{k: v for k, v in SAMPLING.items() if k != "do_sample"}}
    generator: Any = model  # transformers types `generate` for its own mixin only
    out: Tensor = generator.generate(
        ids, attention_mask=seen, max_new_tokens=MOST_TOKENS, eos_token_id=end, pad_token_id=end, **settings
    )
    answers = []
    for row in out[:, longest:].tolist():
        stop = row.index(end) if end in row else None
        answers.append((tokenizer.decode(row[:stop]).strip(), stop is not None))
    return answers


def measure(
    model: GPT2LMHeadModel, tokenizer: Tokenizer, probes: Iterable[Probe], sampled: bool, batch: int = 128
) -> dict[tuple[str, str], Score]:
    """Scores by category and language."""
    # Neighbours of like length share a batch: less padding.
    work = sorted(((probe, prompt_ids(probe, tokenizer)) for probe in probes), key=lambda item: len(item[1]))
    scores: dict[tuple[str, str], Score] = defaultdict(Score)
    for at in tqdm(range(0, len(work), batch), desc="sampled" if sampled else "greedy", mininterval=5):
        part = work[at : at + batch]
        for (probe, _), (reply, ended) in zip(
            part, replies(model, tokenizer, [ids for _, ids in part], sampled, seed=at), strict=True
        ):
            score = scores[probe.category, probe.language]
            score.asked += 1
            score.ended += ended
            score.empty += not reply
            if is_right(reply, probe.required):
                score.right += 1
            else:
                score.missed.append((probe.question, reply))
    return scores


def table(greedy: dict[tuple[str, str], Score], sampled: dict[tuple[str, str], Score]) -> str:
    """The scores as a Markdown table."""
    lines = [
        "| category | language | questions | right, greedy | right, sampled | ended by itself | empty |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key in sorted(greedy):
        first, second = greedy[key], sampled[key]
        ended = (first.ended + second.ended) / (2 * first.asked)
        lines.append(
            f"| {key[0]} | {key[1]} | {first.asked} | {first.right / first.asked:.1%} | "
            f"{second.right / second.asked:.1%} | {ended:.1%} | {first.empty + second.empty} |"
        )
    for name, scores in (("greedy", greedy), ("sampled", sampled)):
        asked, right = sum(s.asked for s in scores.values()), sum(s.right for s in scores.values())
        ended = sum(s.ended for s in scores.values())
        lines.append(
            f"\nAll, {name}: {right}/{asked} right ({right / asked:.1%}), {ended / asked:.1%} ended by themselves."
        )
    return "\n".join(lines)


def write_card(folder: Path, text: str) -> None:
    """Puts the table between the marks of the model card."""
    card = folder / "README.md"
    head, rest = card.read_text(encoding="utf-8").split(MARK[0], 1)
    tail = rest.split(MARK[1], 1)[1]
    card.write_text(f"{head}{MARK[0]}\n{text}\n{MARK[1]}{tail}", encoding="utf-8")


def main() -> None:
    """Evaluates a checkpoint folder."""
    parser = argparse.ArgumentParser(description="Measure the starter model.")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--generated", type=int, default=150, help="generated questions per language and kind (150)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--missed", type=Path, help="write the replies that missed, as JSON")
    parser.add_argument("--card", action="store_true", help="write the table into the model card")
    options = parser.parse_args()
    model = GPT2LMHeadModel.from_pretrained(options.checkpoint, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(options.checkpoint / "tokenizer.json"))
    probes = list(held_out_exchanges(options.seed, generated=options.generated))
    greedy = measure(model, tokenizer, probes, sampled=False)
    sampled = measure(model, tokenizer, probes, sampled=True)
    text = table(greedy, sampled)
    print(text)
    if options.missed:
        missed = {" ".join(key): score.missed for key, score in sorted(greedy.items())}
        options.missed.write_text(json.dumps(missed, indent=1, ensure_ascii=False), encoding="utf-8")
    if options.card:
        write_card(options.checkpoint, text)


if __name__ == "__main__":
    main()
