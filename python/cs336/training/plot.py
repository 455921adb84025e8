"""The loss curve of a run as a picture."""

from __future__ import annotations

from pathlib import Path

from cs336.files import whole_file
from cs336.training.metrics import Row


def plot_losses(rows: list[Row], path: Path) -> None:
    """Draws training and validation loss by step into a PNG."""
    # The object interface needs no display and changes no global state.
    from matplotlib.figure import Figure

    training = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    validation = [(row["step"], row["valid_loss"]) for row in rows if "valid_loss" in row]
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    if training:
        axes.plot(*zip(*training, strict=True), color="0.65", linewidth=0.8, label="training")
    if validation:
        label = f"validation, {validation[-1][1]:.3f} at the end"
        axes.plot(*zip(*validation, strict=True), color="black", marker="o", markersize=3, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats a token)")
    axes.grid(visible=True, color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with whole_file(path) as aside:
        figure.savefig(aside, format="png")
