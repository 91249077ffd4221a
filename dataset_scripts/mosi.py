"""CMU-MOSI: its facts, and the forms in which it is read.

`mmsa-csv`, `mmsa-pickle` (see `mmsa`), `mult-pickle`, `unimse-pickle`, `cmu-csd` and `original-raw` (the modules of
these names). Clips count from 1. Rows of the same segment have the same id in all of them, but for one kind of
`mult-pickle`: where it has the columns video, start and end, the clip is not knowable and the start takes its place.
"""

from pathlib import Path

from dataset_scripts.formats import choose_format
from dataset_scripts.readers import Reading
from dataset_scripts.sentiment import Benchmark
from dataset_scripts.sentiment_formats import sentiment_formats

EXPECTED = {"train": 1284, "validation": 229, "test": 686}
BENCHMARK = Benchmark(
    name="mosi",
    expected=EXPECTED,
    label_roots={"Opinion Segment Labels": 1},
    label_file="CMU_MOSI_Opinion_Labels.csd",
    first_clip=1,
)
FORMATS = sentiment_formats(BENCHMARK, "mosi_data_noalign.pkl")


def read(source: Path, format: str | None = None) -> Reading:
    """Read MOSI.

    Args:
        source: a folder in one of the forms, or a single pickle, csd or csv file (`label.csv` under any name).
        format: the name of the form; `None` = by the contents.

    Returns:
        Rows in video order; ids are `mosi/<split>/<video>_<clip>`.

    Raises:
        FileNotFoundError: nothing of a known form is there; says what was looked for.
        ValueError: a broken file, a missing column or key, a clip listed twice with other content; names the place.
            Or the videos are those of MOSEI.
    """
    return choose_format("mosi", source, FORMATS, format).read(source)
