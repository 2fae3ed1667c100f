"""The file store of MLflow: ``<root>/<experiment_id>/<run_id>/meta.yaml`` and so on.

The format is that of ``mlflow/store/tracking/file_store.py``. What this module knows of
it, and where real directories differ from it:

- The root also holds ``0`` (the "Default" experiment), ``.trash`` and ``models``.
- An experiment also holds ``tags``, ``datasets``, ``traces`` and ``models``; the folders
  in ``models`` have a ``meta.yaml`` with a ``status`` and look like runs.
- Metrics, params and tags are a file for each key; a ``/`` in a key is a folder.
- Deleted runs stay in place with ``lifecycle_stage: deleted``.
- Recorded absolute locations (``artifact_uri``) are wrong after a copy. What lies in
  place counts; they are not read.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    MetadataError,
    NotARunError,
    NotFoundError,
    StorageError,
    UnreachableError,
)
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.storage import Place, list_places, read_parsed, read_parsed_in
from kedro_hydraflow.stores.base import (
    DEFAULT_EXPERIMENT_ID,
    ExperimentFilter,
    Store,
    make_name_filter,
)
from kedro_hydraflow.stores.job_name import read_job_name
from kedro_hydraflow.stores.meta_file import (
    META_FILE,
    parse_run_meta,
    read_metas,
)
from kedro_hydraflow.stores.metric_file import parse_latest, parse_points, sort_key
from kedro_hydraflow.stores.record import (
    ExperimentRecord,
    Experiments,
    Facts,
    FoundRuns,
    Point,
    RunListing,
    RunNames,
    RunRecord,
    is_deleted,
    is_finished,
)
from kedro_hydraflow.stores.run_folder import explain_strays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kedro_hydraflow.storage import Entry, Storage

    Parse = Callable[[bytes], Any]

logger = logging.getLogger(__name__)

NOT_EXPERIMENTS = frozenset({DEFAULT_EXPERIMENT_ID, ".trash", "models"})
"""Folders of a tracking directory."""

_NOT_RUNS = frozenset({"tags", "datasets", "traces", "models"})

_LISTED_AT_ONCE = 64
"""Experiments whose listings are in memory together; remotely, asked for together."""


class FileStore(Store):
    """The file store of MLflow.

    Args:
        place: The tracking directory.
        folders: What the tracking directory held when the store was opened, if that was looked
            at; by default `find_experiments` lists it.
        index: What is known of runs.
    """

    finds_folders = True

    def __init__(
        self, place: Place, folders: ExperimentFolders | None = None, index: Index = NO_INDEX
    ) -> None:
        super().__init__(place)
        self.root = place
        self._storage = place.storage
        self._folders = folders
        self._index = index

    @property
    @override
    def where(self) -> str:
        return self.root.url

    # Finding ---------------------------------------------------------------------------------

    @override
    def find_experiments(self, experiment_names: ExperimentFilter = None) -> Experiments:
        matches = make_name_filter(experiment_names)
        folders = self._folders or ExperimentFolders(self.root, self._index)
        matching = []
        other_names = []
        failures = _get_broken_links(self.root, folders.entries, NOT_EXPERIMENTS)
        for place, meta in folders.metas.items():
            if meta is None:
                _warn_of_runs(place)
            elif isinstance(meta, Exception):
                failures.append(Failure(place.url, meta))
            elif not meta.get("name"):
                failures.append(Failure(place.url, _make_name_error(place, meta)))
            elif is_deleted(meta):
                continue
            elif matches(meta["name"]):
                record = ExperimentRecord(place.storage, place.path, place.name, meta["name"])
                matching.append(record)
            else:
                other_names.append(meta["name"])
        matching.sort(key=ExperimentRecord.sort_key)
        return Experiments(matching, other_names, failures)

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        listed = []
        failures: list[Failure] = []
        for i in range(0, len(experiments), _LISTED_AT_ONCE):
            group = experiments[i : i + _LISTED_AT_ONCE]
            listings = self._storage.list_many([e.path for e in group], limit)
            for experiment, entries in zip(group, listings, strict=True):
                if isinstance(entries, NotFoundError):
                    continue  # removed since it was found
                if isinstance(entries, StorageError):
                    failures.append(Failure(experiment.url, entries))
                    continue
                failures += _get_broken_links(experiment, entries, _NOT_RUNS)
                names = [e.name for e in entries if e.is_dir and e.name not in _NOT_RUNS]
                listed.append(RunNames(experiment, names))
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
        records = []
        failures = []
        for path, name, experiment, facts in zip(
            paths, names, experiments, facts_of_runs, strict=True
        ):
            if isinstance(facts, NotARunError):
                continue
            if isinstance(facts, Exception):
                failures.append(Failure(storage.get_url(path), facts))
            elif include_deleted or not is_deleted(facts):
                records.append(RunRecord(storage, path, name, experiment, facts or None))
        return FoundRuns(records, failures)

    def _read_facts_of_folders(self, paths: Sequence[str]) -> list[Facts | KedroHydraflowError]:
        """Return the facts of the runs in folders, empty if they are not known now.

        For a folder that is no run, and for one that cannot be read, the error that says so.
        """
        storage = self._storage
        recalled = self._index.recall("facts", storage, paths, META_FILE)
        suffix = storage.sep + META_FILE
        files = [paths[i] + suffix for i in recalled.unknown]
        parsed = storage.read_parsed(files, parse_run_meta)
        validators = self._choose_validators(parsed.validators, parsed.values)
        facts_of_runs = recalled.complete(parsed.values, validators)
        absent = [
            i
            for i, facts in enumerate(facts_of_runs)
            if facts is None or isinstance(facts, NotARunError)
        ]
        strays = explain_strays([Place(storage, paths[i]) for i in absent])
        for i, error in zip(absent, strays, strict=True):
            facts_of_runs[i] = error or {}  # or a run that a database records
        return facts_of_runs

    @override
    def explain_strays(self, records: Sequence[RunRecord]) -> Sequence[KedroHydraflowError | None]:
        return explain_strays(records)

    # What was recorded -----------------------------------------------------------------------

    @override
    def _read_experiment_name(self, record: RunRecord) -> str:
        (meta,) = read_metas([record.experiment])
        if isinstance(meta, Exception):
            raise meta
        if meta is None:  # runs whose experiment a database or a server has
            return read_job_name(self.artifacts(record))
        return meta.get("name", "")

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        recalled = self._index.recall("facts", self._storage, _get_paths(records), META_FILE)
        metas = read_metas([records[i] for i in recalled.unknown], parse_run_meta)
        # One that is still being written is not remembered.
        read = [{} if meta is None else meta or None for meta in metas]
        return recalled.complete(read, self._choose_validators([None] * len(read), read))

    def _choose_validators(
        self, validators: Sequence[str | None], facts_of_runs: Iterable[object]
    ) -> Sequence[str | None]:
        """Return the validators of runs: their files' or, without such, that of finished runs."""
        are_settled = map(is_finished, facts_of_runs)
        return self._index.choose_validators(self._storage, validators, are_settled)

    @override
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> list[float | str | KedroHydraflowError | None]:
        relative = _get_relative_file(kind, name)
        if relative is None:
            return [None] * len(records)
        key = f"{kind}.{name}"
        recalled = self._index.recall(key, self._storage, _get_paths(records), relative)
        unread = [records[i] for i in recalled.unknown]
        parsed = read_parsed_in(unread, relative, _get_parse(kind))
        values = self._read_folders(unread, kind, name, parsed.values)
        validators = self._choose_validators(parsed.validators, [r.facts for r in unread])
        return _unwrap(recalled.complete(_wrap(values), validators))

    def _read_folders(
        self, records: Sequence[RunRecord], kind: str, name: str, values: list[Any]
    ) -> list[Any]:
        """Return values with those that cannot be read looked up among all of their kind.

        What has the name of a metric may be the folder of others.
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
            values[i] = of_run.get(name) if isinstance(of_run, dict) else of_run
        return values

    @override
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        if not self._index.assumes_unchanged(self._storage):
            return self._read_trees(records, kind)  # of many files, which may change one by one
        recalled = self._index.recall(kind, self._storage, _get_paths(records))
        unread = [records[i] for i in recalled.unknown]
        trees = self._read_trees(unread, kind)
        validators = self._choose_validators([], [record.facts for record in unread])
        return _unwrap(recalled.complete(_wrap(trees), validators))

    def _read_trees(
        self, records: Sequence[RunRecord], kind: str
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        """Return what is in all files of a kind of each run, or why that cannot be read."""
        files, failures = self._list_files(records, kind)
        parsed = read_parsed([file for _, _, file in files], _get_parse(kind))
        values: list[dict[str, Any]] = [{} for _ in records]
        for (i, key, _), value in zip(files, parsed.values, strict=True):
            if isinstance(value, KedroHydraflowError):
                failures.setdefault(i, value)
            elif value is not None:
                values[i][key] = value
        return [failures.get(i, of_run) for i, of_run in enumerate(values)]

    def _list_files(
        self, records: Sequence[RunRecord], kind: str
    ) -> tuple[list[tuple[int, str, Place]], dict[int, KedroHydraflowError]]:
        """Return the run's position, key and place of every file of a kind, sorted.

        And, by the run's position, why a folder cannot be listed.
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
                for entry in entries:
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
        parsed = read_parsed_in(records, relative, parse_points)
        return [
            sorted(history, key=sort_key) if isinstance(history, list) else history or []
            for history in parsed.values
        ]


class ExperimentFolders:
    """What a tracking directory holds: folders, and the ``meta.yaml`` in each.

    Args:
        place: The tracking directory.
        index: What is known of experiments.

    Raises:
        NotFoundError: If there is no such directory.
        StorageError: If it cannot be listed.
    """

    def __init__(self, place: Place, index: Index = NO_INDEX) -> None:
        self.place = place
        self.entries = place.list()
        folders = [
            place.join(entry.name)
            for entry in self.entries
            if entry.is_dir and entry.name not in NOT_EXPERIMENTS
        ]
        self.metas = dict(
            zip(folders, _read_experiment_metas(place.storage, folders, index), strict=True)
        )
        """By folder its entries, why they cannot be read, or None without the file."""

    @property
    def has_experiments(self) -> bool:
        """Whether any folder is an experiment of a file store."""
        return any(meta is not None for meta in self.metas.values())


def _read_experiment_metas(
    storage: Storage, folders: Sequence[Place], index: Index
) -> list[dict[str, str] | KedroHydraflowError | None]:
    """Return as `read_metas` does, from the index where names are assumed to stay."""
    if not index.assumes_unchanged(storage):
        return read_metas(folders)
    recalled = index.recall("experiment", storage, _get_paths(folders))
    metas = read_metas([folders[i] for i in recalled.unknown])
    validators = index.choose_validators(storage, [], map(_is_named, metas))
    return recalled.complete(metas, validators)


def _is_named(meta: object) -> bool:
    """Return whether an experiment's ``meta.yaml`` has a name, and it was not deleted."""
    return isinstance(meta, dict) and bool(meta.get("name")) and not is_deleted(meta)


def _make_name_error(place: Place, meta: Facts) -> MetadataError:
    return MetadataError(
        f"{place.join(META_FILE).url}: expected the experiment's name, "
        f"found {'no entry of that kind' if meta else 'an empty file'}"
    )


def _warn_of_runs(folder: Place) -> None:
    """Log that a folder without ``meta.yaml`` is left out, if it is there and may hold runs."""
    if folder.name.isdecimal() and folder.is_dir():
        logger.warning(
            "%s: left out, as it has no %s; if a database or a server tracks its runs, give that "
            "as tracking_uri",
            folder.url,
            META_FILE,
        )


def _get_broken_links(
    folder: Place, entries: Sequence[Entry], ignored: frozenset[str]
) -> list[Failure]:
    error = StorageError("a symbolic link to something that is not there")
    return [
        Failure(folder.join(entry.name).url, error)
        for entry in entries
        if entry.is_broken and entry.name not in ignored and not entry.name.startswith(".")
    ]


def _get_paths(places: Iterable[Place]) -> list[str]:
    return [place.path for place in places]


def _get_relative_file(kind: str, name: str) -> str | None:
    """Return the file of a metric, param or tag in a run directory, if there can be one."""
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        return None
    return f"{kind}/{name}"


def _get_parse(kind: str) -> Parse:
    """Return what parses a file of a metric, param or tag."""
    return parse_latest if kind == "metrics" else _decode


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MetadataError(f"expected UTF-8 text: {exc}") from exc


def _wrap(values: Iterable[Any]) -> list[Any]:
    """Return values as the index keeps them: it holds mappings."""
    return [v if isinstance(v, Exception) else {"value": v} for v in values]


def _unwrap(entries: Iterable[Any]) -> list[Any]:
    return [entry if isinstance(entry, Exception) else entry["value"] for entry in entries]
