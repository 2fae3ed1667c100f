"""The artifacts of a tracking server or database, where nothing else is at hand.

Such a directory, or bucket, holds ``<experiment_id>/<run_id>/artifacts``; with workspaces it
is ``workspaces/<workspace>/<experiment_id>/…``; and where the experiment's artifact location
was set by hand there is only ``<run_id>/artifacts``. Experiments go by the job name that Hydra
recorded; what was logged to MLflow besides artifacts is not here.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from typing_extensions import override

from kedro_hydraflow.errors import Failure, NotFoundError, StorageError
from kedro_hydraflow.run_info import ExperimentInfo, RunInfo
from kedro_hydraflow.stores.base import (
    DEFAULT_EXPERIMENT_ID,
    ExperimentFilter,
    Experiments,
    Point,
    Store,
    make_name_filter,
)
from kedro_hydraflow.stores.job_name import read_job_name, read_job_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.storage import Entry, Storage

logger = logging.getLogger(__name__)

_WORKSPACES = "workspaces"
_RUN_ID = re.compile("[0-9a-f]{32}")
"""MLflow's run IDs: a UUID in hexadecimal digits."""

_TRIED_AT_ONCE = 64
"""How many runs of an experiment are looked at together for the name that Hydra recorded."""


class ArtifactsStore(Store):
    """Artifacts without a record of what tracked them.

    Args:
        storage: What holds them.
        root: The directory.
    """

    finds_folders = True

    def __init__(self, storage: Storage, root: str) -> None:
        super().__init__(storage, root)
        self._storage = storage
        self._root = root
        self._runs: dict[ExperimentInfo, list[str]] = {}

    @property
    @override
    def where(self) -> str:
        return self._storage.url(self._root)

    @override
    def find_experiments(self, experiment_names: ExperimentFilter = None) -> Experiments:
        matches = make_name_filter(experiment_names)
        found = Experiments()
        for experiment, run_ids in self._find_all(found.failures):
            name = experiment.name
            if not name and experiment_names is not None:
                logger.warning(
                    "%s: no run in it records a job name, so that experiment_names cannot tell "
                    "what it is; a tracking_uri could",
                    self._storage.url(experiment.path),
                )
            if matches(name):
                found.matching.append(experiment)
                self._runs[experiment] = run_ids
            else:
                found.other_names.append(name or experiment.experiment_id)
        found.matching.sort(key=lambda e: (e.name, e.experiment_id))
        return found

    def _find_all(self, failures: list[Failure]) -> Iterator[tuple[ExperimentInfo, list[str]]]:
        """Yield all experiments, each with a name, perhaps an empty one, and its run IDs."""
        storage = self._storage
        entries = storage.list_dir(self._root)
        yield from self._find_in(self._root, entries, failures)
        if any(entry.name == _WORKSPACES and entry.is_dir for entry in entries):
            path = storage.join(self._root, _WORKSPACES)
            names = [entry.name for entry in storage.list_dir(path) if entry.is_dir]
            paths = [storage.join(path, name) for name in names]
            for workspace, inner in _list_many(storage, paths, failures):
                yield from self._find_in(workspace, inner, failures)

    def _find_in(
        self, path: str, entries: Sequence[Entry], failures: list[Failure]
    ) -> Iterator[tuple[ExperimentInfo, list[str]]]:
        """Yield the experiments in one directory, and those of the runs right in it."""
        storage = self._storage
        groups: dict[str, list[str]] = {}
        for run_id, name in self._read_names([(path, i) for i in _get_run_ids(entries)], failures):
            groups.setdefault(name, []).append(run_id)
        for name, run_ids in groups.items():
            yield ExperimentInfo(storage, path, name, self, experiment_id=""), run_ids

        ids = [e.name for e in entries if e.is_dir and e.name.isdecimal()]
        paths = [storage.join(path, i) for i in ids if i != DEFAULT_EXPERIMENT_ID]
        found = [(p, _get_run_ids(inner)) for p, inner in _list_many(storage, paths, failures)]
        found = [(p, run_ids) for p, run_ids in found if run_ids]
        firsts = self._read_names([(p, run_ids[0]) for p, run_ids in found], failures)
        for (experiment_path, run_ids), (_, first) in zip(found, firsts, strict=True):
            name = first
            for start in range(1, len(run_ids), _TRIED_AT_ONCE):
                if name:
                    break
                others = run_ids[start : start + _TRIED_AT_ONCE]
                names = self._read_names([(experiment_path, i) for i in others], failures)
                name = next((name for _, name in names if name), "")
            yield ExperimentInfo(storage, experiment_path, name, self), run_ids

    def _read_names(
        self, runs: Sequence[tuple[str, str]], failures: list[Failure]
    ) -> list[tuple[str, str]]:
        """Return the ID and the job name of each run, given by its folder and ID."""
        paths = [self._storage.join(*run) for run in runs]
        named = []
        for (_, run_id), path, name in zip(
            runs, paths, read_job_names(self._storage, paths), strict=True
        ):
            if isinstance(name, StorageError):
                failures.append(Failure(self._storage.url(path), name))
                name = ""
            named.append((run_id, name))
        return named

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentInfo], limit: int | None = None
    ) -> tuple[list[tuple[ExperimentInfo, list[str]]], list[Failure]]:
        return [(e, self._runs[e][:limit]) for e in experiments], []

    @override
    def read_runs(
        self,
        names: Sequence[tuple[ExperimentInfo, str]],
        *,
        include_deleted: bool | None = None,
    ) -> tuple[list[RunInfo], list[Failure]]:
        storage = self._storage
        return [RunInfo.make(storage, storage.join(e.path, i), e, {}) for e, i in names], []

    @override
    def read_experiment_name(self, experiment: ExperimentInfo, run_dir: str) -> str:
        return read_job_name(self._storage, run_dir)

    @override
    def read_facts(self, infos: Sequence[RunInfo]) -> None:
        for info in infos:
            info._meta = {}

    @override
    def read_values(self, infos: Sequence[RunInfo], kind: str, name: str) -> list[None]:
        return [None] * len(infos)

    @override
    def read_all(self, infos: Sequence[RunInfo], kind: str) -> list[dict[str, float]]:
        return [{} for _ in infos]

    @override
    def read_histories(self, infos: Sequence[RunInfo], name: str) -> list[list[Point]]:
        return [[] for _ in infos]


def may_hold_artifacts(storage: Storage, root: str, entries: Sequence[Entry]) -> bool:
    """Tell whether a directory that holds these entries is one of runs and their artifacts."""
    names = [entry.name for entry in entries if entry.is_dir]
    if _get_run_ids(entries) or _WORKSPACES in names:
        return True
    paths = [storage.join(root, name) for name in names if name.isdecimal()]
    # One after the other, because the first experiment tells, and large ones take many requests.
    return any(_get_run_ids(inner) for p in paths for _, inner in _list_many(storage, [p], []))


def _get_run_ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.name for entry in entries if entry.is_dir and _RUN_ID.fullmatch(entry.name)]


def _list_many(
    storage: Storage, paths: Sequence[str], failures: list[Failure]
) -> Iterator[tuple[str, list[Entry]]]:
    """Yield folders and what they hold; what was removed in the meantime is no failure."""
    for path, entries in zip(paths, storage.list_many(paths), strict=True):
        if isinstance(entries, NotFoundError):
            continue
        if isinstance(entries, StorageError):
            failures.append(Failure(storage.url(path), entries))
        else:
            yield path, entries
