"""The model card: README with metadata, and `.eval_results/*.yaml`, both made from results files.

No number is typed in: tables, `model-index` and evaluation entries come from the files, and the card ends with the
table that leads each of them back to file, run, seed, commit and command.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dataset_scripts.utils.files import write_text
from trainer.card_metadata import EVALUATIONS, CardSettings, card_metadata, evaluation_entries
from trainer.leaderboard_format import (
    MISSING,
    PROTOCOL_COLUMNS,
    describe_model,
    describe_protocol,
    file_names,
    format_interval,
    format_value,
    legend,
)
from trainer.leaderboard_markdown import markdown_table, render_table, render_tables, text_list
from trainer.leaderboard_tables import Table, all_tables, class_table, source_table
from trainer.metric_names import OFFICIAL_TEST_ROWS, OVERALL, Metric, is_official
from trainer.results_file import Results, read_all_results
from trainer.results_groups import Score, Section, build_sections

TEMPLATE = Path(__file__).parent / "model_card_template.md"


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
    for benchmark, entries in evaluation_entries(runs[0], settings).items():
        texts[f"{EVALUATIONS}/{benchmark}.yaml"] = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    return texts


def project_model_card() -> str:
    """The text of the project's own `model_card.md`: the same template while no checkpoint is published."""
    return _render([], CardSettings())


def write_project_card() -> Path:
    """Write `model_card.md` of this checkout; returns its path."""
    write_text(_project_card(), project_model_card())
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
        fields["results"] = "\n".join(_result_lines(runs)).rstrip()
        fields["trace"] = "\n".join(render_table(source_table(runs, file_names(runs)))).rstrip()
        fields["training"] = "\n".join(_training_table(published, settings.training))
    metadata = card_metadata(runs, settings)
    text = str(ModelCard.from_template(metadata, template_str=TEMPLATE.read_text(encoding="utf-8"), **fields))
    return text.rstrip() + "\n"


def _result_lines(runs: list[Results]) -> list[str]:
    """The published checkpoint's own scores; with further results files, then the tables of all."""
    published = build_sections(runs[:1])
    lines = [*legend(runs, checked=False), "", "### The published checkpoint", "", *_checkpoint_lines(published)]
    if len(runs) == 1:
        tables = {name: class_table(section) for name, (section,) in published.items()}
        return lines + render_tables({name: [_titled(table, name) for table in one] for name, one in tables.items()})
    found = all_tables(build_sections(runs), quoted=False)
    return lines + render_tables({name: [_narrow(table) for table in tables] for name, tables in found.items()})


def _titled(table: Table, benchmark: str) -> Table:
    """Without the number of the protocol: there is one."""
    return replace(table, title=f"{benchmark}: F1 per class")


def _narrow(table: Table) -> Table:
    """Without the columns of the protocol, which the notes above it say, so that the numbers are in sight on a page."""
    kept = [place for place, name in enumerate(table.header) if name not in PROTOCOL_COLUMNS]
    rows = tuple(tuple(row[place] for place in kept) for row in table.rows)
    return replace(table, header=tuple(table.header[place] for place in kept), rows=rows)


def _checkpoint_lines(published: Mapping[str, Sequence[Section]]) -> list[str]:
    """Protocol, scored rows, and a line a metric with its interval."""
    sections = [section for (section,) in published.values()]
    rows = []
    for section in sections:
        scores = section.entries[0].scores
        rows += [[section.benchmark, *_score_cells(metric, scores[metric.key])] for metric in section.metrics]
    scored = [_scored(section) for section in sections if section.benchmark != OVERALL]
    protocol = describe_protocol(sections[0].protocol)
    header = ["benchmark", "metric", "value", "interval"]
    notes = [f"Protocol: {protocol}.", f"Scored: {'; '.join(scored)}."]
    return [*text_list(notes), *markdown_table(header, rows), ""]


def _score_cells(metric: Metric, score: Score) -> list[str]:
    if score.mean is None:
        return [metric.title, f"{MISSING} ({score.reason})", ""]
    interval = "" if score.interval is None else format_interval(metric, score.interval)
    return [metric.title, format_value(metric, score.mean), interval]


def _scored(section: Section) -> str:
    """What was scored of one benchmark: rows, split, fingerprint. The card warns of rows that are not official."""
    official = ", the official split by row count" if section.official else ""
    rows, split, fingerprint = (section.data[name] for name in ("rows", "split", "fingerprint"))
    return f"{section.benchmark}, {rows} rows of split {split} (data {fingerprint}{official})"


def _warning(published: Results) -> str:
    """What a reader must know before reading scores of rows that are not an official test split."""
    named = [name for name in published.benchmarks if name in OFFICIAL_TEST_ROWS]
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
    rows += [["commit", content["commit"] or "none"]]
    return markdown_table(["setting", "value"], rows)


def _shown(value) -> str:
    """A setting as it would stand in a config; a mapping or list on one line."""
    import yaml

    if isinstance(value, (Mapping, list)):
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf).strip()
    return str(value)
