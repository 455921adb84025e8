"""An ablation as a picture: a row for each variant, its losses from left to right."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336.experiments.variants import BASELINE
from cs336.picture import save_picture

if TYPE_CHECKING:  # not at run time: an ablation imports its chart
    from cs336.experiments.ablation import Ablation, Summary

__all__ = ["draw_ablation"]

_MARKERS = "osD^v<>ph*"
"""One a rate, so that they are told apart without colours."""


def draw_ablation(ablation: Ablation, path: Path) -> None:
    """Draws every seed at the best rate in black, the mean of each other rate in grey, the baseline's range as a band.

    The axis goes as far as the best rates need; what lies beyond is not drawn.
    """
    summaries = ablation.summaries()
    with save_picture(path, width=8.5, height=0.36 * len(summaries) + 1.5) as figure:
        panel = figure.subplots()
        base = next(one for one in summaries if one.variant == BASELINE)
        if base.lowest is not None and base.highest is not None:
            panel.axvspan(base.lowest, base.highest, color="0.88", zorder=0)
        for row, one in enumerate(summaries):
            _draw_row(panel, ablation, one, row)
        _set_losses(panel, summaries)
        panel.set_yticks(range(len(summaries)), [one.variant for one in summaries])
        panel.set_ylim(len(summaries) - 0.5, -0.5)
        panel.set_xlabel("loss at the end")
        panel.grid(axis="y", color="0.93")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        for rate, marker in zip(ablation.rates(), _MARKERS, strict=False):
            panel.plot([], [], linestyle="", marker=marker, color="black", label=f"{rate:g}")
        title = "learning rate: each seed at the best (black), the mean at others (grey)"
        figure.legend(title=title, loc="outside lower center", ncols=10, frameon=False, fontsize=8)


def _draw_row(panel: Any, ablation: Ablation, one: Summary, row: int) -> None:
    for rate, marker in zip(ablation.rates(), _MARKERS, strict=False):
        losses = ablation.losses(one.variant, rate)
        if losses is None:
            continue
        if rate == one.best_rate:
            panel.plot([min(losses), max(losses)], [row, row], color="black", linewidth=1)
            panel.plot(losses, [row] * len(losses), linestyle="", marker=marker, color="black", markersize=5)
        else:
            panel.plot([statistics.fmean(losses)], [row], marker=marker, markersize=5, fillstyle="none", color="0.5")
    told = "" if one.variant == BASELINE else one.verdict
    panel.text(1.01, row, told, transform=panel.get_yaxis_transform(), va="center", fontsize=9)


def _set_losses(panel: Any, summaries: list[Summary]) -> None:
    """The axis from the lowest to the highest loss at a best rate, with some room."""
    lowest = min((one.lowest for one in summaries if one.lowest is not None), default=0.0)
    highest = max((one.highest for one in summaries if one.highest is not None), default=1.0)
    room = 0.08 * (highest - lowest or 1.0)
    panel.set_xlim(lowest - room, highest + 3 * room)
