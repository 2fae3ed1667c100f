"""The runs that a dataset has given, and that are not confirmed yet."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_hydraflow.checkpoint import Checkpoint


class Given:
    """The runs that one dataset object has given. A copy, or a pickled one, has given none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checkpoint: Checkpoint | None = None
        self._have_ended: dict[str, bool] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Given, ()

    def note(self, checkpoint: Checkpoint, have_ended: Mapping[str, bool]) -> None:
        """Note the runs of a load.

        Of several loads, the runs that all of them gave are to be confirmed: the others were given
        to some consumers alone.

        Args:
            checkpoint: Where they are to be confirmed.
            have_ended: Whether they had ended, by ID.
        """
        with self._lock:
            self._checkpoint = checkpoint
            if self._have_ended is None:
                self._have_ended = dict(have_ended)
            else:
                self._have_ended = {
                    run_id: has_ended and have_ended[run_id]
                    for run_id, has_ended in self._have_ended.items()
                    if run_id in have_ended
                }

    @property
    def checkpoint(self) -> Checkpoint | None:
        """Where to confirm the runs, None before the first load."""
        return self._checkpoint

    def take(self) -> dict[str, bool]:
        """Return whether the runs that are to be confirmed had ended, and forget them."""
        with self._lock:
            have_ended, self._have_ended = self._have_ended, None
            return have_ended or {}
