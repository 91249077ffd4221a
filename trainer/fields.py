"""Names of fields that a user wrote."""

import difflib
from collections.abc import Iterable

_FEW = 20


def check_fields(given: Iterable, known: Iterable[str], inside: str = "") -> None:
    """Refuse the first name that is not known, with the nearest that is, or all of them.

    Args:
        inside: field of the run whose own fields these are, such as `mixing`.

    Raises:
        ValueError: an unknown name.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            shown = f"{inside}.{name}" if inside else str(name)
            raise ValueError(f"unknown field {shown!r}{nearest(str(name), known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say behind an unknown name: the one that it may have meant, also by its initials; else what there is."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1) or [
        other for other in known if name == "".join(part[:1] for part in other.split("_"))
    ]
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(known)}" if len(known) <= _FEW else ""
