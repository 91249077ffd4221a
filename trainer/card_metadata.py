"""What the Hub reads of a model: the front matter of its card with `model-index`, and `.eval_results/*.yaml`.

Names of tasks and data sets are constants, and the protocol of a value stands in the arguments of its metric, which the
Hub's client compares too: an update under the same protocol replaces the entries on the Hub, another protocol adds its.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainer.leaderboard_format import describe_protocol
from trainer.metric_names import METRICS, OVERALL, is_official
from trainer.results_file import Results

EVALUATIONS = ".eval_results"
PROJECT_MODEL_ID = "OWNER/unimse"
TAGS = (
    *("unimse", "t5", "multimodal", "multimodal-sentiment-analysis", "emotion-recognition-in-conversation"),
    *("sentiment-analysis", "emotion-recognition", "audio", "video", "custom_code"),
)
CARD_METRICS = ("accuracy", "f1", "mae", "pearsonr")
WIDGET = (
    {"text": "I can't believe you did this for me!", "example_title": "Joy"},
    {"text": "The plot made no sense and I wanted my two hours back.", "example_title": "Negative review"},
    {"text": "The train leaves at ten past six.", "example_title": "Neutral"},
)
DATASETS = {
    "mosi": ("cmu-mosi", "CMU-MOSI"),
    "mosei": ("cmu-mosei", "CMU-MOSEI"),
    "meld": ("meld", "MELD"),
    "iemocap": ("iemocap", "IEMOCAP"),
}
_SENTIMENT_TASK = ("multimodal-sentiment-analysis", "Multimodal Sentiment Analysis")
_EMOTION_TASK = ("emotion-recognition-in-conversation", "Emotion Recognition in Conversation")
# Our metric -> (task, the Hub's metric id). What is not listed, such as counts, stays out of the metadata.
_HUB_METRICS = {
    "mae": (_SENTIMENT_TASK, "mae"),
    "corr": (_SENTIMENT_TASK, "pearsonr"),
    **dict.fromkeys(("acc7", "acc5", "acc2_has0", "acc2_non0"), (_SENTIMENT_TASK, "accuracy")),
    **dict.fromkeys(("f1_has0", "f1_non0"), (_SENTIMENT_TASK, "f1")),
    "accuracy": (_EMOTION_TASK, "accuracy"),
    **dict.fromkeys(("weighted_f1", "macro_f1"), (_EMOTION_TASK, "f1")),
}
_VALUE_DECIMALS = 6


@dataclass(frozen=True)
class CardSettings:
    """What a card says beside what its results files hold.

    Args:
        model_id: Hub name of the model.
        base_model: Hub name of the backbone, where the model started from one.
        training: settings of the published run, shown as a table.
        dataset_ids: benchmark -> Hub data set repository; by default names that are constant for this project.
    """

    model_id: str = PROJECT_MODEL_ID
    base_model: str | None = None
    training: Mapping[str, object] = field(default_factory=dict)
    dataset_ids: Mapping[str, str] = field(default_factory=dict)


def card_metadata(runs: Sequence[Results], settings: CardSettings):
    """The card's front matter as `huggingface_hub.ModelCardData`; scores of the first run only, none without runs."""
    from huggingface_hub import ModelCardData

    ids = settings.dataset_ids
    benchmarks = [name for name in runs[0].benchmarks if name != OVERALL] if runs else []
    datasets = [dataset_identity(name, runs[0], ids)[0] for name in benchmarks]
    return ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="peft" if runs and "peft" in runs[0].content["model"] else "transformers",
        pipeline_tag="text-classification",
        tags=list(TAGS),
        datasets=datasets or None,
        metrics=list(CARD_METRICS),
        base_model=settings.base_model,
        model_name=settings.model_id.split("/")[-1] if runs else None,
        eval_results=_model_index(runs[0], benchmarks, ids) if runs else None,
        widget=[dict(example) for example in WIDGET],
    )


def dataset_identity(benchmark: str, results: Results, ids: Mapping[str, str]) -> tuple[str, str]:
    """(id, name) of what was scored. Rows that are not the official test split never carry the benchmark's own name."""
    identifier, name = DATASETS.get(benchmark, (benchmark, benchmark))
    if benchmark in DATASETS and not is_official(benchmark, results.data(benchmark)):
        identifier, name = f"{identifier}-unofficial", f"{name} (rows other than the official test split)"
    return ids.get(benchmark, identifier), name


def _hub_values(results: Results, benchmark: str) -> list[tuple[str, float]]:
    """The metrics of a benchmark that the Hub's metadata can hold; values that are null have no place there."""
    scores = results.scores(benchmark)
    return [(key, round(scores[key], _VALUE_DECIMALS)) for key in _HUB_METRICS if scores.get(key) is not None]


def _model_index(published: Results, benchmarks: Sequence[str], ids: Mapping[str, str]) -> list:
    from huggingface_hub import EvalResult

    entries = []
    for benchmark in benchmarks:
        dataset_type, dataset_name = dataset_identity(benchmark, published, ids)
        for key, value in _hub_values(published, benchmark):
            (task_type, task_name), metric_type = _HUB_METRICS[key]
            entries.append(
                EvalResult(
                    task_type=task_type,
                    task_name=task_name,
                    dataset_type=dataset_type,
                    dataset_name=dataset_name,
                    dataset_split=published.data(benchmark)["split"],
                    metric_type=metric_type,
                    metric_name=METRICS[key].title,
                    metric_value=value,
                    metric_args={"protocol": describe_protocol(published.protocol)},
                )
            )
    return entries


def evaluation_entries(published: Results, settings: CardSettings) -> dict[str, list[dict]]:
    """benchmark -> the entries of its `.eval_results` file, as plain data."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    named = settings.model_id != PROJECT_MODEL_ID
    shared = {
        "date": published.content["created"],
        "source_url": f"https://huggingface.co/{settings.model_id}/blob/main/results.json" if named else None,
    }
    files = {}
    for benchmark in published.benchmarks:
        values = _hub_values(published, benchmark) if benchmark != OVERALL else []
        if values:
            dataset_id, _ = dataset_identity(benchmark, published, settings.dataset_ids)
            entries = [
                EvalResultEntry(
                    dataset_id=dataset_id, task_id=key, value=value, notes=_note(published, benchmark, key), **shared
                )
                for key, value in values
            ]
            files[benchmark] = eval_result_entries_to_yaml(entries)
    return files


def _note(published: Results, benchmark: str, key: str) -> str:
    """How a value came about, in one line."""
    content = published.content
    note = f"run {published.run}, seed {published.seed}, commit {content['commit'] or 'none'}; "
    interval = published.interval(benchmark, key)
    if interval is not None:
        level = f"{100 * content['bootstrap']['confidence_level']:g} % bootstrap interval"
        note += f"{level} {' to '.join(str(round(bound, _VALUE_DECIMALS)) for bound in interval)}; "
    return note + describe_protocol(published.protocol)
