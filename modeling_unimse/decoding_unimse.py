"""Constrained decoding: a token trie over the whole label language, and a logits processor that walks it as tensors."""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from .universal_label_unimse import EMOTIONS, all_labels, format_label

_START, _END, _DEAD = 0, 1, 2


class LabelTrie:
    """All labels of the grammar as token sequences, in one transition table.

    Args:
        tokenizer: a T5 tokenizer; it must write every label without loss.
        emotions: the emotion set, for example that of one benchmark.

    Attributes:
        token_ids: `(C,)` the tokens that occur in labels, end and padding included.
        next_state: `(N, C + 1)` state after a token; the last column stands for every other token.
        allowed: `(N, C)` bool, the tokens that continue a state.
        max_length: tokens of the longest label, the end token included.

    Raises:
        ValueError: when a label does not survive encoding and decoding; the message names it.
    """

    def __init__(self, tokenizer, emotions: Sequence[str] = EMOTIONS):
        texts = [format_label(label) for label in all_labels(emotions)]
        sequences = tokenizer(texts, add_special_tokens=False).input_ids
        for text, back in zip(texts, tokenizer.batch_decode(sequences, skip_special_tokens=True), strict=True):
            if back != text:
                raise ValueError(f"the tokenizer cannot write label {text!r}: it comes back as {back!r}")
        end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
        sequences = [[*sequence, end] for sequence in sequences]
        self.max_length = max(map(len, sequences))
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
