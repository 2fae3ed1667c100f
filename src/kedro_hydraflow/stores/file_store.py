"""MLflow's file store: ``<root>/<experiment_id>/<run_id>/meta.yaml`` and so on.

``mlflow/store/tracking/file_store.py`` defines the format. This module relies on:

- The root also holds ``0`` (the "Default" experiment), ``.trash`` and ``models``.
- An experiment also holds ``tags``, ``datasets``, ``traces`` and ``models``. The directories
  in ``models`` have a ``meta.yaml`` with a ``status`` and look like runs.
- Each metric, param and tag is a file. A ``/`` in a key makes a directory.
- Deleted runs stay in their directories, with ``lifecycle_stage: deleted``.
- Artifacts are usually in the run directory, whatever location is recorded (``artifact_uri``),
  which is wrong after a copy. Only for a run without any there, `tracked_store` looks elsewhere.
- Experiment 0 is "Default". The name of an experiment whose ``meta.yaml`` is lost is Hydra's job
  name, as long as its runs have a ``meta.yaml`` of their own.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    MetadataError,
    NotARunError,
    NotFoundError,
    OptionError,
    RunNotFoundError,
    StorageError,
    UnreachableError,
)
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import (
    LocalStorage,
    Place,
    list_places,
    read_parsed,
    read_parsed_in,
)
from kedro_hydraflow.stores.base import (
    DEFAULT_EXPERIMENT_ID,
    DEFAULT_EXPERIMENT_NAME,
    MODELS_FOLDER,
    ExperimentFilter,
    is_glob,
    list_patterns,
    make_experiment_filter,
)
from kedro_hydraflow.stores.job_name import read_job_name, read_job_names
from kedro_hydraflow.stores.locations import (
    RunLocator,
    is_recorded_elsewhere,
    list_real_places,
)
from kedro_hydraflow.stores.logged_file import (
    ForeignFileError,
    is_apple_double,
    is_logged_name,
    parse_text,
    refuse_binary,
)
from kedro_hydraflow.stores.meta_file import (
    META_FILE,
    has_run_id,
    is_experiment_meta,
    parse_artifact_uri,
    parse_run_meta,
    read_metas,
)
from kedro_hydraflow.stores.metric_file import parse_latest, parse_points, sort_key
from kedro_hydraflow.stores.record import (
    LOGGED_KINDS,
    RUN_NAME_TAG,
    ExperimentRecord,
    Experiments,
    Facts,
    FoundRuns,
    MalformedValuesError,
    ModelRecord,
    Point,
    RunListing,
    RunNames,
    RunRecord,
    is_deleted,
    is_finished,
    is_run_id,
    make_run_record,
)
from kedro_hydraflow.stores.run_folder import (
    get_folder_errors,
    has_run_meta,
    inspect_folders,
    take_sample,
    warn_of_copies,
)
from kedro_hydraflow.stores.tracked_store import TrackedStore, get_usual_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kedro_hydraflow.storage import Entry, Storage
    from kedro_hydraflow.stores.meta_file import Meta

    Parse = Callable[[bytes], Any]

logger = get_logger(__name__)

NOT_EXPERIMENTS = frozenset({DEFAULT_EXPERIMENT_ID, ".trash", "models", ".kedro-hydraflow"})
"""Directories in a tracking directory that are only searched for runs on request, or never."""

_NOT_RUNS = frozenset({"tags", "datasets", "traces", "models"})
"""Directories in an experiment directory that are not runs."""

_MAX_DIGITS = 20
"""The number of digits that no time has."""

_BATCH_SIZE = 64
"""The number of experiments listed at a time, to limit the memory for their listings."""


class FileStore(TrackedStore):
    """MLflow's file store.

    Args:
        place: The tracking directory.
        source: The source with the artifact root and the storage options.
        folders: The content of the tracking directory, if it has already been read. By default,
            `find_experiments` reads it.
        index: The cache for facts and logged values.
    """

    finds_folders = True
    has_index = True

    def __init__(
        self,
        place: Place,
        source: Source | None = None,
        folders: ExperimentFolders | None = None,
        index: Index = NO_INDEX,
    ) -> None:
        super().__init__(place, source)
        self.root = place
        self._source = source
        self._storage = place.storage
        self._folders = folders
        self._index = index
        self._locator: RunLocator | None = None

    @property
    @override
    def where(self) -> str:
        return self.root.url

    # Finding ---------------------------------------------------------------------------------

    @override
    def find_experiments(
        self, experiment_names: ExperimentFilter = None, *, include_default: bool = False
    ) -> Experiments:
        matches = make_experiment_filter(experiment_names, include_default=include_default)
        if self._source is not None:
            self._locator = self._make_locator(self._source)
            self._locator.check_root()
        folders = self._folders or ExperimentFolders(self.root, self._index)
        matching = []
        other_names = []
        failures = _get_broken_links(self.root, folders.entries, NOT_EXPERIMENTS)
        for place in folders.foreign:
            logger.warning(
                "skipped %s: it has no runs, and its %s is not that of an experiment, which has an "
                "experiment_id or artifact_location",
                place.url,
                META_FILE,
            )
        for experiment in self._iter_experiments(folders, failures):
            name = experiment.shown_name
            if matches(experiment.experiment_id, name):
                matching.append(experiment)
            else:
                other_names.append(name or experiment.experiment_id)
        defaults: list[ExperimentRecord] = []
        unknown = {name for name in list_patterns(experiment_names) if not is_glob(name)}
        unknown -= {e.experiment_name for e in matching} - {DEFAULT_EXPERIMENT_NAME}
        for default in self._iter_default(folders, failures, is_asked=include_default or unknown):
            is_match = matches(default.experiment_id, default.shown_name)
            (matching if is_match else defaults).append(default)
        matching.sort(key=ExperimentRecord.sort_key)
        return Experiments(matching, other_names, failures, defaults)

    def _iter_experiments(
        self, folders: ExperimentFolders, failures: list[Failure]
    ) -> Iterator[ExperimentRecord]:
        """Yield all experiments but "Default". Adds what cannot be read to the failures."""
        lost = []
        for place, meta in folders.metas.items():
            if meta is None and place.name.isdecimal():
                lost.append(place)
            elif meta is not None:
                yield from _iter_named(place, meta, failures)
        for place, entries in zip(lost, list_places(lost), strict=True):
            if isinstance(entries, NotFoundError):
                continue  # removed in the meantime
            if isinstance(entries, StorageError):
                failures.append(Failure(place.url, entries))
                continue
            sample = take_sample(place, _get_run_names(entries))
            if not has_run_meta(sample):
                logger.warning(
                    "skipped %s: it has no %s; if a database or a server tracks its runs, give "
                    "that as tracking_uri",
                    place.url,
                    META_FILE,
                )
                continue
            experiment = ExperimentRecord(place.storage, place.path, place.name)
            records = [make_run_record(run_dir, experiment) for run_dir in sample]
            name = self._read_lost_name(records)
            logger.warning(
                "%s: the experiment has no %s, so its name is Hydra's job name, %r",
                place.url,
                META_FILE,
                name,
            )
            yield replace(experiment, experiment_name=name)

    def _read_lost_name(self, records: Sequence[RunRecord]) -> str:
        """Return the first job name that one of the runs recorded, wherever its artifacts are."""
        found = [record for record in self.find_artifacts(records) if isinstance(record, RunRecord)]
        job_names = read_job_names([self.artifacts(record) for record in found])
        return next((name for name in job_names if isinstance(name, str) and name), "")

    def _iter_default(
        self, folders: ExperimentFolders, failures: list[Failure], *, is_asked: object
    ) -> Iterator[ExperimentRecord]:
        """Yield the experiment 0. A malformed name counts only if it may have been asked for."""
        place, meta = folders.default, folders.default_meta
        if place is None:
            return
        if not is_asked and (isinstance(meta, Exception) or not (meta or {}).get("name")):
            meta = None
        yield from _iter_named(place, meta or {"name": DEFAULT_EXPERIMENT_NAME}, failures)

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        listed = []
        failures: list[Failure] = []
        for i in range(0, len(experiments), _BATCH_SIZE):
            group = experiments[i : i + _BATCH_SIZE]
            listings = self._storage.list_many([e.path for e in group], limit)
            for experiment, entries in zip(group, listings, strict=True):
                if isinstance(entries, NotFoundError):
                    continue  # removed since it was found
                if isinstance(entries, StorageError):
                    failures.append(Failure(experiment.url, entries))
                    continue
                failures += _get_broken_links(experiment, entries, _NOT_RUNS)
                listed.append(RunNames(experiment, _get_run_names(entries)))
        if limit is None:
            warn_of_copies(listed)
        return RunListing(listed, failures)

    @override
    def read_runs(
        self, listed: Sequence[RunNames], *, include_deleted: bool | None = None
    ) -> FoundRuns:
        storage = self._storage
        experiments = [part.experiment for part in listed for _ in part.names]
        names = [name for part in listed for name in part.names]
        paths = [
            f"{experiment.path}{storage.sep}{name}"
            for experiment, name in zip(experiments, names, strict=True)
        ]
        facts_of_runs: list[Any] = [None] * len(paths)
        if not storage.is_remote or include_deleted is False:
            facts_of_runs = self._read_facts_of_folders(paths)
        else:
            # A check is one request, so skip it for directories that are named like runs.
            unsure = [i for i, name in enumerate(names) if not is_run_id(name)]
            errors = get_folder_errors([Place(storage, paths[i]) for i in unsure])
            for i, error in zip(unsure, errors, strict=True):
                facts_of_runs[i] = error
        records = []
        failures = []
        n_deleted = 0
        strays = []
        for path, name, experiment, facts in zip(
            paths, names, experiments, facts_of_runs, strict=True
        ):
            if isinstance(facts, NotARunError):
                if is_run_id(name) and not isinstance(facts, RunNotFoundError):
                    strays.append(path)
                continue
            if isinstance(facts, Exception):
                failures.append(Failure(storage.get_url(path), facts))
            elif is_deleted(facts) and not include_deleted:
                n_deleted += 1
            else:
                records.append(RunRecord(storage, path, name, experiment, facts or None))
        if strays:
            logger.warning(
                "skipped %s: named by a run ID, but without anything of a run",
                _show_first(storage, strays),
            )
        return FoundRuns(records, failures, n_deleted)

    def _read_facts_of_folders(self, paths: Sequence[str]) -> list[Facts | KedroHydraflowError]:
        """Return the facts of the run in each directory, or the error.

        Facts are empty if the ``meta.yaml`` is missing or being written. The error is a
        NotARunError if the directory is not a run. Logs how many runs have lost the file.
        """
        storage = self._storage
        recalled = self._index.recall("facts", storage, paths, META_FILE, _are_texts)
        suffix = storage.sep + META_FILE
        files = [paths[i] + suffix for i in recalled.unknown]
        parsed = storage.read_parsed(files, parse_run_meta)
        # An empty file is being written: `read_facts` reads it again.
        pairs = zip(parsed.validators, parsed.values, strict=True)
        of_whole = [validator if facts else None for validator, facts in pairs]
        validators = self._choose_validators(of_whole, parsed.values)
        facts_of_runs = recalled.complete(parsed.values, validators)
        absent = [
            i
            for i, facts in enumerate(facts_of_runs)
            if facts is None or isinstance(facts, NotARunError)
        ]
        lost = []
        folders = inspect_folders([Place(storage, paths[i]) for i in absent])
        for i, folder in zip(absent, folders, strict=True):
            foreign = facts_of_runs[i]
            if folder.error is None and foreign is not None:
                facts_of_runs[i] = MetadataError(str(foreign))
            else:  # without an error, it may be artifacts of a run that a database tracks
                facts_of_runs[i] = folder.error or {}
            if folder.has_lost_meta:
                lost.append(paths[i])
        if lost:
            logger.warning(
                "%s: there is no %s, so status, times and name are unknown",
                _show_first(storage, lost),
                META_FILE,
            )
        return self._add_tagged_names(paths, facts_of_runs)

    @override
    def get_run_errors(self, records: Sequence[RunRecord]) -> Sequence[KedroHydraflowError | None]:
        return get_folder_errors(records)

    # Artifacts outside the run directory -----------------------------------------------------

    @override
    def may_be_elsewhere(self, record: RunRecord) -> bool:
        if record.artifacts_dir is not None:
            return False
        # On remote storage, to look takes a request, so the experiment has to give a reason.
        experiment = record.experiment
        return not self._storage.is_remote or is_recorded_elsewhere(
            experiment.artifact_location, experiment
        )

    @override
    def _read_uris(self, records: Sequence[RunRecord]) -> list[str | KedroHydraflowError]:
        metas = read_metas(records, parse_artifact_uri)
        uris = [
            meta if isinstance(meta, Exception) else (meta or {}).get("artifact_uri") or ""
            for meta in metas
        ]
        lost = [i for i, uri in enumerate(uris) if uri == ""]
        for i, uri in zip(lost, _get_usual_uris([records[i] for i in lost]), strict=True):
            uris[i] = uri
        return uris

    @override
    def _get_locator(self, record: RunRecord) -> RunLocator:
        if self._locator is None:
            source = self._source
            if source is None:  # the runs were given by their paths, which have the options
                path = record.to_path()
                source = Source(path, storage_options=getattr(path, "storage_options", None))
            self._locator = self._make_locator(source)
        return self._locator

    def _make_locator(self, source: Source) -> RunLocator:
        roots = list_real_places(self.root)
        return RunLocator(source, [place for root in roots for place in _get_neighbors(root)])

    @override
    def _read_models(self, record: RunRecord) -> list[ModelRecord]:
        folder = record.experiment.join(MODELS_FOLDER)
        places = [folder.join(entry.name) for entry in _list_models(folder) if entry.is_dir]
        models = []
        for place, meta in zip(places, read_metas(places), strict=True):
            if isinstance(meta, MetadataError):
                logger.warning("skipped: %s", meta)
            elif isinstance(meta, KedroHydraflowError):
                raise meta
            elif meta and not is_deleted(meta):
                models.append(_make_model(place.name, meta))
        return models

    # Recorded data ---------------------------------------------------------------------------

    @override
    def _read_experiment_name(self, record: RunRecord) -> str | None:
        (meta,) = read_metas([record.experiment])
        if isinstance(meta, Exception):
            raise meta
        if meta is None:  # artifacts of a run that a database or server tracks
            return read_job_name(self.artifacts(record))
        return meta.get("name", "")

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        recalled = self._index.recall(
            "facts", self._storage, _get_paths(records), META_FILE, _are_texts
        )
        metas = read_metas([records[i] for i in recalled.unknown], parse_run_meta)
        # {} if there is no file; None, which is not cached, if the file is being written.
        read = [{} if meta is None else meta or None for meta in metas]
        facts_of_runs = recalled.complete(read, self._choose_validators([None] * len(read), read))
        return self._add_tagged_names(_get_paths(records), facts_of_runs)

    @override
    def read_settled(
        self, records: Sequence[RunRecord]
    ) -> list[dict[str, Facts] | KedroHydraflowError | None]:
        settled: list[Any] = []
        for facts in self.read_facts(records):
            if isinstance(facts, Exception):
                settled.append(facts)
            else:
                settled.append({"facts": facts} if is_finished(facts) else None)
        positions = [i for i, known in enumerate(settled) if isinstance(known, dict)]
        for kind in LOGGED_KINDS:
            values = self.read_all([records[i] for i in positions], kind)
            for i, of_run in zip(positions, values, strict=True):
                if isinstance(of_run, Exception):
                    settled[i] = of_run
                elif isinstance(settled[i], dict):
                    settled[i][kind] = of_run
        return settled

    @override
    def read_experiments(self, records: Iterable[RunRecord]) -> list[tuple[Place, Facts]]:
        places = {record.experiment.path: record.experiment for record in records}
        metas: list[Any] = [*read_metas([*places.values()])]
        pairs = zip(places.values(), metas, strict=True)
        return [(place, meta) for place, meta in pairs if _is_named(meta)]

    def _add_tagged_names(self, paths: Sequence[str], facts_of_runs: list[Any]) -> list[Any]:
        """Return the facts, with the name in `RUN_NAME_TAG` for runs that recorded no other.

        The tag is cached by itself, because it changes without the ``meta.yaml``.
        """
        unnamed = [
            i
            for i, facts in enumerate(facts_of_runs)
            if isinstance(facts, dict) and facts and not facts.get("run_name")
        ]
        if not unnamed:
            return facts_of_runs
        records = [
            replace(make_run_record(Place(self._storage, paths[i])), facts=facts_of_runs[i])
            for i in unnamed
        ]
        named = [*facts_of_runs]
        names = self.read_values(records, "tags", RUN_NAME_TAG)
        for i, name in zip(unnamed, names, strict=True):
            if isinstance(name, KedroHydraflowError):
                named[i] = name
            elif name:
                named[i] = {**facts_of_runs[i], "run_name": name}
        return named

    def _choose_validators(
        self, validators: Sequence[str | None], facts_of_runs: Iterable[object]
    ) -> Sequence[str | None]:
        """Return the validators for the index, like `Index.choose_validators`."""
        are_finished = map(is_finished, facts_of_runs)
        return self._index.choose_validators(self._storage, validators, are_finished)

    @override
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> list[float | str | KedroHydraflowError | None]:
        relative = _get_relative_file(kind, name)
        if relative is None:
            return [None] * len(records)
        key = f"{kind}.{name}"
        recalled = self._index.recall(
            key, self._storage, _get_paths(records), relative, _get_check(kind)
        )
        unread = [records[i] for i in recalled.unknown]
        parsed = read_parsed_in(unread, relative, _get_parse(kind))
        values = self._retry_as_trees(unread, kind, name, _drop_foreign(parsed.values))
        validators = self._choose_validators(parsed.validators, [r.facts for r in unread])
        return _unwrap(recalled.complete(_wrap(values), validators))

    def _retry_as_trees(
        self, records: Sequence[RunRecord], kind: str, name: str, values: list[Any]
    ) -> list[Any]:
        """Return the values. For files that could not be read, list all files of the kind.

        ``metrics/loss`` cannot be read as a file if a metric ``loss/train`` makes it a directory.
        """
        unreadable = [
            i
            for i, value in enumerate(values)
            if isinstance(value, StorageError) and not isinstance(value, UnreachableError)
        ]
        if not unreadable:
            return values
        values = [*values]
        everything = self.read_all([records[i] for i in unreadable], kind)
        for i, of_run in zip(unreadable, everything, strict=True):
            found = of_run.values if isinstance(of_run, MalformedValuesError) else of_run
            values[i] = found.get(name) if isinstance(found, dict) else found
        return values

    @override
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        if not self._index.assumes_unchanged(self._storage):
            return self._read_trees(records, kind)  # no single validator covers many files
        recalled = self._index.recall(
            kind, self._storage, _get_paths(records), is_valid=_get_check_of_all(kind)
        )
        unread = [records[i] for i in recalled.unknown]
        trees = self._read_trees(unread, kind)
        validators = self._choose_validators([], [record.facts for record in unread])
        return _unwrap(recalled.complete(_wrap(trees), validators))

    @override
    def read_first(
        self, records: Sequence[RunRecord], kind: str, limit: int
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        return self._read_trees(records, kind, limit)

    def _read_trees(
        self, records: Sequence[RunRecord], kind: str, limit: int | None = None
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        """Return all values of a kind for each run, or the first ones by name, or the error."""
        files, failures = self._list_files(records, kind)
        if limit is not None:
            of_runs = groupby(files, key=lambda file: file[0])
            files = [file for _, of_run in of_runs for file in islice(of_run, limit)]
        parsed = read_parsed([file for _, _, file in files], _get_parse(kind))
        values: list[dict[str, Any]] = [{} for _ in records]
        malformed: dict[int, list[MetadataError]] = {}
        for (i, key, _), value in zip(files, _drop_foreign(parsed.values), strict=True):
            if isinstance(value, MetadataError):
                malformed.setdefault(i, []).append(value)
            elif isinstance(value, KedroHydraflowError):
                failures.setdefault(i, value)
            elif value is not None:
                values[i][key] = value
        for i, errors in malformed.items():
            failures.setdefault(i, MalformedValuesError.make(values[i], errors))
        return [failures.get(i, of_run) for i, of_run in enumerate(values)]

    def _list_files(
        self, records: Sequence[RunRecord], kind: str
    ) -> tuple[list[tuple[int, str, Place]], dict[int, KedroHydraflowError]]:
        """List the files of a kind, in all subdirectories.

        Returns:
            The files, each as the position of its run, its key and its place, sorted; and the
            errors of directories that cannot be listed, by the position of the run.
        """
        files: list[tuple[int, str, Place]] = []
        failures: dict[int, KedroHydraflowError] = {}
        folders = [(i, "", record.join(kind)) for i, record in enumerate(records)]
        while folders:
            listings = list_places([folder for _, _, folder in folders])
            inner = []
            for (i, prefix, folder), entries in zip(folders, listings, strict=True):
                if isinstance(entries, NotFoundError):
                    continue
                if isinstance(entries, StorageError):
                    failures[i] = entries
                    continue
                names = {entry.name for entry in entries}
                for entry in entries:
                    if not is_logged_name(entry.name) or is_apple_double(entry.name, names):
                        continue
                    place = folder.join(entry.name)
                    if entry.is_dir:
                        inner.append((i, f"{prefix}{entry.name}/", place))
                    else:
                        files.append((i, f"{prefix}{entry.name}", place))
            folders = inner
        files.sort(key=lambda file: file[:2])
        return files, failures

    @override
    def read_histories(
        self, records: Sequence[RunRecord], name: str
    ) -> list[list[Point] | KedroHydraflowError]:
        relative = _get_relative_file("metrics", name)
        if relative is None:
            return [[] for _ in records]
        parsed = read_parsed_in(records, relative, refuse_binary(parse_points))
        histories = _drop_foreign(parsed.values)
        latest = self._retry_as_trees(records, "metrics", name, histories)
        found = [
            [] if value is None else history
            for history, value in zip(histories, latest, strict=True)
        ]
        return [sorted(h, key=sort_key) if isinstance(h, list) else h for h in found]


class ExperimentFolders:
    """The directories in a tracking directory, with the ``meta.yaml`` of each.

    Args:
        place: The tracking directory.
        index: The cache for the names of experiments.
        entries: The entries of the tracking directory, if they have been listed.

    Raises:
        NotFoundError: If the tracking directory does not exist.
        StorageError: If the tracking directory cannot be listed.
    """

    def __init__(
        self, place: Place, index: Index = NO_INDEX, entries: Sequence[Entry] | None = None
    ) -> None:
        self.place = place
        self.entries = place.list() if entries is None else entries
        folders = [
            place.join(entry.name)
            for entry in self.entries
            if entry.is_dir and entry.name not in NOT_EXPERIMENTS
        ]
        self.default = self._find_default()
        """The directory of the experiment "Default", None if there is none."""
        both = [*folders, *filter(None, [self.default])]
        metas = dict(zip(both, _read_experiment_metas(place.storage, both, index), strict=True))
        self.default_meta = None if self.default is None else metas.pop(self.default)
        """Its ``meta.yaml``, None if there is none, or the error."""
        self.foreign = _find_foreign(metas)
        """The directories without runs whose ``meta.yaml`` is not that of an experiment."""
        self.metas = {**metas, **dict.fromkeys(self.foreign)}
        """The ``meta.yaml`` of each directory but that of "Default" as `default_meta`, but None
        for `foreign` directories."""

    @property
    def has_experiments(self) -> bool:
        """Whether any directory but that of "Default" is an experiment of a file store."""
        return any(meta is not None for meta in self.metas.values())

    def _find_default(self) -> Place | None:
        for entry in self.entries:
            if entry.name == DEFAULT_EXPERIMENT_ID and entry.is_dir:
                return self.place.join(entry.name)
        return None


def _find_foreign(
    metas: Mapping[Place, Meta | KedroHydraflowError | None],
) -> list[Place]:
    """Return the directories that have no runs and the ``meta.yaml`` of another program."""
    unsure = [place for place, meta in metas.items() if _may_be_foreign(place.name, meta)]
    foreign = []
    for place, entries in zip(unsure, list_places(unsure), strict=True):
        if isinstance(entries, StorageError):
            continue
        sample = read_metas(take_sample(place, _get_run_names(entries)))
        if not any(map(_has_run_id_or_is_unread, sample)):
            foreign.append(place)
    return foreign


def _has_run_id_or_is_unread(meta: Meta | KedroHydraflowError | None) -> bool:
    """Whether a ``meta.yaml`` is certainly that of a run, or cannot be read."""
    return isinstance(meta, StorageError) or (isinstance(meta, dict) and has_run_id(meta))


def _may_be_foreign(name: str, meta: Meta | KedroHydraflowError | None) -> bool:
    """Whether another program may have written a ``meta.yaml``, by the directory and content."""
    if meta is None or name.isdecimal():
        return False
    if isinstance(meta, Exception):
        return isinstance(meta, MetadataError)
    return not is_experiment_meta(meta) and not has_run_id(meta)


def _list_models(folder: Place) -> list[Entry]:
    """Return the entries of a folder with models, none if it does not exist."""
    try:
        return folder.list()
    except NotFoundError:
        return []
    except UnreachableError:
        raise
    except StorageError:
        # Web servers do not say whether it is absent.
        if any(entry.name == MODELS_FOLDER for entry in folder.parent.list()):
            raise
        return []


def _make_model(model_id: str, meta: Meta) -> ModelRecord:
    created = meta.get("creation_timestamp") or ""
    return ModelRecord(
        model_id,
        meta.get("name") or "",
        meta.get("source_run_id") or "",
        int(created) if created.isdecimal() and len(created) < _MAX_DIGITS else 0,
        meta.get("artifact_location") or "",
    )


def _read_experiment_metas(
    storage: Storage, folders: Sequence[Place], index: Index
) -> list[Meta | KedroHydraflowError | None]:
    """Like `read_metas`, but from the index if it assumes that names do not change."""
    if not index.assumes_unchanged(storage):
        return read_metas(folders)
    recalled = index.recall("experiment", storage, _get_paths(folders), is_valid=_are_texts)
    metas = read_metas([folders[i] for i in recalled.unknown])
    validators = index.choose_validators(storage, [], map(_is_named, metas))
    return recalled.complete(metas, validators)


def _is_named(meta: object) -> bool:
    """Whether the ``meta.yaml`` of an experiment has a name and is not that of a deleted one."""
    return isinstance(meta, dict) and bool(meta.get("name")) and not is_deleted(meta)


def _make_name_error(place: Place, meta: Meta) -> MetadataError:
    found = "an empty file" if not meta else "an empty name" if "name" in meta else "no such entry"
    return MetadataError(
        f"{place.join(META_FILE).url}: expected the experiment's name in the entry 'name', "
        f"found {found}"
    )


def _iter_named(
    place: Place, meta: Meta | KedroHydraflowError, failures: list[Failure]
) -> Iterator[ExperimentRecord]:
    """Yield the experiment that a ``meta.yaml`` describes, unless it is deleted."""
    if isinstance(meta, Exception):
        failures.append(Failure(place.url, meta))
    elif meta.get("name", "") == "":
        failures.append(Failure(place.url, _make_name_error(place, meta)))
    elif not is_deleted(meta):
        name, location = meta["name"], meta.get("artifact_location") or ""
        known = place.storage, place.path, place.name, name or "", None, location
        yield ExperimentRecord(*known, is_nameless=name is None)


def _get_run_names(entries: Iterable[Entry]) -> list[str]:
    return [entry.name for entry in entries if entry.is_dir and entry.name not in _NOT_RUNS]


def _get_neighbors(root: Place) -> list[Place]:
    """Return the directories in which artifacts are moved together with a tracking directory."""
    if isinstance(root.storage, LocalStorage):
        return [root.parent, root]
    try:
        path: Any = root.to_path()
    except OptionError:  # above the top
        return []
    is_top = path.parent.path.strip("/") == path.path.strip("/")  # of a bucket or host
    return [root] if is_top else [root.parent, root]


def _show_first(storage: Storage, paths: Sequence[str]) -> str:
    """Return the first path and the number of the others for a message."""
    first = storage.get_url(paths[0])
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def _get_broken_links(
    folder: Place, entries: Sequence[Entry], ignored: frozenset[str]
) -> list[Failure]:
    error = StorageError("broken symbolic link")
    return [
        Failure(folder.join(entry.name).url, error)
        for entry in entries
        if entry.is_broken and entry.name not in ignored and not entry.name.startswith(".")
    ]


def _get_usual_uris(records: Sequence[RunRecord]) -> list[str]:
    """Return the ``artifact_uri`` that MLflow records for each run, empty if it is unknown.

    It follows from the location of the experiment, which is read for runs that were given by their
    directories.
    """
    experiments = {record.experiment.path: record.experiment for record in records}
    unread = [e for e in experiments.values() if not e.artifact_location]
    for experiment, meta in zip(unread, read_metas(unread), strict=True):
        if isinstance(meta, dict):
            location = meta.get("artifact_location", "")
            experiments[experiment.path] = replace(experiment, artifact_location=location)
    return [
        get_usual_uri(replace(record, experiment=experiments[record.experiment.path]))
        for record in records
    ]


def _get_paths(places: Iterable[Place]) -> list[str]:
    return [place.path for place in places]


def _get_relative_file(kind: str, name: str) -> str | None:
    """Return the relative path of a metric, param or tag, None if no file can have the name."""
    return f"{kind}/{name}" if is_logged_name(name) else None


def _get_parse(kind: str) -> Parse:
    """Return the parser for the files of a kind."""
    return refuse_binary(parse_latest) if kind == "metrics" else parse_text


def _drop_foreign(values: Sequence[Any]) -> list[Any]:
    """Return the values, with None for those of files that MLflow did not write. Log these."""
    for value in values:
        if isinstance(value, ForeignFileError):
            logger.warning("skipped: %s", value)
    return [None if isinstance(value, ForeignFileError) else value for value in values]


def _are_texts(facts: Mapping[str, object]) -> bool:
    """Whether an entry of the index can be the entries of a ``meta.yaml``."""
    return all(value is None or type(value) is str for value in facts.values())


def _get_check(kind: str) -> Callable[[Mapping[str, object]], bool]:
    """Return whether an entry of the index can be a metric, or a param or tag."""
    types = (float, type(None)) if kind == "metrics" else (str, type(None))
    return lambda entry: isinstance(entry.get("value", ...), types)


def _get_check_of_all(kind: str) -> Callable[[Mapping[str, object]], bool]:
    """Return whether an entry of the index can be all metrics, params or tags."""
    of_kind = float if kind == "metrics" else str

    def is_valid(entry: Mapping[str, object]) -> bool:
        values = entry.get("value")
        return isinstance(values, dict) and all(type(v) is of_kind for v in values.values())

    return is_valid


def _wrap(values: Iterable[Any]) -> list[Any]:
    """Return the values as mappings, which is what the index caches."""
    return [v if isinstance(v, Exception) else {"value": v} for v in values]


def _unwrap(entries: Iterable[Any]) -> list[Any]:
    return [entry if isinstance(entry, Exception) else entry["value"] for entry in entries]
