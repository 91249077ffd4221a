"""Configuration of UniMSE: a T5 text configuration plus modality encoders, fusion, contrastive losses and labels."""

from dataclasses import fields

from transformers import T5Config
from transformers.configuration_utils import PreTrainedConfig

from .universal_label_unimse import EMOTIONS, check_emotions

FUSION_TYPES = ("ffn", "parallel", "cross_attention")
FUSION_INITS = ("identity", "paper")
SEQUENCE_SUMMARIES = ("last", "mean")
T5_BASE = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
_SIZES = (
    "audio_feature_size visual_feature_size audio_hidden_size visual_hidden_size audio_num_layers visual_num_layers "
    "fusion_bottleneck_size cross_attention_size cross_attention_heads cross_attention_layers contrastive_size"
)
_BOUNDS = {  # field: (least value, whole number)
    **{name: (1, True) for name in _SIZES.split()},
    "context_before": (0, True),
    "context_after": (0, True),
    "contrastive_temperature": (0, False),
    "audio_contrastive_weight": (0, False),
    "visual_contrastive_weight": (0, False),
    "modality_encoder_dropout": (0, False),
}


class UniMSEConfig(PreTrainedConfig):
    """Settings of a UniMSE model; the defaults are the paper's (Hu et al. 2022, sections 3 and 4.3).

    Args:
        text_config: the T5 backbone, any `T5Config` (t5, t5-v1.1, flan-t5); `None` = t5-base.
        audio_feature_size: width of an acoustic frame (64 Mel bands).
        visual_feature_size: width of a visual frame (a face embedding).
        audio_hidden_size, visual_hidden_size: width of the modality LSTMs.
        audio_num_layers, visual_num_layers: depth of the modality LSTMs.
        modality_encoder_dropout: dropout on the LSTM input and output; 0 in the paper.
        sequence_summary: `last` valid LSTM step (paper) or the `mean` of the valid steps.
        fusion_layers: encoder layers, counted from 0, that fuse; negative = from the end; `None` = the last three.
        fusion_type: `ffn` (the paper's adapter), `parallel` or `cross_attention` (the authors' variants).
        fusion_init: `identity` starts as the pretrained T5; `paper` as the authors' random adapter.
        fuse_decoder: fuse in the same layers of the decoder too (the authors' code does).
        fusion_bottleneck_size: width of the adapter's bottleneck.
        cross_attention_size, cross_attention_heads, cross_attention_layers: shape of the `cross_attention` variant.
        contrastive_size: width of the space in which modalities are compared.
        contrastive_temperature: of the InfoNCE softmax.
        audio_contrastive_weight, visual_contrastive_weight: weights of the two losses; 0 turns one off.
        context_before, context_after: utterances of the same dialogue before and after the current one.
        segment_embedding: add a (zero-initialised) embedding that tells current tokens from context tokens.
        emotions: the emotion set of the label grammar.

    Raises:
        ValueError: for a value out of its bounds, naming the field, the value and the bound.
    """

    model_type = "unimse"
    sub_configs_defaults = {"text_config": T5Config}

    text_config: dict | PreTrainedConfig | None = None
    audio_feature_size: int = 64
    visual_feature_size: int = 64
    audio_hidden_size: int = 64
    visual_hidden_size: int = 64
    audio_num_layers: int = 1
    visual_num_layers: int = 1
    modality_encoder_dropout: float = 0.0
    sequence_summary: str = "last"
    fusion_layers: list[int] | None = None
    fusion_type: str = "ffn"
    fusion_init: str = "identity"
    fuse_decoder: bool = False
    fusion_bottleneck_size: int = 64
    cross_attention_size: int = 30
    cross_attention_heads: int = 2
    cross_attention_layers: int = 2
    contrastive_size: int = 30
    contrastive_temperature: float = 0.1
    audio_contrastive_weight: float = 0.5
    visual_contrastive_weight: float = 0.5
    context_before: int = 2
    context_after: int = 2
    segment_embedding: bool = True
    emotions: list[str] | tuple[str, ...] = EMOTIONS
    is_encoder_decoder: bool = True

    def __post_init__(self, **kwargs):
        if self.text_config is None:
            self.text_config = dict(T5_BASE)
        super().__post_init__(**kwargs)  # turns the dictionary into a T5Config
        if getattr(self.text_config, "decoder_start_token_id", None) is None:
            self.text_config.decoder_start_token_id = self.text_config.pad_token_id
        self._check_layers()
        self._check_choices()
        self._check_numbers()
        if not isinstance(self.emotions, (list, tuple)):
            raise ValueError(f"emotions: expected a list of names, got {self.emotions!r}")
        check_emotions(self.emotions)
        self.emotions = list(self.emotions)

    def _check_layers(self):
        """Fills in the last three layers, counts negative ones from the end, and refuses those that do not exist."""
        layers = self.text_config.num_layers
        if layers < 1:
            raise ValueError(f"text_config.num_layers: expected a whole number >= 1, got {layers}")
        if self.fusion_layers is None:
            self.fusion_layers = list(range(max(0, layers - 3), layers))
        if not isinstance(self.fusion_layers, (list, tuple)):
            raise ValueError(f"fusion_layers: expected a list of layers, got {self.fusion_layers!r}")
        last = min(layers, self.text_config.num_decoder_layers) if self.fuse_decoder else layers
        for layer in self.fusion_layers:
            place = layer + layers if isinstance(layer, int) and layer < 0 else layer
            if not isinstance(place, int) or isinstance(place, bool) or not 0 <= place < last:
                raise ValueError(f"fusion_layers: expected layers of 0..{last - 1} (or negative), got {layer!r}")
        self.fusion_layers = sorted({layer % layers for layer in self.fusion_layers})

    def _check_choices(self):
        choices = {"fusion_type": FUSION_TYPES, "fusion_init": FUSION_INITS, "sequence_summary": SEQUENCE_SUMMARIES}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {getattr(self, name)!r}")

    def _check_numbers(self):
        """Every number has a least value; sizes are whole."""
        for name in ("fuse_decoder", "segment_embedding"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: expected true or false, got {getattr(self, name)!r}")
        for name, (least, whole) in _BOUNDS.items():
            value = getattr(self, name)
            kind = "a whole number" if whole else "a number"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value >= least:
                raise ValueError(f"{name}: expected {kind} >= {least}, got {value!r}")
        if not self.contrastive_temperature > 0:
            raise ValueError(f"contrastive_temperature: expected a number > 0, got {self.contrastive_temperature}")
        if not self.modality_encoder_dropout < 1:
            raise ValueError(f"modality_encoder_dropout: expected [0, 1), got {self.modality_encoder_dropout}")
        if self.cross_attention_size % self.cross_attention_heads:
            raise ValueError(
                f"cross_attention_size: expected a multiple of cross_attention_heads ({self.cross_attention_heads}), "
                f"got {self.cross_attention_size}"
            )

    # The library reads these of any encoder-decoder model; the backbone's configuration is where they live.
    @property
    def vocab_size(self) -> int:
        return self.text_config.vocab_size

    @property
    def hidden_size(self) -> int:
        return self.text_config.d_model

    @property
    def num_hidden_layers(self) -> int:
        return self.text_config.num_layers

    @property
    def pad_token_id(self) -> int:
        return self.text_config.pad_token_id

    @property
    def eos_token_id(self) -> int | list[int]:
        return self.text_config.eos_token_id

    @property
    def decoder_start_token_id(self) -> int:
        return self.text_config.decoder_start_token_id

    @property
    def tie_word_embeddings(self) -> bool:
        return self.text_config.tie_word_embeddings

    @property
    def scale_decoder_outputs(self) -> bool:
        return self.text_config.scale_decoder_outputs

    @property
    def initializer_factor(self) -> float:
        return self.text_config.initializer_factor

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs):
        """As in the parent, but changed fields go through the checks; a plain T5 configuration becomes the backbone."""
        config_dict = dict(_as_unimse(config_dict))
        for item in fields(cls):
            if item.name in kwargs and item.name in cls.__annotations__:
                value = kwargs.pop(item.name)
                if item.name == "text_config" and isinstance(value, dict):
                    value = {**config_dict.get("text_config", {}), **value}
                config_dict[item.name] = value
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs) -> tuple[dict, dict]:
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        return _as_unimse(config_dict), kwargs


def _as_unimse(config_dict: dict) -> dict:
    if config_dict.get("model_type") != "t5":
        return config_dict
    return {"model_type": UniMSEConfig.model_type, "text_config": config_dict}
