"""A comparison as text: tables for the terminal; Markdown, JSON and CSV files, byte-equal when made again."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from dataset_scripts.utils.outputs import check_files, claimed, replaced_files
from trainer.comparison import CONFIDENCE_LEVEL, EMOTION, GAINED, LOST, SENTIMENT, Comparison
from trainer.leaderboard_csv import plain_cell
from trainer.leaderboard_format import MISSING, describe_protocol, format_value
from trainer.leaderboard_markdown import escape_text, markdown_table, render_table, text_list
from trainer.leaderboard_tables import Cell, source_table
from trainer.metric_names import METRICS, OVERALL, Metric

ALPHA = 0.05
FILES = ("comparison.json", "comparison.md", "flipped.csv")
SHOWN_FLIPS = 20
_INTERVAL = f"{100 * CONFIDENCE_LEVEL:g}% interval"
_HEADER = ("metric", "A", "B", "B - A", _INTERVAL, "p", "p Holm", "better")
_MCNEMAR_HEADER = ("only A right", "only B right", "McNemar p", "p Holm")
_CLASS_HEADER = ("class", "support", "metric", "A", "B", "B - A", _INTERVAL)
_RIGHT = {SENTIMENT: "class of Acc-7", EMOTION: "emotion"}
_FLIPPED_COLUMNS = ("benchmark", "gold_field", "change", "id", "gold", "a", "b", "a_label", "b_label")
_CLASS_METRICS = {"f1": Metric("f1", "F1", "percent"), "mae": METRICS["mae"], "acc7": METRICS["acc7"]}


def render_text(comparison: Comparison) -> str:
    """What the command prints: both sides, warnings, each benchmark, the verdict; ASCII but for names."""
    content = comparison.content
    lines = [*_sides(content), *(f"Warning: {line}" for line in _warnings(content)), ""]
    for name, part in content["benchmarks"].items():
        lines += [_title(name, part), *_aligned(*_metric_table(part)), ""]
        lines += _block(_aligned(_CLASS_HEADER, _class_rows(part)) if part.get("classes") else [])
        lines += _block([*_reasons(part), *_flip_counts(part)])
    return "\n".join([*lines, render_verdict(comparison)])


def render_verdict(comparison: Comparison) -> str:
    """The last lines of `render_text`: which differences are sure, and of how many tests."""
    return "\n".join(_verdict(comparison.content))


def render_markdown(comparison: Comparison) -> str:
    """The report: as on the terminal, with the first samples that flipped, how it was made, and where it comes from."""
    content = comparison.content
    lines = ["# Comparison", "", *text_list(_sides(content))]
    lines += _block([f"- **Warning:** {escape_text(line)}" for line in _warnings(content)])
    lines += text_list(_verdict(content))
    for name, part in content["benchmarks"].items():
        lines += [f"## {_title(name, part)}", "", *markdown_table(*_metric_table(part)), ""]
        if part.get("classes"):
            lines += ["By class of the gold label:", "", *markdown_table(_CLASS_HEADER, _class_rows(part)), ""]
        lines += text_list([*_reasons(part), *_flip_counts(part)])
        lines += _sample_tables(part, [row for row in comparison.flipped if row["benchmark"] == name])
    lines += ["## How to read this", "", *text_list(_method(content))]
    names = {one.path: content[side]["file"] for side, one in zip("ab", comparison.results, strict=True)}
    sources = source_table(comparison.results, names)
    return "\n".join([*lines, f"## {sources.title}", "", *render_table(sources)]).rstrip() + "\n"


def _block(lines: Sequence[str]) -> list[str]:
    """Lines and an empty one after them; nothing where there are none."""
    return [*lines, ""] if lines else []


def render_flipped(flipped: Sequence[dict]) -> str:
    """CSV of all samples that flipped: gold, what was scored of A and B, and the labels they wrote (empty: none)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _FLIPPED_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: plain_cell(value) for name, value in row.items()} for row in flipped)
    return text.getvalue()


def write_comparison(comparison: Comparison, out: Path) -> list[Path]:
    """Write `comparison.md`, `comparison.json` and `flipped.csv` into a folder, made where it does not exist.

    Returns:
        The files written; those of an earlier comparison are replaced.

    Raises:
        FileExistsError: files of these names are there and are not of an earlier comparison.
        OSError: `out` cannot be written, or its disk is full; names it.
    """
    texts = {
        "comparison.md": render_markdown(comparison),
        "comparison.json": json.dumps(comparison.content, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "flipped.csv": render_flipped(comparison.flipped),
    }
    with claimed(out, "comparison"):
        _check_files(out)
        with replaced_files(out, "comparison") as new:
            for name, text in texts.items():
                (new / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]


def check_output(out: Path) -> None:
    """Refuse, before a long comparison, a folder that it could not be written to, as `write_comparison` does."""
    with claimed(out, "comparison"):
        _check_files(out)


def _check_files(out: Path) -> None:
    check_files((out / name for name in FILES), lambda path: _is_comparison(out / FILES[0]))


def _is_comparison(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"a", "b", "settings", "benchmarks"} <= set(content)


# --- what was compared, and what came of it ---------------------------------------------------------------------------


def _sides(content: dict) -> list[str]:
    lines = []
    for side in "ab":
        one = content[side]
        facts = f"seed {one['seed']}, weights {one['weights']}, digest {one['digest'][:12]}"
        lines.append(f"{side.upper()}: {one['run']} ({one['file']}; {facts})")
    return lines


def _warnings(content: dict) -> Iterator[str]:
    """What keeps the numbers from being a plain difference of two models."""
    differing = content["protocol_differences"]
    if differing:
        shown = ", ".join(_sides_of(name, values) for name, values in differing.items())
        same = content["a"]["weights"] is not None and content["a"]["weights"] == content["b"]["weights"]
        meaning = (
            "the weights are the same, so the differences are the protocol's"
            if same
            else "the differences are those of model and protocol together"
        )
        yield f"the protocols differ in {shown}; {meaning}."
    for name, (a, b) in content["data_differences"].items():
        yield f"the prepared files of {name} differ (A {a}, B {b}): same samples and gold, other labels or features."
    only = [f"{', '.join(content[f'only_{side}'])} only in {side.upper()}" for side in "ab" if content[f"only_{side}"]]
    if only:
        yield f"{'; '.join(only)}: not compared, and neither are the metrics over all benchmarks."


def _sides_of(name: str, values: Sequence) -> str:
    """`modalities (A text+audio, B text)`."""
    a, b = (describe_protocol({name: value}).removeprefix(f"{name} ") for value in values)
    return f"{name} (A {a}, B {b})"


def _tests(content: dict) -> list[tuple[str, Metric, dict]]:
    """(benchmark, metric, numbers) of every bootstrap test."""
    return [
        (name, METRICS[key], found)
        for name, part in content["benchmarks"].items()
        for key, found in part["metrics"].items()
        if found["p"] is not None
    ]


def _verdict(content: dict) -> list[str]:
    tests = _tests(content)
    sure = [test for test in tests if test[2]["p_holm"] < ALPHA]
    exact = sum(bool(found["mcnemar"]) for part in content["benchmarks"].values() for found in part["metrics"].values())
    failures = "outputs that are no label: A {}, B {}".format(*content["parse_failures"])
    return [
        f"Bootstrap p Holm is below {ALPHA} (*) for {len(sure) or 'none'} of {len(tests)} differences.",
        *_better_metrics(sure),
        f"{len(tests)} bootstrap and {exact} McNemar tests were made; p Holm is adjusted for those of its kind.",
        f"{content['samples']} samples were compared; {failures}.",
    ]


def _better_metrics(tests: Sequence[tuple[str, Metric, dict]]) -> list[str]:
    """One line a benchmark and side: the metrics in which it is better."""
    metrics: dict[tuple[str, str], list[str]] = {}
    for name, metric, found in tests:
        metrics.setdefault((name, _better(metric, found)), []).append(metric.title)
    return [f"{name}: {side} is better in {', '.join(titles)}." for (name, side), titles in metrics.items()]


def _better(metric: Metric, found: dict) -> str:
    gain = found["difference"] * (-1 if metric.lower_is_better else 1)
    return "B" if gain > 0 else "A" if gain < 0 else "="


def _method(content: dict) -> list[str]:
    settings = content["settings"]
    level, smallest = f"{100 * settings['confidence_level']:g}%", 1 / (settings["resamples"] + 1)
    return [
        "A and B: accuracies and F1 in percent, as in the results files; differences are B - A, in points of percent.",
        f"Interval: {level} percentile interval of the difference over {settings['resamples']} bootstrap resamples "
        f"(seed {settings['seed']}), each of the same samples for both models.",
        "p: two-sided p-value of the paired bootstrap, (1 + resamples whose difference, shifted to the null, is at "
        f"least as large) / (resamples + 1); at least {smallest:.2g}.",
        "McNemar: exact test of the samples that one model alone gets right.",
        "p Holm: adjusted for all tests of its kind (bootstrap; McNemar), so that the chance of any false alarm among "
        "them is bounded. Metrics of one benchmark rise and fall together, which makes this careful.",
        "Intervals of classes are not tests and not adjusted. A value that some resample does not have gets none.",
        "Utterances of one dialogue or video are not independent, so intervals are too narrow and p-values too small.",
        "This compares two sets of predictions. Whether one method beats another needs several seeds of each.",
    ]


# --- tables -----------------------------------------------------------------------------------------------------------


def _title(name: str, part: dict) -> str:
    if name == OVERALL:
        return "overall: all benchmarks together"
    data = part["data"]
    return f"{name}: {data['rows']} samples of {' / '.join(dict.fromkeys(data['splits']))}, data {data['fingerprint']}"


def _metric_table(part: dict) -> tuple[Sequence[str], list[list[str]]]:
    """(header, rows); the columns of McNemar's test only where some metric has it."""
    exact = any(found["mcnemar"] for found in part["metrics"].values())
    rows = []
    for key, found in part["metrics"].items():
        cells = [METRICS[key].title, *_difference_cells(METRICS[key], found), _p(found["p"]), _p(found["p_holm"])]
        cells.append(_better_cell(METRICS[key], found))
        rows.append(cells + (_mcnemar_cells(found["mcnemar"]) if exact else []))
    return _HEADER + (_MCNEMAR_HEADER if exact else ()), rows


def _better_cell(metric: Metric, found: dict) -> str:
    if found["difference"] is None:
        return ""
    sure = found["p_holm"] is not None and found["p_holm"] < ALPHA
    return _better(metric, found) + (" *" if sure else "")


def _mcnemar_cells(found: dict | None) -> list[str]:
    if found is None:
        return [""] * len(_MCNEMAR_HEADER)
    return [str(found["only_a_right"]), str(found["only_b_right"]), _p(found["p"]), _p(found["p_holm"])]


def _difference_cells(metric: Metric, found: dict) -> list[str]:
    """A, B, difference and interval; `n/a` where there is no value."""
    values = [MISSING if found[side] is None else format_value(metric, found[side]) for side in "ab"]
    difference = MISSING if found["difference"] is None else _signed(metric, found["difference"])
    interval = found["interval"] and ", ".join(_signed(metric, end) for end in found["interval"])
    return [*values, difference, f"[{interval}]" if interval else MISSING]


def _signed(metric: Metric, value: float) -> str:
    """With its sign, unless it rounds to zero."""
    text = format_value(metric, abs(value))
    return text if float(text) == 0 else f"{'-' if value < 0 else '+'}{text}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.0001" if value < 0.00005 else f"{value:.4f}"


def _class_rows(part: dict) -> list[list[str]]:
    rows = []
    for found in part["classes"]:
        metric = _CLASS_METRICS[found["metric"]]
        rows.append([found["class"], str(found["support"]), metric.title, *_difference_cells(metric, found)])
    return rows


def _reasons(part: dict) -> list[str]:
    """Why there is an `n/a`."""
    named = [(METRICS[key].title, found) for key, found in part["metrics"].items()]
    named += [(f"{found['class']} {_CLASS_METRICS[found['metric']].title}", found) for found in part.get("classes", ())]
    return [f"{name}: {found['reason']}" for name, found in named if found["reason"]]


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of a table for the terminal: the first to the left, the others to the right."""
    lines = [list(header), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]).rstrip() for cells in lines]


# --- samples ----------------------------------------------------------------------------------------------------------


def _flip_counts(part: dict) -> list[str]:
    return [
        f"flipped ({_RIGHT[kind]}): {counts['only_a_right']} right in A only, {counts['only_b_right']} in B only"
        for kind, counts in part.get("flipped", {}).items()
    ]


def _sample_tables(part: dict, flipped: Sequence[dict]) -> list[str]:
    lines = []
    for kind in part.get("flipped", {}):
        lines += _flip_tables([row for row in flipped if row["gold_field"] == kind])
    if part.get("error_changes"):
        rows = [[*_sample_cells(row), f"{row['error_change']:+.3f}"] for row in part["error_changes"]]
        lines += ["Largest changes of the absolute error, B - A:", ""]
        lines += [*markdown_table(["id", "gold", "A", "B", "change"], rows), ""]
    return lines


def _flip_tables(flipped: Sequence[dict]) -> list[str]:
    """The first samples of each kind; all of them are in flipped.csv."""
    lines = []
    for change in (LOST, GAINED):
        rows = [row for row in flipped if row["change"] == change]
        if rows:
            more = f"the first {SHOWN_FLIPS} of {len(rows)}, all in flipped.csv" if len(rows) > SHOWN_FLIPS else "all"
            table = markdown_table(["id", "gold", "A", "B"], [_sample_cells(row) for row in rows[:SHOWN_FLIPS]])
            lines += [f"{change} ({more}):", "", *table, ""]
    return lines


def _sample_cells(row: dict) -> list[str]:
    answers = (_answer(row[side], row[f"{side}_label"]) for side in "ab")
    return [Cell(row["id"], row["id"], code=True), _scored(row["gold"]), *answers]


def _answer(scored: float | str | None, label: str | None) -> str:
    return "no label" if scored is None else f"{_scored(scored)} ({label})"


def _scored(value: float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value
