"""Text, dialogue context, acoustic and visual input and label of a batch -> model inputs; generated ids -> labels."""

from collections.abc import Sequence

import numpy as np
from transformers import BatchFeature, LogitsProcessorList, ProcessorMixin

from .decoding_unimse import LabelLogitsProcessor, LabelTrie
from .universal_label_unimse import (
    BENCHMARK_EMOTIONS,
    EMOTIONS,
    UniversalLabel,
    check_emotions,
    format_label,
    parse_label,
)


class UniMSEProcessor(ProcessorMixin):
    """Wraps a `UniMSEFeatureExtractor` and a T5 tokenizer.

    Args:
        context_before, context_after: utterances of the dialogue read around the current one (paper: 2, 2).
        emotions: the emotion set of the labels.
        max_text_tokens: longest token sequence; the farthest context is cut first.
    """

    def __init__(
        self,
        feature_extractor=None,
        tokenizer=None,
        context_before: int = 2,
        context_after: int = 2,
        emotions: Sequence[str] = EMOTIONS,
        max_text_tokens: int = 256,
    ):
        check_emotions(emotions)
        super().__init__(feature_extractor, tokenizer)
        self.context_before, self.context_after = context_before, context_after
        self.emotions = list(emotions)
        self.max_text_tokens = max_text_tokens
        self._tries: dict[tuple[str, ...], LabelTrie] = {}

    def __call__(
        self,
        text: str | Sequence[str | None],
        context_before: Sequence[str] | Sequence[Sequence[str]] | None = None,
        context_after: Sequence[str] | Sequence[Sequence[str]] | None = None,
        audio: np.ndarray | Sequence[np.ndarray | None] | None = None,
        audio_features: np.ndarray | Sequence[np.ndarray | None] | None = None,
        visual_features: np.ndarray | Sequence[np.ndarray | None] | None = None,
        label: UniversalLabel | str | Sequence[UniversalLabel | str] | None = None,
        sampling_rate: int | None = None,
        sample_ids: Sequence[str] | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """One sample (`text` is a string, the rest without the batch axis) or a batch (sequences of equal length).

        Args:
            text: the current utterance; `None` or empty where nothing was said.
            context_before, context_after: utterances in dialogue order; the nearest ones are used.
            audio: mono waveform `(n,)` at `sampling_rate` Hz, or `None`. Exclusive with `audio_features` `(T_a, 64)`.
            visual_features: `(T_v, visual_feature_size)` or `None`.
            label: the target, as a `UniversalLabel` or its text.
            sample_ids: name the samples in error messages.
            pad_to_multiple_of: text length is padded to a multiple of it (length buckets).
            return_tensors: `pt` or `np`.

        Returns:
            `input_ids`, `attention_mask`, `segment_ids` `(B, S)`; `audio_features` `(B, T_a, 64)` and
            `visual_features` `(B, T_v, size)` with `_mask` where a sample has them; `labels` `(B, L)`, -100 = padding.

        Raises:
            ValueError: lengths that differ, features of a wrong width or with NaN, labels outside the grammar.
        """
        per_sample = {
            "context_before": context_before,
            "context_after": context_after,
            "audio": audio,
            "audio_features": audio_features,
            "visual_features": visual_features,
            "label": label,
        }
        if text is None or isinstance(text, str):
            text = [text]
            per_sample = {name: None if value is None else [value] for name, value in per_sample.items()}
        names = list(sample_ids) if sample_ids is not None else [f"sample {index}" for index in range(len(text))]
        for name, values in {**per_sample, "sample_ids": names}.items():
            if values is not None and len(values) != len(text):
                raise ValueError(f"{name}: expected one entry per text ({len(text)}), got {len(values)}")
        labels = per_sample.pop("label")
        inputs = self._text_inputs(
            text, per_sample.pop("context_before"), per_sample.pop("context_after"), pad_to_multiple_of
        )
        inputs.update(self.feature_extractor(**per_sample, sampling_rate=sampling_rate, sample_ids=names))
        if labels is not None:
            inputs["labels"] = self._label_ids(labels, names)
        return BatchFeature(inputs, tensor_type=return_tensors)

    def batch_decode_labels(self, ids) -> list[UniversalLabel | None]:
        """Generated ids `(B, L)` -> labels; `None` where a sequence is no label (count it, never call it neutral)."""
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [self._parse_or_none(text) for text in texts]

    def logits_processor(self, benchmark: str | None = None, emotions: Sequence[str] | None = None):
        """For `generate`: only labels can come out.

        Args:
            benchmark: limits the emotions to those of `meld` or `iemocap`; other names to the processor's own set.
            emotions: an emotion set of your own instead.
        """
        if emotions is None:
            emotions = [name for name in BENCHMARK_EMOTIONS.get(benchmark, self.emotions) if name in self.emotions]
            if not emotions:
                own = ", ".join(self.emotions)
                raise ValueError(f"benchmark {benchmark!r} shares no emotion with the model's: {own}")
        return LogitsProcessorList([LabelLogitsProcessor(self.label_trie(emotions))])

    def label_trie(self, emotions: Sequence[str] | None = None) -> LabelTrie:
        """The label language of an emotion set (default: the processor's own); compiled once."""
        key = tuple(self.emotions if emotions is None else emotions)
        if key not in self._tries:
            self._tries[key] = LabelTrie(self.tokenizer, key)
        return self._tries[key]

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "segment_ids", *self.feature_extractor.model_input_names, "labels"]

    def _parse_or_none(self, text: str) -> UniversalLabel | None:
        try:
            return parse_label(text, self.emotions)
        except ValueError:
            return None

    def _text_inputs(self, text, before, after, pad_to_multiple_of) -> dict[str, np.ndarray]:
        before = [()] * len(text) if before is None else before
        after = [()] * len(text) if after is None else after
        # Everything is tokenised in one call; each sample is then a run of utterances with the current one among them.
        runs = []
        for current, earlier, later in zip(text, before, after, strict=True):
            earlier = list(earlier or ())[-self.context_before :] if self.context_before else []
            later = list(later or ())[: self.context_after]
            runs.append((earlier, current, later))
        flat = [utterance or "" for earlier, current, later in runs for utterance in (*earlier, current, *later)]
        tokens = iter(self.tokenizer(flat, add_special_tokens=False).input_ids)
        rows = []
        for earlier, _, later in runs:
            left = [token for _ in earlier for token in next(tokens)]
            current = next(tokens)
            right = [token for _ in later for token in next(tokens)]
            rows.append(self._join(left, current, right))
        return self._pad_text(rows, pad_to_multiple_of)

    def _join(self, left: list[int], current: list[int], right: list[int]) -> tuple[list[int], list[int]]:
        """Ids and segment ids of one sample, cut to `max_text_tokens`: the context gives way first, at its far ends."""
        room = self.max_text_tokens - 1  # the end token
        current = current[:room]
        room -= len(current)
        keep_left = min(len(left), max(room // 2, room - len(right)))
        left, right = left[len(left) - keep_left :], right[: room - keep_left]
        ids = [*left, *current, *right, self.tokenizer.eos_token_id]
        return ids, [0] * len(left) + [1] * len(current) + [0] * (len(right) + 1)

    def _pad_text(self, rows, pad_to_multiple_of: int | None) -> dict[str, np.ndarray]:
        longest = max(len(ids) for ids, _ in rows)
        if pad_to_multiple_of:
            longest = -(-longest // pad_to_multiple_of) * pad_to_multiple_of
        inputs = {
            "input_ids": np.full((len(rows), longest), self.tokenizer.pad_token_id, np.int64),
            "attention_mask": np.zeros((len(rows), longest), np.int64),
            "segment_ids": np.zeros((len(rows), longest), np.int64),
        }
        for index, (ids, segments) in enumerate(rows):
            inputs["input_ids"][index, : len(ids)] = ids
            inputs["attention_mask"][index, : len(ids)] = 1
            inputs["segment_ids"][index, : len(ids)] = segments
        return inputs

    def _label_ids(self, labels: Sequence[UniversalLabel | str], names: Sequence[str]) -> np.ndarray:
        texts = []
        for label, name in zip(labels, names, strict=True):
            text = label if isinstance(label, str) else format_label(label)
            try:
                parse_label(text, self.emotions)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            texts.append(text)
        ids = self.tokenizer(texts).input_ids
        padded = np.full((len(ids), max(map(len, ids))), -100, np.int64)
        for row, sequence in zip(padded, ids, strict=True):
            row[: len(sequence)] = sequence
        return padded
