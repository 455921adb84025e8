"""The losses of the learning-rate study as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cs336.experiments.sgd import Descent
from cs336.picture import save_picture

# Told apart without colours.
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "black", "linestyle": "-", "marker": "o"},
    {"color": "0.45", "linestyle": "--", "marker": "s"},
    {"color": "black", "linestyle": ":", "marker": "^"},
    {"color": "0.45", "linestyle": "-.", "marker": "D"},
)


def draw_descents(runs: Sequence[Descent], steps: int, path: Path) -> None:
    """Draws the loss by step: on the left the course's few steps, on the right all."""
    with save_picture(path, width=9, height=4) as figure:
        few, all_steps = figure.subplots(1, 2)
        for place, run in enumerate(runs):
            style = _STYLES[place % len(_STYLES)]
            for panel, end in ((few, steps + 1), (all_steps, len(run.losses))):
                losses = [
                    loss if 0 < loss < math.inf else math.nan for loss in run.losses[:end]
                ]  # the axis is a logarithm
                every = max(1, end // 10)
                panel.plot(range(end), losses, label=f"{run.rate:g}", markersize=4, markevery=every, **style)
        for panel, end in ((few, steps), (all_steps, len(runs[0].losses) - 1)):
            panel.axhline(runs[0].losses[0], color="0.8", linewidth=0.8)
            panel.set_yscale("log")
            panel.set_xlabel("steps")
            panel.set_title(f"{end:,} steps", loc="left", fontsize=10)
            panel.spines[["top", "right"]].set_visible(False)
        few.set_ylabel("loss")
        few.legend(frameon=False, title="learning rate")
