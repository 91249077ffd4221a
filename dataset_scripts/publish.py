"""A prepared dataset in the Hub's layout: Parquet files a split, and a dataset card that says what is in them.

`datasets.load_dataset` reads the folder as it is, locally or once uploaded. The card is made from the report of
`prepare.prepare_dataset` alone, plus a stamp of the content (`stamp_card`).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dataset_scripts.schema import AUDIO_SIZE, SPLITS

ROWS_A_GROUP = 256  # about 15 MB of features: what a reader must hold to give one row
NAMES = {"mosi": "CMU-MOSI", "mosei": "CMU-MOSEI", "meld": "MELD", "iemocap": "IEMOCAP"}
SOURCES = {
    "mosi": (
        "CMU-MOSI: YouTube monologues, a sentiment score in [-3, 3] a segment. Clips and `label.csv` are distributed "
        "with [MMSA](https://github.com/thuiar/MMSA), the original features with the "
        "[CMU Multimodal SDK](https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK)."
    ),
    "mosei": (
        "CMU-MOSEI: YouTube monologues, a sentiment score in [-3, 3] a segment. Labels and timed words (`.csd`) come "
        "with the [CMU Multimodal SDK](https://github.com/CMU-MultiComp-Lab/CMU-MultimodalSDK)."
    ),
    "meld": (
        "MELD: dialogues of a television series, seven emotions and three polarities an utterance. Label files and "
        "clips are linked at [declare-lab/MELD](https://github.com/declare-lab/MELD)."
    ),
    "iemocap": (
        "IEMOCAP: scripted and improvised dialogues of ten actors. On request from the "
        "[University of Southern California](https://sail.usc.edu/iemocap/), after signing its release form."
    ),
}
LICENCES = {
    "mosi": "The videos belong to their makers; labels are for research. Do not publish clips or features.",
    "mosei": "The videos belong to their makers; labels are for research. Do not publish clips or features.",
    "meld": "Label files: GPL-3.0. The clips are excerpts of a television series whose owners keep their rights.",
    "iemocap": "Its release form forbids passing the data on, features included. Keep this folder private.",
}
CITATIONS = {
    "mosi": """@article{zadeh2016mosi,
  title   = {{MOSI}: Multimodal Corpus of Sentiment Intensity and Subjectivity Analysis in Online Opinion Videos},
  author  = {Zadeh, Amir and Zellers, Rowan and Pincus, Eli and Morency, Louis-Philippe},
  journal = {arXiv preprint arXiv:1606.06259},
  year    = {2016}
}""",
    "mosei": """@inproceedings{bagherzadeh2018mosei,
  title     = {Multimodal Language Analysis in the Wild: {CMU-MOSEI} Dataset and Interpretable Dynamic Fusion Graph},
  author    = {Bagher Zadeh, AmirAli and Liang, Paul Pu and Poria, Soujanya and Cambria, Erik and
               Morency, Louis-Philippe},
  booktitle = {Proceedings of ACL},
  year      = {2018}
}""",
    "meld": """@inproceedings{poria2019meld,
  title     = {{MELD}: A Multimodal Multi-Party Dataset for Emotion Recognition in Conversations},
  author    = {Poria, Soujanya and Hazarika, Devamanyu and Majumder, Navonil and Naik, Gautam and
               Cambria, Erik and Mihalcea, Rada},
  booktitle = {Proceedings of ACL},
  year      = {2019}
}""",
    "iemocap": """@article{busso2008iemocap,
  title   = {{IEMOCAP}: Interactive Emotional Dyadic Motion Capture Database},
  author  = {Busso, Carlos and Bulut, Murtaza and Lee, Chi-Chun and Kazemzadeh, Abe and Mower, Emily and Kim, Samuel
             and Chang, Jeannette N. and Lee, Sungbok and Narayanan, Shrikanth S.},
  journal = {Language Resources and Evaluation},
  volume  = {42},
  number  = {4},
  pages   = {335--359},
  year    = {2008}
}""",
}


_STAMP = re.compile(r"^  description: content [0-9a-f]{12}$", re.MULTILINE)


def parquet_path(folder: Path, split: str) -> Path:
    """`folder/data/train-00000-of-00001.parquet`."""
    return Path(folder) / "data" / f"{split}-00000-of-00001.parquet"


def write_split(path: Path, examples: Iterable[Mapping[str, Any]], features) -> int:
    """Write rows to one Parquet file, a few hundred at a time, so that the features need not all fit in memory.

    Args:
        path: the file; its folder is made.
        examples: rows of the schema.
        features: `schema.features(...)`; stored in the file, so that `datasets` reads the arrays back as arrays.

    Returns:
        The number of rows written.
    """
    import pyarrow.parquet
    from datasets import Dataset

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with pyarrow.parquet.ParquetWriter(path, features.arrow_schema) as writer:
        for batch in _batches(examples, ROWS_A_GROUP):
            writer.write_table(Dataset.from_list(batch, features=features).data.table)
            rows += len(batch)
    return rows


def stamp_card(folder: Path) -> None:
    """Write a digest of the Parquet files into the card's config; to be called whenever they were changed.

    `datasets` (5.2) finds a local folder in its cache by the folder's name and the card's configs, not by path, time or
    content: without the stamp, two folders of one name, or one before and after labelling, give the same rows.
    """
    digest = hashlib.sha256()
    for path in sorted((Path(folder) / "data").glob("*.parquet")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    card = Path(folder) / "README.md"
    text = card.read_text(encoding="utf-8")
    text, found = _STAMP.subn(f"  description: content {digest.hexdigest()[:12]}", text, count=1)
    if not found:
        raise ValueError(f"{card}: expected '  description: content <12 hex digits>' in its config, found none")
    aside = card.with_name("README.md.partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(card)


def _batches(examples: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for example in examples:
        batch.append(dict(example))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def dataset_card(report: Mapping[str, Any]) -> str:
    """The README.md of a prepared folder.

    Args:
        report: what `prepare.prepare_dataset` returns.

    Returns:
        Markdown with the YAML head by which `datasets` finds the splits and the Hub files the dataset.
    """
    name = report["dataset"]
    title = NAMES.get(name, name)
    sections = [
        _yaml_head(name, title, report["splits"]),
        f"# {title}, prepared for UniMSE",
        f"Read from: {report['layout']}. {report['rows_kept']} of {report['rows_read']} labelled rows kept.",
        _counts_table(report["splits"]),
        _difference_note(title, report),
        _features_section(report["features"]),
        _left_out_section(report),
        f"## How to obtain the raw data\n\n{SOURCES.get(name, 'Your own data, read from a manifest.')}",
        f"## Licence\n\n{LICENCES.get(name, 'That of the data it was made from.')}",
        _COLUMNS_SECTION,
    ]
    if name in CITATIONS:
        sections.append(f"## Citation\n\n```bibtex\n{CITATIONS[name]}\n```")
    return "\n\n".join(section for section in sections if section) + "\n"


_COLUMNS_SECTION = """## Columns

`sentiment` and `emotion` are gold and null where the dataset has none. `label_intensity`, `label_emotion`,
`label_donor` and `label_similarity` are the universal label: null until `unimse label` fills them. Missing features
are null. `id` is unique over all datasets; `dialogue_id` and `utterance_index` give the context, within a split."""


def _yaml_head(name: str, title: str, splits: Mapping[str, Any]) -> str:
    lines = ["---", f"pretty_name: {title}", "license: other"]
    if name in NAMES:
        lines += ["language:", "- en"]
    lines += ["task_categories:", "- text-classification", "- audio-classification", "- video-classification"]
    lines += ["tags:", "- unimse", "- multimodal", "- sentiment-analysis", "- emotion-recognition"]
    lines += ["configs:", "- config_name: default", "  description: content 000000000000", "  data_files:"]
    for split in SPLITS:
        if split in splits:
            lines += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    return "\n".join([*lines, "---"])


def _counts_table(splits: Mapping[str, Any]) -> str:
    head = "| split | rows | dialogues | with text | with audio | with visual | negative | neutral | positive |"
    lines = ["## Rows", "", head, "|---" + "|---:" * 8 + "|"]
    for split, counts in splits.items():
        polarity = [counts["polarity"].get(name, 0) for name in ("negative", "neutral", "positive")]
        numbers = [counts[key] for key in ("rows", "dialogues", "text", "audio", "visual")] + polarity
        lines.append("| " + " | ".join([split, *map(str, numbers)]) + " |")
    return "\n".join(lines)


def _difference_note(title: str, report: Mapping[str, Any]) -> str:
    """Says so where the counts are not the paper's: a part of a benchmark, another release, a sample in its layout."""
    if not any((report["difference"] or {}).values()):
        return ""
    published = ", ".join(f"{split} {count}" for split, count in report["expected_rows"].items())
    rows = f"The UniMSE paper has other numbers of {title} rows ({published})"
    return f"{rows}: results on these rows cannot be set beside published ones without saying so."


def _features_section(specs: Mapping[str, Any]) -> str:
    lines = ["## Features", ""]
    for modality in ("audio", "visual"):
        spec = specs[modality]
        if spec is None:
            lines.append(f"- `{modality}_features`: none")
        else:
            made = f"{spec['name']}, fingerprint `{spec['fingerprint']}`"
            lines.append(f"- `{modality}_features`: float32 (T, {spec['size']}), made by {made}")
    if specs["audio"] is not None:
        lines += ["", f"Audio: {AUDIO_SIZE} log-Mel bands of 16 kHz sound."]
    return "\n".join(lines)


def _left_out_section(report: Mapping[str, Any]) -> str:
    """Skipped rows and clips without features, as counts; the details are in prepare-report.json."""
    lines = [f"- skipped: {reason}: {entry['count']}" for reason, entry in report["skipped"].items()]
    for modality in ("audio", "visual"):
        for reason, entry in report["clips"][modality].items():
            lines.append(f"- kept without {modality} features: {reason}: {entry['count']}")
    return "\n".join(["## Left out", "", *lines]) if lines else ""
