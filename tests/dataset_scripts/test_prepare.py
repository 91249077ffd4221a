"""From a raw folder to a prepared one that `datasets` reads, and what happens with bad clips on the way."""

import csv
import json
import shutil

import numpy as np
import pytest

from dataset_scripts import extraction
from dataset_scripts.media import MediaError, decode_audio, decode_frames
from dataset_scripts.prepare import prepare_dataset
from dataset_scripts.prepared import load_prepared
from dataset_scripts.publish import parquet_path, read_features
from dataset_scripts.schema import COLUMNS, feature_or_none
from dataset_scripts.utils.outputs import claimed
from dataset_scripts.visual import FrozenConvExtractor
from modeling_unimse.feature_extraction_unimse import UniMSEFeatureExtractor
from tests.dataset_scripts.conftest import MANIFEST_HEADER as HEADER

EXTRACTOR = FrozenConvExtractor()


def test_each_benchmark_is_prepared_and_loads(raw, prepare, out, tmp_path):
    expected = {
        "mosi": {"train": ["-abc_2", "-abc_10"], "validation": ["0123_1"], "test": ["xyz_1"]},
        "mosei": {"train": ["-v1_1", "-v1_0"], "validation": ["77_0"], "test": ["w0_0"]},
        "meld": {"train": ["dia0_utt0", "dia0_utt3"], "validation": ["dia0_utt0"], "test": ["dia0_utt0"]},
        "iemocap": {"validation": ["Ses03F_impro01_F000", "Ses03F_impro01_M000"]},
    }
    for benchmark, ids in expected.items():
        source = getattr(raw, benchmark)(tmp_path / benchmark)
        report = prepare(benchmark, source, overwrite=True)
        loaded = load_prepared(out)
        for split, names in ids.items():
            assert loaded[split]["id"] == [f"{benchmark}/{split}/{name}" for name in names]
        for split, table in loaded.items():
            assert table.column_names == list(COLUMNS)
            assert report["splits"][split]["rows"] == len(table)
            for row in table.with_format("numpy"):
                assert feature_or_none(row["audio_features"]).shape[1] == 64
                assert feature_or_none(row["visual_features"]).shape == (4, 128)
        assert report["clips"] == {"audio": {}, "visual": {}}


def test_features_are_those_of_the_extractors(raw, prepare, out, tmp_path):
    source = raw.mosi(tmp_path / "mosi")
    prepare("mosi", source)
    row = load_prepared(out)["train"].with_format("numpy")[1]
    clip = source / "Raw" / "-abc" / "10.mp4"
    waveform, rate = decode_audio(clip)
    np.testing.assert_array_equal(row["audio_features"], UniMSEFeatureExtractor().log_mel(waveform, rate))
    np.testing.assert_array_equal(row["visual_features"], EXTRACTOR(decode_frames(clip)))
    assert read_features(out)["default"] == {
        "text": None,
        "audio": json.loads(json.dumps(UniMSEFeatureExtractor().audio_spec)),
        "visual": {
            "name": "frozen-conv",
            "size": 128,
            "fingerprint": EXTRACTOR.fingerprint,
            "settings": EXTRACTOR.settings,
        },
    }


def test_iemocap_shows_the_speakers_half(raw, prepare, out, tmp_path):
    source = raw.iemocap(tmp_path / "iemocap")
    prepare("iemocap", source)
    film = source / "Session5" / "dialog" / "avi" / "DivX" / "Ses05F_impro01.avi"
    frames = decode_frames(film, start=0.5, end=1.0)
    rows = load_prepared(out)["test"].with_format("numpy")
    np.testing.assert_array_equal(rows[1]["visual_features"], EXTRACTOR(np.ascontiguousarray(frames[:, :, 32:])))


def test_text_only_has_no_features_anywhere(raw, prepare, out, tmp_path):
    report = prepare("meld", raw.meld(tmp_path / "meld", clips=False))
    assert read_features(out) == {"default": {"text": None, "audio": None, "visual": None}}
    assert report["splits"]["train"]["audio"] == report["splits"]["train"]["visual"] == 0
    assert report["clips"] == {"audio": {}, "visual": {}}  # nothing is missing: there are no clips to miss
    row = load_prepared(out)["train"].with_format("numpy")[0]
    assert feature_or_none(row["audio_features"]) is feature_or_none(row["visual_features"]) is None


def test_modalities_can_be_left_out(raw, prepare, out, tmp_path):
    source = raw.mosi(tmp_path / "mosi")
    report = prepare("mosi", source, features=["audio"])
    assert (report["feature_sets"]["default"]["specs"]["visual"], report["splits"]["test"]["audio"]) == (None, 1)
    assert load_prepared(out)["test"][0]["visual_features"] is None
    report = prepare("mosi", source, extractor=None, features=["visual"], overwrite=True)
    assert report["feature_sets"]["default"]["specs"] == {"text": None, "audio": None, "visual": None}


def test_the_report_says_what_was_read_and_expected(raw, prepare, out, tmp_path):
    report = prepare("meld", raw.meld(tmp_path / "meld"))
    stored = json.loads((out / "prepare-report.json").read_text())
    assert {**stored, "seconds": report["seconds"]} == report
    assert (report["rows_read"], report["rows_kept"], report["skipped"]["label outside the set"]["count"]) == (5, 4, 1)
    assert report["expected_rows"] == {"train": 9989, "validation": 1109, "test": 2610}
    assert report["difference"] == {"train": 2 - 9989, "validation": 1 - 1109, "test": 1 - 2610}
    train = report["splits"]["train"]
    assert train["emotion"] == {"sadness": 1, "surprise": 1}
    assert (train["polarity"], train["dialogues"], train["text"]) == ({"negative": 1, "positive": 1}, 1, 2)


def test_rows_without_text_are_counted(raw, prepare, out, tmp_path):
    report = prepare("mosi", raw.mosi(tmp_path / "mosi", clips=False))
    assert report["notes"]["rows without text"] == {"count": 1, "first": "mosi/test/xyz_1", "splits": {"test": 1}}
    assert load_prepared(out)["test"][0]["text"] is None


def damage(raw, folder):
    """A custom folder whose clips are bad in every way."""
    raw.clip(folder / "corrupt.mp4").write_bytes(b"not a film")
    raw.clip(folder / "silent.mp4", sound=False)
    raw.wav(folder / "empty.wav", seconds=0)
    rows = [
        ("missing", "train", "a", "", "missing.mp4", "1", ""),
        ("corrupt", "train", "b", "", "corrupt.mp4", "1", ""),
        ("silent", "train", "c", "", "silent.mp4", "1", ""),
        ("empty", "train", "d", "empty.wav", "", "1", ""),
        ("sound", "train", "e", "", "empty.wav", "1", ""),
    ]
    raw.csv(folder / "manifest.csv", HEADER, rows)
    return folder


def test_bad_clips_keep_their_rows_and_are_counted(raw, prepare, out, tmp_path):
    report = prepare("custom", damage(raw, tmp_path / "mine"))
    audio, visual = report["clips"]["audio"], report["clips"]["visual"]
    assert {reason: entry["count"] for reason, entry in audio.items()} == {
        "missing": 1,
        "cannot be decoded": 1,
        "no audio track": 1,
        "empty": 2,
    }
    assert {reason: entry["count"] for reason, entry in visual.items()} == {
        "missing": 1,
        "cannot be decoded": 1,
        "no video track": 1,
    }
    missing = "mine/train/missing: missing.mp4: no such file; kept with audio_features=None"
    assert audio["missing"]["first"] == missing
    assert str(tmp_path) not in json.dumps(report)  # the report is published: no path of this machine
    rows = {row["id"]: row for row in load_prepared(out)["train"].with_format("numpy")}
    assert len(rows) == 5
    assert feature_or_none(rows["mine/train/silent"]["visual_features"]).shape == (4, 128)
    assert all(feature_or_none(row["audio_features"]) is None for row in rows.values())


@pytest.mark.parametrize(("name", "detail"), [("missing", "no such file"), ("corrupt", "cannot be decoded")])
def test_a_bad_clip_can_stop_the_run_and_leaves_only_what_is_done(raw, prepare, out, tmp_path, name, detail):
    folder = damage(raw, tmp_path / "mine")
    raw.csv(folder / "manifest.csv", HEADER, [("7", "test", "a", "", f"{name}.mp4", "1", "")])
    with pytest.raises(MediaError, match=rf"mine mine/test/7: {name}.mp4: {detail}.*on_bad_clip='keep'"):
        prepare("custom", folder, on_bad_clip="raise")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out.resume"]


def test_a_wrongly_cut_clip_gives_no_features(raw, prepare, out, tmp_path):
    source = raw.meld(tmp_path / "meld")
    for name in ("dia0_utt0", "dia0_utt3"):
        raw.clip(source / "train_splits" / f"{name}.mp4", seconds=41, fps=1, width=16, height=16)
    text = " ".join(["word"] * 50)  # 50 words may take 41 s, one word may not
    lines = list(csv.reader((source / "train_sent_emo.csv").open(encoding="utf-8", newline="")))
    raw.csv(source / "train_sent_emo.csv", lines[0], [[1, text, *lines[1][2:]], lines[2]])
    report = prepare("meld", source)
    for modality in ("audio", "visual"):
        entry = report["clips"][modality]["wrongly cut"]
        assert (entry["count"], "dia0_utt3" in entry["first"], "41 s for the text 'What?'" in entry["first"]) == (
            1,
            True,
            True,
        )
    rows = load_prepared(out)["train"].with_format("numpy")
    assert [feature_or_none(row["audio_features"]) is None for row in rows] == [False, True]
    assert feature_or_none(rows[0]["visual_features"]).shape == (16, 128)


def test_processes_give_the_same_bytes_as_one(raw, out, tmp_path):
    import torch

    folder = tmp_path / "mine"
    for name in "abc":
        raw.clip(folder / f"{name}.mp4", seconds=0.25 + 0.25 * "abc".index(name))
    (folder / "c.mp4").write_bytes(b"broken")
    rows = [(k, ("train", "test")[k % 2], "hi", "", f"{'abc'[k % 3]}.mp4", "1", "") for k in range(60)]
    raw.csv(folder / "manifest.csv", HEADER, rows)
    torch.ones(600, 600) @ torch.ones(600, 600)  # a parent whose thread pool has run: forking must not hang
    reports = []
    for name, workers in (("one", 1), ("two", 2)):
        reports.append(prepare_dataset("custom", folder, tmp_path / name, extractor=EXTRACTOR, workers=workers))
    assert reports[0]["clips"] == reports[1]["clips"]
    for path in sorted((tmp_path / "one").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path


def test_out_is_not_overwritten_by_accident(raw, prepare, out, tmp_path):
    source = raw.mosi(tmp_path / "mosi", clips=False)
    prepare("mosi", source)
    with pytest.raises(FileExistsError, match=r"out exists and is not empty; name another folder or pass --overwrite"):
        prepare("mosi", source)
    stale = out / "data" / "covarep" / "train-00000-of-00001.parquet"  # of a feature set that is not made any more
    stale.parent.mkdir()
    stale.touch()
    (out / "notes.txt").write_text("a user's")
    prepare("mosi", source, overwrite=True)
    assert not stale.exists() and (out / "notes.txt").read_text() == "a user's"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mosi", "out"]


def test_a_failed_run_leaves_the_old_folder(raw, prepare, out, tmp_path):
    source = raw.mosi(tmp_path / "mosi")
    prepare("mosi", source)
    before = parquet_path(out, "train").read_bytes()

    class Failing(FrozenConvExtractor):
        def __call__(self, frames):
            raise MemoryError

    with pytest.raises(MemoryError):
        prepare("mosi", source, extractor=Failing(), overwrite=True)
    assert parquet_path(out, "train").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mosi", "out", "out.resume"]


def test_preparing_twice_gives_the_same_bytes(raw, tmp_path):
    source = raw.mosei(tmp_path / "mosei")
    for name in ("a", "b"):
        prepare_dataset("mosei", source, tmp_path / name, extractor=EXTRACTOR)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path


def test_a_visual_extractor_of_the_wrong_width_is_caught(raw, prepare, tmp_path):
    class Wide(FrozenConvExtractor):
        size = 127

    with pytest.raises(
        ValueError, match=r"mosi mosi/train/-abc_2: visual_features: expected width 127, got shape \(4, 128\)"
    ):
        prepare("mosi", raw.mosi(tmp_path / "mosi"), extractor=Wide())


@pytest.mark.parametrize(
    ("benchmark", "options", "message"),
    [
        ("sims", {}, r"benchmark: expected one of mosi, mosei, meld, iemocap, custom, got 'sims'"),
        ("mosi", {"name": "x"}, r"mosi: unknown option 'name'; its options are: format"),
        (
            "custom",
            {"nam": "x"},
            r"custom: unknown option 'nam'; its options are: format, name, emotion_map",
        ),
        ("mosi", {"features": ["vision"]}, r"features: expected a list of audio, visual, got \['vision'\]"),
        ("mosi", {"features": "audio"}, r"features: expected a list of audio, visual, got 'audio'"),
        ("mosi", {"on_bad_clip": "skip"}, r"on_bad_clip: expected 'keep' or 'raise', got 'skip'"),
    ],
)
def test_arguments_are_checked_before_anything_is_read(prepare, tmp_path, benchmark, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(benchmark, tmp_path / "nowhere", **options)


def test_a_bad_row_stops_before_any_clip_is_decoded(raw, prepare, tmp_path, monkeypatch):
    rows = [("a", "train", "so", "", "a.mp4", "1", ""), ("b", "train", "so", "", "a.mp4", "3.2", "")]
    raw.csv(tmp_path / "mine" / "manifest.csv", HEADER, rows)
    monkeypatch.setattr(extraction, "extract_clip", lambda *arguments: pytest.fail("a clip was decoded"))
    with pytest.raises(ValueError, match=r"line 3: .*sentiment: expected a number in \[-3, 3\], got 3.2"):
        prepare("custom", tmp_path / "mine")


def test_nothing_left_is_an_error(raw, prepare, tmp_path):
    raw.csv(tmp_path / "mine" / "manifest.csv", HEADER, [("1", "train", "a", "", "", "", "")])
    with pytest.raises(ValueError, match=r"mine: no rows left of 1 in .*mine \(neither sentiment nor emotion, .*: 1\)"):
        prepare("custom", tmp_path / "mine")


def test_a_folder_that_was_not_prepared_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"features.json not found: .* is not a prepared dataset; make it with"):
        load_prepared(tmp_path)


def test_the_real_meld_files(real_data, prepare, out):
    report = prepare("meld", real_data("meld"))
    assert {split: counts["rows"] for split, counts in report["splits"].items()} == {
        "train": 9989,
        "validation": 1109,
        "test": 2610,
    }
    assert report["difference"] == {"train": 0, "validation": 0, "test": 0}
    assert "other numbers of" not in (out / "README.md").read_text(encoding="utf-8")
    table = load_prepared(out)["validation"]
    assert table[0]["text"] == "Oh my God, he’s lost it. He’s totally lost it."
    assert (table[0]["emotion"], table[0]["polarity"], table[0]["utterance_index"]) == ("sadness", "negative", 0)


def test_a_ravdess_actor_through_custom(raw, real_data, prepare, out, tmp_path):
    """Real speech; paths outside the manifest's folder, codes mapped to names, no text that tells."""
    actor = real_data("ravdess") / "Actor_15"
    names = ("neutral", "calm", "joy", "sadness", "anger", "fear", "disgust", "surprise")
    emotion_map = {f"{code:02d}": name for code, name in enumerate(names, start=1)}
    rows = [
        (path.stem, "test", "Dogs are sitting by the door", path, "", "", path.stem.split("-")[2])
        for path in sorted(actor.glob("*-02-0?-15.flac"))
    ]
    raw.csv(tmp_path / "ravdess" / "manifest.csv", HEADER, rows)
    report = prepare("custom", tmp_path / "ravdess", emotion_map=emotion_map)
    assert report["splits"]["test"]["emotion"] == dict.fromkeys(sorted(names), 4) | {"neutral": 2}
    assert report["splits"]["test"]["audio"] == len(rows) == 30
    assert report["clips"]["audio"] == {}
    row = load_prepared(out)["test"].with_format("numpy")[0]
    seconds = len(decode_audio(rows[0][3])[0]) / 16_000
    assert abs(len(row["audio_features"]) - seconds * 16_000 / 512) <= 1
    assert report["feature_sets"]["default"]["specs"]["visual"] is None


def test_overwriting_never_costs_anything_but_a_prepared_dataset(raw, tmp_path):
    source = raw.mosi(tmp_path / "home" / "mosi", clips=False)
    for out in (source, tmp_path / "home"):
        with pytest.raises(ValueError, match="holds what is read .*, which would be replaced; name another folder"):
            prepare_dataset("mosi", source, out, extractor=None, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="is not empty and no prepared dataset, so it is not replaced"):
        prepare_dataset("mosi", source, tmp_path / "mine", extractor=None, overwrite=True)
    assert (source / "label.csv").is_file() and (tmp_path / "mine" / "thesis.txt").is_file()


def test_what_a_kill_leaves_is_cleared_or_put_back(raw, prepare, out, tmp_path):
    source = raw.mosi(tmp_path / "mosi", clips=False)
    prepare("mosi", source)
    for name in ("out.partial", "out.old"):  # a user's own
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years")
    (tmp_path / ".out.unimse-new").mkdir()
    (tmp_path / ".out.unimse-new" / "half").write_text("x")
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        prepare("mosi", source)
    shutil.rmtree(tmp_path / ".out.unimse-new")
    out.rename(tmp_path / ".out.unimse-old")  # killed between two renames, the new folder lost besides
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        prepare("mosi", source)
    assert len(load_prepared(out)["train"]) == 2
    prepare("mosi", source, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mosi", "out", "out.old", "out.partial"]
    assert all((tmp_path / name / "thesis.txt").is_file() for name in ("out.partial", "out.old"))


def test_two_preparations_into_one_folder(raw, prepare, out, tmp_path):
    source = raw.mosi(tmp_path / "mosi", clips=False)
    with claimed(out), pytest.raises(FileExistsError, match="out: another process is writing it; wait for it, or end"):
        prepare("mosi", source)
    prepare("mosi", source)


def test_a_linked_output_is_written_where_it_points(raw, prepare, out, tmp_path):
    (tmp_path / "big").mkdir()
    out.symlink_to(tmp_path / "big")
    source = raw.mosi(tmp_path / "mosi", clips=False)
    prepare("mosi", source)
    prepare("mosi", source, overwrite=True)
    assert out.is_symlink() and (tmp_path / "big" / "README.md").is_file()


def test_a_late_helper_of_a_finished_run_has_nothing_to_do(raw, prepare, tmp_path, monkeypatch):
    source = raw.mosi(tmp_path / "mosi", clips=False)
    prepare("mosi", source)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert prepare("mosi", source) is None


def test_no_extractor_is_loaded_where_there_is_no_picture(raw, prepare, out, tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_scripts.prepare.visual_extractor", lambda name: pytest.fail("loaded"))
    prepare("meld", raw.meld(tmp_path / "meld", clips=False), extractor="efficientnet-lite0")
    with pytest.raises(ValueError, match="visual extractor: expected efficientnet-lite0, .*, got 'efficientnet'"):
        prepare("mosi", raw.mosi(tmp_path / "mosi", clips=False), extractor="efficientnet", overwrite=True)
    with pytest.raises(ValueError, match="mosi: expected at least one feature set of default, got none"):
        prepare("mosi", tmp_path / "mosi", feature_sets=[], overwrite=True)


def test_half_labelled_data_are_not_read(raw, prepare, out, tmp_path):
    prepare("mosi", raw.mosi(tmp_path / "mosi", clips=False))
    (out / ".labels.partial").mkdir()
    with pytest.raises(ValueError, match="labelling was cut short, its labels may be mixed; run `unimse label` again"):
        load_prepared(out)


@pytest.mark.parametrize(("content", "message"), [("{", "not valid JSON"), ("[]", "expected feature sets with what")])
def test_a_damaged_features_json_is_named(tmp_path, content, message):
    (tmp_path / "features.json").write_text(content)
    with pytest.raises(ValueError, match=f"features.json: {message}.*; prepare the dataset again"):
        load_prepared(tmp_path)
