"""The page of this metric's Space: a table of predictions and gold scores to try it on.

`evaluate`'s own page (`launch_gradio_widget`) needs Gradio 3 and drops a row whose prediction is missing.
"""

from pathlib import Path

import evaluate
import gradio as gr
from huggingface_hub import RepoCard

HERE = Path(__file__).parent
EXAMPLE = [["1.2", "1.0"], ["-0.4", "-1.0"], ["", "2.0"], ["0.0", "0.5"], ["2.5", "3.0"]]


def build_page() -> gr.Interface:
    """The page; its function takes the rows of the table, the failure penalty and the number of resamples."""
    metric = evaluate.load(str(HERE / "msa_regression.py"), keep_in_memory=True)

    def compute(rows, failure_penalty, resamples):
        try:
            predictions, references = columns(rows)
            options = {"failure_penalty": number(failure_penalty, "failure_penalty"), "resamples": int(resamples)}
            return metric.compute(predictions=predictions, references=references, **options)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return gr.Interface(
        compute,
        [
            gr.Dataframe(EXAMPLE, label="samples", headers=["predictions", "references"], type="array", column_count=2),
            gr.Textbox(
                "", label="failure_penalty: absolute error of an empty prediction; empty = then MAE has no value"
            ),
            gr.Slider(0, 10_000, 1000, step=100, label="resamples for the intervals"),
        ],
        gr.JSON(label="scores", open=True),
        title="Metric: msa_regression",
        description="An empty prediction is an output that could not be parsed: wrong for every accuracy.",
        article=RepoCard.load(HERE / "README.md").text,
        flagging_mode="never",
        api_name="compute",
    )


def columns(rows) -> tuple[list, list]:
    """Predictions and references of the rows that are not empty; an empty cell is `None`."""
    kept = [row[:2] for row in rows if any(cell not in ("", None) for cell in row[:2])]
    sides = zip(*kept, strict=True) if kept else ([], [])
    predictions, references = (
        [number(cell, f"{name}[{at}]") for at, cell in enumerate(side)]
        for name, side in zip(("predictions", "references"), sides, strict=True)
    )
    return predictions, references


def number(cell, name: str) -> float | None:
    """The number that stands in a cell or field; `None` where nothing does."""
    if cell in ("", None):
        return None
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{name}: expected a number, got {cell!r}") from None


if __name__ == "__main__":
    build_page().launch(show_error=True)
