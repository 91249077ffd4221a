"""The dataset card of a prepared folder, made from its report alone."""

import json
from collections.abc import Mapping
from typing import Any

from dataset_scripts.schema import MODALITIES, SPLITS

VERSION = "1.0.0"  # of what a loader makes of raw data; raise it with any change of content
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


def dataset_card(report: Mapping[str, Any], version: str = VERSION) -> str:
    """The README.md of a prepared folder.

    Args:
        report: what `prepare.prepare_dataset` returns.
        version: of the content; rises with every push that changes it.

    Returns:
        Markdown with the YAML head by which `datasets` finds feature sets and splits and the Hub files the dataset. Its
        stamps of the content are to be set by `publish.stamp_card`.
    """
    name = report["dataset"]
    title = NAMES.get(name, name)
    sections = [
        _yaml_head(name, title, report, version),
        f"# {title}, prepared for UniMSE",
        f"Read from: {report['layout']}. {report['rows_kept']} of {report['rows_read']} labelled rows kept.",
        _counts_table(report["splits"]),
        _difference_note(title, report),
        _features_section(report["feature_sets"]),
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
are null; `datasets` gives such a cell back as a single NaN, not as an array. `id` is unique over all datasets;
`dialogue_id` and `utterance_index` give the context, within a split. Every config has the same rows in the same order;
they differ in their features alone."""


def _yaml_head(name: str, title: str, report: Mapping[str, Any], version: str) -> str:
    lines = ["---", f"pretty_name: {json.dumps(title)}", f"version: {version}", "license: other"]
    if name in NAMES:
        lines += ["language:", "- en"]
    lines += ["task_categories:", "- text-classification", "- audio-classification", "- video-classification"]
    lines += ["tags:", "- unimse", "- multimodal", "- sentiment-analysis", "- emotion-recognition", "configs:"]
    for place, config in enumerate(report["feature_sets"]):
        lines += [f"- config_name: {json.dumps(config)}", "  description: content 000000000000"]
        lines += ["  default: true"] * (place == 0) + ["  data_files:"]
        for split in SPLITS:
            if split in report["splits"]:
                lines += [f"  - split: {split}", f"    path: {json.dumps(f'data/{config}/{split}-*.parquet')}"]
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


def _features_section(sets: Mapping[str, Any]) -> str:
    lines = ["## Features", "", "| config | modality | width | rows | made by |", "|---|---|---:|---:|---|"]
    for config, facts in sets.items():
        for modality in MODALITIES:
            spec = facts["specs"][modality]
            if spec is not None:
                made = f"{spec['name']}, fingerprint `{spec['fingerprint']}`"
                lines.append(f"| `{config}` | {modality} | {spec['size']} | {facts['rows'][modality]} | {made} |")
    if len(lines) == 4:
        return "## Features\n\nNone: text and labels only."
    lines += ["", "Features are float32 (T, width), in the column `<modality>_features`."]
    for config, facts in sets.items():
        if facts.get("frames"):
            seen = f"{facts['frames']['with_face']} of {facts['frames']['sampled']} sampled frames"
            lines.append(f"In `{config}`, {seen} show a face; the others are left out of the sequences.")
        if facts["cells_repaired"] or facts["steps_dropped"]:
            repaired = f"{facts['cells_repaired']} cells that held NaN or infinity now hold their column's mean"
            dropped = f"{facts['steps_dropped']} steps without a value are left out"
            lines.append(f"In `{config}`, {repaired}; {dropped} (prepare-report.json).")
    return "\n".join(lines)


def _left_out_section(report: Mapping[str, Any]) -> str:
    """Skipped rows and clips without features, as counts; the details are in prepare-report.json."""
    lines = [f"- skipped: {reason}: {entry['count']}" for reason, entry in report["skipped"].items()]
    for modality, reasons in report["clips"].items():
        for reason, entry in reasons.items():
            lines.append(f"- kept without {modality} features: {reason}: {entry['count']}")
    return "\n".join(["## Left out", "", *lines]) if lines else ""
