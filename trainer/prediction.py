"""One clip or text -> one label: decoding, features, model, as a function."""

from pathlib import Path

import torch

from dataset_scripts.media import decode_audio, decode_frames, has_video
from dataset_scripts.visual import matching_extractor
from modeling_unimse import UniMSEProcessor, format_label
from trainer.adapters import load_model
from trainer.evaluator import find_checkpoint, training_of


def predict_clip(
    checkpoint: str | Path, text: str, clip: Path | None = None, visual_extractor: str | None = None
) -> dict:
    """The universal label of one utterance.

    Args:
        checkpoint: folder or Hub name.
        text: what is said; may be empty.
        clip: an audio or video file; a track that it lacks is a missing modality.
        visual_extractor: where the extractor of the model's visual features lies, if it was made from a folder.

    Returns:
        `label` (its text), `polarity`, `intensity`, `emotion`, and `modalities`, what was seen.

    Raises:
        ValueError: neither text nor clip, a clip that cannot be decoded.
        FileNotFoundError: no such clip.
        FloatingPointError: the model gives numbers that are none.
    """
    if not text and clip is None:
        raise ValueError("expected --text, a clip, or both; got neither")
    checkpoint = find_checkpoint(checkpoint)
    processor = UniMSEProcessor.from_pretrained(checkpoint)
    model = load_model(checkpoint).eval()
    trained = training_of(model, checkpoint)["protocol"]["modalities"]
    sides = {} if clip is None else _clip_inputs(clip, processor, trained, visual_extractor)
    inputs = processor(text, **sides)
    with torch.no_grad():
        settings = {"output_scores": True, "return_dict_in_generate": True}
        written = model.generate(**inputs, logits_processor=processor.logits_processor(), **settings)
    # A broken model still writes a label, since decoding cannot leave the grammar.
    if not model.compute_transition_scores(written.sequences, written.scores, normalize_logits=True).isfinite().all():
        raise FloatingPointError(f"{checkpoint}: gives probabilities that are none; its weights hold NaN or infinity")
    (label,) = processor.batch_decode_labels(written.sequences)
    return {
        "label": format_label(label),
        "polarity": label.polarity,
        "intensity": label.intensity,
        "emotion": label.emotion,
        "modalities": ["text"] * bool(text) + [name for name in ("audio", "visual") if f"{name}_features" in inputs],
    }


def _clip_inputs(clip: Path, processor: UniMSEProcessor, trained: list[str], visual_extractor: str | None) -> dict:
    """The processor's arguments for the tracks of a clip that the model was trained with."""
    if not clip.is_file():
        raise FileNotFoundError(f"{clip}: no such clip")
    sides = {}
    audio = decode_audio(clip) if "audio" in trained else None
    if audio is not None:
        sides["audio"], sides["sampling_rate"] = audio
    spec = processor.feature_extractor.visual_spec
    if "visual" in trained and spec is not None and has_video(clip):
        extractor = matching_extractor(spec, visual_extractor)
        frames = decode_frames(clip, extractor.frames, longest_side=extractor.longest_side)
        features = None if frames is None else extractor(frames)
        if features is not None and len(features):  # no frame, or none with a face: the modality is missing
            sides["visual_features"] = features
    return sides
