"""Whether a folder is a run directory: it holds ``artifacts``, or the ``meta.yaml`` of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    NotARunError,
    NotFoundError,
    StorageError,
)
from kedro_hydraflow.storage import Entry, Place, list_places
from kedro_hydraflow.stores.meta_file import META_FILE, is_run_meta, read_metas

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_SHOWN = 10
"""How many names of a folder that is no run an error shows."""


def explain_strays(places: Sequence[Place]) -> list[KedroHydraflowError | None]:
    """Return for each folder why it is not a run directory, None if it is one.

    It is a `NotARunError`, also if there is no such folder, or another one if that cannot be told.
    """
    errors: list[KedroHydraflowError | None] = []
    unsure = []
    for i, (place, entries) in enumerate(zip(places, list_places(places), strict=True)):
        if isinstance(entries, NotFoundError):
            errors.append(NotARunError(f"there is no run directory {place.url!r}"))
        elif isinstance(entries, StorageError):
            errors.append(entries)
        elif any(entry.name == "artifacts" and entry.is_dir for entry in entries):
            errors.append(None)
        else:
            errors.append(_make_error(place, entries))
            if any(entry.name == META_FILE for entry in entries):
                unsure.append(i)
    metas = read_metas([places[i] for i in unsure])
    for i, meta in zip(unsure, metas, strict=True):
        if isinstance(meta, KedroHydraflowError):
            errors[i] = meta
        elif meta is not None and is_run_meta(meta):
            errors[i] = None
    return errors


def _make_error(place: Place, entries: Sequence[Entry]) -> NotARunError:
    names = ", ".join(entry.name for entry in entries[:_MAX_SHOWN])
    return NotARunError(
        f"{place.url} is not a run directory: expected a folder artifacts, or a {META_FILE} "
        f"with a run_id, found {names or 'nothing'}"
    )
