"""Checkpoints: files with the IDs of the runs that a consumer has processed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import StorageError
from kedro_hydraflow.state_files import make_state, make_state_error, read_state

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kedro_hydraflow.storage import Place

_KIND = "checkpoint"

_ATTEMPTS = 5
"""How often to write a file that another process has replaced meanwhile."""


@dataclass(frozen=True)
class Checkpoint:
    """The file of one consumer."""

    place: Place

    def read(self) -> frozenset[str]:
        """Return the IDs of the runs that were confirmed, none if there is no file yet.

        Raises:
            StateFileError: If the file is damaged, or is no checkpoint.
            StorageError: If it cannot be read.
        """
        return self._read() or frozenset()

    def _read(self) -> frozenset[str] | None:
        """Return the IDs in the file, None if there is none."""
        state = read_state(self.place, _KIND)
        if state is None:
            return None
        runs = state.get("runs")
        if not isinstance(runs, list) or not all(isinstance(run_id, str) for run_id in runs):
            raise make_state_error(self.place, _KIND, f"unexpected runs: {repr(runs)[:100]}")
        return frozenset(runs)

    def add(self, run_ids: Iterable[str]) -> frozenset[str]:
        """Add the IDs of runs. What others add at the same time is kept.

        Returns:
            Those of the IDs that another process has added before.

        Raises:
            StateFileError: If the file is damaged, or is no checkpoint.
            StorageError: If it cannot be read or written. It has been left as it was.
        """
        new = frozenset(run_ids)
        storage, path = self.place.storage, self.place.path
        with storage.taking_turns(path):
            known = self.read()
            twice = new & known
            for _ in range(_ATTEMPTS):
                if new <= known:
                    return twice
                storage.write(path, make_state(_KIND, {"runs": sorted(known | new)}))
                known = self.read()  # where processes take no turns, another one may have written
        if new <= known:
            return twice
        raise StorageError(
            f"{self.place.url}: other processes replace the file whenever it is written; each "
            "consumer needs a checkpoint of its own"
        )

    def remove(self) -> bool:
        """Remove the file, so that all runs are new; return whether there was one.

        Raises:
            StateFileError: If the file is damaged, or is no checkpoint. Then it is left.
            StorageError: If it cannot be read or removed.
        """
        was_there = self._read() is not None
        self.place.storage.remove(self.place.path)
        return was_there
