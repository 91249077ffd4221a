"""The leaderboard: results files of runs in, one table per benchmark out, as Markdown and CSV, with plots.

A group of runs stands with mean and sample standard deviation over its seeds, ranked only against groups with the same
protocol and the same scored data; each such set is a section of its own. Numbers of publications stand in a table of
their own, marked "quoted". Everything is a function of the files given: written twice, it is byte-equal.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from trainer.leaderboard_plots import write_plots
from trainer.metric_names import METRICS, OFFICIAL_TEST_ROWS, Metric
from trainer.results_file import Results, read_all_results
from trainer.results_groups import Entry, Score, Section, build_sections, class_scores, primary_metric

PUBLISHED = Path(__file__).parent / "published_results.yaml"
PROTOCOL_COLUMNS = ("context", "modalities", "decoding")
LEGEND = (
    "Accuracies and F1 in percent, mean ± sample standard deviation over seeds (none for one seed). Runs are ranked",
    "only within one protocol and one set of scored rows. has0: negative / non-negative over all rows; non0: negative",
    "/ positive over rows with a non-zero gold score. Arrows: higher or lower is better.",
)
_SHOWN_OF_MODEL = ("name", "fusion_type", "parameters")
_MODALITY_LETTERS = {"text": "T", "audio": "A", "visual": "V"}
_UNOFFICIAL = "not the official test split"


# --- what a number or a protocol looks like ---------------------------------------------------------------------------


def format_value(metric: Metric, value: float) -> str:
    """A fraction as percent with two decimals, a number with three, a count as it is."""
    if metric.kind == "percent":
        return f"{100 * value:.2f}"
    return f"{value:g}" if metric.kind == "count" else f"{value:.3f}"


def format_score(metric: Metric, score: Score | None) -> str:
    """`85.20 ± 0.31`; without the deviation for one seed; `n/a` where there is no value."""
    if score is None or score.mean is None:
        return "n/a"
    deviation = "" if score.std is None else f" ± {format_value(metric, score.std)}"
    return format_value(metric, score.mean) + deviation


def protocol_cells(protocol: dict) -> list[str]:
    """The values of PROTOCOL_COLUMNS: context as before/after, modalities as letters, decoding."""
    letters = "+".join(_MODALITY_LETTERS[name] for name in _MODALITY_LETTERS if name in protocol["modalities"])
    return [f"{protocol['context_before']}/{protocol['context_after']}", letters, protocol["decoding"]]


def describe_protocol(protocol: dict) -> str:
    """Every field of the protocol in one line, in a fixed order."""
    parts = []
    for name, value in sorted(protocol.items()):
        shown = "+".join(map(str, value)) if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{name} {shown}".replace('"', ""))
    return "; ".join(parts)


def describe_model(model: dict) -> str:
    """Fusion type and whatever else tells one model of a name from another, such as `ffn; sequence_summary mean`."""
    others = [f"{name} {value}" for name, value in sorted(model.items()) if name not in _SHOWN_OF_MODEL]
    return "; ".join([model.get("fusion_type") or "no fusion", *others])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence]) -> list[str]:
    """Lines of a Markdown table; a pipe or line break inside a cell is escaped."""
    lines = [list(header), ["---"] * len(header), *rows]
    return [
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    ]


# --- Markdown ---------------------------------------------------------------------------------------------------------


def render_section(section: Section, first: Section) -> list[str]:
    """Heading, protocol, table and notes of one section; `first` is the section that it is told apart from."""
    metrics, primary, data = section.metrics, primary_metric(section.entries), section.data
    header = ["rank", "run", "model", "fusion", "parameters", "seeds", *PROTOCOL_COLUMNS]
    header += [metric.title + (" ↓" if metric.lower_is_better else " ↑") for metric in metrics]
    split = " (official split by row count)" if section.official else f" ({_UNOFFICIAL})"
    split = split if section.benchmark in OFFICIAL_TEST_ROWS else ""
    return [
        f"### {section.benchmark}, protocol {section.number}",
        "",
        f"- Protocol: {describe_protocol(section.protocol)}.",
        *_difference(section, first),
        f"- Scored: {data['rows']} rows of `{data['split']}`{split}, data `{data['fingerprint']}`.",
        f"- Ranked by {primary.title}." if primary else "- Not ranked: no metric that ranks.",
        "",
        *markdown_table(header, [_cells(section, entry) for entry in section.entries]),
        *_notes(section),
        "",
        *_class_table(section),
    ]


def _cells(section: Section, entry: Entry) -> list:
    model = entry.model
    identity = [entry.rank or "–", entry.name, model["name"], describe_model(model)]
    identity += [f"{model['parameters']:,}", ", ".join(map(str, entry.seeds)), *protocol_cells(section.protocol)]
    return identity + [format_score(metric, entry.scores.get(metric.key)) for metric in section.metrics]


def _class_table(section: Section) -> list[str]:
    """F1 per class, with the support, which is the same for every run of a section."""
    scores = [class_scores(entry, section.benchmark) for entry in section.entries]
    supports = {label: support for per_class in scores for label, (_, support) in per_class.items()}
    if not supports:
        return []
    metric, missing = METRICS["macro_f1"], (None, 0)
    header = ["run: F1 per class (support)", *(f"{label} ({support})" for label, support in supports.items())]
    rows = []
    for entry, per_class in zip(section.entries, scores, strict=True):
        rows.append([entry.name, *(format_score(metric, per_class.get(label, missing)[0]) for label in supports)])
    return [*markdown_table(header, rows), ""]


def _difference(section: Section, first: Section) -> list[str]:
    """What tells a section from the first one, so that nobody compares across by mistake."""
    if section is first:
        return []
    names = sorted({*section.protocol, *first.protocol})
    differing = [name for name in names if section.protocol.get(name) != first.protocol.get(name)]
    differing += ["scored data"] if section.data != first.data else []
    return [f"- Not comparable with protocol {first.number}; it differs in: {', '.join(differing)}."]


def _notes(section: Section) -> list[str]:
    missing = [
        f"- {entry.name}, {metric.title}: n/a ({entry.scores[metric.key].reason})"
        for entry in section.entries
        for metric in section.metrics
        if metric.key in entry.scores and entry.scores[metric.key].mean is None
    ]
    return ["", *missing] if missing else []


def render_quoted(benchmark: str, sections: Sequence[Section]) -> list[str]:
    """The table of published numbers of a benchmark, marked as quoted; empty where there are none."""
    quoted = [result for result in read_published() if result["benchmark"] == benchmark]
    if not quoted:
        return []
    found = {key for result in quoted for key in result["metrics"]}
    metrics = [metric for key, metric in METRICS.items() if key in found]
    rows = []
    for result in quoted:
        cells = [_format_quoted(metric, result["metrics"].get(metric.key)) for metric in metrics]
        rows.append([f"{result['name']} (quoted)", *cells, result.get("note", ""), result["source"]])
    lines = [f"### {benchmark}, quoted", "", "Published numbers, not computed here and not ranked; protocols differ."]
    if not any(section.official for section in sections):
        lines.append(
            f"The runs above were scored on rows that are {_UNOFFICIAL}: do not compare them with these numbers."
        )
    table = markdown_table(["model", *(metric.title for metric in metrics), "note", "source"], rows)
    return [*lines, "", *table, ""]


def _format_quoted(metric: Metric, value) -> str:
    if value is None:
        return ""
    return " to ".join(format_value(metric, part) for part in (value if isinstance(value, list) else [value]))


def render_trace(results: Sequence[Results], names: dict[Path, str]) -> list[str]:
    """The table that leads from a number to its run: file, run, seed, commit, date, command."""
    rows = []
    for one in sorted(results, key=lambda one: names[one.path]):
        content = one.content
        row = [f"`{names[one.path]}`", one.run, one.seed, content["commit"] or "none", content["created"]]
        rows.append([*row, f"`{content['command']}`"])
    return markdown_table(["file", "run", "seed", "commit", "created", "command"], rows)


def file_names(results: Sequence[Results]) -> dict[Path, str]:
    """path -> its name below the folder that all files share, so that no table holds a path of one machine."""
    absolute = {one.path: one.path.resolve() for one in results}
    base = os.path.commonpath([path.parent for path in absolute.values()])
    return {path: full.relative_to(base).as_posix() for path, full in absolute.items()}


# --- published numbers ------------------------------------------------------------------------------------------------


def read_published(path: Path = PUBLISHED) -> list[dict]:
    """The quoted results: mappings with name, benchmark, metrics, source and perhaps note.

    Raises:
        ValueError: on a missing or unknown field, or a metric that is not ours; names the file and the entry.
    """
    import yaml

    published = yaml.safe_load(path.read_text(encoding="utf-8"))
    for number, result in enumerate(published, start=1):
        required = {"name", "benchmark", "metrics", "source"}
        if not required <= set(result) <= required | {"note"}:
            raise ValueError(
                f"{path.name}: entry {number}: expected {', '.join(sorted(required))}, got {sorted(result)}"
            )
        unknown = sorted(set(result["metrics"]) - set(METRICS))
        if unknown:
            raise ValueError(f"{path.name}: entry {number}: expected metrics of {', '.join(METRICS)}, got {unknown}")
    return published


# --- CSV --------------------------------------------------------------------------------------------------------------


def render_csv(sections: Sequence[Section], quoted: Sequence[dict], names: dict[Path, str]) -> str:
    """One line per entry of every section, then the quoted ones; means and deviations are not rounded."""
    keys = [key for key in METRICS if any(key in _keys(section) for section in sections)]
    keys += sorted({key for section in sections for key in _keys(section)} - set(keys))
    keys += [key for key in METRICS if key not in keys and any(key in result["metrics"] for result in quoted)]
    rows = [_csv_row(section, entry, names) for section in sections for entry in section.entries]
    rows += [_csv_quoted(result) for result in quoted]
    protocol = sorted({name for section in sections for name in section.protocol})
    header = ["section", "rank", "run", "model", "fusion", "parameters", "seeds"]
    header += [f"protocol_{name}" for name in protocol] + ["data_fingerprint", "rows", "split", "official_split"]
    header += [f"{key}_{part}" for key in keys for part in ("mean", "std")] + ["files", "commits", "source", "note"]
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _keys(section: Section) -> set[str]:
    return {key for entry in section.entries for key in entry.scores}


def _csv_row(section: Section, entry: Entry, names: dict[Path, str]) -> dict:
    row = {"section": section.number, "rank": entry.rank or "", "run": entry.name, "model": entry.model["name"]}
    row |= {"fusion": describe_model(entry.model), "parameters": entry.model["parameters"]}
    row |= {"seeds": " ".join(map(str, entry.seeds)), "data_fingerprint": section.data["fingerprint"]}
    row |= {"rows": section.data["rows"], "split": section.data["split"], "official_split": section.official}
    for name, value in section.protocol.items():
        row[f"protocol_{name}"] = "+".join(map(str, value)) if isinstance(value, list) else value
    for key, score in entry.scores.items():
        row[f"{key}_mean"] = "" if score.mean is None else repr(score.mean)
        row[f"{key}_std"] = "" if score.std is None else repr(score.std)
    row["files"] = " ".join(names[one.path] for one in entry.results)
    row["commits"] = " ".join(one.content["commit"] or "none" for one in entry.results)
    return row | {"source": "run"}


def _csv_quoted(result: dict) -> dict:
    row = {"section": "quoted", "run": result["name"], "source": result["source"], "note": result.get("note", "")}
    for key, value in result["metrics"].items():
        row[f"{key}_mean"] = "..".join(map(repr, value)) if isinstance(value, list) else repr(value)
    return row


# --- the whole leaderboard --------------------------------------------------------------------------------------------


def write_leaderboard(results: Sequence[Path], out: Path) -> list[Path]:
    """Write `leaderboard.md`, `<benchmark>.md`, `<benchmark>.csv` and, where matplotlib is installed, `plots/*.png`.

    Args:
        results: results files; at least one.
        out: folder, made where it does not exist; files of the same names are replaced.

    Returns:
        The files written, sorted.

    Raises:
        ValueError: on a wrong results file, or one run and seed given twice under one protocol.
    """
    if not results:
        raise ValueError("leaderboard: expected at least one results file; write one with `unimse evaluate ... --out`")
    runs = read_all_results(results)
    tables, names = build_sections(runs), file_names(runs)
    out.mkdir(parents=True, exist_ok=True)
    texts = {"leaderboard.md": _page("Leaderboard", tables, runs, names)}
    for benchmark, sections in tables.items():
        own = [one for one in runs if benchmark in one.benchmarks]
        texts[f"{benchmark}.md"] = _page(f"Leaderboard: {benchmark}", {benchmark: sections}, own, names)
        quoted = [result for result in read_published() if result["benchmark"] == benchmark]
        texts[f"{benchmark}.csv"] = render_csv(sections, quoted, names)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return sorted([out / name for name in texts] + write_plots(tables, out / "plots"))


def render_tables(tables: dict[str, list[Section]], quoted: bool) -> list[str]:
    """Every section of every benchmark, each benchmark with its published numbers where `quoted`."""
    lines = []
    for benchmark, sections in tables.items():
        for section in sections:
            lines += render_section(section, sections[0])
        lines += render_quoted(benchmark, sections) if quoted else []
    return lines


def _page(title: str, tables: dict[str, list[Section]], runs: Sequence[Results], names: dict[Path, str]) -> str:
    trace = ["## Where the numbers come from", "", *render_trace(runs, names)]
    return (
        "\n".join([f"# {title}", "", *LEGEND, "", "## Results", "", *render_tables(tables, quoted=True), *trace]) + "\n"
    )
