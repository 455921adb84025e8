"""A learning-rate sweep as a picture: loss against rate, and the curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336.experiments.arms import Outcome
from cs336.picture import save_picture

if TYPE_CHECKING:  # not at run time: a sweep imports its chart
    from cs336.experiments.lr_sweep import Sweep

__all__ = ["draw_sweep"]

# Told apart without colours.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "black", "linestyle": "-", "marker": "o"},
    {"color": "0.45", "linestyle": "--", "marker": "s"},
    {"color": "black", "linestyle": ":", "marker": "^"},
    {"color": "0.45", "linestyle": "-.", "marker": "D"},
)
_APART = 0.045
"""Between two labels, as a part of the panel's height."""


def draw_sweep(sweep: Sweep, path: Path) -> None:
    """Draws the final loss by rate on the left, a line a warm-up; on the right the curves of the best warm-up."""
    with save_picture(path, width=10, height=4.4) as figure:
        by_rate, curves = figure.subplots(1, 2, width_ratios=(1, 1.15))
        for panel in (by_rate, curves):
            _set_losses(panel, sweep)
            panel.spines[["top", "right"]].set_visible(False)
        _draw_rates(by_rate, sweep)
        _draw_curves(curves, sweep)


def _set_losses(panel: Any, sweep: Sweep) -> None:
    """The axis of losses: to above the start, so that runs that diverged don't press the others flat."""
    ended = [one.loss for one in sweep.outcomes if one.status in ("trained", "no progress") and one.loss]
    losses = [*ended, *(one.first_loss for one in sweep.outcomes if one.first_loss)] or [1.0]
    lowest, greatest = min(losses), max(losses)
    if greatest > 10 * lowest:  # as with a tied head, whose first loss is in the hundreds
        panel.set_yscale("log")
        panel.set_ylim(lowest / 1.5, greatest * 1.5)
    else:
        panel.set_ylim(0, 1.25 * greatest)


def _draw_rates(panel: Any, sweep: Sweep) -> None:
    for place, warmup in enumerate(sweep.warmups):
        style = _STYLES[place % len(_STYLES)]
        arms = sweep.of_warmup(warmup)
        ended = [(rate_of(one), one.loss) for one in arms if one.status in ("trained", "no progress") and one.loss]
        label = f"{warmup:,} step{'' if warmup == 1 else 's'} of warm-up"
        panel.plot(*(zip(*ended, strict=True) if ended else ((), ())), label=label, markersize=5, **style)
        diverged = [rate_of(one) for one in arms if one.status == "diverged"]
        # Where several warm-ups diverge at one rate, the crosses stand one below the other.
        height = [0.96 - _APART * place] * len(diverged)
        above = {"transform": panel.get_xaxis_transform(), "linestyle": "", "color": style["color"]}
        panel.plot(diverged, height, marker="x", markersize=8, **above)
    best = sweep.best
    if best is not None:
        panel.plot([rate_of(best)], [best.loss], marker="o", markersize=13, fillstyle="none", color="black")
        panel.annotate(
            f"{best.loss:.3f}",
            (rate_of(best), best.loss),
            (0, -20),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    for edge in sweep.edges():
        if edge.warmup != _shown_warmup(sweep):
            continue
        if edge.largest_trained and edge.smallest_diverged and edge.largest_trained < edge.smallest_diverged:
            panel.axvspan(edge.largest_trained, edge.smallest_diverged, color="0.9", zorder=0)
    panel.set_xscale("log")
    panel.set_xlabel("peak learning rate")
    panel.set_ylabel(f"{'validation' if best is None or best.valid_loss is not None else 'training'} loss at the end")
    panel.legend(frameon=False, fontsize=9, loc="lower left")
    panel.set_title("x: diverged; ring: the best; grey: the edge of stability", loc="left", fontsize=9)


def _shown_warmup(sweep: Sweep) -> int:
    """That of the best arm."""
    return int(sweep.best.about["warmup"]) if sweep.best is not None else sweep.warmups[0]


def _draw_curves(panel: Any, sweep: Sweep) -> None:
    """Training losses at one warm-up; the greater the rate, the darker."""
    warmup = _shown_warmup(sweep)
    arms = [one for one in sweep.of_warmup(warmup) if one.curve]
    longest = max((one.steps for one in arms), default=1)
    for place, one in enumerate(arms, start=1):
        steps, losses = zip(*one.curve, strict=True)
        is_best = sweep.best is not None and one.name == sweep.best.name
        style = "--" if one.status == "diverged" else "-"
        shade = str(0.75 * (1 - place / len(arms)))
        panel.plot(steps, losses, linestyle=style, linewidth=2.4 if is_best else 1.1, color=shade)
    panel.set_xlim(0, longest)
    panel.set_xlabel("steps")
    panel.set_ylabel("training loss")
    _label_ends(panel, arms)
    title = f"{warmup:,} step{'' if warmup == 1 else 's'} of warm-up; at the right the rates; thick: the best"
    panel.set_title(title, loc="left", fontsize=9)


def _label_ends(panel: Any, arms: Sequence[Outcome]) -> None:
    """Writes the rates in the right margin, pushed apart so that none covers another."""
    to_part = panel.transData + panel.transAxes.inverted()
    ends = [(min(1.0, to_part.transform((0, one.curve[-1][1]))[1]), one) for one in arms]
    height = -_APART
    for part, one in sorted(ends, key=lambda end: end[0]):
        height = max(part, height + _APART)
        text = f"{rate_of(one):g}{' x' if one.status == 'diverged' else ''}"
        panel.text(1.02, height, text, transform=panel.transAxes, fontsize=8, va="center")


def rate_of(outcome: Outcome) -> float:
    """The learning rate of an arm."""
    return float(outcome.about["rate"])
