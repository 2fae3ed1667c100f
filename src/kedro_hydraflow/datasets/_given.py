"""The runs that a dataset has given, and that are not confirmed yet."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.run_info import is_settled

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro_hydraflow.run import Run


class Given:
    """The runs that one dataset object has given. A copy, or a pickled one, has given none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unconfirmed: dict[str, bool] = {}
        """Whether the run has ended, by ID, for all runs that were given since the last `pop`."""
        self.has_loaded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Given, ()

    def note_unconfirmed(self, runs: Iterable[Run[Any, Any]]) -> None:
        """Note the runs of a load that are to be confirmed. Their facts have been read."""
        with self._lock:
            self.has_loaded = True
            for run in runs:
                run_id = run.info.run_id
                # Of copies, and of several loads, all have to have ended.
                self._unconfirmed[run_id] = is_settled(run.info) and self._unconfirmed.get(
                    run_id, True
                )

    def list_settled(self) -> list[str]:
        """Return the IDs of the runs to confirm: those that had ended when they were given."""
        with self._lock:
            return [run_id for run_id, has_ended in self._unconfirmed.items() if has_ended]

    @property
    def n_unsettled(self) -> int:
        """The number of runs that had not ended when they were given."""
        with self._lock:
            return sum(not has_ended for has_ended in self._unconfirmed.values())

    def forget(self, run_ids: Iterable[str]) -> None:
        """Forget runs that were confirmed, and those that had not ended."""
        with self._lock:
            done = set(run_ids)
            self._unconfirmed = {
                run_id: has_ended
                for run_id, has_ended in self._unconfirmed.items()
                if has_ended and run_id not in done
            }
