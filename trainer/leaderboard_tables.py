"""The tables of a leaderboard as data; Markdown, HTML and the Space only draw them.

A cell has the text to show and the unrounded value to sort by, so that every form of a table says the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.leaderboard_format import (
    MISSING,
    PROTOCOL_COLUMNS,
    describe_model,
    describe_protocol,
    format_score,
    format_value,
    metric_header,
    modality_letters,
    protocol_values,
)
from trainer.metric_names import METRICS, OFFICIAL_TEST_ROWS, Metric
from trainer.missing_modalities import CONDITIONS, Sweep, build_sweeps
from trainer.predictions_file import CHECKED
from trainer.published_results import read_published
from trainer.results_file import Results
from trainer.results_groups import Entry, Score, Section, class_scores, primary_metric

MODEL_COLUMNS = ("model", "fusion", "parameters")
_UNOFFICIAL = "not the official test split"


@dataclass(frozen=True)
class Cell:
    """`text` is shown; `value`, unrounded, sorts: a number, a text, or `None` where there is no value (last)."""

    text: str
    value: float | str | None
    code: bool = False


@dataclass(frozen=True)
class Table:
    """`name` is unique within a benchmark: `protocol-1`, `classes-1`, `missing-modalities-1`, `quoted`, `sources`.

    `notes` are sentences above the table, `footnotes` below it; every row has a cell for each column of `header`.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()

    def is_numeric(self, column: int) -> bool:
        """Whether a column holds numbers, and nothing else but missing values."""
        values = [row[column].value for row in self.rows if row[column].value is not None]
        return bool(values) and not any(isinstance(value, str) for value in values)


def text_cell(text: str, code: bool = False) -> Cell:
    """A cell that sorts by what it shows."""
    return Cell(text, text or None, code)


def score_cell(metric: Metric, score: Score | None) -> Cell:
    """A cell that shows a score with its spread and sorts by its mean."""
    return Cell(format_score(metric, score), None if score is None else score.mean)


def all_tables(
    sections: Mapping[str, Sequence[Section]], checks: Mapping[Path, str] | None = None, quoted: bool = True
) -> dict[str, list[Table]]:
    """benchmark -> its tables, of `build_sections`; arguments as of `benchmark_tables`."""
    return {benchmark: benchmark_tables(benchmark, parts, checks, quoted) for benchmark, parts in sections.items()}


def benchmark_tables(
    benchmark: str, sections: Sequence[Section], checks: Mapping[Path, str] | None = None, quoted: bool = True
) -> list[Table]:
    """All tables of one benchmark, in the order in which they are read.

    Args:
        sections: those of `build_sections` for the benchmark.
        checks: path of a results file -> what `check_predictions` said of it; without it no column says so.
        quoted: whether published numbers follow.
    """
    tables = []
    for section in sections:
        tables += [section_table(section, sections[0], checks), *class_table(section)]
        if section is sections[0]:  # what many read for; the sections that follow may be one for each condition
            tables += modality_tables(benchmark, sections)
    return [*tables, *(quoted_table(benchmark, sections) if quoted else [])]


# --- one section ------------------------------------------------------------------------------------------------------


def section_table(section: Section, first: Section, checks: Mapping[Path, str] | None = None) -> Table:
    """The ranked table of one section; `first` is the section that its notes tell it apart from."""
    header = ["rank", "run", "seeds", *([] if checks is None else ["checked"]), *PROTOCOL_COLUMNS]
    header += [*(metric_header(metric) for metric in section.metrics), *MODEL_COLUMNS]
    return Table(
        name=f"protocol-{section.number}",
        title=f"{section.benchmark}, protocol {section.number}",
        header=tuple(header),
        rows=tuple(_section_row(section, entry, checks) for entry in section.entries),
        notes=(*_section_notes(section, first),),
        footnotes=tuple(_missing_values(section)),
    )


def _section_row(section: Section, entry: Entry, checks: Mapping[Path, str] | None) -> tuple[Cell, ...]:
    rank = Cell("–" if entry.rank is None else str(entry.rank), entry.rank)
    scores = [score_cell(metric, entry.scores.get(metric.key)) for metric in section.metrics]
    checked = [] if checks is None else [text_cell(describe_checks(entry.results, checks))]
    protocol = [text_cell(value) for value in protocol_values(section.protocol)]
    return (rank, *run_cells(entry), *checked, *protocol, *scores, *model_cells(entry.model))


def run_cells(entry: Entry) -> list[Cell]:
    """Name and seeds of an entry."""
    return [text_cell(entry.name), text_cell(", ".join(map(str, entry.seeds)))]


def model_cells(model: dict) -> list[Cell]:
    """The cells of MODEL_COLUMNS."""
    parameters = Cell(f"{model['parameters']:,}", model["parameters"])
    return [text_cell(model["name"]), text_cell(describe_model(model)), parameters]


def describe_checks(results: Sequence[Results], checks: Mapping[Path, str]) -> str:
    """What was found for all files of an entry: one word where they agree, else how many were recomputed."""
    found = [checks[one.path] for one in results]
    if len(set(found)) == 1:
        return found[0]
    return f"{CHECKED} {found.count(CHECKED)} of {len(found)}"


def _section_notes(section: Section, first: Section) -> list[str]:
    data, primary = section.data, primary_metric(section.entries)
    split = " (official split by row count)" if section.official else f" ({_UNOFFICIAL})"
    split = split if section.benchmark in OFFICIAL_TEST_ROWS else ""
    split = ", on which the models were trained" if data["split"] == "train" else split
    return [
        f"Protocol: {describe_protocol(section.protocol)}.",
        *_difference(section, first),
        f"Scored: {data['rows']} rows of split {data['split']}{split}, data {data['fingerprint']}.",
        f"Ranked by {primary.title}." if primary else "Not ranked: no metric that ranks.",
    ]


def _difference(section: Section, first: Section) -> list[str]:
    """What tells a section from the first one, so that nobody compares across by mistake."""
    if section is first:
        return []
    names = sorted({*section.protocol, *first.protocol})
    differing = [name for name in names if section.protocol.get(name) != first.protocol.get(name)]
    differing += ["scored data"] if section.data != first.data else []
    return [f"Not comparable with protocol {first.number}; it differs in: {', '.join(differing)}."]


def _missing_values(section: Section) -> list[str]:
    """Why a cell has no value, or a value of one seed no interval."""
    lines = []
    for entry in section.entries:
        for metric in section.metrics:
            score = entry.scores.get(metric.key)
            if score is not None and score.mean is None:
                lines.append(f"{entry.name}, {metric.title}: {MISSING} ({score.reason})")
            elif score is not None and score.interval is None and len(entry.results) == 1:
                reason = entry.results[0].interval_reason(section.benchmark, metric.key)
                lines += [f"{entry.name}, {metric.title}: no interval ({reason})"] * (reason is not None)
    return lines


def class_table(section: Section) -> list[Table]:
    """F1 per class, with the support, which is the same for every run of a section; none without classes."""
    scores = [class_scores(entry) for entry in section.entries]
    supports = {label: support for per_class in scores for label, (_, support) in per_class.items()}
    if not supports:
        return []
    metric, missing = METRICS["macro_f1"], (None, 0)
    rows = []
    for entry, per_class in zip(section.entries, scores, strict=True):
        cells = [score_cell(metric, per_class.get(label, missing)[0]) for label in supports]
        rows.append((text_cell(entry.name), *cells))
    return [
        Table(
            name=f"classes-{section.number}",
            title=f"{section.benchmark}, protocol {section.number}: F1 per class",
            header=("run", *(f"{label} ({support})" for label, support in supports.items())),
            rows=tuple(rows),
            notes=("In parentheses: how many rows have the class.",),
        )
    ]


# --- missing modalities -----------------------------------------------------------------------------------------------


def modality_tables(benchmark: str, sections: Sequence[Section]) -> list[Table]:
    """The ranking metric of each training under every set of modalities that it was evaluated with.

    One table for each protocol and data; none where nothing was evaluated under more than one set.
    """
    metric = primary_metric([entry for section in sections for entry in section.entries])
    groups, left_out = build_sweeps(sections)
    if metric is None:
        return []
    footnotes = [f"Left out, other seeds or weights in each set of modalities: {', '.join(left_out)}."] * bool(left_out)
    return [
        _modality_table(benchmark, number, metric, group, footnotes) for number, group in enumerate(groups, start=1)
    ]


def _modality_table(
    benchmark: str, number: int, metric: Metric, group: Sequence[Sweep], footnotes: Sequence[str]
) -> Table:
    header = ["run", "seeds", *(modality_letters(condition) for condition in CONDITIONS), "mean of the 6 incomplete"]
    rows = []
    for sweep in group:
        entries = [sweep.entries.get(condition) for condition in CONDITIONS]
        cells = [score_cell(metric, entry and entry.scores.get(metric.key)) for entry in entries]
        mean = score_cell(metric, sweep.mean_over_incomplete(metric.key))
        rows.append((*run_cells(sweep.first), *cells, mean, *model_cells(sweep.first.model)))
    return Table(
        name=f"missing-modalities-{number}",
        title=f"{benchmark}, missing modalities" + (f" {number}" if number > 1 else ""),
        header=(*header, *MODEL_COLUMNS),
        rows=tuple(rows),
        notes=(
            f"{metric.title}, {'lower' if metric.lower_is_better else 'higher'} is better; T text, A audio, V visual. "
            "One training in each row, the same weights in every column.",
            f"Protocol apart from modalities: {describe_protocol(group[0].protocol)}. Scored: {group[0].data['rows']} "
            f"rows of split {group[0].data['split']}, data {group[0].data['fingerprint']}.",
        ),
        footnotes=tuple(footnotes),
    )


# --- quoted numbers and sources ---------------------------------------------------------------------------------------


def quoted_table(benchmark: str, sections: Sequence[Section]) -> list[Table]:
    """Published numbers of a benchmark, marked as quoted; none where there are none."""
    quoted = [result for result in read_published() if result["benchmark"] == benchmark]
    if not quoted:
        return []
    found = {key for result in quoted for key in result["metrics"]}
    metrics = [metric for key, metric in METRICS.items() if key in found]
    rows = []
    for result in quoted:
        values = [result["metrics"].get(metric.key) for metric in metrics]
        cells = [_quoted_cell(metric, value) for metric, value in zip(metrics, values, strict=True)]
        ends = [text_cell(result.get("note", "")), text_cell(result["source"])]
        rows.append((text_cell(f"{result['name']} (quoted)"), *cells, *ends))
    notes = ["Published numbers, not computed here and not ranked; protocols differ."]
    if not any(section.official for section in sections):
        notes.append(
            f"The runs above were scored on rows that are {_UNOFFICIAL}: do not compare them with these numbers."
        )
    header = ("model", *(metric_header(metric) for metric in metrics), "note", "source")
    return [Table("quoted", f"{benchmark}, quoted", header, tuple(rows), tuple(notes))]


def _quoted_cell(metric: Metric, value: float | None) -> Cell:
    """A number, or nothing where the source gives none."""
    return Cell("" if value is None else format_value(metric, value), value)


def source_table(results: Sequence[Results], names: Mapping[Path, str]) -> Table:
    """The table that leads from a number to its run: file, run, seed, commit, date, command."""
    rows = []
    for one in sorted(results, key=lambda one: names[one.path]):
        content = one.content
        rows.append(
            (
                text_cell(names[one.path], code=True),
                text_cell(one.run),
                Cell(str(one.seed), one.seed),
                text_cell(content["commit"] or "none"),
                text_cell(content["created"]),
                text_cell(content["command"], code=True),
            )
        )
    header = ("file", "run", "seed", "commit", "created", "command")
    return Table("sources", "Where the numbers come from", header, tuple(rows))
