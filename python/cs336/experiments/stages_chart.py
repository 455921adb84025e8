"""Where the time of training tokenizers goes, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cs336.accounting.table import readable
from cs336.experiments.tokenizers import Trained
from cs336.picture import save_picture

_FILLS = (("0.35", ""), ("0.95", "////"), ("0.65", ""), ("1.0", "...."))
"""Told apart without colours."""


def draw_stages(trained: Sequence[Trained], path: Path) -> None:
    """Draws a bar a corpus, divided into stages."""
    names = [one.name for one in trained]
    stages = list(dict.fromkeys(stage["stage"] for one in trained for stage in one.report["stages"]))
    left = [0.0] * len(trained)
    with save_picture(path, width=7.5, height=0.5 * len(trained) + 1.2) as figure:
        panel = figure.subplots()
        for place, stage in enumerate(stages):
            seconds = [sum(s["seconds"] for s in one.report["stages"] if s["stage"] == stage) for one in trained]
            fill, hatch = _FILLS[place % len(_FILLS)]
            panel.barh(names, seconds, left=left, label=stage, facecolor=fill, hatch=hatch, edgecolor="black")
            left = [start + more for start, more in zip(left, seconds, strict=True)]
        for row, (one, end) in enumerate(zip(trained, left, strict=True)):
            told = f"{readable(one.report['seconds'], 'seconds')} in all"  # with what lies between stages
            panel.annotate(told, (end, row), (4, 0), textcoords="offset points", va="center")
        panel.margins(x=0.2)
        panel.invert_yaxis()
        panel.set_xlabel("seconds")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(stages))
