"""csd files: reading them piece by piece, the rows and features made of them, and the many ways they are broken."""

import numpy as np
import pytest

from dataset_scripts import mosei, mosi
from dataset_scripts.cmu_csd import _modality
from dataset_scripts.csd import CsdFile, csd_root, read_csd
from dataset_scripts.folds import standard_folds
from dataset_scripts.schema import validate_example
from tests.dataset_scripts.raw_sentiment import ramp, rows_of, write_csds

MOSI_GOLDEN = [
    # id, text, start, end, sentiment, polarity
    ("train/-abc_1", "good film", 0.5, 1.5, 1.5, "positive"),
    ("train/-abc_2", "yes", 2.0, 3.0, 2.5, "positive"),
    ("validation/0123_1", None, 0.0, 1.0, 0.0, "neutral"),
    ("test/x_y_1", None, 1.0, 2.0, -3.0, "negative"),
]
COLUMNS = ("id", "text", "start", "end", "sentiment", "polarity")


@pytest.mark.parametrize(("loader", "first"), [(mosi, 1), (mosei, 0)])
def test_rows(loader, first, tmp_path):
    reading = loader.read(write_csds(tmp_path, loader.BENCHMARK.name))
    golden = [(f"{row[0][:-1]}{int(row[0][-1]) - 1 + first}", *row[1:]) for row in MOSI_GOLDEN]
    assert rows_of(reading, *COLUMNS) == golden
    for item in reading.items:
        validate_example(item.example)
    assert reading.rows_read == 6
    assert reading.skipped.as_dict() == {
        "in no split": {"count": 2, "first": "elsewhere: in no fold", "splits": {"any": 2}}
    }
    notes = reading.notes.as_dict()
    assert notes["video without timed words; its text is None"]["first"] == "x_y"
    assert reading.layout == f"cmu-csd: {loader.BENCHMARK.label_file} without videos, text only, splits by folds.json"


def test_features_are_cut_to_the_segments(tmp_path):
    reading = mosi.read(write_csds(tmp_path, "mosi"))
    (stored,) = reading.stored
    assert (stored.name, stored.sizes, stored.source) == ("covarep", {"audio": 74}, "CMU_MOSI_COVAREP.csd")
    np.testing.assert_array_equal(stored.get("mosi/train/-abc_1")["audio"], ramp(40, 74)[5:15])
    np.testing.assert_array_equal(stored.get("mosi/train/-abc_2")["audio"], ramp(40, 74)[20:30])
    np.testing.assert_array_equal(stored.get("mosi/train/-abc_1")["audio"], ramp(40, 74)[5:15])
    assert stored.get("mosi/validation/0123_1") == {}
    assert reading.notes.count("row without features in CMU_MOSI_COVAREP.csd") == 2


def test_features_by_segment_key_and_in_any_order_of_time(raw, tmp_path):
    write_csds(tmp_path, "mosi")
    whole = ramp(3, 35)
    whole[1, 2] = -np.inf
    raw.csd(tmp_path / "f.csd", "FACET 4.2", {"-abc[1]": (whole, np.zeros((3, 2)))})
    times = [(2.0, 2.2), (0.6, 0.8), (0.0, 0.2), (1.0, 1.2)]
    raw.csd(tmp_path / "g.csd", "glove_vectors", {"-abc": (ramp(4, 300), times)})
    facet, glove = (one for one in mosi.read(tmp_path).stored if one.name != "covarep")
    assert (facet.name, facet.sizes, glove.sizes) == ("facet-4.2", {"visual": 35}, {"text": 300})
    np.testing.assert_array_equal(facet.get("mosi/train/-abc_2")["visual"], whole)
    assert facet.get("mosi/train/-abc_1") == {}
    np.testing.assert_array_equal(glove.get("mosi/train/-abc_1")["text"], ramp(4, 300)[[1, 3]])


def test_unknown_files_are_noted_and_names_stay_apart(raw, tmp_path):
    write_csds(tmp_path, "mosi")
    raw.csd(tmp_path / "deep" / "COVAREP.csd", "COVAREP", {"-abc": (ramp(1, 74), [(0.5, 0.6)])})
    raw.csd(tmp_path / "phones.csd", "phones", {"-abc": (np.array([[b"ah"]]), [(0.5, 0.6)])})
    (tmp_path / "broken.csd").write_bytes(b"<html>")
    reading = mosi.read(tmp_path)
    assert [stored.name for stored in reading.stored] == ["covarep", "covarep-2"]
    notes = reading.notes.as_dict()
    assert notes["csd file of an unknown kind, not used"]["first"] == "phones.csd: root 'phones'"
    broken = notes["csd file that cannot be read, not used"]
    assert broken["count"] == 1 and broken["first"].startswith("broken.csd: cannot be read as a csd (HDF5) file (")


def test_labels_are_known_by_their_root(tmp_path):
    write_csds(tmp_path, "mosei")
    (tmp_path / "CMU_MOSEI_Labels.csd").rename(tmp_path / "renamed.csd")
    assert len(mosei.read(tmp_path).items) == 4
    with pytest.raises(FileNotFoundError, match="mosi: .* is of none of the known forms"):
        mosi.read(tmp_path)
    assert len(mosei.read(tmp_path / "renamed.csd", format="cmu-csd").items) == 4


def test_standard_folds_are_built_in(raw, tmp_path):
    labels = {"2iD-tVS8NPw": (np.ones((1, 1)), [(0, 1)]), "-abc": (np.ones((1, 1)), [(0, 1)])}
    raw.csd(tmp_path / "CMU_MOSI_Opinion_Labels.csd", "Opinion Segment Labels", labels)
    reading = mosi.read(tmp_path)
    assert rows_of(reading, "id") == [("train/2iD-tVS8NPw_1",)]
    assert (
        reading.layout.endswith(", standard folds") and reading.notes.count("video of the folds without labels") == 92
    )


def test_clip_numbers_of_mosei_come_from_transcripts_beside(tmp_path):
    write_csds(tmp_path, "mosei")
    folder = tmp_path / "Raw" / "Transcript" / "Segmented" / "Combined"
    folder.mkdir(parents=True)
    (folder / "-abc.txt").write_text("-abc___7___2.04___2.96___Yes.\n")
    reading = mosei.read(tmp_path)
    assert reading.layout.startswith("cmu-csd")
    assert rows_of(reading, "id", "text")[:2] == [("train/-abc_row0", "good film"), ("train/-abc_7", "yes")]
    assert rows_of(reading, "id")[2:] == [("validation/0123_row0",), ("test/x_y_row0",)]  # in no transcript at all
    assert reading.notes.count("segment in no transcript; `row` and its row name it") == 3


@pytest.mark.parametrize(
    ("folder", "loader", "video", "clip_path"),
    [
        ("Raw/Video/Segmented", mosi, "-abc", "-abc_2.mp4"),
        ("Raw/Video/Full", mosi, "-abc", "-abc.mp4"),
        ("Raw/Videos/Full/Combined", mosei, "-abc", "-abc.mp4"),
    ],
)
def test_media(folder, loader, video, clip_path, tmp_path):
    write_csds(tmp_path, loader.BENCHMARK.name)
    (tmp_path / folder).mkdir(parents=True)
    item = loader.read(tmp_path).items[1]
    stretch = (2.0, 3.0) if "Full" in folder else (None, None)
    assert item.audio == item.visual and item.visual.path == tmp_path / folder / clip_path
    assert (item.visual.start, item.visual.end) == stretch


def test_labels_without_value_or_interval_are_counted(raw, tmp_path):
    values = np.array([[np.nan], [3.5], [1.0], [2.0]])
    times = [(0, 1), (1, 2), (2, np.nan), (3, 4)]
    raw.csd(tmp_path / "l.csd", "Opinion Segment Labels", {"2iD-tVS8NPw": (values, times)})
    reading = mosi.read(tmp_path)
    assert rows_of(reading, "id") == [("train/2iD-tVS8NPw_4",)] and reading.rows_read == 4
    for reason in ("no label", "label outside the set", "segment without an interval"):
        assert reading.skipped.count(reason, "train") == 1


def test_words_that_are_no_words(raw, tmp_path):
    write_csds(tmp_path, "mosi")
    raw.csd(tmp_path / "CMU_MOSI_TimestampedWords.csd", "words", {"-abc": (np.zeros((1, 1)), [(0, 1)])})
    with pytest.raises(ValueError, match=r"TimestampedWords.csd, -abc: expected words \(n, 1\), got float64"):
        mosi.read(tmp_path)


def _broken(path, change):
    import h5py

    with h5py.File(path, "w") as file:
        file["COVAREP/data/v/features"] = np.ones((2, 3))
        file["COVAREP/data/v/intervals"] = np.ones((2, 2))
        change(file, "COVAREP/data/v")
    return path


def _replace(name, value):
    def change(file, group):
        del file[f"{group}/{name}"]
        file[f"{group}/{name}"] = value

    return change


def _claim(file, group):
    del file[f"{group}/features"]
    file.create_dataset(f"{group}/features", (1_000_000_000, 74), "f4", chunks=(1000, 74))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_replace("features", 5), r"v: expected features \(n, d\), got \(\)"),
        (_replace("features", np.ones(3)), r"v: expected features \(n, d\), got \(3,\)"),
        (_replace("features", np.zeros((2, 1), [("a", "f4")])), "v: features: expected numbers or words, got"),
        (_replace("intervals", np.array([[b"a", b"b"]])), r"v: intervals: expected numbers, got \|S1"),
        (_replace("intervals", np.ones((2, 3))), r"v: expected intervals \(n, 2\), got \(2, 3\)"),
        (_replace("intervals", np.ones((3, 2))), r"v: expected features \(n, d\) and intervals \(n, 2\), got"),
        (lambda file, group: file.__delitem__(group + "/intervals"), "v: .*'intervals' is missing"),
        (lambda file, group: (file.__delitem__(group), file.update({group: 3})), "v: .*'features' is missing"),
        (_claim, r"v: features claims 296000000000 bytes, the file stores 0; download it again"),
    ],
)  # fmt: skip
def test_broken_entries_name_file_and_key(change, message, tmp_path):
    path = _broken(tmp_path / "b.csd", change)
    with pytest.raises(ValueError, match=rf"b.csd, {message}"):
        read_csd(path)


def test_files_that_are_no_csd(tmp_path):
    (tmp_path / "b.csd").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"b.csd: cannot be read as a csd \(HDF5\) file .*; download it again"):
        read_csd(tmp_path / "b.csd")
    with pytest.raises(FileNotFoundError, match="gone.csd"):
        read_csd(tmp_path / "gone.csd")


def test_cut_and_mutated_csd_raise_value_errors_only(tmp_path):
    write_csds(tmp_path / "good", "mosi")
    rng = np.random.default_rng(0)
    for name in ("CMU_MOSI_Opinion_Labels.csd", "CMU_MOSI_COVAREP.csd"):
        whole = (tmp_path / "good" / name).read_bytes()
        for number in range(60):
            changed = bytearray(whole[: rng.integers(1, len(whole))] if number % 4 == 0 else whole)
            for place in rng.integers(0, min(len(changed), 4096), 8):
                changed[place] = rng.integers(0, 256)
            (tmp_path / "m.csd").write_bytes(bytes(changed))
            try:
                read_csd(tmp_path / "m.csd")
            except ValueError as error:
                assert "\n" not in str(error) and "m.csd" in str(error)


def test_pieces_are_read_lazily(tmp_path):
    write_csds(tmp_path, "mosi")
    with CsdFile(tmp_path / "CMU_MOSI_COVAREP.csd") as file:
        assert file.root == "COVAREP" and file.keys() == ["-abc"] and "-abc" in file and "x" not in file
        assert file.shape("-abc") == (40, 74)
        np.testing.assert_array_equal(file.features("-abc", 3, 5), ramp(40, 74)[3:5])


def _secret(folder):
    (folder / "secret.txt").write_bytes(b"not to be read" * 100)
    return str(folder / "secret.txt")


def _external_storage(file, group, folder):
    del file[f"{group}/features"]
    file.create_dataset(f"{group}/features", (10, 1), "S10", external=[(_secret(folder), 0, 100)])


def _virtual(file, group, folder):
    import h5py

    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.ones((2, 3))
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (2, 3))
    del file[f"{group}/features"]
    file.create_virtual_dataset(f"{group}/features", layout)


def _link(place, kind):
    def change(file, group, folder):
        import h5py

        with h5py.File(folder / "other.h5", "w") as other:
            other["v/features"], other["v/intervals"] = np.ones((2, 3)), np.ones((2, 2))
        name = {"entry": group, "features": f"{group}/features", "data": "COVAREP/data", "root": "COVAREP"}[place]
        inside = {"entry": "v", "features": "v/features", "data": "/", "root": "/"}[place]
        target = h5py.ExternalLink(str(folder / "other.h5"), inside) if kind == "external" else h5py.SoftLink("/there")
        file.move(name, "/there")
        file[name] = target

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external_storage, "b.csd, v: features lies in other files, which are not read"),
        (_virtual, "b.csd, v: features lies in other files, which are not read"),
        (_link("features", "external"), "b.csd, v: 'features' is a link to another place, which is not followed"),
        (_link("features", "soft"), "b.csd, v: 'features' is a link to another place"),
        (_link("entry", "external"), "b.csd, v: 'v' is a link to another place"),
        (_link("entry", "soft"), "b.csd, v: 'v' is a link to another place"),
        (_link("data", "external"), "b.csd: 'data' is a link to another place"),
        (_link("root", "external"), "b.csd: 'COVAREP' is a link to another place"),
    ],
)
def test_nothing_outside_the_file_is_read(change, message, tmp_path):
    path = _broken(tmp_path / "b.csd", lambda file, group: change(file, group, tmp_path))
    with pytest.raises(ValueError, match=message):
        read_csd(path, "COVAREP")


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        *(("HuBERT", "audio"), ("wav2vec2", "audio"), ("WavLM", "audio"), ("COVAREP", "audio"), ("OpenSMILE", "audio")),
        *(("RoBERTa", "text"), ("bert_embeddings", "text"), ("huggingface-roberta", "text"), ("glove_vectors", "text")),
        *(("FACET 4.2", "visual"), ("OpenFace_2", "visual"), ("face embeddings", "visual"), ("phones", None)),
    ],
)
def test_the_modality_of_a_set_is_told_by_its_name(name, modality):
    assert _modality(name, "x.csd") == _modality("x", f"{name}.csd") == modality


@pytest.mark.parametrize(("loader", "root", "columns"), [(mosi, "Opinion Segment Labels", 1), (mosei, "All Labels", 7)])
def test_labels_keyed_by_segment_count_rows_by_their_number(loader, root, columns, raw, tmp_path):
    write_csds(tmp_path, loader.BENCHMARK.name)
    times = {1: [(2.0, 3.0)], 0: [(0.5, 1.5)]}
    labels = {f"-abc[{row}]": (np.full((1, columns), row + 0.5), time) for row, time in times.items()}
    raw.csd(tmp_path / loader.BENCHMARK.label_file, root, labels | {"gone[2]": (np.ones((1, columns)), [(0, 1)])})
    words = {"-abc[1]": (np.array([[b"sp"], [b"second"]]), [(0.0, 0.1), (0.1, 0.2)])}
    raw.csd(tmp_path / f"CMU_{loader.BENCHMARK.name.upper()}_TimestampedWords.csd", "words", words)
    reading = loader.read(tmp_path)
    first = loader.BENCHMARK.first_clip
    assert rows_of(reading, "id", "text", "sentiment") == [
        (f"train/-abc_{first}", None, 0.5),
        (f"train/-abc_{first + 1}", "second", 1.5),
    ]
    assert reading.skipped.as_dict()["in no split"]["first"] == "gone: in no fold"
    assert reading.notes.count("video of the folds without labels") == 2
    (stored,) = reading.stored
    np.testing.assert_array_equal(
        stored.get(f"{loader.BENCHMARK.name}/train/-abc_{first + 1}")["audio"], ramp(40, 74)[20:30]
    )


def test_a_segment_has_one_row_of_labels(raw, tmp_path):
    write_csds(tmp_path, "mosi")
    labels = {"-abc[0]": (np.ones((2, 1)), [(0, 1), (1, 2)])}
    raw.csd(tmp_path / "CMU_MOSI_Opinion_Labels.csd", "Opinion Segment Labels", labels)
    with pytest.raises(ValueError, match=r"-abc\[0\]: expected 1 row of labels for a segment, got 2"):
        mosi.read(tmp_path)


def test_words_and_features_of_the_other_benchmark_are_not_used(raw, tmp_path):
    write_csds(tmp_path, "mosi")
    (tmp_path / "CMU_MOSI_TimestampedWords.csd").rename(tmp_path / "z_TimestampedWords.csd")
    video = next(iter(standard_folds("mosei")))
    raw.csd(tmp_path / "CMU_MOSEI_TimestampedWords.csd", "words", {video: (np.array([[b"no"]]), [(0, 1)])})
    raw.csd(tmp_path / "CMU_MOSEI_FACET.csd", "FACET", {video: (np.ones((1, 3)), [(0, 1)])})
    reading = mosi.read(tmp_path)
    assert rows_of(reading, "text")[0] == ("good film",)
    assert [stored.name for stored in reading.stored] == ["covarep"]
    assert reading.notes.count("file of MOSEI's videos, not used") == 2
    assert csd_root(tmp_path / "CMU_MOSEI_FACET.csd") == "FACET"
