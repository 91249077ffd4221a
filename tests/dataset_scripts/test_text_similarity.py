"""The search for the nearest row: exact against the definition, ties, and FAISS against exact."""

import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from dataset_scripts import text_similarity
from dataset_scripts.text_similarity import nearest_rows


def full_cosines(queries, donors):
    """(Q, N) in float64, from the definition."""
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(donors, axis=1)
    return queries @ donors.T / lengths


def test_search_equals_the_full_matrix():
    generator = np.random.default_rng(0)
    donors, queries = generator.standard_normal((300, 48)), generator.standard_normal((150, 48))
    expected = full_cosines(queries, donors)
    positions, similarities = nearest_rows(queries.astype(np.float32), donors.astype(np.float32))
    assert positions.tolist() == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(similarities, expected.max(axis=1), atol=1e-6)
    sparse = nearest_rows(csr_matrix(queries), csr_matrix(donors))
    assert sparse[0].tolist() == positions.tolist()
    np.testing.assert_allclose(sparse[1], expected.max(axis=1), atol=1e-6)


def parallel_donors():
    """60 directions of 5 donors each; scaled copies differ in the last bits of float32 and float64."""
    generator = np.random.default_rng(0)
    return np.repeat(generator.standard_normal((60, 48)), 5, axis=0) * generator.uniform(0.1, 9, (300, 1))


@pytest.mark.parametrize("as_matrix", [np.asarray, csr_matrix])
def test_of_parallel_donors_the_first_wins(as_matrix):
    """A rounding error must not choose between them."""
    donors = parallel_donors()
    positions, similarities = nearest_rows(as_matrix(donors[::-1] / 3), as_matrix(donors))
    assert positions.tolist() == [5 * (at // 5) for at in reversed(range(300))]
    assert similarities.tolist() == [1.0] * 300


def test_what_differs_in_the_sixth_decimal_is_told_apart():
    query = np.array([[1.0, 0.0]])
    donors = np.array([[1.0, 2.2e-3], [1.0, 0.0]])  # cosines 1 - 2.4e-6 and 1
    assert nearest_rows(query, donors)[0].tolist() == [1]
    assert nearest_rows(query, donors[::-1])[0].tolist() == [0]


@pytest.mark.parametrize("gathered", [7, 4096])
def test_rows_gathered_in_parts_give_the_same(monkeypatch, gathered):
    monkeypatch.setattr(text_similarity, "_GATHERED_ROWS", gathered)
    donors = parallel_donors()
    assert nearest_rows(donors, donors)[1].tolist() == [1.0] * 300


# --- FAISS ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [1, 3, 16, 1000])
def test_faiss_gives_what_exact_gives(monkeypatch, candidates):
    """Ties of five donors, fewer and more than the candidates, and near misses in the sixth decimal."""
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    monkeypatch.setattr(text_similarity, "FAISS_CANDIDATES", candidates)
    generator = np.random.default_rng(1)
    donors = np.concatenate([parallel_donors(), generator.standard_normal((200, 48))])
    donors = np.concatenate([donors, donors[:100] + generator.standard_normal((100, 48)) * 1e-3])
    queries = np.concatenate([donors[::-3] / 7, generator.standard_normal((100, 48))])
    exact, found = nearest_rows(queries, donors), nearest_rows(queries, donors, "faiss")
    assert found[0].tolist() == exact[0].tolist()
    assert found[1].tolist() == exact[1].tolist()


def test_what_faiss_cannot_do_is_said(monkeypatch):
    donors = parallel_donors()
    with pytest.raises(ValueError, match="search: expected one of exact, faiss, got 'annoy'"):
        nearest_rows(donors, donors, "annoy")
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match="search 'faiss' needs FAISS: pip install faiss-cpu, or use search 'exact'"):
        nearest_rows(donors, donors, "faiss")
    monkeypatch.undo()
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    with pytest.raises(ValueError, match=r"'faiss' needs dense vectors, got sparse ones \(tf-idf\); use 'exact'"):
        nearest_rows(csr_matrix(donors), csr_matrix(donors), "faiss")
