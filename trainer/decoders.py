"""How a label is read from the model: written greedily inside the grammar, or from the probabilities of all labels."""

from collections.abc import Sequence

import torch

from modeling_unimse import LabelPosterior, UniMSEProcessor, UniversalLabel, format_label, label_posterior
from modeling_unimse.universal_label_unimse import POLARITIES

GREEDY, POSTERIOR = "constrained greedy", "label posterior"
_DECIMALS = 6  # the last bits of a float depend on the batch that a sample is in


class GreedyDecoder:
    """The label that `generate` writes inside the grammar, with the probability that the constrained model gives it.

    Args:
        processor: of the model.
        benchmark: whose emotions may come out.
        synced: whether every process must make as many forward passes as the others (sharded models).
    """

    protocol = GREEDY

    def __init__(self, processor: UniMSEProcessor, benchmark: str, synced: bool):
        self.processor = processor
        self.longest = processor.label_trie().max_length
        self.settings = {
            "logits_processor": processor.logits_processor(benchmark),
            "max_new_tokens": self.longest,
            "do_sample": False,
            "synced_gpus": synced,
            "output_scores": True,
            "return_dict_in_generate": True,
        }

    def __call__(self, model, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`ids` `(B, longest + 1)` and `log_probability` `(B,)`."""
        tokenizer = self.processor.tokenizer
        written = model.generate(**inputs, **self.settings)
        ids = written.sequences
        steps = model.compute_transition_scores(ids, written.scores, normalize_logits=True).float()  # (B, L)
        is_end = ids[:, 1:] == tokenizer.eos_token_id
        behind = is_end.cumsum(1) > is_end.long()  # padding after the end token is no choice of the model
        ids = torch.nn.functional.pad(ids, (0, self.longest + 1 - ids.shape[1]), value=tokenizer.pad_token_id)
        return {"ids": ids, "log_probability": steps.masked_fill(behind, 0.0).sum(1)}

    def answers(self, tensors: dict[str, torch.Tensor]) -> list[dict]:
        """The fields of a prediction row that the model gives, for each sample; probability NaN for a broken model."""
        labels = self.processor.batch_decode_labels(tensors["ids"])
        probabilities = tensors["log_probability"].double().exp().tolist()
        return [_answer(label, share) for label, share in zip(labels, probabilities, strict=True)]


class PosteriorDecoder:
    """The distribution over all labels: mean intensity, most probable emotion; the label shown is the most probable.

    Arguments as for `GreedyDecoder`. A sharded model cannot be asked: its processes would have to take turns.
    """

    protocol = POSTERIOR

    def __init__(self, processor: UniMSEProcessor, benchmark: str, synced: bool):
        if synced:
            raise ValueError("decoding: expected greedy for a sharded model, got posterior; evaluate its checkpoint")
        self.trie = processor.logits_processor(benchmark)[0].trie

    def __call__(self, model, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`log_posterior` `(B, labels of the grammar)`."""
        return {"log_posterior": label_posterior(model, self.trie, **inputs).log_probabilities}

    def answers(self, tensors: dict[str, torch.Tensor]) -> list[dict]:
        """The fields of a prediction row that the model gives, for each sample."""
        posterior = LabelPosterior(tensors["log_posterior"], self.trie.labels)
        fields = zip(
            posterior.most_probable(),
            posterior.log_probabilities.max(dim=1).values.double().exp().tolist(),
            posterior.mean_intensity().double().tolist(),
            posterior.emotion_probabilities().double().tolist(),
            posterior.polarity_probabilities().double().tolist(),
            strict=True,
        )
        answers = []
        for label, probability, intensity, emotions, polarities in fields:
            by_emotion = _rounded(posterior.emotions, emotions)
            answer = _answer(label, probability) | {
                "predicted_sentiment": round(intensity, _DECIMALS),
                "predicted_emotion": max(by_emotion, key=by_emotion.get),
                "emotion_probabilities": by_emotion,
                "polarity_probabilities": _rounded(POLARITIES, polarities),
            }
            answers.append(answer)
        return answers


DECODERS = {"greedy": GreedyDecoder, "posterior": PosteriorDecoder}


def _rounded(names: Sequence[str], shares: list[float]) -> dict[str, float]:
    return {name: round(share, _DECIMALS) for name, share in zip(names, shares, strict=True)}


def _answer(label: UniversalLabel | None, probability: float) -> dict:
    return {
        "prediction": None if label is None else format_label(label),
        "predicted_sentiment": None if label is None else label.intensity,
        "predicted_emotion": None if label is None else label.emotion,
        "label_probability": None if label is None else round(probability, _DECIMALS),
        "emotion_probabilities": None,
        "polarity_probabilities": None,
    }
