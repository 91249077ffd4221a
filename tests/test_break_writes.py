"""Writing commands that are killed, run out of disk or run twice leave the old output or the new one; a small part."""

import pytest

from tests.break_writes import NoFaults, run


def test_broken_commands_leave_whole_outputs():
    """Every command and every file operation: `python -m tests.break_writes`."""
    try:
        problems = run(["compare", "publish"], every=25, seed=4)
    except NoFaults as error:
        pytest.skip(str(error))
    assert not problems, "\n".join(f"{one.variant} {one.mode}, step {one.step}: {one.text}" for one in problems)
