"""Decoding of labels: a token trie over the whole label language, a logits processor that walks it as tensors, and the
exact posterior over all of its labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import DynamicCache, EncoderDecoderCache, LogitsProcessor

from .universal_label_unimse import EMOTIONS, POLARITIES, UniversalLabel, all_labels, format_label

_START, _END, _DEAD = 0, 1, 2


class LabelTrie:
    """All labels of the grammar as token sequences, in one transition table.

    Args:
        tokenizer: a T5 tokenizer; it must write every label without loss.
        emotions: the emotion set, for example that of one benchmark.

    Attributes:
        labels: the L labels, in the order of `all_labels`.
        sequences: `(L, max_length)` their tokens, the end token included; -1 behind it.
        token_ids: `(C,)` the tokens that occur in labels, end and padding included.
        next_state: `(N, C + 1)` state after a token; the last column stands for every other token.
        allowed: `(N, C)` bool, the tokens that continue a state.
        max_length: tokens of the longest label, the end token included.

    Raises:
        ValueError: when a label does not survive encoding and decoding; the message names it.
    """

    def __init__(self, tokenizer, emotions: Sequence[str] = EMOTIONS):
        self.labels = tuple(all_labels(emotions))
        texts = [format_label(label) for label in self.labels]
        sequences = tokenizer(texts, add_special_tokens=False).input_ids
        for text, back in zip(texts, tokenizer.batch_decode(sequences, skip_special_tokens=True), strict=True):
            if back != text:
                raise ValueError(f"the tokenizer cannot write label {text!r}: it comes back as {back!r}")
        end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
        sequences = [[*sequence, end] for sequence in sequences]
        self.max_length = max(map(len, sequences))
        self.sequences = torch.tensor([row + [-1] * (self.max_length - len(row)) for row in sequences])
        self.token_ids = torch.tensor(sorted({token for sequence in sequences for token in sequence} | {padding}))
        self._fill_tables(sequences, end, padding)

    def _fill_tables(self, sequences: list[list[int]], end: int, padding: int):
        column = {token: index for index, token in enumerate(self.token_ids.tolist())}
        # A finished row, and one that left the grammar (a beam of probability 0), can only end.
        edges = [{}, {end: _END, padding: _END}, {end: _END, padding: _END}]
        for sequence in sequences:
            state = _START
            for token in sequence:
                if token not in edges[state] and token != end:
                    edges.append({})
                state = edges[state].setdefault(token, _END if token == end else len(edges) - 1)
        self.next_state = torch.full((len(edges), len(column) + 1), _DEAD)
        for state, targets in enumerate(edges):
            for token, target in targets.items():
                self.next_state[state, column[token]] = target
        self.allowed = self.next_state[:, :-1] != _DEAD


class LabelLogitsProcessor(LogitsProcessor):
    """Lets `generate` write labels of a trie only; greedy, sampling and beam search, dynamic and static cache.

    The state of a row is found again from its tokens at each step (a label has few), so beams may be reordered freely.

    Args:
        trie: the label language.
        prompt_length: decoder tokens in front of the label, 1 = the decoder start token.
    """

    def __init__(self, trie: LabelTrie, prompt_length: int = 1):
        self.trie = trie
        self.prompt_length = prompt_length
        self._tables = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """`(B, L)` tokens so far and `(B, V)` scores -> scores, -inf for every token that no label continues with."""
        column_of, next_state, allowed, token_ids = self._tables_on(scores)
        states = input_ids.new_zeros(len(input_ids))
        for position in range(self.prompt_length, input_ids.shape[1]):
            states = next_state[states, column_of[input_ids[:, position]]]
        masked = torch.full_like(scores, -torch.inf)
        masked[:, token_ids] = scores[:, token_ids].masked_fill(~allowed[states], -torch.inf)
        return masked

    def _tables_on(self, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The tables on the device of the scores, with the column of each token of the vocabulary."""
        if self._tables is None or self._tables[0].device != scores.device:
            token_ids = self.trie.token_ids
            column_of = torch.full((scores.shape[1],), len(token_ids))
            column_of[token_ids] = torch.arange(len(token_ids))
            tables = (column_of, self.trie.next_state, self.trie.allowed, token_ids)
            self._tables = tuple(table.to(scores.device) for table in tables)
        return self._tables


@dataclass(frozen=True)
class LabelPosterior:
    """The distribution of each sample over the labels of a grammar, from `label_posterior`.

    Args:
        log_probabilities: `(B, L)` float32, natural logarithms; a row's probabilities sum to 1.
        labels: the L labels.
    """

    log_probabilities: torch.Tensor
    labels: tuple[UniversalLabel, ...]

    @property
    def emotions(self) -> tuple[str, ...]:
        """The E emotions, in the order of the emotion set."""
        return tuple(dict.fromkeys(label.emotion for label in self.labels))

    def emotion_probabilities(self) -> torch.Tensor:
        """`(B, E)`, P(e) = sum of P(label) over the labels with emotion e; columns as `emotions`."""
        return self._marginal([self.emotions.index(label.emotion) for label in self.labels], len(self.emotions))

    def polarity_probabilities(self) -> torch.Tensor:
        """`(B, 3)`, likewise for negative, neutral and positive."""
        return self._marginal([POLARITIES.index(label.polarity) for label in self.labels], len(POLARITIES))

    def mean_intensity(self) -> torch.Tensor:
        """`(B,)` in [-3, 3], the sum over labels of P(label) * intensity: the guess with the least squared error."""
        intensities = self.log_probabilities.new_tensor([label.intensity for label in self.labels])
        return self.log_probabilities.exp() @ intensities

    def most_probable(self) -> list[UniversalLabel]:
        """The label with the highest probability (MAP) of each sample; the first of equal ones."""
        return [self.labels[index] for index in self.log_probabilities.argmax(dim=1).tolist()]

    def _marginal(self, columns: list[int], size: int) -> torch.Tensor:
        probabilities = self.log_probabilities.exp()
        groups = torch.tensor(columns, device=probabilities.device)
        return probabilities.new_zeros(len(probabilities), size).index_add(1, groups, probabilities)


@torch.no_grad()
def label_posterior(model, trie: LabelTrie, rows_per_pass: int = 640, **inputs) -> LabelPosterior:
    """The exact distribution over all labels of a grammar, given that the answer is one of them.

    P(label | input) = product over its tokens t of p(token_t | tokens before, input), the end token included, divided
    by the sum of the same over all labels. Not what constrained generation draws from: that one renormalises at each
    step, and so forgets how unlikely a prefix made everything behind it.

    Args:
        model: a `UniMSEForConditionalGeneration` in eval mode, or an adapter around one.
        rows_per_pass: prefixes that go through the decoder at a time. Each holds keys and values of the whole text for
            every decoder layer, so memory grows with it (T5-small, 64 tokens, float32: 1.6 MB).
        inputs: as for the encoder: `input_ids`, `attention_mask`, `segment_ids`, features and their masks.

    Returns:
        `log_probabilities` `(B, L)` in the order of `trie.labels`.

    Raises:
        ValueError: `rows_per_pass` below 1.
    """
    if rows_per_pass < 1:
        raise ValueError(f"rows_per_pass: expected a whole number >= 1, got {rows_per_pass}")
    encoder_outputs = model.get_encoder()(**inputs)
    mask = inputs.get("attention_mask")
    states = encoder_outputs.last_hidden_state
    if mask is None:
        mask = states.new_ones(states.shape[:2], dtype=torch.long)
    parts = trie.sequences.to(states.device).split(rows_per_pass)
    scores = []
    for samples in torch.arange(len(states), device=states.device).split(max(1, rows_per_pass // len(trie.labels))):
        chosen = _rows(encoder_outputs, samples), mask[samples]
        scores.append(torch.cat([_log_likelihoods(model, part, *chosen) for part in parts], dim=1))
    return LabelPosterior(torch.cat(scores).log_softmax(dim=1), trie.labels)


def _log_likelihoods(model, sequences: torch.Tensor, encoder_outputs, mask: torch.Tensor) -> torch.Tensor:
    """`(L, T)` token sequences, -1 behind the end -> `(B, L)` log p(sequence | input)."""
    batch, width = len(mask), 1
    first_rows = torch.arange(batch, device=mask.device)[:, None]  # (B, 1)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    scores = torch.zeros(batch, len(sequences), device=mask.device)
    for tokens, parents, members, places, targets in _levels(sequences, model.config.decoder_start_token_id):
        rows = (first_rows * width + parents).flatten()  # (B * P,), sample by sample
        width = len(tokens)
        cache.batch_select_indices(rows)
        encoder_outputs, mask = _rows(encoder_outputs, rows), mask[rows]
        logits = model(
            encoder_outputs=encoder_outputs,
            attention_mask=mask,
            decoder_input_ids=tokens.repeat(batch)[:, None],
            cache=cache,
            use_cache=True,
        ).logits  # (B * P, 1, vocab_size)
        logits = logits.float().view(batch, width, -1)
        scores[:, members] += logits[:, places, targets] - logits.logsumexp(dim=-1)[:, places]
    return scores


def _levels(sequences: torch.Tensor, start: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """The distinct prefixes of `(L, T)` sequences, position by position, so that what labels share is computed once.

    Yields, for the P prefixes of a length and the M sequences that go on: the last token of each prefix and its parent
    among the level before, both `(P,)`; the sequences, the prefix of each and the token that follows it, all `(M,)`.
    """
    prompted = F.pad(sequences, (1, 0), value=start)  # (L, 1 + T)
    place_of = sequences.new_zeros(len(sequences))
    for position in range(sequences.shape[1]):
        members = (sequences[:, position] >= 0).nonzero().flatten()
        if len(members) == 0:
            return
        prefixes, places = prompted[members, : position + 1].unique(dim=0, return_inverse=True)
        parents = sequences.new_empty(len(prefixes))
        parents[places] = place_of[members]
        place_of[members] = places
        yield prefixes[:, -1], parents, members, places, sequences[members, position]


def _rows(encoder_outputs, rows: torch.Tensor):
    """An encoder output with these rows of the batch; fields with one entry a layer, which no decoder reads, go."""
    tensors = {name: value[rows] for name, value in encoder_outputs.items() if isinstance(value, torch.Tensor)}
    return type(encoder_outputs)(**tensors)
