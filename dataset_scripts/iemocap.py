"""IEMOCAP, six emotions, Session 5 for testing: the session tree as distributed, or a pickle of features."""

from pathlib import Path

from dataset_scripts import iemocap_pickle, iemocap_tree
from dataset_scripts.formats import choose_format
from dataset_scripts.iemocap_tree import EXPECTED as EXPECTED
from dataset_scripts.iemocap_tree import choose_validation as choose_validation
from dataset_scripts.readers import Reading

FORMATS = (iemocap_tree.FORMAT, iemocap_pickle.FORMAT)


def read(source: Path, format: str | None = None) -> Reading:
    """Read IEMOCAP.

    Args:
        source: the folder that holds `Session1` to `Session5`, or the one above it; or a folder with
            `IEMOCAP_features.pkl`, or that file.
        format: `session-tree` or `iemocap-pickle`; `None` = whichever is there.

    Returns:
        Rows by session, dialogue and start time; ids are `iemocap/<split>/<utterance>`. Validation is a tenth of the
        dialogues of the other sessions, chosen by a hash of their names: the same on every machine and in both formats.

    Raises:
        FileNotFoundError: no session with evaluation files, and no pickle.
        ValueError: an utterance listed again with other content; a pickle that is broken, unsafe or of another form.
    """
    return choose_format("iemocap", source, FORMATS, format).read(source)
