"""The model card: README with metadata, and `.eval_results/*.yaml`, both made from results files.

No number is typed in: tables, `model-index` and evaluation entries come from the files, and the card ends with the
table that leads each of them back to file, run, seed, commit and command. Names of tasks and data sets are constants,
so that an update replaces entries on the Hub instead of adding more.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.leaderboard_format import describe_model, describe_protocol, file_names, legend
from trainer.leaderboard_markdown import markdown_table, render_table, render_tables
from trainer.leaderboard_tables import all_tables, source_table
from trainer.metric_names import METRICS, OVERALL, is_official
from trainer.results_file import Results, read_all_results
from trainer.results_groups import build_sections

TEMPLATE = Path(__file__).parent / "model_card_template.md"
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


def write_model_card(
    results: Sequence[Path],
    out_file: Path,
    *,
    model_id: str = PROJECT_MODEL_ID,
    base_model: str | None = None,
    dataset_ids: Mapping[str, str] | None = None,
    training: Mapping[str, object] | None = None,
    source_url: str | None = None,
) -> list[Path]:
    """Write the card to `out_file` and one `.eval_results/<benchmark>.yaml` a benchmark beside it.

    Args:
        results: results files. The first is the published checkpoint's own: it alone fills the metadata. The others
            (further seeds, protocols, ablations) appear in the tables.
        out_file: `README.md` of the model repository.
        model_id: Hub name of the model, used in the code example.
        base_model: Hub name of the backbone, where the model started from one.
        dataset_ids: benchmark -> Hub data set repository; by default names that are constant for this project.
        training: settings of the published run, shown as a table.
        source_url: where the results files can be read.

    Returns:
        The files written, the card first.

    Raises:
        ValueError: without results, or on a wrong results file.
    """
    import yaml

    if not results:
        raise ValueError("model card: expected at least one results file; without one use project_model_card()")
    runs = read_all_results(results)
    ids = dict(dataset_ids or {})
    out_file.parent.mkdir(parents=True, exist_ok=True)
    out_file.write_text(_render(runs, model_id, base_model, ids, training or {}), encoding="utf-8")
    written = [out_file]
    folder = out_file.parent / ".eval_results"
    for benchmark, entries in _evaluation_entries(runs[0], ids, source_url).items():
        folder.mkdir(exist_ok=True)
        path = folder / f"{benchmark}.yaml"
        path.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True), encoding="utf-8")
        written.append(path)
    return written


def project_model_card() -> str:
    """The text of the project's own `model_card.md`: the same template while no checkpoint is published."""
    return _render([], PROJECT_MODEL_ID, None, {}, {})


def _render(runs: list[Results], model_id: str, base_model, ids: dict, training: Mapping) -> str:
    from huggingface_hub import ModelCard

    fields = {"model_id": model_id, "title": model_id.split("/")[-1] if runs else "UniMSE", "published": None}
    fields["adapter"] = bool(runs) and "peft" in runs[0].content["model"]
    if runs:
        published = runs[0]
        versions = ", ".join(f"{name} {version}" for name, version in sorted(published.content["versions"].items()))
        fields |= {"published": published, "versions": versions, "warning": _warning(published)}
        tables = render_tables(all_tables(build_sections(runs), quoted=False))
        fields["results"] = "\n".join([*legend(runs), "", *tables]).rstrip()
        fields["trace"] = "\n".join(render_table(source_table(runs, file_names(runs)))).rstrip()
        fields["training"] = "\n".join(_training_table(published, training))
    metadata = _metadata(runs, model_id, base_model, ids)
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
    rows += [[f"seconds, {name}", value] for name, value in sorted(content["seconds"].items())]
    rows += [["evaluation protocol", describe_protocol(published.protocol)], ["commit", content["commit"] or "none"]]
    rows += [[name, value] for name, value in training.items()]
    return markdown_table(["setting", "value"], rows)


# --- metadata ---------------------------------------------------------------------------------------------------------


def _metadata(runs: list[Results], model_id: str, base_model: str | None, ids: dict):
    from huggingface_hub import ModelCardData

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
        base_model=base_model,
        model_name=model_id.split("/")[-1] if runs else None,
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


def _evaluation_entries(published: Results, ids: Mapping[str, str], source_url: str | None) -> dict[str, list[dict]]:
    """benchmark -> the entries of its `.eval_results` file, as plain data."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    notes = f"run {published.run}, seed {published.seed}, commit {published.content['commit'] or 'none'}; "
    notes += describe_protocol(published.protocol)
    files = {}
    for benchmark in published.benchmarks:
        values = _hub_values(published, benchmark) if benchmark != OVERALL else []
        if values:
            dataset_id, _ = dataset_identity(benchmark, published, ids)
            shared = {"date": published.content["created"], "source_url": source_url, "notes": notes}
            entries = [
                EvalResultEntry(dataset_id=dataset_id, task_id=key, value=value, **shared) for key, value in values
            ]
            files[benchmark] = eval_result_entries_to_yaml(entries)
    return files
