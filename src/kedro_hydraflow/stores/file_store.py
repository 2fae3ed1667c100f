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
    NotFoundError,
    StorageError,
)
from kedro_hydraflow.index import NO_INDEX, SETTLED, Index
from kedro_hydraflow.run_info import ExperimentInfo, RunInfo, is_settled
from kedro_hydraflow.stores.base import (
    DEFAULT_EXPERIMENT_ID,
    ExperimentFilter,
    Experiments,
    Point,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_hydraflow.storage import Entry, Storage

logger = logging.getLogger(__name__)

NOT_EXPERIMENTS = frozenset({DEFAULT_EXPERIMENT_ID, ".trash", "models"})
"""Folders of a tracking directory."""

_NOT_RUNS = frozenset({"tags", "datasets", "traces", "models"})

_LISTED_AT_ONCE = 64
"""Experiments whose listings are in memory together; remotely, asked for together."""


class FileStore(Store):
    """The file store of MLflow.

    Args:
        storage: What holds it.
        root: The tracking directory.
        listing: What the tracking directory holds, where it was just listed.
        index: What is known of runs.
    """

    finds_folders = True

    def __init__(
        self,
        storage: Storage,
        root: str,
        listing: Listing | None = None,
        index: Index = NO_INDEX,
    ) -> None:
        super().__init__(storage, root)
        self._storage = storage
        self._root = root
        self._listing = listing
        self._index = index

    @property
    @override
    def where(self) -> str:
        return self._storage.url(self._root)

    @override
    def find_experiments(self, experiment_names: ExperimentFilter = None) -> Experiments:
        storage = self._storage
        matches = make_name_filter(experiment_names)
        listing = self._listing or Listing(storage, self._root, self._index)
        self._listing = None  # the next time it may be another one

        found = Experiments(
            failures=_get_broken_links(storage, self._root, listing.entries, NOT_EXPERIMENTS)
        )
        for path, meta in listing.metas.items():
            if meta is None:
                if listing.may_hold_runs(path):
                    logger.warning(
                        "%s: left out, as it has no %s; if a database or a server tracks its "
                        "runs, give that as tracking_uri",
                        storage.url(path),
                        META_FILE,
                    )
            elif isinstance(meta, Exception):
                found.failures.append(Failure(storage.url(path), meta))
            elif not meta.get("name"):
                error = MetadataError(
                    f"{storage.url(storage.join(path, META_FILE))}: expected the experiment's "
                    f"name, found {'an empty file' if not meta else 'no entry of that kind'}"
                )
                found.failures.append(Failure(storage.url(path), error))
            elif meta.get("lifecycle_stage") == "deleted":
                continue
            elif matches(meta["name"]):
                found.matching.append(ExperimentInfo(storage, path, meta["name"], self))
            else:
                found.other_names.append(meta["name"])
        found.matching.sort(key=lambda experiment: (experiment.name, experiment.experiment_id))
        return found

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentInfo], limit: int | None = None
    ) -> tuple[list[tuple[ExperimentInfo, list[str]]], list[Failure]]:
        storage = self._storage
        folders: list[tuple[ExperimentInfo, list[str]]] = []
        failures: list[Failure] = []
        for i in range(0, len(experiments), _LISTED_AT_ONCE):
            group = experiments[i : i + _LISTED_AT_ONCE]
            listings = storage.list_many([experiment.path for experiment in group], limit)
            for experiment, entries in zip(group, listings, strict=True):
                if isinstance(entries, NotFoundError):
                    continue  # removed since it was found
                if isinstance(entries, StorageError):
                    failures.append(Failure(storage.url(experiment.path), entries))
                    continue
                failures += _get_broken_links(storage, experiment.path, entries, _NOT_RUNS)
                names = [e.name for e in entries if e.is_dir and e.name not in _NOT_RUNS]
                folders.append((experiment, names))
        return folders, failures

    @override
    def read_runs(
        self,
        names: Sequence[tuple[ExperimentInfo, str]],
        *,
        include_deleted: bool | None = None,
    ) -> tuple[list[RunInfo], list[Failure]]:
        # A run is a folder with a `meta.yaml` or, where a database has it, with `artifacts`.
        storage = self._storage
        places = [(e, f"{e.path}{storage.sep}{name}") for e, name in names]
        if storage.is_remote and include_deleted is not False:
            return [RunInfo.make(storage, path, experiment) for experiment, path in places], []
        runs = []
        failures = []
        metas = self._read_run_metas([path for _, path in places])
        for (experiment, path), meta in zip(places, metas, strict=True):
            if isinstance(meta, Exception):
                failures.append(Failure(storage.url(path), meta))
                continue
            if meta is None or (meta.get("lifecycle_stage") == "deleted" and not include_deleted):
                continue
            runs.append(RunInfo.make(storage, path, experiment, meta or None))
        return runs, failures

    @override
    def read_experiment_name(self, experiment: ExperimentInfo, run_dir: str) -> str:
        (meta,) = read_metas(self._storage, [experiment.path])
        if isinstance(meta, Exception):
            raise meta
        if meta is None:  # runs whose experiment a database or a server has
            return read_job_name(self._storage, run_dir)
        return meta.get("name", "")

    @override
    def read_facts(self, infos: Sequence[RunInfo]) -> None:
        storage = self._storage
        paths = [info._path for info in infos]

        def read(unknown: list[int]) -> tuple[list[Any], Sequence[str | None]]:
            metas = read_metas(storage, [paths[i] for i in unknown], parse_run_meta)
            # One that is still being written is not remembered.
            metas = [{} if meta is None else meta or None for meta in metas]
            return metas, self._get_stamps(metas, [None] * len(metas))

        metas = self._index.recall("facts", storage, paths, META_FILE, read)
        for info, meta in zip(infos, metas, strict=True):
            info._meta = meta

    def _read_run_metas(
        self, run_dirs: Sequence[str]
    ) -> list[dict[str, str] | StorageError | MetadataError | None]:
        """Return for each folder what `_read_run_meta` does, or why it cannot be read."""
        storage = self._storage
        suffix = storage.sep + META_FILE

        def read(unknown: list[int]) -> tuple[list[Any], Sequence[str | None]]:
            parsed = storage.read_parsed([run_dirs[i] + suffix for i in unknown], parse_run_meta)
            metas = [
                _check_is_run(storage, run_dirs[i]) if meta is None else meta
                for i, meta in zip(unknown, parsed.values, strict=True)
            ]
            return metas, self._get_stamps(metas, parsed.validators)

        return self._index.recall("facts", storage, run_dirs, META_FILE, read)

    def _get_stamps(
        self, metas: Sequence[object], stamps: Sequence[str | None]
    ) -> Sequence[str | None]:
        """Return the stamps of runs: their files' or, where those tell nothing, `SETTLED`."""
        if not self._index.has_to_trust(self._storage):
            return stamps
        return [SETTLED if is_settled(meta) else None for meta in metas]

    @override
    def read_values(
        self, infos: Sequence[RunInfo], kind: str, name: str
    ) -> list[float | str | MetadataError | StorageError | None]:
        suffix = self._get_suffix(kind, name)
        if suffix is None:
            return [None] * len(infos)
        parse = parse_latest if kind == "metrics" else _decode

        def read(some: Sequence[RunInfo]) -> tuple[list[Any], list[str | None]]:
            return self._read_files(some, suffix, parse)

        return self._recall(f"{kind}.{name}", infos, read, suffix[1:])

    @override
    def read_histories(
        self, infos: Sequence[RunInfo], name: str
    ) -> list[list[Point] | MetadataError | StorageError]:
        suffix = self._get_suffix("metrics", name)
        if suffix is None:
            return [[] for _ in infos]
        histories, _ = self._read_files(infos, suffix, parse_points)
        return [
            sorted(history, key=sort_key) if isinstance(history, list) else history or []
            for history in histories
        ]

    def _get_suffix(self, kind: str, name: str) -> str | None:
        """Return what leads from a run to the file of a metric, param or tag, if any can."""
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in name:
            return None
        return "".join(f"{self._storage.sep}{part}" for part in (kind, *parts))

    def _read_files(
        self,
        infos: Sequence[RunInfo],
        suffix: str,
        parse: Callable[[bytes], Any],
    ) -> tuple[list[Any], list[str | None]]:
        """Return what is in a file of each run, None without one, and the files' stamps."""
        parsed = self._storage.read_parsed([info._path + suffix for info in infos], parse)
        return parsed.values, parsed.validators

    def _recall(
        self,
        key: str,
        infos: Sequence[RunInfo],
        read: Callable[[Sequence[RunInfo]], tuple[list[Any], list[str | None]]],
        file: str = "",
    ) -> list[Any]:
        """Return what was logged under a key, from the index as far as it knows.

        Args:
            key: All of a kind, or one of it.
            infos: The runs.
            read: Gives the values and stamps of runs that the index does not know.
            file: The file in a run directory that a value comes from. Of more than one, it
                cannot be told whether they have changed, but only trusted that they have not.
        """
        index, storage = self._index, self._storage
        if not index.has_to_trust(storage) and not file:
            return read(infos)[0]

        def read_entries(unknown: list[int]) -> tuple[list[Any], Sequence[str | None]]:
            some = [infos[i] for i in unknown]
            values, stamps = read(some)
            entries = [v if isinstance(v, Exception) else {"value": v} for v in values]
            return entries, self._get_stamps([info._meta for info in some], stamps)

        run_dirs = [info._path for info in infos]
        entries = index.recall(key, storage, run_dirs, file, read_entries)
        return [entry if isinstance(entry, Exception) else entry["value"] for entry in entries]

    @override
    def read_all(
        self, infos: Sequence[RunInfo], kind: str
    ) -> list[dict[str, Any] | MetadataError | StorageError]:
        def read(some: Sequence[RunInfo]) -> tuple[list[Any], list[str | None]]:
            return self._read_trees(some, kind), [None] * len(some)

        return self._recall(kind, infos, read)

    def _read_trees(self, infos: Sequence[RunInfo], kind: str) -> list[Any]:
        """Return what is in all files of a kind of each run, or why that cannot be read."""
        storage = self._storage
        found: list[dict[str, Any] | KedroHydraflowError] = [{} for _ in infos]
        parse: Callable[[bytes], Any]
        parse = parse_latest if kind == "metrics" else _decode
        files = self._list_files(infos, kind, found)
        parsed = storage.read_parsed([path for _, _, path in files], parse)
        for (i, key, _), value in zip(files, parsed.values, strict=True):
            values = found[i]
            if isinstance(values, dict) and isinstance(value, KedroHydraflowError):
                found[i] = value
            elif isinstance(values, dict) and value is not None:
                values[key] = value
        return found

    def _list_files(
        self,
        infos: Sequence[RunInfo],
        kind: str,
        failures: list[Any],
    ) -> list[tuple[int, str, str]]:
        """Return the run's position, key and path of every file of a kind, sorted.

        A folder that cannot be listed goes to ``failures``, by the run's position.
        """
        storage = self._storage
        files: list[tuple[int, str, str]] = []
        folders = [(i, "", storage.join(info._path, kind)) for i, info in enumerate(infos)]
        while folders:
            listings = storage.list_many([path for _, _, path in folders])
            inner = []
            for (i, prefix, folder), entries in zip(folders, listings, strict=True):
                if isinstance(entries, NotFoundError):
                    continue
                if isinstance(entries, StorageError):
                    failures[i] = entries
                    continue
                for entry in entries:
                    path = storage.join(folder, entry.name)
                    if entry.is_dir:
                        inner.append((i, f"{prefix}{entry.name}/", path))
                    else:
                        files.append((i, f"{prefix}{entry.name}", path))
            folders = inner
        files.sort()
        return files


class Listing:
    """What a tracking directory holds: folders, and the ``meta.yaml`` in each.

    Args:
        storage: What holds the directory.
        root: The tracking directory.
        index: What is known of experiments.

    Raises:
        NotFoundError: If there is no such directory.
        StorageError: If it cannot be listed.
    """

    def __init__(self, storage: Storage, root: str, index: Index = NO_INDEX) -> None:
        self._storage = storage
        self.root = root
        self.entries = storage.list_dir(root)
        folders = [
            storage.join(root, entry.name)
            for entry in self.entries
            if entry.is_dir and entry.name not in NOT_EXPERIMENTS
        ]
        self.metas = dict(
            zip(folders, _read_experiment_metas(storage, folders, index), strict=True)
        )
        """By folder its entries, why they cannot be read, or None without the file."""

    @property
    def has_experiments(self) -> bool:
        """Whether any folder is an experiment of a file store."""
        return any(meta is not None for meta in self.metas.values())

    def may_hold_runs(self, path: str) -> bool:
        """Tell whether a folder without ``meta.yaml``, if it is still there, may hold runs."""
        return self._storage.split(path)[1].isdecimal() and self._storage.is_dir(path)


def _read_experiment_metas(
    storage: Storage, folders: Sequence[str], index: Index
) -> list[dict[str, str] | KedroHydraflowError | None]:
    """Return as `read_metas` does, from the index where it has to trust that names stay."""
    if not index.has_to_trust(storage):
        return read_metas(storage, folders)

    def read(unknown: list[int]) -> tuple[list[Any], list[str | None]]:
        metas = read_metas(storage, [folders[i] for i in unknown])
        return metas, [SETTLED if _is_named(meta) else None for meta in metas]

    return index.recall("experiment", storage, folders, META_FILE, read)


def _is_named(meta: object) -> bool:
    """Tell whether an experiment's ``meta.yaml`` has a name, and it was not deleted."""
    if not isinstance(meta, dict):
        return False
    return bool(meta.get("name")) and meta.get("lifecycle_stage") != "deleted"


def _check_is_run(storage: Storage, path: str) -> dict[str, str] | StorageError | None:
    """Return no facts for a folder without ``meta.yaml``, or None if it is not a run."""
    try:
        return {} if storage.is_dir(storage.join(path, "artifacts")) else None
    except StorageError as exc:
        return exc


def _get_broken_links(
    storage: Storage, path: str, entries: Sequence[Entry], ignored: frozenset[str]
) -> list[Failure]:
    error = StorageError("a symbolic link to something that is not there")
    return [
        Failure(storage.url(storage.join(path, entry.name)), error)
        for entry in entries
        if entry.is_broken and entry.name not in ignored and not entry.name.startswith(".")
    ]


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MetadataError(f"expected UTF-8 text: {exc}") from exc
