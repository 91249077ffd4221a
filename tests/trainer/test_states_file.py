"""Text states beside a results file: written, read back, and refused where they are wrong."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from results_files import with_states, write_results

from trainer.results_file import read_results
from trainer.results_file import write_results as write_results_file
from trainer.states_file import read_states, write_states


def put_beside(path, table):
    """A results file whose states are this table."""
    states = path.with_name("states.parquet")
    pyarrow.parquet.write_table(table, states)
    content = {name: value for name, value in json.loads(path.read_text()).items() if name != "digest"}
    write_results_file(path, content, states=states)
    return read_results(path)


def test_states_come_back_as_they_were(tmp_path):
    path = write_results(tmp_path)
    before, after = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    write_states(tmp_path / "states.parquet", ["a", "b", "c", "d", "e"], before, after)
    ids, *states = read_states(put_beside(path, pyarrow.parquet.read_table(tmp_path / "states.parquet")))
    assert ids == ["a", "b", "c", "d", "e"]
    assert all(one.dtype == np.float32 for one in states)
    assert np.array_equal(states[0], before) and np.array_equal(states[1], after)


def test_no_states_are_none(tmp_path):
    assert read_states(read_results(write_results(tmp_path))) is None


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (np.zeros((3, 2)), r"before: expected shape \(2, d\), got \(3, 2\)"),
        (np.zeros(2), r"before: expected shape \(2, d\), got \(2,\)"),
        (np.array([[0.0, np.nan], [0, 0]]), "before: expected finite numbers, got NaN or infinity"),
    ],
)
def test_wrong_states_are_not_written(tmp_path, before, message):
    with pytest.raises(ValueError, match=message):
        write_states(tmp_path / "states.parquet", ["a", "b"], before, np.zeros((2, 2)))
    assert not (tmp_path / "states.parquet").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a"], "after": [[1.0]]}, "expected the columns id, before, after; before missing"),
        (
            {"id": ["a", "b"], "before": [[1.0], [1.0, 2.0]], "after": [[1.0], [2.0]]},
            r"before: expected lists of one length, got lengths \[1, 2\]",
        ),
        (
            {"id": ["a", "b"], "before": [[1.0], [2.0]], "after": [[1.0], None]},
            r"after: expected lists of one length, got lengths \[-1, 1\]",
        ),
        (
            {"id": ["a"] * 241, "before": [[1.0]] * 241, "after": [[1.0]] * 241},
            "expected 0 to 240 rows, as data of the results says, got 241",
        ),
        (
            {"id": ["a"], "before": ["x"], "after": [[1.0]]},
            r"expected Parquet with id \(string\), before \(list<.*float>\).*cannot be read",
        ),
    ],
)
def test_wrong_states_are_not_read(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        read_states(put_beside(write_results(tmp_path), pyarrow.table(columns)))


def test_states_of_another_evaluation_are_refused(tmp_path):
    path = with_states(write_results(tmp_path, True, rows=20))
    write_states(path.with_name(f"{path.stem}-states.parquet"), ["a"], np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="expected the states written with full-seed1.json, got other content"):
        read_states(read_results(path))
