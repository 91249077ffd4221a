"""One table of finished runs: test metrics, mean and sample standard deviation over the seeds of each.

Made for ablations: the runs of a table differ in what their names say, so their protocols may differ, while the scored
rows may not. `unimse leaderboard` is for results of any origin.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from dataset_scripts.utils.outputs import SETTLE_SECONDS, check_files, claimed, replaced_files, settle
from trainer.leaderboard_csv import plain_cell
from trainer.leaderboard_format import PROTOCOL_COLUMNS, describe_protocol, format_score, metric_header, protocol_values
from trainer.leaderboard_markdown import escape_text, markdown_table
from trainer.metric_names import METRICS
from trainer.results_file import Results, read_all_results
from trainer.results_groups import Score, score_over_seeds

SHOWN = ("mae", "acc2_non0", "weighted_f1", "emotion_accuracy")
_CSV_HEADER = ("run", "seeds", "benchmark", "metric", "mean", "std", "reason")
# The fields that PROTOCOL_COLUMNS show.
_IN_COLUMNS = ("context_before", "context_after", "modalities", "decoding")


def write_summary(paths: Sequence[Path], folder: Path) -> str:
    """Write `summary.md` and `summary.csv` to a folder; returns the Markdown.

    Columns of the protocol stand where the runs differ, what they share in a line below the table.

    Args:
        paths: results files; a line of the table for each run, in this order.

    Raises:
        ValueError: a wrong results file.
        FileExistsError: files of these names are there and are not of an earlier table.
    """
    runs = _by_run(read_all_results(paths))
    columns = _columns(runs)
    scores = {run: [score_over_seeds(*column, results) for column in columns] for run, results in runs.items()}
    text = "\n".join(_markdown(runs, columns, scores)) + "\n"
    with claimed(folder, "summary", wait=SETTLE_SECONDS):  # of another seed that ends now
        check_summary(folder)
        with replaced_files(folder, "summary") as new:
            (new / "summary.md").write_text(text, encoding="utf-8")
            _write_csv(new / "summary.csv", runs, columns, scores)
    return text


def check_summary(folder: Path) -> None:
    """Raise a `FileExistsError` where `write_summary` would have to replace files that are not its own."""
    settle(folder)
    check_files((folder / name for name in ("summary.md", "summary.csv")), lambda path: _is_summary(path.parent))


def _is_summary(folder: Path) -> bool:
    try:
        with (folder / "summary.csv").open(encoding="utf-8") as file:
            return file.readline().rstrip() == ",".join(_CSV_HEADER)
    except (OSError, ValueError):
        return False


def _by_run(results: Sequence[Results]) -> dict[tuple[str, str], list[Results]]:
    """(name, protocol) -> results of its seeds: a mean is of one protocol."""
    runs: dict[tuple[str, str], list[Results]] = {}
    for one in results:
        runs.setdefault((one.entry, describe_protocol(one.protocol)), []).append(one)
    return runs


def _columns(runs: dict[tuple[str, str], list[Results]]) -> list[tuple[str, str]]:
    """(benchmark, metric) of the columns: those of SHOWN that any run has."""
    scored = [(one, name) for results in runs.values() for one in results for name in one.benchmarks]
    return list(dict.fromkeys((name, key) for key in SHOWN for one, name in scored if key in one.scores(name)))


def _markdown(runs, columns, scores: dict[tuple[str, str], list[Score]]) -> list[str]:
    titles = [f"{name} {metric_header(METRICS[key])}" for name, key in columns]
    protocol = _protocol_columns([results[0].protocol for results in runs.values()])
    rows = []
    for number, (run, results) in enumerate(runs.items()):
        shown = [format_score(METRICS[key], one) for (_, key), one in zip(columns, scores[run], strict=True)]
        rows.append([run[0], _seeds(results), *(values[number] for values in protocol.values()), *shown])
    everything = [one for results in runs.values() for one in results]
    commits = sorted({one.content["commit"] or "none" for one in everything})
    lines = [*markdown_table(["run", "seeds", *protocol, *titles], rows), ""]
    lines += [
        "Test sets, scored once; mean ± sample standard deviation over seeds, [bootstrap interval] of one seed. "
        f"Commit {escape_text(', '.join(commits))}."
    ]
    lines += [f"Protocol{' but for the columns above' if protocol else ''}: {escape_text(_shared(everything))}."]
    lines += [f"Scored: {escape_text(line)}." for line in _scored(everything)]
    return lines


def _protocol_columns(protocols: Sequence[dict]) -> dict[str, list[str]]:
    """title -> a value for each run, of what differs among the protocols; nothing where they are one."""
    columns = dict(zip(PROTOCOL_COLUMNS, map(list, zip(*map(protocol_values, protocols), strict=True)), strict=True))
    for name in sorted({name for one in protocols for name in one} - set(_IN_COLUMNS)):
        columns[name] = [describe_protocol({name: one.get(name)}).removeprefix(f"{name} ") for one in protocols]
    return {title: values for title, values in columns.items() if len(set(values)) > 1}


def _shared(results: Sequence[Results]) -> str:
    """What of the protocol is the same for all."""
    first, *others = [one.protocol for one in results]
    same = {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}
    return describe_protocol(same)


def _seeds(results: Sequence[Results]) -> str:
    return ", ".join(str(one.seed) for one in results)


def _scored(results: Sequence[Results]) -> list[str]:
    """What was scored, a line for each set of rows; more than one means that the lines cannot be compared."""
    sets: dict[str, list[str]] = {}
    for one in results:
        parts = (f"{name} {part['rows']} rows ({part['fingerprint']})" for name, part in one.content["data"].items())
        sets.setdefault(", ".join(parts), []).append(one.entry)
    if len(sets) == 1:
        return list(sets)
    return [
        f"{', '.join(dict.fromkeys(names))} on {shown}; not comparable with the others" for shown, names in sets.items()
    ]


def _write_csv(path: Path, runs, columns, scores: dict[tuple[str, str], list[Score]]) -> None:
    """Full precision: a row for each run and metric."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_CSV_HEADER)
        for run, results in runs.items():
            for (benchmark, key), score in zip(columns, scores[run], strict=True):
                row = [score.mean, score.std, score.reason]
                writer.writerow(map(plain_cell, [run[0], _seeds(results), benchmark, key, *row]))
