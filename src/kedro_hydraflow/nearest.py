"""The names most like a mistyped one, for messages."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_SHOWN = 3

_CUTOFF = 0.6
"""The minimum similarity of names, that of ``difflib.get_close_matches``."""

_TAIL_CUTOFF = 0.75
"""The minimum similarity of a name and the end of a longer one."""

_MIN_BEGIN = 3
"""The minimum length of the beginning of a name that may mean it."""

_SEPARATORS = re.compile(r"[\W_]+")


def find_nearest(name: str, known: Iterable[str], separators: str = "/") -> list[str]:
    """Return up to three known names that may be meant by another one, the nearest first.

    Case and separators do not matter. If names are equal then, or end with the other one as
    ``metrics.accuracy`` ends with ``accuracy``, it is these. Otherwise, it is those that are
    spelled alike.

    Args:
        name: The name.
        known: The names that exist.
        separators: The characters between the parts of a name.
    """
    wanted = _split(name, separators)
    flat = _flatten(wanted)
    if not flat:
        return []
    parts = {k: _split(k, separators) for k in known}
    ends = [k for k in parts if _ends_with(parts[k], flat)]
    if ends:
        return sorted(ends, key=lambda k: _flatten(parts[k]) != flat)[:_MAX_SHOWN]
    scores = {k: _compare(wanted, parts[k]) for k in parts}
    near = sorted((k for k, score in scores.items() if score >= _CUTOFF), reverse=True)
    return sorted(near, key=lambda k: (-scores[k], len(k)))[:_MAX_SHOWN]


def _split(name: str, separators: str) -> list[str]:
    return re.split(f"[{re.escape(separators)}]", name.casefold())


def _flatten(parts: Sequence[str]) -> str:
    return _SEPARATORS.sub(".", ".".join(parts)).strip(".")


def _ends_with(parts: Sequence[str], flat: str) -> bool:
    return any(_flatten(parts[i:]) == flat for i in range(len(parts)))


def _compare(wanted: Sequence[str], parts: Sequence[str]) -> float:
    """Return the similarity of two names, or of the first and the end of the second."""
    begin_alike = len(wanted) > 1 and len(parts) > 1 and wanted[0] == parts[0]
    if begin_alike and _compare(wanted[1:], parts[1:]) < _CUTOFF:
        return 0.0  # like most pairs of metrics
    score = _get_ratio(_flatten(wanted), _flatten(parts), _CUTOFF)
    if len(parts) > len(wanted):
        tail = _get_ratio(_flatten(wanted), _flatten(parts[-len(wanted) :]), _TAIL_CUTOFF)
        score = max(score, tail)
    last = wanted[-1]
    is_begin = len(last) >= _MIN_BEGIN and parts[-1].startswith(last)
    return max(_CUTOFF, score + 0.1) if is_begin or parts[-1] == last else score


def _get_ratio(one: str, other: str, cutoff: float) -> float:
    """Return the similarity of two texts, 0 if it is below the cutoff."""
    matcher = SequenceMatcher(None, one, other)
    if matcher.real_quick_ratio() < cutoff or matcher.quick_ratio() < cutoff:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= cutoff else 0.0
