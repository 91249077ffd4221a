"""What all pictures share: sizes, colours that colour-blind readers can tell apart, files that come out byte-equal.

Drawn with matplotlib's Agg backend, without a display. The PNG files carry no date or version, and what a user has set
for matplotlib changes nothing, so the same results give the same bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer.leaderboard_format import protocol_values
from trainer.results_groups import Entry, Section

# Okabe and Ito (2008); wine for their black, on which no whisker shows, and no yellow, too pale for marks on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
GREY = "#9a9a9a"
MOST_SECTIONS = 12  # of a benchmark are drawn; a run with all sets of modalities has seven
_DPI = 110
_SETTINGS = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a name may hold a dollar sign
}


@dataclass(frozen=True)
class Picture:
    """One PNG file: its benchmark, a title that says what it shows, a caption, and its size in pixels."""

    path: Path
    benchmark: str
    title: str
    caption: str
    width: int
    height: int


def entry_title(section: Section, entry: Entry) -> str:
    """`meld, protocol 2 (T+A, 2/2, constrained greedy): full`."""
    return f"{section.benchmark}, {protocol_name(section)}: {entry.name}"


def protocol_name(section: Section) -> str:
    """`protocol 2 (T+A, 2/2, constrained greedy)`: modalities, context, decoding."""
    context, modalities, decoding = protocol_values(section.protocol)
    return f"protocol {section.number} ({modalities}, {context}, {decoding})"


@contextmanager
def new_figure(width: float, height: float) -> Iterator:
    """A figure of a size in inches, drawn in the shared style."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a user has set: the same bytes everywhere
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def save(figure, path: Path, benchmark: str, title: str, caption: str) -> Picture:
    """Write a figure as PNG, below it the caption in small type."""
    from PIL import Image

    width = int(figure.get_figwidth() * 15)  # characters of a line, at this font size
    figure.supxlabel("\n".join(_wrap(caption, width)), x=0.01, ha="left", fontsize=8, color="#444444")
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    path.parent.mkdir(parents=True, exist_ok=True)
    # A palette: a third of the size, which counts in a page that holds all pictures.
    image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
    return Picture(path, benchmark, title, caption, *image.size)


def _wrap(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, break_long_words=False)
