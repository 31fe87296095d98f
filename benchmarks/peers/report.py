"""The run as tables and a plot: every row, the ratios that the engine is held to, and all others of like precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import table
from benchmarks.peers.measure import BATCHES, SHORT
from benchmarks.peers.systems import (
    ARTICLE,
    CTRANSLATE2,
    GENERATE,
    LLAMA_CPP,
    OPENVINO,
    OURS,
    OURS_OVER_HTTP,
    SYSTEMS,
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """At least so many times a peer's speed, for each batch size; without a precision each side's best counts."""

    against: str
    peer: str
    peer_precision: str | None
    ours: str
    our_precision: str | None
    least: dict[int, float]


TARGETS = (
    Target(
        "transformers generate, float32 with float32",
        *(GENERATE, "float32", OURS, "float32"),
        {1: 1.6, 4: 3, 16: 3, 64: 2.5},
    ),
    Target("CTranslate2 int8, ours int8", CTRANSLATE2, "int8", OURS, "int8", {1: 2, 4: 2, 16: 1.6, 64: 1.8}),
    Target("llama.cpp Q8_0, ours int8", LLAMA_CPP, "Q8_0", OURS, "int8", {1: 1, 4: 1.8, 16: 1.8, 64: 2.5}),
    Target("OpenVINO GenAI (its best), our best", OPENVINO, None, OURS, None, dict.fromkeys(BATCHES, 1.0)),
    Target(
        "the article's app, 16 clients over HTTP, ours float32 over HTTP",
        *(ARTICLE, "float32", OURS_OVER_HTTP, "float32"),
        {16: 12},
    ),
)


def target_rows(rows: Sequence[Row]) -> list[Row]:
    """One row for each target and batch size, with what is missing where it can't be told."""
    answer = []
    for target in TARGETS:
        for batch, least in target.least.items():
            ours = _best(rows, target.ours, target.our_precision, batch)
            theirs = _best(rows, target.peer, target.peer_precision, batch)
            row: Row = {
                "against": target.against,
                "batch": batch,
                "ours_tokens_per_s": ours,
                "theirs_tokens_per_s": theirs,
                "ratio": None,
                "target": float(least),
            }
            if ours is None or theirs is None:
                missing = (target.ours, target.our_precision) if ours is None else (target.peer, target.peer_precision)
                row["reached"] = f"not measured: {_why(rows, *missing, batch)}"
            else:
                row["ratio"] = round(ours / theirs, 3)
                row["reached"] = "yes" if ours >= least * theirs else "no"
                if missing := unavailable(_of(rows, target.peer, target.peer_precision, batch)):
                    row["reached"] += f", without {'; '.join(missing)}"
            answer.append(row)
    return answer


def like_rows(rows: Sequence[Row]) -> list[Row]:
    """How many times as fast as each peer we are in like precision; a column for each batch size."""
    speed = {(row["system"], row["precision"], row["batch"], row["prompt"]): row["tokens_per_s"] for row in rows}
    batches = sorted({row["batch"] for row in rows})
    answer = []
    for prompt in dict.fromkeys(row["prompt"] for row in rows):
        for system in SYSTEMS:
            if system.name in (OURS, OURS_OVER_HTTP):
                continue
            ours = OURS_OVER_HTTP if system.over_http else OURS
            ratios: Row = {}
            for batch in batches:
                our_speed = speed.get((ours, system.like, batch, prompt))
                their_speed = speed.get((system.name, system.precision, batch, prompt))
                told = our_speed is not None and their_speed is not None
                ratios[str(batch)] = round(our_speed / their_speed, 3) if told else None
            if any(ratio is not None for ratio in ratios.values()):
                answer.append({"peer": str(system), "ours": system.like, "prompt": prompt} | ratios)
    return answer


def _best(rows: Sequence[Row], system: str, precision: str | None, batch: int) -> float | None:
    speeds = [row["tokens_per_s"] for row in _of(rows, system, precision, batch) if row["tokens_per_s"] is not None]
    return max(speeds, default=None)


def _why(rows: Sequence[Row], system: str, precision: str | None, batch: int) -> str:
    reasons = [row["unavailable"] for row in _of(rows, system, precision, batch) if row.get("unavailable")]
    return f"{system}: {reasons[0]}" if reasons else f"{system} was left out"


def _of(rows: Sequence[Row], system: str, precision: str | None, batch: int) -> list[Row]:
    return [
        row
        for row in rows
        if row["system"] == system and row["batch"] == batch and row["prompt"] == SHORT
        if precision in (None, row["precision"])
    ]


def markdown(rows: Sequence[Row], about: Sequence[str]) -> str:
    """The whole report; `about` tells of machine, versions and rounds."""
    parts = ["# Beside its peers", "\n".join(f"- {line}" for line in about), "## Ratios to reach"]
    parts.append(table(target_rows(rows)))
    if likes := like_rows(rows):
        parts += ["## Like precision with like: our speed over theirs", table(likes)]
    shown = [_shown(row) for row in rows]
    parts += ["## All rows", _legend(), table(shown)]
    if missing := unavailable(rows):
        parts += ["## Not measured", "\n".join(f"- {line}" for line in missing)]
    return "\n\n".join(parts) + "\n"


def unavailable(rows: Sequence[Row]) -> list[str]:
    """Which systems could not be measured, and why; once for each reason."""
    lines = (f"{row['system']} {row['precision']}: {row['unavailable']}" for row in rows if row.get("unavailable"))
    return list(dict.fromkeys(lines))


def _shown(row: Row) -> Row:
    names = ("system", "precision", "prompt", "batch", "tokens_per_s")
    spread = "–"
    if row["tokens_per_s"] is not None:
        spread = f"{row['tokens_per_s_lowest']:,.1f} to {row['tokens_per_s_highest']:,.1f}"
    if row.get("unavailable"):
        spread = "not measured"
    more = ("ttft_ms", "gap_p99_ms", "peak_rss_mb", "startup_s", "total_tokens_per_s", "of_limit", "same_tokens")
    return {name: row[name] for name in names} | {"spread": spread} | {name: row.get(name) for name in more}


def _legend() -> str:
    return (
        "`tokens_per_s` is the rate at which the batch decodes while all its sequences do; for 700 and mixed prompts "
        "and over HTTP it is all tokens over all time, the prompts included, which every row has as "
        "`total_tokens_per_s`. "
        "`of_limit` is the decoding speed over what the machine's memory or arithmetic allows. "
        "`same_tokens` is the share of greedy tokens that are those of transformers in float32, up to the first that "
        "is not."
    )


def plot(rows: Sequence[Row], path: Path) -> None:
    """Speed over batch size, a panel for each kind of prompt, a line for each system; bars are the spread."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    figure, axes = plt.subplots(1, len(prompts), figsize=(6 * len(prompts), 5.5), squeeze=False, layout="constrained")
    systems = list(dict.fromkeys((row["system"], row["precision"]) for row in rows))
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(name for name, _ in systems))}
    styles = {"float32": "-", "F16": "--", "bfloat16": "--", "int8": ":", "Q8_0": ":"}
    for axis, prompt in zip(axes[0], prompts, strict=True):
        for name, precision in systems:
            line = [
                row
                for row in rows
                if (row["system"], row["precision"], row["prompt"]) == (name, precision, prompt)
                and row["tokens_per_s"] is not None
            ]
            if not line:
                continue
            middle = [row["tokens_per_s"] for row in line]
            below = [row["tokens_per_s"] - row["tokens_per_s_lowest"] for row in line]
            above = [row["tokens_per_s_highest"] - row["tokens_per_s"] for row in line]
            axis.errorbar(
                [row["batch"] for row in line],
                middle,
                yerr=[below, above],
                label=f"{name} {precision}",
                color=colours[name],
                linestyle=styles[precision],
                linewidth=2.5 if name == OURS else 1.2,
                marker="o",
                markersize=6 if name == OURS else 4,
                capsize=2,
            )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
        axis.set_xlabel("sequences at once")
        axis.set_ylabel("tokens a second")
        axis.set_title("mixed prompts" if prompt == "mixed" else f"prompts of {prompt} tokens")
        axis.grid(visible=True, which="both", alpha=0.25)
    handles = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path)
    plt.close(figure)
