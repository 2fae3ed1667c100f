"""Artifacts of a tracking server or database, without the tracking data.

The directory or bucket holds ``<experiment_id>/<run_id>/artifacts``. If the server has
workspaces, these paths are below ``workspaces/<workspace>``. If the artifact location of an
experiment was set by hand, it holds ``<run_id>/artifacts``.

Experiments are named after Hydra's job name, except that ``0`` is always "Default". There are no
facts, metrics, params or tags.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

from typing_extensions import override

from kedro_hydraflow.errors import Failure, KedroHydraflowError, NotFoundError, StorageError
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage import Place, get_local_path, list_places
from kedro_hydraflow.storage.waiting import map_waiting
from kedro_hydraflow.stores.base import (
    DEFAULT_EXPERIMENT_ID,
    DEFAULT_EXPERIMENT_NAME,
    HYDRA_FOLDER,
    ExperimentFilter,
    UntrackedStore,
    make_experiment_filter,
)
from kedro_hydraflow.stores.job_name import read_job_name, read_job_names
from kedro_hydraflow.stores.record import (
    ExperimentRecord,
    Experiments,
    FoundRuns,
    RunListing,
    RunNames,
    RunRecord,
    is_run_id,
)
from kedro_hydraflow.stores.run_folder import (
    ARTIFACTS_FOLDER,
    RunSample,
    get_folder_errors,
    have_artifacts,
    sample_runs,
    warn_of_copies,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kedro_hydraflow.storage import Entry

logger = get_logger(__name__)

WORKSPACES_FOLDER = "workspaces"
"""The directory of the workspaces of a server, each with its experiments."""

_BATCH_SIZE = 64
"""The number of runs read at a time while looking for one with a job name."""


class ArtifactsStore(UntrackedStore):
    """A store of artifacts without tracking data.

    Args:
        place: The directory that holds the experiments.
    """

    @override
    def find_experiments(
        self, experiment_names: ExperimentFilter = None, *, include_default: bool = False
    ) -> Experiments:
        matches = make_experiment_filter(experiment_names, include_default=include_default)
        matching = []
        other_names = []
        failures: list[Failure] = []
        defaults = []
        for experiment in self._find_all(failures):
            name = experiment.experiment_name or ""
            if not name and experiment_names is not None:
                logger.warning(
                    "%s: the experiment has no name, because none of its runs recorded a Hydra "
                    "job name; experiment_names is matched against an empty name. Give "
                    "tracking_uri to get the name from MLflow",
                    experiment.url,
                )
            if matches(experiment.experiment_id, name):
                matching.append(experiment)
            elif experiment.experiment_id == DEFAULT_EXPERIMENT_ID:
                defaults.append(experiment)
            else:
                other_names.append(name or experiment.experiment_id)
        matching.sort(key=ExperimentRecord.sort_key)
        return Experiments(matching, other_names, failures, defaults)

    def _find_all(self, failures: list[Failure]) -> Iterator[ExperimentRecord]:
        """Yield all experiments with their names, which may be empty, and their run names."""
        entries = self._place.list()
        yield from self._find_in(self._place, entries, failures)
        if any(entry.name == WORKSPACES_FOLDER and entry.is_dir for entry in entries):
            place = self._place.join(WORKSPACES_FOLDER)
            workspaces = [place.join(entry.name) for entry in place.list() if entry.is_dir]
            for workspace, inner in _list_present(workspaces, failures):
                yield from self._find_in(workspace, inner, failures)

    def _find_in(
        self, folder: Place, entries: Sequence[Entry], failures: list[Failure]
    ) -> Iterator[ExperimentRecord]:
        """Yield the experiments in one directory.

        Runs that are in the directory itself are grouped into one experiment per job name.
        """
        groups: dict[str, list[str]] = {}
        run_ids = self._leave_out_strays(folder, _get_run_ids(entries))
        for run_id, name in zip(run_ids, self._read_names(folder, run_ids, failures), strict=True):
            groups.setdefault(name, []).append(run_id)
        for name, of_name in groups.items():
            yield ExperimentRecord(folder.storage, folder.path, "", name, tuple(of_name))

        ids = [e.name for e in entries if e.is_dir and e.name.isdecimal()]
        if DEFAULT_EXPERIMENT_ID in ids:
            place = folder.join(DEFAULT_EXPERIMENT_ID)
            yield ExperimentRecord(
                place.storage, place.path, DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME
            )
        places = [folder.join(i) for i in ids if i != DEFAULT_EXPERIMENT_ID]
        found = [(p, _get_run_ids(inner)) for p, inner in _list_present(places, failures)]
        found = [(place, run_ids) for place, run_ids in found if run_ids]
        firsts = self._read_job_names([p.join(run_ids[0]) for p, run_ids in found], failures)
        for (place, run_ids), first in zip(found, firsts, strict=True):
            name = first
            for start in range(1, len(run_ids), _BATCH_SIZE):
                if name:
                    break
                others = run_ids[start : start + _BATCH_SIZE]
                name = next(filter(None, self._read_names(place, others, failures)), "")
            yield ExperimentRecord(place.storage, place.path, place.name, name, tuple(run_ids))

    def _leave_out_strays(self, folder: Place, run_ids: list[str]) -> list[str]:
        """Return the runs in a directory, without others that are named like runs. Log these.

        On remote storage, where it would take a request each, reading them finds out.
        """
        if folder.storage.is_remote:
            return run_ids
        places = [folder.join(run_id) for run_id in run_ids]
        kept = list(compress(run_ids, have_artifacts(places)))
        if len(kept) < len(run_ids):
            strays = sorted(set(run_ids).difference(kept))
            logger.warning(
                "skipped %d directories that are named like runs, but have no %s, such as %s",
                len(strays),
                ARTIFACTS_FOLDER,
                folder.join(strays[0]).url,
            )
        return kept

    def _read_names(
        self, folder: Place, run_ids: Sequence[str], failures: list[Failure]
    ) -> list[str]:
        """Return the job names of runs in one directory, empty if not recorded."""
        return self._read_job_names([folder.join(run_id) for run_id in run_ids], failures)

    def _read_job_names(self, run_dirs: Sequence[Place], failures: list[Failure]) -> list[str]:
        names = read_job_names([run_dir.join(self.artifacts_folder) for run_dir in run_dirs])
        failures += [
            Failure(run_dir.url, name)
            for run_dir, name in zip(run_dirs, names, strict=True)
            if isinstance(name, KedroHydraflowError)
        ]
        return [name if isinstance(name, str) else "" for name in names]

    @override
    def _list_names(self, experiment: ExperimentRecord, failures: list[Failure]) -> tuple[str, ...]:
        for folder, entries in _list_present([experiment], failures):
            run_ids = _get_run_ids(entries)
            if experiment.experiment_id:
                return tuple(run_ids)
            run_ids = self._leave_out_strays(folder, run_ids)
            # The directory may hold runs of several experiments.
            names = self._read_names(folder, run_ids, failures)
            pairs = zip(run_ids, names, strict=True)
            return tuple(run_id for run_id, name in pairs if name == experiment.experiment_name)
        return ()

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        listing = super().list_runs(experiments, limit)
        warn_of_copies(listing.experiments)
        return listing

    @override
    def read_runs(
        self, listed: Sequence[RunNames], *, include_deleted: bool | None = None
    ) -> FoundRuns:
        records = [
            RunRecord(place.storage, place.path, place.name, part.experiment, {})
            for part in listed
            for place in map(part.experiment.join, part.names)
        ]
        return FoundRuns(records, [])

    @override
    def get_run_errors(self, records: Sequence[RunRecord]) -> Sequence[KedroHydraflowError | None]:
        return get_folder_errors(records)

    @override
    def _read_experiment_name(self, record: RunRecord) -> str:
        if record.experiment.experiment_id == DEFAULT_EXPERIMENT_ID:
            return DEFAULT_EXPERIMENT_NAME
        return read_job_name(self.artifacts(record))


def iter_run_samples(place: Place, entries: Sequence[Entry]) -> Iterator[RunSample]:
    """Yield a few runs of each folder in which an `ArtifactsStore` finds any.

    "Default" is listed last, if there are no others. Workspaces, which are not listed, and
    folders that cannot be listed are empty samples.
    """
    names = [entry.name for entry in entries if entry.is_dir]
    has_others = WORKSPACES_FOLDER in names
    if has_others:
        yield RunSample()
    sample = sample_runs(place, _get_run_ids(entries))
    if sample.runs:
        has_others = True
        yield sample
    ids = [name for name in names if name.isdecimal()]
    ids.sort(key=DEFAULT_EXPERIMENT_ID.__eq__)
    # Elsewhere than on a disk, one at a time: the first is usually enough, and listing large ones
    # takes many requests.
    map_lazily = map if get_local_path(place) is None else map_waiting
    found = map_lazily(_sample_experiment, [place.join(experiment_id) for experiment_id in ids])
    for experiment_id, samples in zip(ids, found, strict=True):
        if experiment_id == DEFAULT_EXPERIMENT_ID and has_others:
            return
        if samples is None:
            return  # it is a job of a sweep, and so are the others
        has_others = has_others or bool(samples)
        yield from samples


def _sample_experiment(place: Place) -> list[RunSample] | None:
    """Return a few of the runs in a directory, if it has any; None if it is a job of a sweep."""
    failures: list[Failure] = []
    for folder, entries in _list_present([place], failures):
        sample = sample_runs(folder, _get_run_ids(entries))
        if sample.runs:
            return [sample]
        if any(entry.name == HYDRA_FOLDER for entry in entries):
            return None
    return [RunSample()] if failures else []


def _get_run_ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.name for entry in entries if entry.is_dir and is_run_id(entry.name)]


def _list_present(
    places: Sequence[Place], failures: list[Failure]
) -> Iterator[tuple[Place, list[Entry]]]:
    """Yield directories and their entries. Directories that no longer exist are skipped."""
    for place, entries in zip(places, list_places(places), strict=True):
        if isinstance(entries, NotFoundError):
            continue
        if isinstance(entries, StorageError):
            failures.append(Failure(place.url, entries))
        else:
            yield place, entries
