"""Universal labels: the half of a label that a data set lacks, copied from the most similar sample of the other task.

MOSI and MOSEI give a sentiment and no emotion, MELD and IEMOCAP an emotion and no sentiment (Hu et al. 2022, section
3.2). A row that lacks one of the two takes it from the row of the same polarity that has it and whose text is nearest
by the cosine of sentence embeddings. Negative and positive rows are searched apart; neutral rows need no donor:
intensity 0.0, emotion neutral. A gold field is never overwritten. The rules in detail: `donors`.

Where we differ from the authors' code:
- It searches all splits together, so labels of the test set reach training. Here only rows of `train` give;
  `leaky_donors=True` reproduces theirs.
- It writes two emotions into the target text, one of MELD's set and one of IEMOCAP's, as a string of four fields with
  unrounded intensities, which its generation limit cuts off. Here the target keeps one emotion of the union, and
  `per_dataset_emotions=True` gives the two as columns of their own, each with its donor and similarity: nothing is cut,
  and a row of MELD or IEMOCAP keeps its gold emotion in its own data set's column.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from dataset_scripts.donors import (
    DONOR_POLARITIES,
    AssignedLabel,
    DonatedEmotion,
    assign_labels,
    check_ids,
    count_donors,
    donated_emotions,
    emotion_without_donor,
    has_text,
    label_without_donor,
)
from dataset_scripts.label_columns import EMOTION_DATASETS, label_cells, read_ids, read_rows, write_labels
from dataset_scripts.label_report import check_drawing, summarize_labels, write_report
from dataset_scripts.publish import LABELS_ASIDE, parquet_files, stamp_card
from dataset_scripts.text_embedders import TfidfEmbedder
from dataset_scripts.text_similarity import check_search
from dataset_scripts.utils.files import check_space
from dataset_scripts.utils.outputs import claimed, replaced_folder, settle

_logger = logging.getLogger(__name__)


def label_datasets(
    folders: Sequence[Path],
    embedder: Callable[[list[str]], np.ndarray] | None = None,
    *,
    leaky_donors: bool = False,
    per_dataset_emotions: bool = False,
    search: str = "exact",
) -> dict:
    """Fill the label columns of prepared folders, in each of their feature sets, searching donors over all together.

    Every folder also gets a report over its own rows: `labels.json`, and `labels.png` and `label-pairs.md` to look at.
    A
    folder is replaced as a whole: its labels and report are the old or the new ones. Rows that nobody can give to are
    said on stderr, one line a kind.

    Args:
        folders: what `prepare` wrote; MOSI/MOSEI and MELD/IEMOCAP give to each other only when labelled together.
        embedder: texts -> (n, D) vectors, with a `name`, such as `text_embedders.embedder_by_name` gives; TF-IDF where
            none is given.
        leaky_donors: let validation and test rows give, as the authors' code does. Scores are then not honest.
        per_dataset_emotions: also give each row an emotion from MELD's rows and one from IEMOCAP's, in columns of their
            own (`label_columns`). Without it such columns of an earlier run are removed.
        search: see `text_similarity.nearest_rows`.

    Returns:
        The report over all rows (see `label_report.summarize_labels`).

    Raises:
        FileNotFoundError: a folder is not a prepared one.
        FileExistsError: another process writes one of the folders.
        OSError: a folder cannot be written, or its disk is too full.
        ValueError: ids come twice, a row contradicts itself, or the embedder gives something else than vectors.
        ImportError: the search or the drawing needs a library that is not installed.
    """
    check_search(search)
    check_drawing()
    embedder = TfidfEmbedder() if embedder is None else embedder
    folders = list({Path(folder).resolve(): Path(folder) for folder in folders}.values())
    with ExitStack() as held:
        for folder in folders:
            settle(folder)
            check_space(folder, sum(path.stat().st_size for paths in parquet_files(folder).values() for path in paths))
            held.enter_context(claimed(folder))
        rules = {"leaky_donors": leaky_donors, "search": search}
        return _label_folders(folders, embedder, EMOTION_DATASETS if per_dataset_emotions else (), rules)


def _label_folders(folders: Sequence[Path], embedder, extra: Sequence[str], rules: dict) -> dict:
    """Read all folders, label their rows together, write each folder anew; returns the report over all rows."""
    files = {folder: parquet_files(folder) for folder in folders}
    rows = {folder: _read_folder(folder, configs) for folder, configs in files.items()}
    everything = [row for folder in files for row in rows[folder]]
    check_ids(everything)
    labels, emotions = _label_rows(everything, embedder, extra, rules)
    settings = {
        "embedder": getattr(embedder, "name", type(embedder).__name__),
        "leaky_donors": rules["leaky_donors"],
        "per_dataset_emotions": bool(extra),
        "donors": count_donors(everything, rules["leaky_donors"]),
    }
    texts = {row["id"]: row["text"] for row in everything}
    with ExitStack() as swaps:  # all folders are written before the first is replaced
        for folder, configs in files.items():
            report = settings | summarize_labels(rows[folder], labels, texts, emotions)
            own = {row["id"]: _cells(row["id"], labels, emotions) for row in rows[folder]}
            new = swaps.enter_context(replaced_folder(folder, drop=(f"{LABELS_ASIDE}/*",)))
            _write_folder(folder, new, configs, own, bool(extra), report)
    report = settings | summarize_labels(everything, labels, texts, emotions)
    for line in report["warnings"]:
        _logger.warning("%s", line)
    return report


def _read_folder(folder: Path, configs: Mapping[str, list[Path]]) -> list[dict]:
    """The rows of the first feature set; the others must have the same."""
    first, *others = configs
    rows = [row for path in configs[first] for row in read_rows(path)]
    ids = [row["id"] for row in rows]
    for config in others:
        if read_ids(configs[config]) != ids:
            raise ValueError(
                f"{folder}: expected the same rows in every feature set, those of {config!r} and {first!r} differ; "
                "prepare it again"
            )
    return rows


def _label_rows(
    rows, embedder, extra: Sequence[str], rules: dict
) -> tuple[dict[str, AssignedLabel], dict[str, dict[str, DonatedEmotion]]]:
    """id -> label, and data set of `extra` -> id -> its emotion.

    Only texts that can seek or give are embedded, each different text once.
    """
    labels = {row["id"]: label_without_donor(row) for row in rows}
    emotions = {name: {row["id"]: emotion_without_donor(row, name) for row in rows} for name in extra}
    searched = [row for row in rows if row["polarity"] in DONOR_POLARITIES and has_text(row)]
    if searched:
        ids = [row["id"] for row in searched]
        embeddings = _embed_rows(searched, embedder, rules["leaky_donors"])
        labels.update(zip(ids, assign_labels(searched, embeddings, **rules), strict=True))
        for name in extra:
            emotions[name].update(zip(ids, donated_emotions(searched, embeddings, name, **rules), strict=True))
    return labels, emotions


def _embed_rows(rows, embedder, leaky_donors: bool):
    texts = sorted({row["text"] for row in rows})
    if hasattr(embedder, "fit"):
        embedder.fit(sorted({row["text"] for row in rows if leaky_donors or row["split"] == "train"}) or texts)
    embeddings = embedder(texts)
    embeddings = embeddings.tocsr() if hasattr(embeddings, "tocsr") else np.asarray(embeddings)
    if embeddings.ndim != 2 or embeddings.shape[0] != len(texts):
        raise ValueError(f"embedder: expected {len(texts)} vectors for as many texts, got shape {embeddings.shape}")
    position = {text: at for at, text in enumerate(texts)}
    return embeddings[[position[row["text"]] for row in rows]]


def _cells(name: str, labels: Mapping, emotions: Mapping) -> dict:
    return label_cells(labels[name], {dataset: given[name] for dataset, given in emotions.items()})


def _write_folder(
    folder: Path, new: Path, configs: Mapping[str, list[Path]], cells: dict, optional: bool, report: dict
) -> None:
    """Write the files of a folder with new labels, its report and card into `new`; the rest of it is carried over."""
    for path in (path for own in configs.values() for path in own):
        target = new / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, target, cells, optional)
    write_report(report, new)
    for name in ("README.md", "features.json"):
        shutil.copyfile(folder / name, new / name)
    stamp_card(new)
