"""The page of this metric's Space: a table of predicted and gold emotions to try it on.

`evaluate`'s own page (`launch_gradio_widget`) needs Gradio 3 and drops a row whose prediction is missing.
"""

from pathlib import Path

import evaluate
import gradio as gr
from huggingface_hub import RepoCard

HERE = Path(__file__).parent
EXAMPLE = [["joy", "joy"], ["neutral", "anger"], ["", "fear"], ["excited", "joy"], ["neutral", "neutral"]]
MELD = "neutral, joy, surprise, anger, sadness, disgust, fear"


def build_page() -> gr.Interface:
    """The page; its function takes the rows of the table, the label set and the number of resamples."""
    metric = evaluate.load(str(HERE / "erc_classification.py"), keep_in_memory=True)

    def compute(rows, labels, resamples):
        try:
            predictions, references = columns(rows)
            names = [name.strip() for name in labels.split(",")] if labels.strip() else None
            options = {"labels": names, "resamples": int(resamples)}
            return metric.compute(predictions=predictions, references=references, **options)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None

    return gr.Interface(
        compute,
        [
            gr.Dataframe(EXAMPLE, label="samples", headers=["predictions", "references"], type="array", column_count=2),
            gr.Textbox(MELD, label="labels: the benchmark's set, comma between; empty = all gold or predicted, sorted"),
            gr.Slider(0, 10_000, 1000, step=100, label="resamples for the intervals"),
        ],
        gr.JSON(label="scores", open=True),
        title="Metric: erc_classification",
        description="An empty prediction is an output that could not be parsed: it is wrong, never `neutral`.",
        article=RepoCard.load(HERE / "README.md").text,
        flagging_mode="never",
        api_name="compute",
    )


def columns(rows) -> tuple[list, list]:
    """Predictions and references of the rows that are not empty; an empty cell is `None`."""
    cells = [[None if cell is None else str(cell).strip() or None for cell in row[:2]] for row in rows]
    kept = [row for row in cells if row != [None, None]]
    return [row[0] for row in kept], [row[1] for row in kept]


if __name__ == "__main__":
    build_page().launch(show_error=True)
