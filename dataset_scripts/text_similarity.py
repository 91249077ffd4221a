"""Text embedders, and the exact nearest row by cosine: what the donor search of universal labels stands on."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

SIMILARITY_DECIMALS = 6
BLOCK_BYTES = 64 * 1024**2  # of scores at a time; measured fastest of 16 to 256 MiB
_NEAR = 1e-5  # float32 products of unit vectors are this exact; what is nearer to the best is compared in float64


def nearest_rows(queries, donors) -> tuple[np.ndarray, np.ndarray]:
    """The most similar donor of each query by cosine, by exact search in blocks.

    Args:
        queries: (Q, D) vectors, dense or a scipy sparse matrix; no row may be zero.
        donors: (N, D), N >= 1, the same; in the order that breaks ties.

    Returns:
        positions (Q,) in `donors`, and cosines (Q,) rounded to six decimals. Similarities are compared at six decimals;
        of equal ones the first donor wins, whatever the block size or the linear algebra library.
    """
    queries, donors = _unit_rows(queries), _unit_rows(donors)
    fast_queries, fast_donors = queries.astype(np.float32), donors.astype(np.float32)
    rows = max(1, BLOCK_BYTES // (4 * donors.shape[0]))
    positions = np.zeros(queries.shape[0], dtype=np.int64)
    similarities = np.zeros(queries.shape[0])
    buffer = np.empty((rows, donors.shape[0]), dtype=np.float32)  # reused: fresh pages cost a third of the time
    for start in tqdm(range(0, len(positions), rows), desc="donor search", unit="block", disable=None):
        block = slice(start, start + rows)
        scores = _products(fast_queries[block], fast_donors, buffer)
        positions[block] = _first_best(scores, queries[block], donors)
        similarities[block] = _row_products(queries[block], donors[positions[block]])
    return positions, np.clip(similarities.round(SIMILARITY_DECIMALS), -1.0, 1.0)


def _products(queries, donors, buffer) -> np.ndarray:
    """(rows, N) float32 products, written into `buffer`."""
    rows = buffer[: queries.shape[0]]
    if isinstance(queries, np.ndarray):
        return np.matmul(queries, donors.T, out=rows)
    return (queries @ donors.T).toarray(out=rows)


def _first_best(scores, queries, donors) -> np.ndarray:
    """Position of the best donor per row of `scores`; what float32 cannot tell apart is compared again in float64."""
    best = scores.argmax(axis=1)
    near = scores >= np.take_along_axis(scores, best[:, None], axis=1) - np.float32(_NEAR)
    for row in np.flatnonzero(np.count_nonzero(near, axis=1) > 1):
        candidates = np.flatnonzero(near[row])
        exact = _dense(donors[candidates] @ queries[[row]].T).ravel().round(SIMILARITY_DECIMALS)
        best[row] = candidates[exact.argmax()]
    return best


def _unit_rows(vectors):
    """The rows scaled to length 1, in float64."""
    vectors = vectors.astype(np.float64)
    lengths = row_lengths(vectors)[:, None]
    return vectors / lengths if isinstance(vectors, np.ndarray) else vectors.multiply(1.0 / lengths).tocsr()


def row_lengths(vectors) -> np.ndarray:
    """Euclidean length of each row of a dense or sparse (N, D) matrix, in float64."""
    vectors = vectors.astype(np.float64)
    return np.sqrt(_row_products(vectors, vectors))


def _row_products(left, right) -> np.ndarray:
    if isinstance(left, np.ndarray):
        return np.einsum("nd,nd->n", left, right)
    return np.asarray(left.multiply(right).sum(axis=1)).ravel()


def _dense(matrix) -> np.ndarray:
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()


class TfidfEmbedder:
    """Sparse TF-IDF vectors of words and word pairs: what is used where no sentence encoder is given.

    Fitted on the texts of its first call. Punctuation marks are words here, so that every text has a vector.
    """

    name = "tf-idf"

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


class SentenceEmbedder:
    """A sentence-transformers model as an embedder; `name` is what labels.json records."""

    def __init__(self, model, name: str, batch_size: int = 64):
        self.model, self.name, self.batch_size = model, name, batch_size

    def __call__(self, texts: list[str]) -> np.ndarray:
        """(len(texts), D) float32."""
        return self.model.encode(texts, batch_size=self.batch_size, convert_to_numpy=True, show_progress_bar=None)


def sentence_embedder(path_or_name: str | Path, batch_size: int = 64) -> SentenceEmbedder:
    """Load a sentence-transformers model from a folder or by its Hub name.

    The recorded name of a folder is its last two parts (`parent/folder`), so that no path of a machine is published.

    Raises:
        ImportError: when sentence-transformers is not installed.
        ValueError: when the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise ImportError(
            "sentence embeddings need sentence-transformers: pip install sentence-transformers, or label without an "
            "embedder (TF-IDF)"
        ) from error
    folder = Path(path_or_name).expanduser()
    name = "/".join(folder.resolve().parts[1:][-2:]) if folder.is_dir() else str(path_or_name)
    try:
        model = SentenceTransformer(str(folder if folder.is_dir() else path_or_name))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"embedder {name}: expected a sentence-transformers folder or Hub model ({reason})") from error
    return SentenceEmbedder(model, name, batch_size)
