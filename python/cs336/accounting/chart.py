"""The shares of operations by model size, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cs336.accounting.table import Table, readable
from cs336.accounting.tables import COMPONENTS, Question, sizes_table
from cs336.picture import save_picture

__all__ = ["draw_shares"]

# Grey levels far enough apart for a printer, and a pattern each for whoever can't tell greys.
_STYLES: dict[str, dict[str, str]] = {
    "projections": {"facecolor": "0.35", "hatch": ""},
    "scores": {"facecolor": "0.95", "hatch": "////"},
    "feed-forward": {"facecolor": "0.65", "hatch": ""},
    "output head": {"facecolor": "1.0", "hatch": "...."},
}


def draw_shares(question: Question, path: Path) -> None:
    """Draws a bar a model, one panel a context length; the ending of the path says whether PNG, SVG or PDF."""
    table = sizes_table(question)
    contexts = sorted({row[1] for row in table.rows})
    bars = len(table.rows) / len(contexts)
    with save_picture(path, width=7.5, height=(0.42 * bars + 0.75) * len(contexts) + 0.5) as figure:
        panels = figure.subplots(len(contexts), 1, squeeze=False)[:, 0]
        for panel, context in zip(panels, contexts, strict=True):
            _draw_panel(panel, table, context)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(COMPONENTS), frameon=False)


def _draw_panel(panel: Any, table: Table, context: int) -> None:
    """The bars of one context length, the first model on top."""
    rows = [row for row in table.rows if row[1] == context]
    names = [row[0] for row in rows]
    left = [0.0] * len(rows)
    for place, component in enumerate(COMPONENTS, start=len(table.columns) - len(COMPONENTS)):
        shares = [row[place] for row in rows]
        bars = panel.barh(names, shares, left=left, label=component, edgecolor="black", **_STYLES[component])
        texts = [f"{100 * share:.0f}%" if share >= 0.045 else "" for share in shares]
        for text in panel.bar_label(bars, texts, label_type="center", fontsize=8):
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0} if text.get_text() else None)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    for row in rows:
        panel.text(1.01, row[0], f"{readable(row[3], 'flop')}FLOP", va="center", fontsize=8)
    panel.invert_yaxis()
    panel.set_xlim(0, 1)
    panel.set_xticks([])
    panel.set_title(f"forward pass of {context:,} tokens", loc="left", fontsize=10)
    panel.spines[["top", "right", "bottom", "left"]].set_visible(False)
