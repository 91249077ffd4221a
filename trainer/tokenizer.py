"""A T5 tokenizer for models trained from scratch, where no pretrained vocabulary is given.

Pieces are the words of the training text, the parts of labels and, for everything else, single characters. The trainers
of the tokenizers library were passed over: their result differs from run to run, and they cut labels at odd places.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from transformers import T5Tokenizer

from modeling_unimse.universal_label_unimse import EMOTIONS, POLARITIES

_SPECIAL = ("<pad>", "</s>", "<unk>")
_WORD_START = "▁"


def build_tokenizer(texts: Iterable[str], emotions: Sequence[str] = EMOTIONS, vocab_size: int = 8000) -> T5Tokenizer:
    """A tokenizer whose labels are `polarity`, `,`, sign, number, `,`, `emotion`: one piece each.

    Args:
        texts: training text; the most frequent words become pieces.
        emotions: emotion set of the labels.
        vocab_size: at most so many pieces.
    """
    words, characters = Counter(), Counter()
    for text in texts:
        parts = re.findall(r"\w+|[^\w\s]", text)
        words.update(parts)
        characters.update(text.replace(" ", ""))
    label_parts = [_WORD_START + polarity for polarity in POLARITIES]
    label_parts += [",", "-", *(f"{tenths / 10:.1f}" for tenths in range(31)), *emotions]
    pieces = dict.fromkeys(label_parts, 0.0)
    # Letters and digits are always there, so that text unlike the training text is spelled rather than unknown.
    alphabet = [chr(code) for code in range(33, 127)] + sorted(characters)
    total = sum(words.values()) + 1
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        if len(pieces) + 2 * len(alphabet) + len(_SPECIAL) + 1 >= vocab_size:
            break
        # Words stand after a space, punctuation mostly does not.
        pieces.setdefault(_WORD_START + word if word[0].isalnum() else word, math.log(count / total))
    for character in alphabet:
        pieces.setdefault(character, -20.0)
        pieces.setdefault(_WORD_START + character, -20.0)
    pieces.setdefault(_WORD_START, -20.0)
    vocabulary = [(piece, 0.0) for piece in _SPECIAL] + list(pieces.items())
    return T5Tokenizer(vocab=vocabulary, extra_ids=0)
