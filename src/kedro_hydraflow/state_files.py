"""Files of state: JSON texts that remember which runs were given to whom.

They are sorted and have a line for each run, so that they may be kept in a repository. On a local
disk and in object stores they are replaced as a whole: a process that is killed while it writes
leaves the old file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import StateFileError, describe
from kedro_hydraflow.limits import check_file_size, get_max_file_size

if TYPE_CHECKING:
    from kedro_hydraflow.storage import Place


def read_state(place: Place, kind: str) -> dict[str, Any] | None:
    """Return the content of a file, None if there is no such file.

    Args:
        place: The file.
        kind: What it has to be, such as ``checkpoint``.

    Raises:
        StateFileError: If it is damaged, or of another kind.
        StorageError: If it cannot be read.
    """
    content = place.read()
    if content is None:
        return None
    try:
        state = json.loads(content, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as exc:
        raise make_state_error(place, kind, describe(exc)) from exc
    if not isinstance(state, dict) or state.get("format") != _get_format(kind):
        found = state.get("format") if isinstance(state, dict) else state
        reason = f"expected the format {_get_format(kind)!r}, found {repr(found)[:100]}"
        raise make_state_error(place, kind, reason)
    return state


def make_state(kind: str, content: dict[str, Any]) -> bytes:
    """Return the text of a file, which `read_state` reads.

    Raises:
        FileSizeError: If it would be too large to be read.
    """
    text = json.dumps({"format": _get_format(kind), **content}, indent=1)
    limit = get_max_file_size()
    if len(text) >= limit:
        check_file_size(len(text) + 1, limit)
    return f"{text}\n".encode("ascii")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Raise ValueError if a key occurs twice, as after a bad merge."""
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return mapping


def _get_format(kind: str) -> str:
    return f"kedro-hydraflow {kind} 1"


def make_state_error(place: Place, kind: str, reason: str) -> StateFileError:
    """Return the error for a file that is damaged, or of another kind."""
    return StateFileError(
        f"{place.url}: this is no {kind} of kedro-hydraflow, or it is damaged: {reason}; restore "
        "it, or remove it to begin without one"
    )
