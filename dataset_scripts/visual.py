"""Frames to visual features: which extractors there are, and what is stored about each.

    frozen-conv              fixed random kernels over the whole picture; for the embedded sample
    efficientnet-lite0       EfficientNet-Lite0 trained on ImageNet, from a package
    emotiefflib:MODEL        the paper's family: EfficientNets trained on faces and their emotions
    timm:NAME                any network of timm; also timm:FOLDER and timm:NAME@CHECKPOINT
    transformers:NAME        an EfficientNet of the Hub; a plain folder means the same
    none                     no visual features

All but the first look for the face. A frame without one is left out of the sequence, which is how it is masked: the
model's encoders skip masked steps, so a masked frame and an absent one are the same to it.
"""

import hashlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from dataset_scripts.face_networks import (
    EfficientNetLite0,
    EmotiEffLibNetwork,
    FaceNetwork,
    TimmNetwork,
    TransformersNetwork,
    single_thread,
    without_path,
)
from dataset_scripts.faces import SAME_FACE, CenterFaceDetector, FaceDetector, face_crops
from dataset_scripts.media import MAX_FRAMES

LONGEST_SIDE = 1280  # pixels; a face that needs more would be shrunk for its network anyway
DEFAULT_EXTRACTOR = "efficientnet-lite0"
_NETWORKS = {"emotiefflib": EmotiEffLibNetwork, "timm": TimmNetwork, "transformers": TransformersNetwork}
_NAMES = "efficientnet-lite0, emotiefflib:MODEL, timm:NAME, transformers:NAME, a folder, frozen-conv or none"


class VisualExtractor(Protocol):
    """Frames to feature vectors.

    `fingerprint` tells features of different extractors apart; `settings` says how they are made; `frames` are sampled
    from a clip, pictures larger than `longest_side` shrunk before (`None` = never).
    """

    name: str
    size: int
    fingerprint: str
    settings: dict
    frames: int
    longest_side: int | None
    finds_faces: bool

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 RGB `(T, H, W, 3)` to float32 `(T', size)`; `T' < T` where frames show no face."""


def visual_spec(extractor: VisualExtractor) -> dict:
    """What is stored with the features of an extractor: name, size, fingerprint and settings."""
    return {
        "name": extractor.name,
        "size": extractor.size,
        "fingerprint": extractor.fingerprint,
        "settings": extractor.settings,
    }


def visual_extractor(name: str = DEFAULT_EXTRACTOR, frames: int = MAX_FRAMES) -> VisualExtractor | None:
    """The extractor of that name (see the top of this file); `none` gives `None`.

    Args:
        name: as listed above.
        frames: how many are sampled from a clip.

    Raises:
        ValueError: an unknown name, a model that cannot be loaded.
        FileNotFoundError: a local path that is not there.
        ImportError: a library is missing; says which extra has it.
    """
    if frames < 1:
        raise ValueError(f"visual extractor: expected at least 1 frame, got {frames}")
    check_extractor_name(name)
    kind, _, rest = name.partition(":")
    if name == "none":
        return None
    if name == "frozen-conv":
        return FrozenConvExtractor(frames=frames)
    if name == "efficientnet-lite0":
        return FaceExtractor(name, EfficientNetLite0(), frames)
    if rest and kind in _NETWORKS:
        return FaceExtractor(f"{kind}:{without_path(rest)}", _NETWORKS[kind](rest), frames)
    network = TransformersNetwork(str(_model_folder(name)))
    return FaceExtractor(f"transformers:{without_path(name)}", network, frames)


def check_extractor_name(name: str) -> None:
    """Raise a `ValueError` for a name that can be no extractor's; nothing is loaded."""
    kind, _, rest = name.partition(":")
    known = name in ("none", "frozen-conv", "efficientnet-lite0") or (rest and kind in _NETWORKS)
    if not known and not Path(name).exists() and "/" not in name:
        raise ValueError(f"visual extractor: expected {_NAMES}, got {name!r}")


def matching_extractor(spec: dict, name: str | None = None) -> VisualExtractor:
    """The extractor that a stored spec names, checked to be the same one.

    Args:
        spec: see `visual_spec`.
        name: where to find it now, as `visual_extractor` takes it, if it was made from a folder; `None` = by its name.

    Raises:
        ValueError: its fingerprint differs, or it came with raw data; besides what `visual_extractor` raises.
    """
    settings = spec.get("settings", {})
    if is_stored(spec):
        raise ValueError(
            f"visual features: the model was trained with {spec['name']}, which came with the raw data and cannot be "
            "made from a clip here; give text alone"
        )
    frames = settings.get("frames", settings.get("max_frames", MAX_FRAMES))
    try:
        extractor = visual_extractor(name or spec["name"], frames)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{error}; if it lies in a folder here, name that: --visual-extractor FOLDER") from error
    if extractor is None or extractor.fingerprint != spec["fingerprint"]:
        here = "none" if extractor is None else extractor.fingerprint
        raise ValueError(
            f"visual features: the model was trained with {spec['name']} ({spec['fingerprint']}), installed is {here}; "
            "install the version of unimse and of the extractor's weights that made the model"
        )
    return extractor


def is_stored(spec: dict) -> bool:
    """Whether features came with the raw data rather than being made here (`stored_features.stored_spec`)."""
    return "source" in spec.get("settings", {})


def _model_folder(name: str) -> Path:
    folder = Path(name)
    if not folder.exists():
        raise FileNotFoundError(
            f"visual extractor: no folder {name}; a model of the Hub is transformers:{name} or timm:hf-hub:{name}"
        )
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"visual extractor: expected a folder with config.json, got {name}; for a bare checkpoint name its "
            f"architecture: timm:ARCHITECTURE@{name}"
        )
    return folder


class FaceExtractor:
    """Finds the subject's face in each frame, crops it, and embeds the crops with a network.

    The fingerprint is the SHA-256 of the settings, which hold digests of both networks' weights, without the network's
    name, which can be a path, and without the versions of the packages: these are recorded, but a folder that was moved
    or a package that was upgraded does not make a trained model unusable.

    Args:
        name: under which `visual_extractor` makes it again.
        network: embeds the crops.
        frames: how many are sampled from a clip.
        detector: finds faces; by default CenterFace.
    """

    longest_side = LONGEST_SIDE
    finds_faces = True

    def __init__(self, name: str, network: FaceNetwork, frames: int = MAX_FRAMES, detector: FaceDetector | None = None):
        self.name, self.frames, self.size = name, frames, network.size
        self._network, self._detector = network, detector or CenterFaceDetector()
        self.settings = {
            "frames": frames,
            "longest_side": LONGEST_SIDE,
            "detector": {**self._detector.settings, "weights": self._detector.digest[:16]},
            "subject": f"largest face, followed where boxes overlap by {SAME_FACE}",
            "crop": "square, moved into the picture",
            "margin": network.margin,
            "network": {**network.settings, "weights": network.digest[:16]},
        }
        facts = {**self.settings, "network": {**self.settings["network"], "name": None}}
        self.fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
        self.settings["version"] = dict(sorted({**self._detector.versions, **network.versions}.items()))

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        _check_frames(frames)
        if len(frames) == 0:
            return np.zeros((0, self.size), np.float32)
        crops = face_crops(frames, self._detector, self._network.margin, self._network.side)
        return self._network(crops) if len(crops) else np.zeros((0, self.size), np.float32)


def _check_frames(frames: np.ndarray) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames: expected uint8 (T, H, W, 3), got {frames.dtype} of shape {frames.shape}")


class FrozenConvExtractor:
    """A small convolutional network whose weights are drawn once from a seed and never trained.

    Three convolutions with ReLU; the last map is averaged to a 4 x 4 grid of 8 channels, so it stays known where in the
    picture something is: mouth and brows fall into different cells. Kernels have mean 0 and norm 1 (flat areas and
    brightness drop out); each picture is standardised before and each output vector after, by its own statistics. No
    face is looked for: it suits clips in which one face fills the picture, such as the embedded sample's.

    Weights come from numpy's PCG64, hence are the same everywhere, and so is the fingerprint (SHA-256 of weights and
    settings). The mathematics run on one thread, picture by picture: a clip gives the same bits in any company.
    """

    name = "frozen-conv"
    size = 128
    longest_side = None
    finds_faces = False

    def __init__(self, seed: int = 0, frames: int = MAX_FRAMES):
        self.frames = frames
        self.settings = {
            "seed": seed,
            "picture": 64,
            "channels": [16, 32, 8],
            "kernels": [5, 3, 3],
            "grid": 4,
            "max_frames": frames,
        }
        rng = np.random.Generator(np.random.PCG64(seed))
        widths = [3, *self.settings["channels"]]
        kernels = self.settings["kernels"]
        arrays = [_zero_mean_kernels(rng, widths[i + 1], widths[i], kernels[i]) for i in range(3)]
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode())
        for array in arrays:
            digest.update(array.astype("<f4").tobytes())
        self.fingerprint = digest.hexdigest()[:12]
        self._weights = [torch.from_numpy(array) for array in arrays]

    @torch.no_grad()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        _check_frames(frames)
        if len(frames) == 0:
            return np.zeros((0, self.size), np.float32)
        with single_thread():
            return torch.cat([self._embed(self._picture(frame)) for frame in frames]).numpy()

    def _picture(self, frame: np.ndarray) -> torch.Tensor:
        """One frame resized and standardised, (1, 3, S, S)."""
        picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
        side = self.settings["picture"]
        if picture.shape[-2:] != (side, side):
            picture = functional.interpolate(picture, (side, side), mode="bilinear", antialias=True)
        return _standardise(picture, (1, 2, 3))

    def _embed(self, picture: torch.Tensor) -> torch.Tensor:
        first, second, third = self._weights
        x = functional.relu(functional.conv2d(picture, first, stride=2, padding=2))  # (1, 16, S/2, S/2)
        x = functional.avg_pool2d(x, 2)
        x = functional.relu(functional.conv2d(x, second, padding=1))  # (1, 32, S/4, S/4)
        x = functional.avg_pool2d(x, 2)
        x = functional.relu(functional.conv2d(x, third, padding=1))  # (1, 8, S/8, S/8)
        return _standardise(functional.adaptive_avg_pool2d(x, self.settings["grid"]).flatten(1), (1,))


def _zero_mean_kernels(rng: np.random.Generator, outputs: int, inputs: int, side: int) -> np.ndarray:
    """Kernels (outputs, inputs, side, side): every plane has mean 0, every output norm 1."""
    kernels = rng.standard_normal((outputs, inputs, side, side))
    kernels -= kernels.mean(axis=(2, 3), keepdims=True)
    kernels /= np.sqrt((kernels**2).sum(axis=(1, 2, 3), keepdims=True))
    return kernels.astype(np.float32)


def _standardise(values: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    centred = values - values.mean(dims, keepdim=True)
    return centred / (centred.square().mean(dims, keepdim=True).sqrt() + 1e-3)
