"""Output directories of Hydra alone (``@hydra.main``), without tracking data.

A directory with ``.hydra/config.yaml`` is a run. It is its own artifacts directory. See
`kedro_hydraflow.stores.output_folders` for where such directories are.

An experiment is the runs in one directory with the same job name: the jobs of a sweep, or the
single runs of a date. There are no facts, metrics, params or tags.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby, islice, pairwise
from typing import TYPE_CHECKING

from typing_extensions import override

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    NotFoundError,
    StorageError,
    show_count,
)
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.storage import Place, list_places, read_parsed_in
from kedro_hydraflow.stores.base import (
    CONFIG_FILE,
    ExperimentFilter,
    UntrackedStore,
    make_name_filter,
)
from kedro_hydraflow.stores.job_name import (
    HYDRA_FILE,
    is_interpolated,
    parse_job_name,
    read_job_name,
    read_job_names,
    resolve_job_names,
)
from kedro_hydraflow.stores.output_folders import (
    OutputTree,
    RunFolders,
    find_run_folders,
    make_stray_error,
    natural_key,
)
from kedro_hydraflow.stores.record import (
    HYDRA_FOLDERS,
    ExperimentRecord,
    Experiments,
    Facts,
    FoundRuns,
    RunListing,
    RunNames,
    RunRecord,
    find_output_id,
)
from kedro_hydraflow.stores.run_folder import make_absent_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    Name = str | KedroHydraflowError

logger = get_logger(__name__)

_SAMPLE_SIZE = 8
"""The number of jobs of a sweep whose names are read. If they differ, all names are read."""

_NO_FACTS: Facts = {}

_DATED = re.compile(r"(?:^|[/\\])\d{4}-\d\d-\d\d[/\\]\d\d-\d\d-\d\d(?:[/\\]|$)")
"""Matches the path of a directory that Hydra named by date and time."""


class HydraStore(UntrackedStore):
    """A store of Hydra's output directories.

    Args:
        place: The directory that holds them, at any depth.
        tree: What is below it, if it has been searched. By default, `find_experiments` searches.
        index: The cache for job names.
    """

    artifacts_folder = ""

    has_index = True

    def __init__(
        self, place: Place, tree: OutputTree | None = None, index: Index = NO_INDEX
    ) -> None:
        super().__init__(place)
        self._tree = tree
        self._index = index

    # Finding ---------------------------------------------------------------------------------

    @override
    def find_experiments(
        self,
        experiment_names: ExperimentFilter = None,
        *,
        include_default: bool = False,
    ) -> Experiments:
        matches = make_name_filter(experiment_names)
        tree = self._tree or find_run_folders(self._place)
        for stray in tree.strays:
            logger.warning("skipped: %s", stray)
        failures = list(tree.failures)
        found = self._group(tree.folders, failures)
        if experiment_names is not None:
            _warn_of_unnamed(found)
        matching = [record for record in found if matches(record.experiment_name or "")]
        others = {record.experiment_name or record.experiment_id for record in found}
        others -= {record.experiment_name for record in matching}
        matching.sort(key=ExperimentRecord.sort_key)
        return Experiments(matching, sorted(others), failures, are_parts=True)

    def _group(
        self, folders: Sequence[RunFolders], failures: list[Failure]
    ) -> list[ExperimentRecord]:
        """Return the experiments in directories, with their names, and the names of their runs."""
        records = []
        for folder, names in zip(folders, self._name_runs(folders), strict=True):
            place = folder.place
            groups: dict[str, list[str]] = {}
            for run, name in zip(folder.names, names, strict=True):
                if isinstance(name, KedroHydraflowError):
                    failures.append(Failure(place.join(run).url, name))
                else:
                    groups.setdefault(name, []).append(run)
            experiment_id = find_output_id(place) or folder.relative
            records += [
                ExperimentRecord(place.storage, place.path, experiment_id, name, tuple(runs))
                for name, runs in groups.items()
            ]
        return records

    def _name_runs(self, folders: Sequence[RunFolders]) -> list[list[Name]]:
        """Return the job names of the runs in each directory, or the errors.

        The jobs of a sweep usually have the same name, so only a few of them are read. If these
        differ, all are read.
        """
        runs = [(folder, name) for folder in folders for name in folder.names]
        sweeps = _group_by_sweep(folders)
        samples = [_choose_some(positions) for positions in sweeps]
        known = self._read_names(runs, [i for sample in samples for i in sample])
        unclear = [
            i
            for positions, sample in zip(sweeps, samples, strict=True)
            if len(positions) > len(sample) and not _is_same({known[i] for i in sample})
            for i in positions
            if i not in known
        ]
        known.update(self._read_names(runs, unclear))
        names = [known[0]] * len(runs) if runs else []
        for positions, sample in zip(sweeps, samples, strict=True):
            same = known[sample[0]]
            for i in positions:
                names[i] = known.get(i, same)
        interpolated = [i for i, name in enumerate(names) if is_interpolated(name)]
        places = [folder.place.join(name) for folder, name in map(runs.__getitem__, interpolated)]
        resolved = resolve_job_names(places, [names[i] for i in interpolated])
        for i, name in zip(interpolated, resolved, strict=True):
            names[i] = name
        rest = iter(names)
        return [list(islice(rest, len(folder.names))) for folder in folders]

    def _read_names(
        self, runs: Sequence[tuple[RunFolders, str]], positions: Sequence[int]
    ) -> dict[int, Name]:
        """Return the recorded job names of the runs at some positions, by position."""
        storage = self._place.storage
        paths = [storage.join(runs[i][0].place.path, runs[i][1]) for i in positions]
        recalled = self._index.recall("job_name", storage, paths, HYDRA_FILE)
        unread = [Place(storage, paths[i]) for i in recalled.unknown]
        parsed = read_parsed_in(unread, HYDRA_FILE, parse_job_name)
        read = [value if isinstance(value, Exception) else {"": value} for value in parsed.values]
        # A file that is not there may be about to be written.
        are_settled = [
            isinstance(value, str) and _is_dated(place.path)
            for place, value in zip(unread, parsed.values, strict=True)
        ]
        validators = self._index.choose_validators(storage, parsed.validators, are_settled)
        names = recalled.complete(read, validators)
        return {
            i: name if isinstance(name, KedroHydraflowError) else name[""] or ""
            for i, name in zip(positions, names, strict=True)
        }

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        listing = super().list_runs(experiments, limit)
        return replace(listing, experiments=_order(listing.experiments))

    @override
    def _list_names(self, experiment: ExperimentRecord, failures: list[Failure]) -> tuple[str, ...]:
        """Return the names of an experiment's runs, listed anew."""
        try:
            tree = find_run_folders(Place(experiment.storage, experiment.path))
        except NotFoundError:
            return ()
        folders = [folder for folder in tree.folders if not folder.relative]
        for record in self._group(folders, failures):
            if record.experiment_name == experiment.experiment_name:
                return record.run_names or ()
        return ()

    @override
    def read_runs(
        self, listed: Sequence[RunNames], *, include_deleted: bool | None = None
    ) -> FoundRuns:
        records = []
        for part in listed:
            experiment = part.experiment
            storage = experiment.storage
            for name in part.names:
                path = storage.join(experiment.path, name)
                run_id = self.get_run_id(experiment, name)
                records.append(RunRecord(storage, path, run_id, experiment, _NO_FACTS))
        return FoundRuns(records, [])

    @override
    def get_run_id(self, experiment: ExperimentRecord, name: str) -> str:
        return _join_id(experiment.experiment_id, name)

    @override
    def has_unique_ids(self, record: RunRecord) -> bool:
        return record.run_id.partition("/")[0] in HYDRA_FOLDERS

    @override
    def get_run_errors(self, records: Sequence[RunRecord]) -> list[KedroHydraflowError | None]:
        errors: list[KedroHydraflowError | None] = []
        found = read_parsed_in(records, CONFIG_FILE, lambda _: True).values
        without = [record for record, is_run in zip(records, found, strict=True) if is_run is None]
        listings = iter(list_places(without))
        for record, is_run in zip(records, found, strict=True):
            entries = next(listings) if is_run is None else None
            if isinstance(is_run, KedroHydraflowError):
                errors.append(is_run)
            elif isinstance(entries, NotFoundError):
                errors.append(make_absent_error(record))
            elif isinstance(entries, StorageError):
                errors.append(entries)
            else:
                errors.append(None if entries is None else make_stray_error(record, entries))
        return errors

    # Recorded data ---------------------------------------------------------------------------

    @override
    def read_settled(
        self, records: Sequence[RunRecord]
    ) -> list[dict[str, Facts] | KedroHydraflowError | None]:
        names = read_parsed_in(records, HYDRA_FILE, parse_job_name).values
        settled: list[dict[str, Facts] | KedroHydraflowError | None] = []
        for record, name in zip(records, names, strict=True):
            if isinstance(name, KedroHydraflowError):
                settled.append(name)
            else:
                is_settled = name is not None and self.is_settled(record)
                settled.append({"job_name": {"": name or ""}} if is_settled else None)
        return settled

    @override
    def is_settled(self, record: RunRecord) -> bool:
        """Whether Hydra named the directory by date and time, so that no other job uses it."""
        return _is_dated(record.path)

    @override
    def name_experiments(
        self, records: Sequence[RunRecord]
    ) -> list[ExperimentRecord | KedroHydraflowError]:
        names = read_job_names([self.artifacts(record) for record in records])
        return [
            name if isinstance(name, KedroHydraflowError) else _name(record.experiment, name)
            for record, name in zip(records, names, strict=True)
        ]

    @override
    def _read_experiment_name(self, record: RunRecord) -> str:
        return read_job_name(self.artifacts(record))


def _name(experiment: ExperimentRecord, name: str) -> ExperimentRecord:
    return replace(experiment, experiment_name=name)


def find_hydra_root(record: RunRecord) -> Place:
    """Return the directory ``multirun`` or ``outputs`` of a run, or else the parent directory."""
    place = Place(record.storage, record.path)
    output_id = find_output_id(place)
    for _ in range((output_id or "x/x").count("/")):
        place = place.parent
    return place


def _warn_of_unnamed(experiments: Sequence[ExperimentRecord]) -> None:
    """Log that runs without a job name are matched against an empty name."""
    unnamed = [record for record in experiments if not record.experiment_name]
    if unnamed:
        n_runs = sum(len(record.run_names or ()) for record in unnamed)
        first = unnamed[0]
        example = first.join((first.run_names or ("",))[0])
        logger.warning(
            "%s without a job name, such as %s, because it is not in %s; experiment_names is "
            "matched against an empty name",
            show_count(n_runs, "run"),
            example.url,
            HYDRA_FILE,
        )


def _group_by_sweep(folders: Sequence[RunFolders]) -> list[list[int]]:
    """Return the positions of the runs of each sweep, and of each single run."""
    groups: dict[Place, list[int]] = {}
    singles: list[list[int]] = []
    start = 0
    for folder in folders:
        positions = range(start, start := start + len(folder.names))
        if folder.sweep is None:
            singles += [[i] for i in positions]
        else:
            groups.setdefault(folder.sweep, []).extend(positions)
    return [*groups.values(), *singles]


def _choose_some(positions: Sequence[int]) -> Sequence[int]:
    """Return up to `_SAMPLE_SIZE` positions at equal distances, with the first and the last."""
    last = len(positions) - 1
    if last < _SAMPLE_SIZE:
        return positions
    return [positions[i * last // (_SAMPLE_SIZE - 1)] for i in range(_SAMPLE_SIZE)]


def _is_same(names: set[Name]) -> bool:
    """Whether names that were read allow to take them for those of all jobs of a sweep."""
    (first, *others) = names
    return not others and isinstance(first, str) and first != "" and not is_interpolated(first)


def _is_dated(path: str) -> bool:
    return _DATED.search(path) is not None


def _join_id(experiment_id: str, name: str) -> str:
    """Return the ID of a run. It begins with the last directory named as in `HYDRA_FOLDERS`."""
    return f"{experiment_id}/{name}" if experiment_id and name not in HYDRA_FOLDERS else name


def _order(listed: Sequence[RunNames]) -> list[RunNames]:
    """Return runs sorted by job name, then by directory, with numbers sorted by value."""
    keyed = [
        ((part.experiment.experiment_name or "", *_path_key(part.experiment)), part)
        for part in listed
    ]
    keyed.sort(key=lambda item: item[0])
    if not any(inner[: len(outer)] == outer for (outer, _), (inner, _) in pairwise(keyed)):
        return [part for _, part in keyed]
    # One directory is in another, so their runs may alternate.
    runs = [
        ((*key, natural_key(name)), i, name)
        for i, (key, part) in enumerate(keyed)
        for name in part.names
    ]
    return [
        replace(keyed[i][1], names=[name for _, _, name in group])
        for i, group in groupby(sorted(runs), key=lambda run: run[1])
    ]


def _path_key(place: Place) -> tuple[tuple[int, int, str], ...]:
    return tuple(map(natural_key, place.path.split(place.storage.sep)))
