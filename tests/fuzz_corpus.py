"""Small valid raw inputs that the fuzz tests spoil: one `Source` for each form of a benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import fuzz_raw as made
from tests.dataset_scripts import conftest as raw

TOPICS = ("csv", "pickle", "csd", "transcript", "mp4", "manifest")
TEXT_ONLY = ("--features", "none", "--visual-extractor", "none")
WITH_CLIPS = ("--features", "audio,visual", "--visual-extractor", "frozen-conv", "--workers", "1")
IN_TWO_PROCESSES = (*WITH_CLIPS[:-1], "2")


@dataclass(frozen=True)
class Source:
    """A valid raw input.

    Args:
        name: the folder it is made in.
        topic: one of `TOPICS`: what kind of file is spoilt.
        benchmark: what `unimse prepare` is told.
        make: writes the files into a folder that is there.
        targets: patterns of the files that are spoilt.
        options: more words of the command.
        single: path of the file in the folder that is the source itself, where it is not the folder.
    """

    name: str
    topic: str
    benchmark: str
    make: Callable[[Path], object]
    targets: tuple[str, ...]
    options: tuple[str, ...] = TEXT_ONLY
    single: str | None = None

    def files(self, folder: Path) -> list[Path]:
        """The files that may be spoilt, in a fixed order."""
        return sorted({path for pattern in self.targets for path in folder.glob(pattern) if path.is_file()})


def _without_clips(make: Callable) -> Callable[[Path], object]:
    return lambda folder: make(folder, clips=False)


def _mmsa_with_csv(folder: Path) -> None:
    raw.make_mosi(folder, clips=False)
    made.make_mmsa_pickle(folder / "Processed" / "unaligned_50.pkl", aligned=False)


def _mosei_with_features(folder: Path) -> None:
    raw.make_mosei(folder, clips=False)
    made.make_feature_csd(folder / "CMU_MOSEI_COVAREP.csd", "COVAREP")


def _meld_with_features(folder: Path) -> None:
    raw.make_meld(folder, clips=False)
    made.make_authors_features(folder / "meld_features.pkl", ["dia0_utt0", "dia0_utt3"])


def _iemocap_with_features(folder: Path) -> None:
    raw.make_iemocap(folder, clips=False)
    names = ["Ses01F_impro01_F000", "Ses01F_impro01_M000"]
    made.make_authors_features(folder / "iemocap_features.pkl", names)


SOURCES = [
    Source("mosi-csv", "csv", "mosi", _without_clips(raw.make_mosi), ("*.csv",)),
    Source("meld-csv", "csv", "meld", _without_clips(raw.make_meld), ("*.csv",)),
    Source("mosi-mmsa", "pickle", "mosi", made.make_mmsa, ("*.pkl",)),
    Source("mosei-mmsa", "pickle", "mosei", made.make_mmsa, ("aligned_50.pkl",), single="aligned_50.pkl"),
    Source("mosi-mmsa-csv", "pickle", "mosi", _mmsa_with_csv, ("Processed/*.pkl",)),
    Source("mosi-mult", "pickle", "mosi", made.make_mult_bytes, ("*.pkl",)),
    Source("mosei-mult", "pickle", "mosei", made.make_mult_columns, ("*.pkl",)),
    Source("mosi-unimse", "pickle", "mosi", made.make_unimse, ("*.pkl",)),
    Source("meld-features", "pickle", "meld", _meld_with_features, ("*.pkl",)),
    Source("iemocap-features", "pickle", "iemocap", _iemocap_with_features, ("*.pkl",)),
    Source("iemocap-pickle", "pickle", "iemocap", made.make_iemocap_pickle, ("*.pkl",)),
    Source("mosi-csd", "csd", "mosi", made.make_mosi_csd, ("*.csd",)),
    Source("mosei-csd", "csd", "mosei", _mosei_with_features, ("*.csd",)),
    Source("mosei-folds", "transcript", "mosei", _without_clips(raw.make_mosei), ("*.json",)),
    Source("mosi-original", "transcript", "mosi", made.make_mosi_original, ("Raw/Transcript/**/*",)),
    Source("mosei-original", "transcript", "mosei", made.make_mosei_original, ("Raw/Transcript/**/*",)),
    Source("iemocap-text", "transcript", "iemocap", _without_clips(raw.make_iemocap), ("**/*.txt",)),
    Source("custom-csv", "manifest", "custom", made.make_custom_csv, ("*.csv",)),
    Source("custom-tsv", "manifest", "custom", made.make_custom_tsv, ("*.tsv",)),
    Source("custom-jsonl", "manifest", "custom", made.make_custom_jsonl, ("*.jsonl",)),
    Source("custom-file", "manifest", "custom", made.make_custom_jsonl, ("*.jsonl",), single="manifest.jsonl"),
    Source("mosi-clips", "mp4", "mosi", raw.make_mosi, ("Raw/**/*.mp4",), WITH_CLIPS),
    Source("mosei-videos", "mp4", "mosei", raw.make_mosei, ("Raw/**/*.mp4",), WITH_CLIPS),
    Source("meld-clips", "mp4", "meld", raw.make_meld, ("*/*.mp4",), IN_TWO_PROCESSES),
    Source("iemocap-media", "mp4", "iemocap", raw.make_iemocap, ("**/*.avi", "**/*.wav"), WITH_CLIPS),
    Source("custom-media", "mp4", "custom", made.make_custom_media, ("*.wav", "*.mp4"), WITH_CLIPS),
]


def make_corpus(folder: Path, topics: tuple[str, ...] = TOPICS, names: str = "") -> list[tuple[Source, Path]]:
    """Write the sources of these topics whose names hold `names`; returns each with its folder.

    Raises:
        ValueError: a topic that is none, no source of that name, or a source without the files that are to be spoilt.
    """
    unknown = set(topics) - set(TOPICS)
    if unknown:
        raise ValueError(f"topics: expected some of {', '.join(TOPICS)}, got {', '.join(sorted(unknown))}")
    chosen = [source for source in SOURCES if source.topic in topics and names in source.name]
    if not chosen:
        raise ValueError(f"no source of {', '.join(topics)} has {names!r} in its name")
    for source in chosen:
        (folder / source.name).mkdir(parents=True)
        source.make(folder / source.name)
        if not source.files(folder / source.name):
            raise ValueError(f"{source.name}: no file fits {', '.join(source.targets)}")
    return [(source, folder / source.name) for source in chosen]
