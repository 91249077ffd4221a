"""The model card: README with metadata, and `.eval_results/*.yaml`, both made from results files.

No number is typed in: tables, `model-index` and evaluation entries come from the files, and the card ends with the
table that leads each of them back to file, run, seed, commit and command. Names of tasks and data sets are constants,
so that an update replaces entries on the Hub instead of adding more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainer.leaderboard import (
    LEGEND,
    describe_model,
    describe_protocol,
    file_names,
    markdown_table,
    render_tables,
    render_trace,
)
from trainer.metric_names import METRICS, OVERALL, is_official
from trainer.results_file import Results, read_all_results
from trainer.results_groups import build_sections

TEMPLATE = Path(__file__).parent / "model_card_template.md"
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


def card_files(results: Sequence[Path], settings: CardSettings) -> dict[str, str]:
    """The card, and one `.eval_results/<benchmark>.yaml` a benchmark: path in the repository -> text, the card first.

    Args:
        results: results files. The first is the published checkpoint's own: it alone fills the metadata. The others
            (further seeds, protocols, ablations) appear in the tables.

    Raises:
        ValueError: without results, or on a wrong results file.
    """
    import yaml

    if not results:
        raise ValueError("model card: expected at least one results file; without one use project_model_card()")
    runs = read_all_results(results)
    texts = {"README.md": _render(runs, settings)}
    for benchmark, entries in _evaluation_entries(runs[0], settings).items():
        texts[f"{EVALUATIONS}/{benchmark}.yaml"] = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    return texts


def project_model_card() -> str:
    """The text of the project's own `model_card.md`: the same template while no checkpoint is published."""
    return _render([], CardSettings())


def write_project_card() -> Path:
    """Write `model_card.md` of this checkout; returns its path."""
    _project_card().write_text(project_model_card(), encoding="utf-8")
    return _project_card()


def check_project_card() -> str:
    """Raise a `ValueError` unless `model_card.md` of this checkout is what the template gives, byte for byte."""
    path = _project_card()
    if path.read_bytes() != project_model_card().encode("utf-8"):
        raise ValueError(f"{path}: differs from what its template gives; `unimse card` writes it again")
    return f"{path}: as its template gives it"


def _project_card() -> Path:
    path = Path(__file__).resolve().parents[1] / "model_card.md"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a checkout of the project; name a published folder")
    return path


def _render(runs: list[Results], settings: CardSettings) -> str:
    from huggingface_hub import ModelCard

    model_id = settings.model_id
    fields = {"model_id": model_id, "title": model_id.split("/")[-1] if runs else "UniMSE", "published": None}
    fields["adapter"] = bool(runs) and "peft" in runs[0].content["model"]
    if runs:
        published = runs[0]
        versions = ", ".join(f"{name} {version}" for name, version in sorted(published.content["versions"].items()))
        fields |= {"published": published, "versions": versions, "warning": _warning(published)}
        fields |= {"checkpoint": published.content["checkpoint"], "has_predictions": published.beside("predictions")}
        tables = render_tables(build_sections(runs), quoted=False)
        fields["results"] = "\n".join([*LEGEND, "", *tables]).rstrip()
        fields["trace"] = "\n".join(render_trace(runs, file_names(runs)))
        fields["training"] = "\n".join(_training_table(published, settings.training))
    metadata = _metadata(runs, settings)
    text = str(ModelCard.from_template(metadata, template_str=TEMPLATE.read_text(encoding="utf-8"), **fields))
    return text.rstrip() + "\n"


def _warning(published: Results) -> str:
    """What a reader must know before reading scores of rows that are not an official test split."""
    named = [name for name in published.benchmarks if name in DATASETS]
    others = [name for name in named if not is_official(name, published.data(name))]
    if not others:
        return ""
    return (
        f"**Not benchmark scores: {', '.join(others)}.** The rows scored there are, by their number, not the official\n"
        "test split of that name, so these values say nothing about the published benchmark.\n\n"
    )


def _training_table(published: Results, training: Mapping) -> list[str]:
    content = published.content
    rows = [["model", content["model"]["name"]], ["parameters", f"{content['model']['parameters']:,}"]]
    rows += [["fusion", describe_model(content["model"])], ["seed", published.seed]]
    rows += [[name.replace("_", " "), _shown(value)] for name, value in training.items()]
    rows += [[f"seconds, {name}", value] for name, value in sorted(content["seconds"].items())]
    rows += [["evaluation protocol", describe_protocol(published.protocol)], ["commit", content["commit"] or "none"]]
    return markdown_table(["setting", "value"], rows)


def _shown(value) -> str:
    """A setting as it would stand in a config; a mapping or list on one line."""
    import yaml

    if isinstance(value, (Mapping, list)):
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf).strip()
    return str(value)


# --- metadata ---------------------------------------------------------------------------------------------------------


def _metadata(runs: list[Results], settings: CardSettings):
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
                )
            )
    return entries


def _evaluation_entries(published: Results, settings: CardSettings) -> dict[str, list[dict]]:
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
