"""Where the clips of MOSI and MOSEI lie in the folders of the original distribution.

    MOSI     Raw/Video/Segmented/<video>_<clip>.mp4, Raw/Video/Full/<video>.mp4,
             Raw/Audio/WAV_16000/Segmented/<video>_<clip>.wav, Raw/Audio/WAV_16000/Full/<video>.wav
    MOSEI    Raw/Videos/Segmented/Combined/<video>_<clip>.mp4, Raw/Videos/Full/Combined/<video>.mp4,
             Raw/Audio/Full/WAV_16000/<video>.wav

A clip of its own is preferred to a stretch of the full video, and a wav to the sound of the video.
"""

from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.readers import Span
from dataset_scripts.sentiment import folder_of

_VIDEO = ("Video/Segmented", "Videos/Segmented/Combined", "Videos/Segmented")
_FULL_VIDEO = ("Video/Full", "Videos/Full/Combined", "Videos/Full")
_AUDIO = ("Audio/WAV_16000/Segmented", "Audio/Segmented/WAV_16000")
_FULL_AUDIO = ("Audio/WAV_16000/Full", "Audio/Full/WAV_16000")


@dataclass(frozen=True)
class SegmentMedia:
    """The media folders that are there; `None` = that one is not."""

    video: Path | None
    full_video: Path | None
    audio: Path | None
    full_audio: Path | None

    @property
    def layout(self) -> str:
        """In words, for a reading's layout."""
        found = {"segmented videos": self.video, "full videos": self.full_video and not self.video}
        found |= {"wav files": self.audio or self.full_audio}
        there = [name for name, folder in found.items() if folder]
        return f"with {' and '.join(there)}" if there else "without videos, text only"

    def spans(
        self, video: str, clip: str | None, start: float | None, end: float | None
    ) -> tuple[Span | None, Span | None]:
        """Sound and pictures of a segment.

        Args:
            video: its video.
            clip: its number in file names; `None` = not known, so that only full videos will do.
            start, end: seconds within the full video; `None` = not known, so that only clips of its own will do.
        """
        timed = start is not None and end is not None and end > start
        pictures = _span(self.video, self.full_video, video, clip, (start, end) if timed else None, ".mp4")
        sound = _span(self.audio, self.full_audio, video, clip, (start, end) if timed else None, ".wav")
        return sound or pictures, pictures


def find_media(source: Path) -> SegmentMedia:
    """The media folders in `source/Raw`, or in `source` where that is the `Raw` folder."""
    folder = folder_of(source)
    bases = (folder / "Raw", folder)

    def first(names: tuple[str, ...]) -> Path | None:
        return next((base / name for base in bases for name in names if (base / name).is_dir()), None)

    return SegmentMedia(first(_VIDEO), first(_FULL_VIDEO), first(_AUDIO), first(_FULL_AUDIO))


def _span(own: Path | None, full: Path | None, video: str, clip: str | None, stretch, suffix: str) -> Span | None:
    if own is not None and clip is not None:
        path = own / f"{video}_{clip}{suffix}"
        if full is None or stretch is None or path.is_file():
            return Span(path)
    if full is not None and stretch is not None:
        return Span(full / f"{video}{suffix}", *stretch)
    return None
