"""Vocabularies side by side, as a picture: by length and by script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cs336.experiments.vocabulary import Vocabulary
from cs336.picture import save_picture

_LINES = ("-", "--", ":", "-.")
_FILLS = (("0.25", ""), ("0.75", "////"), ("1.0", "...."), ("0.5", ""))
_SCRIPTS = 8


def draw_vocabularies(vocabularies: Sequence[Vocabulary], path: Path) -> None:
    """Draws on the left how many tokens have how many bytes, on the right how many have which script."""
    with save_picture(path, width=9, height=4) as figure:
        left, right = figure.subplots(1, 2)
        top = max(max(one.lengths, default=2) for one in vocabularies)
        scripts: Counter[str] = sum((one.scripts for one in vocabularies), Counter())
        names = [name for name, _ in scripts.most_common(_SCRIPTS)]
        height = 0.8 / len(vocabularies)
        for place, one in enumerate(vocabularies):
            counts = [one.lengths[length] for length in range(2, top + 1)]
            left.step(
                range(2, top + 1), counts, where="mid", color="black", linestyle=_LINES[place % 4], label=one.name
            )
            rows = [row + height * place for row in range(len(names))]
            fill, hatch = _FILLS[place % 4]
            bars = [one.scripts[name] for name in names]
            right.barh(rows, bars, height, label=one.name, facecolor=fill, hatch=hatch, edgecolor="black")
        left.set_xlabel("bytes")
        left.xaxis.get_major_locator().set_params(integer=True)
        left.set_ylabel("tokens")
        right.set_yticks([row + 0.4 - height / 2 for row in range(len(names))], names)
        right.invert_yaxis()
        right.set_xscale("symlog")
        right.set_xlabel("tokens (logarithmic)")
        for panel in (left, right):
            # Above, where no bar can be.
            panel.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
            panel.spines[["top", "right"]].set_visible(False)
