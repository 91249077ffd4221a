"""Confusion matrices: what each gold class was taken for."""

from pathlib import Path

import numpy as np

from trainer.plots_style import Picture, entry_title, new_figure, save
from trainer.results_groups import Entry, Section

NO_LABEL = "no label"
_MOST_LABELS = 40


def draw_confusion(section: Section, entry: Entry, path: Path) -> Picture | None:
    """Shares of each gold class as colour, counts as numbers; `None` without a matrix, or of one too large to read."""
    labels, columns, matrix = summed_confusion(entry)
    if not labels or len(labels) > _MOST_LABELS:
        return None
    support = matrix.sum(axis=1)
    shares = matrix / np.maximum(support[:, None], 1)
    title = entry_title(section, entry)
    with new_figure(3.0 + 0.66 * len(columns), 2.2 + 0.5 * len(labels)) as figure:
        axis = figure.add_subplot()
        image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), count in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(count), ha="center", va="center", color=color)
        axis.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
        axis.set_yticks(range(len(labels)), [f"{name} ({count})" for name, count in zip(labels, support, strict=True)])
        axis.set(xlabel="predicted", ylabel="gold (samples)")
        axis.spines[:].set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        figure.colorbar(image, label="share of the gold class")
        seeds = ", ".join(map(str, entry.seeds))
        caption = f"Seed {seeds}." if len(entry.seeds) == 1 else f"Counts summed over the seeds {seeds}."
        if NO_LABEL in columns:
            caption += f" {NO_LABEL}: the output was no label, or none of this benchmark."
        return save(figure, path, section.benchmark, f"Confusion matrix, {title}", caption)


def summed_confusion(entry: Entry) -> tuple[list[str], list[str], np.ndarray]:
    """(gold labels, columns, counts summed over the seeds).

    The columns are the labels, and `no label` where an output was unparsable or outside the set. No labels where a run
    lacks the matrix or has another label set.
    """
    parts = [one.content["confusion"].get(entry.benchmark) for one in entry.results]
    if any(part is None or part["labels"] != parts[0]["labels"] for part in parts):
        return [], [], np.zeros((0, 0), dtype=int)
    labels, matrix = parts[0]["labels"], np.sum([part["matrix"] for part in parts], axis=0)
    other = np.sum([part.get("other", [0] * len(labels)) for part in parts], axis=0)
    if other.any():
        return labels, [*labels, NO_LABEL], np.column_stack([matrix, other])
    return labels, labels, matrix
