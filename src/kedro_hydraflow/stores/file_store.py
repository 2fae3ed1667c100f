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
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import (
    Failure,
    MetadataError,
    NotFoundError,
    OptionError,
    StorageError,
    TrackingDirectoryError,
)
from kedro_hydraflow.index import NO_INDEX, SETTLED, Index
from kedro_hydraflow.run_info import (
    META_FILE,
    ExperimentInfo,
    RunInfo,
    is_settled,
    parse_run_meta,
    read_metas,
)

if TYPE_CHECKING:
    from kedro_hydraflow.storage import Entry, Storage

logger = logging.getLogger(__name__)

ExperimentFilter = str | Sequence[str] | Callable[[str], bool] | None
"""Which experiments: a name or glob, several of them, a predicate on the name, or all."""

_NOT_EXPERIMENTS = frozenset({"0", ".trash", "models"})
_LISTED_AT_ONCE = 64
"""Experiments whose listings are in memory together; remotely, asked for together."""

_NOT_RUNS = frozenset({"tags", "datasets", "traces", "models"})


@dataclass
class Experiments:
    """The experiments of a tracking directory that match a filter."""

    matching: list[ExperimentInfo] = field(default_factory=list)
    """Sorted by name, then by directory."""

    other_names: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def find_experiments(
    storage: Storage,
    root: str,
    experiment_names: ExperimentFilter = None,
    index: Index = NO_INDEX,
) -> Experiments:
    """Return the experiments below a tracking directory.

    Raises:
        NotFoundError: If there is no such directory.
        TrackingDirectoryError: If it is not the tracking directory of a file store.
        StorageError: If it cannot be listed.
    """
    matches = make_name_filter(experiment_names)
    entries = storage.list_dir(root)
    _check_not_inside(storage, root, entries)
    folders = [
        storage.join(root, e.name) for e in entries if e.is_dir and e.name not in _NOT_EXPERIMENTS
    ]
    metas = _read_experiment_metas(storage, folders, index)
    if not any(meta is not None for meta in metas):
        _check_not_elsewhere(storage, root, folders)

    found = Experiments(failures=_get_broken_links(storage, root, entries, _NOT_EXPERIMENTS))
    for path, meta in zip(folders, metas, strict=True):
        if meta is None:
            if _looks_like_experiment(storage, path):
                logger.warning("%s: no %s, so its runs are unknown", storage.url(path), META_FILE)
        elif isinstance(meta, Exception):
            found.failures.append(Failure(storage.url(path), meta))
        elif not meta.get("name"):
            error = MetadataError(
                f"{storage.url(storage.join(path, META_FILE))}: expected the experiment's name, "
                f"found {'an empty file' if not meta else 'no entry of that kind'}"
            )
            found.failures.append(Failure(storage.url(path), error))
        elif meta.get("lifecycle_stage") == "deleted":
            continue
        elif matches(meta["name"]):
            found.matching.append(ExperimentInfo(storage, path, meta["name"]))
        else:
            found.other_names.append(meta["name"])
    found.matching.sort(key=lambda experiment: (experiment.name, experiment.experiment_id))
    return found


def _read_experiment_metas(
    storage: Storage, folders: Sequence[str], index: Index
) -> list[dict[str, str] | MetadataError | StorageError | None]:
    """Return as `read_metas` does, from the index where it has to trust that names stay."""
    if not index.has_to_trust(storage):
        return read_metas(storage, folders)
    metas: list[Any] = [*index.get("experiment", storage, folders, META_FILE)]
    unknown = [i for i, meta in enumerate(metas) if meta is None]
    for i, meta in zip(unknown, read_metas(storage, [folders[i] for i in unknown]), strict=True):
        metas[i] = meta
    index.put(
        "experiment",
        storage,
        [
            (folders[i], SETTLED, metas[i])
            for i in unknown
            if isinstance(metas[i], dict)
            and metas[i].get("name")
            and metas[i].get("lifecycle_stage") != "deleted"
        ],
    )
    return metas


def find_runs(
    storage: Storage,
    experiments: Sequence[ExperimentInfo],
    *,
    include_deleted: bool | None = None,
    limit: int | None = None,
    index: Index = NO_INDEX,
) -> tuple[list[RunInfo], list[Failure]]:
    """Return the runs of experiments, and what cannot be read.

    A run is a folder with a ``meta.yaml`` or, where that was moved into a database, with
    ``artifacts``. What was removed since the experiments were found is not a failure.

    Args:
        storage: What holds the experiments.
        experiments: Where to look.
        include_deleted: Whether to include runs that were deleted in MLflow. To tell them
            apart takes the ``meta.yaml`` of each run. None: no, but on remote storage,
            where that is a request for each run, they are not told apart.
        limit: How many folders to look at, by default all.
        index: What is known of runs.

    Returns:
        The runs in the order of the experiments, then of their directories.
    """
    folders, failures = list_run_folders(storage, experiments, limit)
    found = [(experiment, name) for experiment, names in folders for name in names]
    runs, unreadable = read_runs(
        storage, found[:limit], include_deleted=include_deleted, index=index
    )
    return runs, [*failures, *unreadable]


def list_run_folders(
    storage: Storage, experiments: Sequence[ExperimentInfo], limit: int | None = None
) -> tuple[list[tuple[ExperimentInfo, list[str]]], list[Failure]]:
    """Return the names of the folders in experiments that may be runs, and what failed.

    Args:
        storage: What holds the experiments.
        experiments: Where to look.
        limit: How many folders of each experiment are enough, by default all.
    """
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


def read_runs(
    storage: Storage,
    folders: Sequence[tuple[ExperimentInfo, str]],
    *,
    include_deleted: bool | None = None,
    index: Index = NO_INDEX,
) -> tuple[list[RunInfo], list[Failure]]:
    """Return those of the folders that are runs, as `find_runs` does, and what failed.

    Args:
        storage: What holds the experiments.
        folders: Experiments, and names of folders in them.
        include_deleted: As for `find_runs`.
        index: What is known of runs.
    """
    places = [(e, f"{e.path}{storage.sep}{name}") for e, name in folders]
    if storage.is_remote and include_deleted is not False:
        return [RunInfo.make(storage, path, experiment) for experiment, path in places], []
    runs = []
    failures = []
    metas = _read_run_metas(storage, [path for _, path in places], index)
    for (experiment, path), meta in zip(places, metas, strict=True):
        if isinstance(meta, Exception):
            failures.append(Failure(storage.url(path), meta))
            continue
        if meta is None or (meta.get("lifecycle_stage") == "deleted" and not include_deleted):
            continue
        runs.append(RunInfo.make(storage, path, experiment, meta or None))
    return runs, failures


def _read_run_metas(
    storage: Storage, paths: Sequence[str], index: Index
) -> list[dict[str, str] | StorageError | MetadataError | None]:
    """Return for each folder what `_read_run_meta` does, or why it cannot be read."""
    metas: list[Any] = [*index.get("facts", storage, paths, META_FILE)]
    unknown = [i for i, meta in enumerate(metas) if meta is None]
    stamps: dict[int, str | None] = {}

    def use(n: int, content: bytes | StorageError | None, stamp: str | None) -> None:
        metas[unknown[n]] = content
        stamps[unknown[n]] = stamp

    suffix = storage.sep + META_FILE
    storage.read_each([paths[i] + suffix for i in unknown], use)
    for i in unknown:
        try:
            metas[i] = _read_run_meta(storage, paths[i], metas[i])
        except (StorageError, MetadataError) as exc:
            metas[i] = exc
        if index.has_to_trust(storage) and is_settled(metas[i]):
            stamps[i] = SETTLED
    index.put("facts", storage, [(paths[i], stamps[i], metas[i]) for i in unknown])
    return metas


def _read_run_meta(
    storage: Storage, path: str, content: bytes | StorageError | None
) -> dict[str, str] | None:
    """Return what a run's ``meta.yaml`` says, nothing if it does not say it now.

    Returns:
        None if the folder is not a run.
    """
    if isinstance(content, StorageError):
        raise content
    if content is None:
        return {} if storage.is_dir(storage.join(path, "artifacts")) else None
    meta = parse_run_meta(storage, path + storage.sep + META_FILE, content)
    if isinstance(meta, MetadataError):
        raise meta
    return meta


def _get_broken_links(
    storage: Storage, path: str, entries: Sequence[Entry], ignored: frozenset[str]
) -> list[Failure]:
    error = StorageError("a symbolic link to something that is not there")
    return [
        Failure(storage.url(storage.join(path, entry.name)), error)
        for entry in entries
        if entry.is_broken and entry.name not in ignored and not entry.name.startswith(".")
    ]


def make_name_filter(experiment_names: ExperimentFilter) -> Callable[[str], bool]:
    """Return a predicate on experiment names. A pattern also matches as the plain name.

    Raises:
        OptionError: If it is not what `ExperimentFilter` says.
    """
    if experiment_names is None:
        return lambda _: True
    if callable(experiment_names):
        return experiment_names
    patterns = (experiment_names,) if isinstance(experiment_names, str) else experiment_names
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise OptionError(
            "experiment_names: expected a name or glob, a list of them, or a callable, "
            f"found {experiment_names!r}"
        )
    return lambda name: any(name == p or fnmatchcase(name, p) for p in patterns)


def read_metrics(storage: Storage, run_dir: str) -> dict[str, float]:
    """Return the latest value of each metric: that of the largest step, then timestamp.

    Raises:
        MetadataError: If a file has a line that is not ``timestamp value step …``.
        StorageError: If a file cannot be read.
    """
    metrics = {}
    for key, path, content in _read_tree(storage, run_dir, "metrics"):
        value = _parse_latest(storage, path, content)
        if value is not None:
            metrics[key] = value
    return metrics


def read_value(
    storage: Storage, run_dirs: Sequence[str], kind: str, name: str
) -> list[float | str | MetadataError | StorageError | None]:
    """Return one metric (the latest value), param or tag of many runs, read all at once.

    Args:
        storage: What holds the runs.
        run_dirs: The run directories.
        kind: ``metrics``, ``params`` or ``tags``.
        name: The metric, param or tag.

    Returns:
        For each run the value, None without one, or why it cannot be read.
    """
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in name:
        return [None] * len(run_dirs)
    paths = [storage.join(run_dir, kind, *parts) for run_dir in run_dirs]
    parse = _parse_latest if kind == "metrics" else _decode

    def parse_value(
        path: str, content: bytes | StorageError | None
    ) -> float | str | MetadataError | StorageError | None:
        try:
            return parse(storage, path, content) if isinstance(content, bytes) else content
        except MetadataError as exc:
            return exc

    return [*map(parse_value, paths, storage.read_many(paths))]


def read_texts(storage: Storage, run_dir: str, kind: str) -> dict[str, str]:
    """Return the params or tags of a run (``kind``): raw text, perhaps empty or many lines.

    Raises:
        MetadataError: If a file is not UTF-8.
        StorageError: If a file cannot be read.
    """
    return {
        key: _decode(storage, path, content)
        for key, path, content in _read_tree(storage, run_dir, kind)
    }


def _decode(storage: Storage, path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MetadataError(f"{storage.url(path)}: expected UTF-8 text: {exc}") from exc


def _read_tree(storage: Storage, run_dir: str, kind: str) -> list[tuple[str, str, bytes]]:
    """Return the key, path and content of every file below a folder, sorted by key."""
    files: list[tuple[str, str]] = []
    folders = [("", storage.join(run_dir, kind))]
    while folders:
        prefix, folder = folders.pop()
        try:
            entries = storage.list_dir(folder)
        except NotFoundError:
            continue
        for entry in entries:
            path = storage.join(folder, entry.name)
            if entry.is_dir:
                folders.append((f"{prefix}{entry.name}/", path))
            else:
                files.append((f"{prefix}{entry.name}", path))
    files.sort()
    contents = []
    for content in storage.read_many([path for _, path in files]):
        if isinstance(content, StorageError):
            raise content
        contents.append(content)
    return [
        (key, path, content)
        for (key, path), content in zip(files, contents, strict=True)
        if content is not None
    ]


def _parse_latest(storage: Storage, path: str, content: bytes) -> float | None:
    """Return the value with the largest (step, timestamp, value), None if there is no line.

    A line is ``timestamp value step``, without the step in old files, with the name and
    digest of a dataset behind it in new ones. The last line may be half written.
    """
    lines = content.decode("utf-8", errors="replace").split("\n")
    unfinished = lines.pop()
    if len(unfinished.split()) >= 3:
        lines.append(unfinished)
    latest: tuple[int, int, float] | None = None
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        try:
            value = float(fields[1])
            point = (int(fields[2]) if len(fields) > 2 else 0, int(fields[0]), value)
        except (IndexError, ValueError) as exc:
            if line is unfinished:
                continue
            raise MetadataError(
                f"{storage.url(path)}, line {number}: expected 'timestamp value step', "
                f"found {line[:80]!r}"
            ) from exc
        if latest is None or _order(point) > _order(latest):
            latest = point
    return None if latest is None else latest[2]


def _order(point: tuple[int, int, float]) -> tuple[int, int, bool, float]:
    """Order points; at the same step and time NaN comes before every number."""
    step, timestamp, value = point
    return step, timestamp, not math.isnan(value), value


def _check_not_inside(storage: Storage, root: str, entries: Sequence[Entry]) -> None:
    """Refuse a directory that lies in a tracking directory."""
    if any(entry.name == META_FILE for entry in entries):
        raise TrackingDirectoryError(
            f"{storage.url(root)} is an experiment or a run, it has a {META_FILE} itself; "
            "give the tracking directory above it"
        )


def _check_not_elsewhere(storage: Storage, root: str, folders: Sequence[str]) -> None:
    """Refuse a directory that holds folders, but no experiment of a file store."""
    where = storage.url(root)
    names = [storage.split(path)[1] for path in folders]
    if "mlruns" in names:
        raise TrackingDirectoryError(
            f"{where} has no experiment in it, but a directory 'mlruns'; "
            f"give {storage.url(storage.join(root, 'mlruns'))}"
        )
    if any(_looks_like_experiment(storage, path) for path in folders):
        raise TrackingDirectoryError(
            f"{where}: no <experiment_id>/{META_FILE} in it, so this is not the tracking "
            "directory of an MLflow file store. Runs tracked in a database or by a server "
            "leave such a directory of artifacts; they cannot be found through it"
        )
    others = [name for name in names if not name.startswith(".")]
    if others:
        raise TrackingDirectoryError(
            f"{where} is not a tracking directory: expected <experiment_id>/{META_FILE} in it, "
            f"found the directories {', '.join(map(repr, others[:5]))}"
            f"{' and others' if len(others) > 5 else ''}"
        )


def _looks_like_experiment(storage: Storage, path: str) -> bool:
    """Tell whether a folder without ``meta.yaml``, if it is still there, may hold runs."""
    return storage.split(path)[1].isdecimal() and storage.is_dir(path)
