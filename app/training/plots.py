"""Pictures of training runs: curves, confusion matrix, several runs side by side; PNG or SVG bytes.

Uses matplotlib's objects, never pyplot, so that nothing is shared between requests. Needs no torch.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Format = Literal["png", "svg"]
History = Sequence[Mapping[str, Any]]

# matplotlib does not promise thread safety: its font and text caches are shared.
_DRAWING = threading.Lock()


def plot_run(
    history: History,
    confusion_matrix: Sequence[Sequence[int]] | None = None,
    *,
    title: str = "",
    format: Format = "png",  # noqa: A002
) -> bytes:
    """Loss and accuracy by epoch and, if given, the confusion matrix (rows: truth). `history` may still be short."""
    with _DRAWING:
        figure = _figure(3 if confusion_matrix is not None else 2, title)
        loss, accuracy, *rest = figure.axes
        _curves(loss, {"": history}, "loss")
        _curves(accuracy, {"": history}, "accuracy")
        if confusion_matrix is not None:
            _confusion(rest[0], np.asarray(confusion_matrix))
        return _render(figure, format)


def plot_comparison(
    runs: Mapping[str, History],
    *,
    title: str = "",
    format: Format = "png",  # noqa: A002
) -> bytes:
    """The curves of several runs, by name, in one picture."""
    if not runs:
        raise ValueError("there are no runs to compare")
    with _DRAWING:
        figure = _figure(2, title)
        for axes, metric in zip(figure.axes, ("loss", "accuracy"), strict=True):
            _curves(axes, runs, metric)
        return _render(figure, format)


def _figure(columns: int, title: str) -> Figure:
    figure = Figure(figsize=(4.6 * columns, 4.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.subplots(1, columns)
    if title:
        # parse_math: a title may come from outside, and "$" is not meant as mathematics there.
        figure.suptitle(title, parse_math=False)
    return figure


def _curves(axes: Axes, runs: Mapping[str, History], metric: str) -> None:
    drawn = 0
    for number, (name, history) in enumerate(runs.items()):
        for key, word, style in ((metric, "training", "-"), (f"val_{metric}", "validation", "--")):
            points = [(epoch["epoch"], epoch[key]) for epoch in history if key in epoch]
            if points:
                label = f"{name} · {word}" if name else word
                axes.plot(*zip(*points, strict=True), style, marker="o", ms=4, color=f"C{number}", label=label)
                drawn += 1
    axes.set(xlabel="epoch", ylabel=metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if drawn:
        for text in axes.legend(fontsize="small").get_texts():
            text.set_parse_math(False)
    else:
        axes.text(0.5, 0.5, "no epoch finished yet", ha="center", va="center", transform=axes.transAxes)


def _confusion(axes: Axes, counts: np.ndarray[Any, np.dtype[Any]]) -> None:
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=7)
    digits = range(len(counts))
    axes.set(xlabel="read as", ylabel="digit", xticks=digits, yticks=digits, title="confusion matrix")


def _render(figure: Figure, format: Format) -> bytes:  # noqa: A002
    out = io.BytesIO()
    # Without a date, the same run gives the same picture.
    figure.savefig(out, format=format, metadata={"Date": None} if format == "svg" else None)
    return out.getvalue()
