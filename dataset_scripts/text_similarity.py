"""The most similar row by cosine, by exact search: what the donor search of universal labels stands on."""

import numpy as np
from tqdm import tqdm

SIMILARITY_DECIMALS = 6
BLOCK_BYTES = 64 * 1024**2  # of scores at a time; measured fastest of 16 to 256 MiB
_GATHERED_ROWS = 4096  # of vectors gathered at a time, for little memory
SEARCHES = ("exact", "faiss")
_NEAR = 1e-5  # float32 products of unit vectors are this exact; what is nearer to the best is compared in float64
FAISS_CANDIDATES = 16  # a query: enough for all donors within _NEAR of the best, but where many texts are the same


def nearest_rows(queries, donors, search: str = "exact") -> tuple[np.ndarray, np.ndarray]:
    """The most similar donor of each query by cosine.

    Args:
        queries: (Q, D) vectors, dense or a scipy sparse matrix; no row may be zero.
        donors: (N, D), N >= 1, the same; in the order that breaks ties.
        search: `exact` = blocked matrix products; `faiss` = a flat FAISS index, of dense vectors only. Both give the
            same answer.

    Returns:
        positions (Q,) in `donors`, and cosines (Q,) rounded to six decimals. Similarities are compared at six decimals;
        of equal ones the first donor wins, whatever the search, the block size or the linear algebra library.

    Raises:
        ValueError: an unknown search, or sparse vectors for FAISS.
        ImportError: FAISS is asked for and not installed.
    """
    check_search(search)
    queries, donors = _unit_rows(queries), _unit_rows(donors)
    positions = _exact_positions(queries, donors) if search == "exact" else _faiss_positions(queries, donors)
    similarities = np.zeros(len(positions))
    for start in range(0, len(positions), _GATHERED_ROWS):
        block = slice(start, start + _GATHERED_ROWS)
        similarities[block] = _row_products(queries[block], donors[positions[block]])
    return positions, np.clip(similarities.round(SIMILARITY_DECIMALS), -1.0, 1.0)


def check_search(search: str) -> None:
    """Raise unless `search` is known (`ValueError`) and its library installed (`ImportError`): before any embedding."""
    if search not in SEARCHES:
        raise ValueError(f"search: expected one of {', '.join(SEARCHES)}, got {search!r}")
    if search == "faiss":
        try:
            import faiss  # noqa: F401
        except ImportError as error:
            raise ImportError("search 'faiss' needs FAISS: pip install faiss-cpu, or use search 'exact'") from error


def _exact_positions(queries, donors) -> np.ndarray:
    fast_queries, fast_donors = queries.astype(np.float32), donors.astype(np.float32)
    rows = max(1, BLOCK_BYTES // (4 * donors.shape[0]))
    positions = np.zeros(queries.shape[0], dtype=np.int64)
    buffer = np.empty((rows, donors.shape[0]), dtype=np.float32)  # reused: fresh pages cost a third of the time
    for start in tqdm(range(0, len(positions), rows), desc="donor search", unit="block", disable=None):
        block = slice(start, start + rows)
        scores = _products(fast_queries[block], fast_donors, buffer)
        positions[block] = _first_best(scores, queries[block], donors)
    return positions


def _faiss_positions(queries, donors) -> np.ndarray:
    """As `_exact_positions`. Where more donors than candidates are near the best, that search is asked.

    It is offered because people ask for it; it does not pay. Measured on two cores, half of the rows donors of the
    other half, 384-d, seconds of exact / flat FAISS: 44,000 rows 2.7 / 2.2; 100,000 rows 16 / 26; 20,000 queries among
    100,000 donors 13 / 24, among 200,000 donors 41 / 28. IVF (4 sqrt(N) lists, 1 in 16 probed) took 12, 14 and 30, HNSW
    (M 32, efSearch 64) 7, 10 and 30 with their building, and found the nearest row in 99.99 % and 85 to 98 % of cases:
    neither is exact, so neither is here. The four benchmarks together have about 45,000 rows.
    """
    import faiss

    if not isinstance(queries, np.ndarray):
        raise ValueError("search: 'faiss' needs dense vectors, got sparse ones (tf-idf); use 'exact'")
    index = faiss.IndexFlatIP(donors.shape[1])
    index.add(donors.astype(np.float32))
    count = min(FAISS_CANDIDATES, len(donors))
    scores, found = index.search(queries.astype(np.float32), count)
    near = scores >= scores[:, :1] - np.float32(_NEAR)
    positions = found[:, 0].copy()
    for row in np.flatnonzero(near[:, 1:].any(axis=1)):
        positions[row] = _first_of(np.sort(found[row][near[row]]), queries[[row]], donors)
    cut = np.flatnonzero(near.all(axis=1)) if count < len(donors) else []
    if len(cut):
        positions[cut] = _exact_positions(queries[cut], donors)
    return positions


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
        best[row] = _first_of(np.flatnonzero(near[row]), queries[[row]], donors)
    return best


def _first_of(candidates, query, donors) -> int:
    """The best of `candidates` (rising positions) for a (1, D) query by rounded float64 cosine; the first of ties."""
    exact = _dense(donors[candidates] @ query.T).ravel().round(SIMILARITY_DECIMALS)
    return candidates[exact.argmax()]


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
