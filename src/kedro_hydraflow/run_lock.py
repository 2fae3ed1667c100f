"""Locks: files that pin which runs a search gives, by their IDs and digests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.digests import make_digests
from kedro_hydraflow.errors import Lines, LockError, OptionError, show_lines
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.run_info import get_place, get_store, is_settled
from kedro_hydraflow.state_files import make_state, make_state_error, read_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_hydraflow.run_base import RunBase
    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.storage import Place

logger = get_logger(__name__)

_KIND = "lock"

_MAX_SHOWN = 20
"""The maximum number of runs named in an error."""


@dataclass(frozen=True)
class RunLock:
    """The file that pins the runs of one search.

    Args:
        place: The file.
        query: What was searched for, as data that JSON gives back. The runs of another search are
            others.
        logged: Whether the digests cover metrics, params and tags.
    """

    place: Place
    query: Mapping[str, Any]
    logged: bool = False

    def read(self) -> dict[str, str] | None:
        """Return the digests of the pinned runs by ID, None if there is no file yet.

        Raises:
            LockError: If another search was locked.
            StateFileError: If the file is damaged, or is no lock.
            StorageError: If it cannot be read.
        """
        state = read_state(self.place, _KIND)
        if state is None:
            return None
        runs = state.get("runs")
        if not isinstance(runs, dict) or not all(isinstance(d, str) for d in runs.values()):
            raise make_state_error(self.place, _KIND, f"unexpected runs: {repr(runs)[:100]}")
        for name, value in self._options.items():
            locked = state.get(name)
            if locked != value:
                raise LockError(
                    f"{self.place.url}: the runs were locked with {name}={locked!r}, and the "
                    f"entry has {value!r}; restore the option, or remove the file to lock what "
                    "is found now"
                )
        return runs

    @property
    def _options(self) -> dict[str, Any]:
        return {**self.query, "logged": self.logged}

    def check(
        self, runs: Sequence[RunBase], locked: Mapping[str, str], lost: Sequence[RunInfo] = ()
    ) -> None:
        """Raise LockError unless the runs are those that are locked.

        Args:
            runs: The runs.
            locked: The result of `read`.
            lost: Those of the runs whose artifacts cannot be found.
        """
        self._check_ids(runs)
        self._compare(runs, make_digests(runs, logged=self.logged), locked, lost)

    def _compare(
        self,
        runs: Sequence[RunBase],
        digests: Sequence[str],
        locked: Mapping[str, str],
        lost: Sequence[RunInfo] = (),
    ) -> None:
        without_artifacts = {info.run_id for info in lost}
        found = {run.info.run_id for run in runs}
        problems = [f"{run_id} is missing" for run_id in sorted(locked) if run_id not in found]
        n_missing = len(problems)
        for run, digest in zip(runs, digests, strict=True):
            run_id = run.info.run_id
            if locked.get(run_id) != digest:
                problem = "was changed" if run_id in locked else "is not in the lock"
                if run_id in without_artifacts:
                    problem = "has no artifacts, and so no configuration, any more"
                problems.append(f"{run_id} {problem}: {get_place(run.info).url}")
        if not problems:
            return
        lines = show_lines(map(escape, problems[:_MAX_SHOWN]), len(problems) - _MAX_SHOWN)
        raise LockError(
            Lines(
                f"{escape(self.place.url)}: of {len(locked)} locked runs, {n_missing} "
                f"{'is' if n_missing == 1 else 'are'} missing and {len(problems) - n_missing} not "
                "the same; restore them, or remove the file to search again and lock what is "
                f"found now:{lines}"
            )
        )

    def write(self, runs: Sequence[RunBase]) -> None:
        """Pin the runs. If another process has just pinned some, check that they are the same.

        Raises:
            LockError: If another process has pinned others.
            StorageError: If the file cannot be written, or a run not read.
        """
        self._check_ids(runs)
        digests = make_digests(runs, logged=self.logged)
        self._warn_of_unsettled(runs)
        pinned = {run.info.run_id: d for run, d in zip(runs, digests, strict=True)}
        content = make_state(_KIND, {**self._options, "runs": dict(sorted(pinned.items()))})
        self.place.storage.create(self.place.path, content)
        self._compare(runs, digests, self.read() or {})

    def _check_ids(self, runs: Sequence[RunBase]) -> None:
        n_ids = len({run.info.run_id for run in runs})
        if n_ids < len(runs):
            raise OptionError(
                f"lock: {len(runs)} runs have {n_ids} run IDs: some were copied; choose among them "
                "with experiment_names or filters"
            )

    def _warn_of_unsettled(self, runs: Sequence[RunBase]) -> None:
        infos = [run.info for run in runs if get_store(run.info).records_facts]
        unsettled = [info.run_id for info in infos if not is_settled(info)]
        if unsettled:
            logger.warning(
                "%s: %d of the locked runs may still change, such as %s, which will be an error; "
                "filter by status == FINISHED to leave them out",
                self.place.url,
                len(unsettled),
                unsettled[0],
            )
