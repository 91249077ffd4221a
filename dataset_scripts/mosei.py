"""CMU-MOSEI: its facts, and the forms in which it is read.

`mmsa-csv`, `mmsa-pickle` (see `mmsa`), `mult-pickle`, `unimse-pickle`, `cmu-csd` and `original-raw` (the modules of
these names). A segment is `<video>_<clip>` where a file or a transcript tells the clip's number. Where it is not
knowable its id differs from that in the other forms: its row in the labels takes the place where there is no
transcript at all, `row<row>` where there are transcripts and it is in none, and the start in seconds in a `mult-pickle`
that has the columns video, start and end.
"""

from pathlib import Path

from dataset_scripts.formats import choose_format
from dataset_scripts.readers import Reading
from dataset_scripts.sentiment import Benchmark
from dataset_scripts.sentiment_formats import sentiment_formats

EXPECTED = {"train": 16326, "validation": 1871, "test": 4659}
LABELS = "CMU_MOSEI_Labels.csd"
WORDS = "CMU_MOSEI_TimestampedWords.csd"
BENCHMARK = Benchmark(
    name="mosei",
    expected=EXPECTED,
    label_roots={"All Labels": 7, "Sentiment Labels": 1},
    label_file=LABELS,
    first_clip=0,
)
FORMATS = sentiment_formats(BENCHMARK, "mosei_senti_data_noalign.pkl")


def read(source: Path, format: str | None = None) -> Reading:
    """Read MOSEI.

    Args:
        source: a folder in one of the forms, or a single pickle, csd or csv file (`label.csv` under any name).
        format: the name of the form; `None` = by the contents.

    Returns:
        Rows in video order; ids are `mosei/<split>/<video>_<clip or row>`.

    Raises:
        FileNotFoundError: nothing of a known form is there; says what was looked for.
        ValueError: a broken file, a missing column or key, a clip listed twice with other content; names the place.
            Or the videos are those of MOSI.
    """
    return choose_format("mosei", source, FORMATS, format).read(source)
