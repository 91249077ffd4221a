"""MOSI and MOSEI as first distributed: transcripts of the segments and their clips; labels in a csd file.

Transcripts: see `transcripts`; clips: see `segment_media`. The labels are not among these files: the csd file of labels
of the CMU SDK must lie beside; other csd files give features as in `cmu_csd`. In MOSI row k of a video's labels is
its clip k + 1; in MOSEI a row and a line of the transcript belong together by their interval.
"""

from pathlib import Path

from dataset_scripts.cmu_csd import store_features
from dataset_scripts.csd_labels import NO_INTERVAL, LabelledVideo, find_labels, read_labels, usable_interval
from dataset_scripts.formats import RawFormat
from dataset_scripts.readers import Reading
from dataset_scripts.segment_media import SegmentMedia, find_media
from dataset_scripts.sentiment import Benchmark, Row, Rows, folder_of, new_reading, relative_name
from dataset_scripts.transcripts import Line, find_transcripts, match_lines, read_transcript

NO_LABELS = "line of a transcript without a label"
_USUAL = {
    "mosi": "Raw/Transcript/Segmented/<video>.annotprocessed",
    "mosei": "Raw/Transcript/Segmented/Combined/<video>.txt",
}


def original_format(benchmark: Benchmark) -> RawFormat:
    """Transcripts and clips, with a csd file of labels."""
    return RawFormat(
        "original-raw",
        f"{_USUAL[benchmark.name]} with {benchmark.label_file} beside",
        lambda source: bool(find_transcripts(source, benchmark.name)),
        lambda source: _read(benchmark, source),
    )


def _read(benchmark: Benchmark, source: Path) -> Reading:
    transcripts = find_transcripts(source, benchmark.name)
    if not transcripts:
        raise FileNotFoundError(f"{benchmark.name}: no transcripts {_USUAL[benchmark.name]} in {source}")
    path = find_labels(source, benchmark)
    if path is None:
        raise FileNotFoundError(
            f"{benchmark.name}: {source} has transcripts but no labels; put the CMU SDK's {benchmark.label_file} there"
        )
    media = find_media(source)
    reading = new_reading(benchmark, f"original-raw: transcripts, {relative_name(path, source)} {media.layout}")
    rows, seen, segments = Rows(benchmark, reading), set(), {}
    for video in read_labels(path, folder_of(source), rows):
        seen.add(video.name)
        lines = read_transcript(transcripts[video.name], reading) if video.name in transcripts else []
        if not lines:
            reading.notes.add("video without a transcript", video.name, len(video.scores), video.split)
        matched = _match(benchmark, lines, video)
        segments |= _add_rows(rows, video, matched, media, f"{path.name}, {video.name}")
        used = set(map(id, matched.values()))
        for line in (line for line in lines if id(line) not in used):
            reading.notes.add(NO_LABELS, f"{video.name}_{line.clip}", split=video.split)
    for video in (video for video in transcripts if video not in seen):
        reading.notes.add("transcript of a video without labels or fold", video)
    store_features(rows, source, {path}, segments)
    return rows.finish()


def _match(benchmark: Benchmark, lines: list[Line], video: LabelledVideo) -> dict[int, Line]:
    """Row of the labels -> its line."""
    if benchmark.first_clip:
        by_clip = {line.clip: line for line in reversed(lines)}
        clips = {place: str(row + benchmark.first_clip) for place, row in enumerate(video.rows)}
        return {place: by_clip[clip] for place, clip in clips.items() if clip in by_clip}
    return match_lines(lines, video.intervals)


def _add_rows(
    rows: Rows, video: LabelledVideo, matched: dict[int, Line], media: SegmentMedia, where: str
) -> dict[str, tuple[str, int, float, float]]:
    """Add a video's rows; gives the segment of each as `store_features` takes it."""
    first, segments = rows.benchmark.first_clip, {}
    for place, (number, score) in enumerate(zip(video.rows, video.scores.tolist(), strict=True)):
        line, times = matched.get(place), usable_interval(video.intervals[place])
        if times is None and line is None:
            rows.skip(NO_INTERVAL, f"{where}, row {number}", video.split)
            continue
        start, end = times or (None, None)
        known = line is not None or first > 0
        clip = line.clip if line else str(number + first) if first else f"row{number}"
        if line is None:
            rows.reading.notes.add(
                "segment in no transcript; its text is None", f"{video.name}_{clip}", split=video.split
            )
        sound, pictures = media.spans(video.name, clip if known else None, start, end)
        text = line.text if line else None
        row = Row(video.name, clip, video.split, score, text, start, end, sound, pictures, order=start)
        name = rows.add(row, f"{where}, row {number}")
        if name is not None:
            segments[name] = (video.name, number, *map(float, video.intervals[place]))
    return segments
