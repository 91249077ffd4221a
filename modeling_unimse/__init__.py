"""UniMSE for transformers: configuration, model, processor and label grammar, registered with the Auto classes.

The files of this package are copied side by side to the Hub as remote code, so they import each other by
`from .file import name` and nothing else of the project.
"""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoProcessor,
)

from .configuration_unimse import UniMSEConfig
from .decoding_unimse import LabelLogitsProcessor, LabelPosterior, LabelTrie, label_posterior
from .feature_extraction_unimse import UniMSEFeatureExtractor
from .modeling_unimse import UniMSEForConditionalGeneration, UniMSEModel
from .processing_unimse import UniMSEProcessor
from .universal_label_unimse import BENCHMARK_EMOTIONS, EMOTIONS, UniversalLabel, format_label, parse_label

__version__ = "0.1.0"

AutoConfig.register("unimse", UniMSEConfig)
AutoModel.register(UniMSEConfig, UniMSEModel)
AutoModelForSeq2SeqLM.register(UniMSEConfig, UniMSEForConditionalGeneration)
AutoFeatureExtractor.register(UniMSEConfig, UniMSEFeatureExtractor)
AutoProcessor.register(UniMSEConfig, UniMSEProcessor)

# Saved checkpoints carry these files and say which class is which.
UniMSEConfig.register_for_auto_class()
UniMSEModel.register_for_auto_class("AutoModel")
UniMSEForConditionalGeneration.register_for_auto_class("AutoModelForSeq2SeqLM")
UniMSEFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
UniMSEProcessor.register_for_auto_class("AutoProcessor")

__all__ = [
    "BENCHMARK_EMOTIONS",
    "EMOTIONS",
    "LabelLogitsProcessor",
    "LabelPosterior",
    "LabelTrie",
    "UniMSEConfig",
    "UniMSEFeatureExtractor",
    "UniMSEForConditionalGeneration",
    "UniMSEModel",
    "UniMSEProcessor",
    "UniversalLabel",
    "format_label",
    "label_posterior",
    "parse_label",
]
