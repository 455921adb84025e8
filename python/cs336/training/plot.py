"""The loss curves of runs as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

from cs336.files import whole_file
from cs336.training.metrics import Row

Along = Literal["step", "tokens", "time"]
_LABELS = {"step": "step", "tokens": "tokens", "time": "time of training (seconds)"}


@dataclass(frozen=True)
class Curves:
    """A run's log, and what to call it in the legend."""

    name: str
    rows: list[Row]

    def training(self, by: Along) -> list[tuple[float, float]]:
        """Points of the training loss."""
        places = self._places(by)
        return [(places[row["step"]], row["loss"]) for row in self.rows if "loss" in row]

    def validation(self, by: Along) -> list[tuple[float, float]]:
        """Points of the validation loss."""
        places = self._places(by)
        rows = [row for row in self.rows if "valid_loss" in row and row["step"] in places]
        return [(places[row["step"]], row["valid_loss"]) for row in rows]

    def _places(self, by: Along) -> dict[int, float]:
        """Where each step stands. By time and by tokens, only those that the log has a row of."""
        if by == "step":
            return {row["step"]: row["step"] for row in self.rows}
        steps = [row for row in self.rows if "loss" in row]
        values = accumulate(row["seconds"] for row in steps) if by == "time" else (row["tokens"] for row in steps)
        return dict(zip((row["step"] for row in steps), values, strict=True))


def plot_losses(rows: list[Row], path: Path) -> None:
    """Draws training and validation loss of a run by step into a PNG."""
    draw_runs([Curves("", rows)], path)


def draw_runs(runs: list[Curves], path: Path, *, by: Along = "step") -> None:
    """Draws the losses of several runs into a PNG: validation with dots, training as thin lines behind."""
    # The object interface needs no display and changes no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, run in enumerate(runs):
        alone = len(runs) == 1
        color = "black" if alone else f"C{number}"
        training, validation = run.training(by), run.validation(by)
        if training:
            label = "training" if alone else None if validation else f"{run.name}: training"
            faint = {"color": "0.65"} if alone else {"color": color, "alpha": 0.3}
            axes.plot(*zip(*training, strict=True), **faint, linewidth=0.8, label=label)
        if validation:
            name = "validation" if alone else run.name
            label = f"{name}, {validation[-1][1]:.3f} at the end"
            axes.plot(*zip(*validation, strict=True), color=color, marker="o", markersize=3, label=label)
    axes.set_xlabel(_LABELS[by])
    axes.set_ylabel("loss (nats a token)")
    axes.grid(visible=True, color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png")
