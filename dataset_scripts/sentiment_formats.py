"""The forms in which MOSI and MOSEI are read, the most specific first."""

from dataset_scripts.cmu_csd import csd_format
from dataset_scripts.formats import RawFormat
from dataset_scripts.mmsa import csv_format, pickle_format
from dataset_scripts.mult_pickle import mult_format
from dataset_scripts.original_raw import original_format
from dataset_scripts.sentiment import Benchmark
from dataset_scripts.unimse_pickle import unimse_format


def sentiment_formats(benchmark: Benchmark, mult_name: str) -> tuple[RawFormat, ...]:
    """All forms of a benchmark; `mult_name`: the usual name of its CMU or MulT pickle, for messages."""
    return (
        csv_format(benchmark),
        csd_format(benchmark),
        original_format(benchmark),
        pickle_format(benchmark),
        unimse_format(benchmark),
        mult_format(benchmark, mult_name),
    )
