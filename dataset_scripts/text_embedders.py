"""Texts -> vectors for the donor search: TF-IDF, sentence-transformers models, and encoders by their pooled output.

An embedder is called with a list of texts, gives one row for each, and has a `name`, which labels.json records.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

# Hu et al. 2022 embed texts by the pooler output of this model: its trained dense layer and tanh over [CLS].
PAPER_EMBEDDER = "princeton-nlp/sup-simcse-bert-base-uncased"
TFIDF = "tf-idf"
POOLINGS = ("mean", "cls", "pooler")
_LONGEST = 512  # tokens, of encoders that name no limit


def embedder_by_name(name: str | Path = PAPER_EMBEDDER, pooling: str | None = None, batch_size: int = 64):
    """The embedder that a command names.

    Args:
        name: `tf-idf`, or what `sentence_embedder` takes.
        pooling: see `sentence_embedder`; TF-IDF has none.
        batch_size: texts a step of an encoder.

    Raises:
        ImportError, ValueError: see `sentence_embedder`; also when TF-IDF is given a pooling.
    """
    if str(name) != TFIDF:
        return sentence_embedder(name, pooling, batch_size)
    if pooling is not None:
        raise ValueError(f"pooling: {TFIDF} has none, got {pooling!r}; leave it out")
    return TfidfEmbedder()


class TfidfEmbedder:
    """Sparse TF-IDF vectors of words and word pairs: what is used where no sentence encoder is at hand.

    Fitted on the texts of its first call. Punctuation marks are words here, so that every text has a vector.
    """

    name = TFIDF

    def __init__(self):
        self._vectorizer = None

    def fit(self, texts: list[str]) -> None:
        """Learn vocabulary and weights: of training text, so that no other split has a say in the search."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True)
        self._vectorizer = vectorizer.fit(texts)

    def __call__(self, texts: list[str]):
        """`len(texts)` rows of a scipy sparse float64 matrix; without an earlier `fit`, fitted on these texts."""
        if self._vectorizer is None:
            self.fit(texts)
        return self._vectorizer.transform(texts)


# --- sentence encoders ------------------------------------------------------------------------------------------------


def sentence_embedder(path_or_name: str | Path, pooling: str | None = None, batch_size: int = 64):
    """Load a sentence encoder from a folder or by its Hub name.

    A sentence-transformers model (it has a `modules.json`) pools as it was trained to. Of any other checkpoint the
    hidden states are pooled here: by the pooler for the paper's model (known by its name, also within a path), else by
    the mean over tokens, as sentence-transformers would.

    Args:
        path_or_name: folder, or a Hub model that is cached or can be reached.
        pooling: `mean`, `cls` (the first token's last state) or `pooler` (the model's own, trained one), for
            checkpoints that are no sentence-transformers models.
        batch_size: texts a step.

    Returns:
        A `SentenceEmbedder` or `CheckpointEmbedder`. Its `name` is the Hub name, or of a folder the last two parts, so
        that no path of a machine is published; then the pooling, where it was chosen here.

    Raises:
        ImportError: when sentence-transformers is needed and not installed.
        ValueError: when the model cannot be loaded, or cannot be pooled as asked. One line with the remedy.
    """
    if pooling not in (None, *POOLINGS):
        raise ValueError(f"pooling: expected one of {', '.join(POOLINGS)}, got {pooling!r}")
    folder = Path(path_or_name).expanduser()
    location = str(folder.resolve() if folder.is_dir() else path_or_name)
    name = "/".join(Path(location).parts[1:][-2:]) if folder.is_dir() else location
    if not folder.is_dir() and location[:1] in ("/", ".", "~"):
        raise ValueError(f"embedder {location}: no such folder; name one, a Hub model, or pass --embedder {TFIDF}")
    if _is_sentence_transformer(location):
        if pooling is not None:
            raise ValueError(f"embedder {name}: pools as its modules.json says; leave out pooling {pooling!r}")
        return SentenceEmbedder(_load_sentence_transformer(location, name), name, batch_size)
    pooling = pooling or ("pooler" if PAPER_EMBEDDER.rpartition("/")[2] in location else "mean")
    model, tokenizer = _load_checkpoint(location, name, pooling)
    return CheckpointEmbedder(model, tokenizer, pooling, f"{name}, {pooling}", batch_size)


class SentenceEmbedder:
    """A sentence-transformers model as an embedder."""

    def __init__(self, model, name: str, batch_size: int = 64):
        self.model, self.name, self.batch_size = model, name, batch_size

    def __call__(self, texts: list[str]) -> np.ndarray:
        """(len(texts), D) float32."""
        return self.model.encode(texts, batch_size=self.batch_size, convert_to_numpy=True, show_progress_bar=None)


class CheckpointEmbedder:
    """A transformers encoder as an embedder; `pooling` makes one vector of its states."""

    def __init__(self, model, tokenizer, pooling: str, name: str, batch_size: int = 64):
        self.model, self.tokenizer, self.pooling = model, tokenizer, pooling
        self.name, self.batch_size = name, batch_size
        positions = getattr(model.config, "max_position_embeddings", None) or _LONGEST
        self.longest = min(tokenizer.model_max_length, positions)

    def __call__(self, texts: list[str]) -> np.ndarray:
        """(len(texts), D) float32. What is beyond the encoder's positions is cut off, as in sentence-transformers."""
        embeddings = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))  # alike in length: little padding
        steps = range(0, len(texts), self.batch_size)
        for start in tqdm(steps, desc="embedding", unit="batch", disable=None):
            chosen = order[start : start + self.batch_size]
            embeddings[chosen] = self._embed([texts[at] for at in chosen])
        return embeddings

    def _embed(self, texts: list[str]) -> np.ndarray:
        import torch

        encoded = self.tokenizer(texts, padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        encoded = encoded.to(self.model.device)
        with torch.inference_mode():
            output = self.model(**encoded)
            if self.pooling == "pooler":
                pooled = output.pooler_output
            elif self.pooling == "cls":
                pooled = output.last_hidden_state[:, 0]
            else:
                weights = encoded["attention_mask"].unsqueeze(-1).to(output.last_hidden_state.dtype)  # (B, S, 1)
                pooled = (output.last_hidden_state * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return pooled.float().cpu().numpy()


def _is_sentence_transformer(location: str) -> bool:
    if Path(location).is_dir():
        return (Path(location) / "modules.json").is_file()
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return bool(hf_hub_download(location, "modules.json"))
    except (EntryNotFoundError, OSError, ValueError):  # not there, not reachable, or no Hub name: loading it says which
        return False


def _load_sentence_transformer(location: str, name: str):
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            f"embedder {name} needs sentence-transformers: pip install sentence-transformers, or pass "
            f"--embedder {TFIDF}"
        ) from error
    try:
        return SentenceTransformer(location)
    except _load_errors() as error:
        raise _not_loaded(name, error) from error


def _load_checkpoint(location: str, name: str, pooling: str):
    """Encoder and tokenizer. Refused where pooling or the rest of the encoder would run on untrained weights."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        model, loading = AutoModel.from_pretrained(location, output_loading_info=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    except _load_errors() as error:
        raise _not_loaded(name, error) from error
    if model.config.is_encoder_decoder:
        raise ValueError(f"embedder {name}: expected an encoder such as BERT, got {type(model).__name__}")
    untrained = sorted(loading["missing_keys"])
    no_pooler = getattr(model, "pooler", None) is None or any(key.startswith("pooler.") for key in untrained)
    if pooling == "pooler" and no_pooler:
        raise ValueError(f"embedder {name}: its checkpoint has no trained pooler; choose pooling mean or cls")
    untrained = [key for key in untrained if not key.startswith("pooler.")]
    if untrained:
        raise ValueError(f"embedder {name}: its checkpoint lacks {len(untrained)} weights, such as {untrained[0]}")
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer


def _load_errors() -> tuple:
    """What loaders raise over files that are missing, of another kind, cut short or no weights at all."""
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    return OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, UnpicklingError, SafetensorError


def _not_loaded(name: str, error: BaseException) -> ValueError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ValueError(
        f"embedder {name}: cannot be loaded ({reason}); name the folder of a sentence encoder, connect to the Hub once "
        f"to fetch it, or pass --embedder {TFIDF}"
    )
