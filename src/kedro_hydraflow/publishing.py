"""Publishing what is known of runs, in an index that a team shares."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    NotFoundError,
    OptionError,
    StorageError,
    check_flag,
    show_count,
)
from kedro_hydraflow.finding import find_runs, make_search, report
from kedro_hydraflow.forks import check_polars
from kedro_hydraflow.index_part import Row, encode, is_text
from kedro_hydraflow.limits import get_max_file_size
from kedro_hydraflow.loading import LoadOptions
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.reading import BulkReader
from kedro_hydraflow.run_info import get_config_url, get_layout, get_place, get_record
from kedro_hydraflow.shared_index import PublishedParts, SharedIndex
from kedro_hydraflow.storage import Place, group_positions, is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_hydraflow.exact_json import Facts
    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.shared_index import PublishedPart
    from kedro_hydraflow.source import Layout
    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores import ExperimentFilter

    Key = tuple[str, str]
    """What a directory is called in an index: its folder and its name."""

logger = get_logger(__name__)

_BATCH_SIZE = 10_000
"""The maximum number of runs read at a time."""

_MAX_ROWS = 100_000
"""The number of rows from which on a part is not merged with others."""

_MAX_PARTS = 4
"""The number of smaller parts from which on they are merged, for each takes a request."""


_SHARE_OF_LIMIT = 4
"""How much smaller than the largest file that is read a part is: others may have another limit."""


@dataclass(frozen=True)
class Publication:
    """What `publish_index` did."""

    n_published: int
    """The number of runs that were read and published."""

    n_known: int
    """The number of runs that were published before."""

    n_unsettled: int
    """The number of runs that have not ended, or were deleted in MLflow."""

    n_failed: int
    """The number of runs and experiments that could not be read, which is logged."""

    def __str__(self) -> str:
        """What was done, in one line."""
        parts = [
            f"published {show_count(self.n_published, 'run')}",
            f"{self.n_known} were published before" if self.n_known else "",
            f"{self.n_unsettled} have not ended or were deleted" if self.n_unsettled else "",
            f"{self.n_failed} could not be read" if self.n_failed else "",
        ]
        return ", ".join(filter(None, parts))


def publish_index(
    tracking_dir: Location | None = None,
    experiment_names: ExperimentFilter = None,
    *,
    index: str,
    refresh: bool = False,
    n_jobs: int = 0,
    progress: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
) -> Publication:
    """Publish what is known of runs that have ended, for all who load them with the same index.

    Runs that were published before are not read again. What was published of runs that are no
    longer there is removed now and then. Several people may publish at the same time.

    Args:
        tracking_dir: As for `iter_run_dirs`.
        experiment_names: As for `iter_run_dirs`.
        index: The URL of the index, such as ``s3://team/mlruns/.kedro-hydraflow``; for a folder on
            a disk, ``file:///mnt/team/index``. It is created.
        refresh: Whether to read all runs again. This is needed for what was changed in a run after
            it had ended: a tag, a name, its deletion.
        n_jobs: As for ``Run.load``.
        progress: As for ``Run.load``.
        storage_options: As for `iter_run_dirs`. They are also for the index if it is on the same
            kind of storage.
        layout: As for `iter_run_dirs`.

    Returns:
        How many runs were published.

    Raises:
        OptionError: If an option is invalid, or the runs are in a database or on a server.
        StorageError: If the index cannot be read or written.
        KedroHydraflowError: As for `iter_run_dirs`.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     index = Path(folder).as_uri()
        ...     first = publish_index("examples/data/mlruns", index=index)
        ...     again = publish_index("examples/data/mlruns", index=index)
        >>> first.n_published, again.n_published, again.n_known
        (31, 0, 31)
    """
    search = make_search(
        tracking_dir,
        experiment_names,
        on_error="warn",
        storage_options=storage_options,
        layout=layout,
    )
    check_flag("refresh", refresh)
    check_index_url(index)
    options = LoadOptions(n_jobs=n_jobs, progress=progress, index=index)
    return publish(search, options, refresh=refresh)


def publish(search: Search, options: LoadOptions, *, refresh: bool = False) -> Publication:
    """Do the work of `publish_index`, for the index in the options."""
    url = check_index_url(options.index)
    check_polars("publish_index")
    index = SharedIndex(search.source.locate_artifacts(url))
    try:
        published = index.read_parts()  # first, so that what is not listed afterwards is gone
    except NotFoundError:
        published = PublishedParts([], [])
    begun = time.time_ns()
    # Deleted ones too, of which nothing may be left.
    found = find_runs(replace(search, include_deleted=True))
    _check_stores(found.runs)
    keys = [_get_key(index, get_place(info)) for info in found.runs]
    known = set() if refresh else _list_known(published.parts)
    new = [pair for pair in zip(found.runs, keys, strict=True) if pair[1] not in known]
    nameable = [(info, key) for info, key in new if all(map(is_text, key))]
    read = _Read([], _find_unnameable(new), 0)
    for start in range(0, len(nameable), _BATCH_SIZE):
        _read_rows(nameable[start : start + _BATCH_SIZE], index, options, read)
    small = [part for part in published.parts if part.part.n_rows < _MAX_ROWS]
    small = small if len(small) >= _MAX_PARTS else []
    merged = _decode(index, published.parts if refresh else small)
    outdated = {*keys, *_list_experiments(merged, read)} if refresh else set()
    if search.experiment_names is None:
        outdated |= _list_gone(merged, keys)
    old = {key: row for of_part in merged.values() for key, row in of_part.items()}
    # What is written again is older than what another one has read meanwhile.
    _write(index, [row for key, row in old.items() if key not in outdated], published.newest + 1)
    experiments = {key: Row(*key, {"experiment": meta}) for key, meta in read.experiments}
    _write(index, [*read.rows, *experiments.values()], max(begun, published.newest + 1))
    replaced = [*(part.name for part in published.parts), *published.damaged] if refresh else merged
    for name in replaced:
        index.remove_part(name)
    failures = [*found.failures, *read.failures]
    report(failures, found.total, "warn", what="runs and experiments")
    n_published = len(new) - len(read.failures) - read.n_unsettled
    return Publication(n_published, len(keys) - len(new), read.n_unsettled, len(failures))


def check_index_url(index: object) -> str:
    """Return the URL of an index to publish in. Raise OptionError for what is none."""
    if not isinstance(index, str) or not is_url(index):
        raise OptionError(
            "index: expected the URL of an index to publish in, such as "
            f"s3://team/mlruns/.kedro-hydraflow or file:///mnt/team/index, found {index!r}"
        )
    return index


def _check_stores(infos: Iterable[RunInfo]) -> None:
    """Raise OptionError unless the store of all runs reads an index."""
    for store in {get_layout(info) for info in infos}:
        if not store.has_index:
            raise OptionError(
                f"index: the runs of {store.where} are in a database or on a server, which is "
                "read in few requests without an index; it is for directories"
            )


def _get_key(index: SharedIndex, place: Place) -> Key:
    """Return what a directory is called in an index: its folder and its name."""
    folder, name = place.storage.split(place.path)
    return index.get_folder(place.storage, folder), name


def _list_known(parts: Iterable[PublishedPart]) -> set[Key]:
    """Return the directories of all runs in the parts."""
    return {
        (folder, name)
        for published in parts
        for folder, names in published.part.positions.items()
        for name in names
    }


def _find_unnameable(runs: Iterable[tuple[RunInfo, Key]]) -> list[Failure]:
    """Return a failure for each run whose path an index cannot hold."""
    error = StorageError("the path is not valid UTF-8, so that no index can hold it")
    return [Failure(get_place(info).url, error) for info, key in runs if not all(map(is_text, key))]


@dataclass
class _Read:
    """What was read of runs."""

    rows: list[Row]
    failures: list[Failure]
    n_unsettled: int
    experiments: list[tuple[Key, Facts]] = field(default_factory=list)


def _read_rows(
    runs: Sequence[tuple[RunInfo, Key]], index: SharedIndex, options: LoadOptions, read: _Read
) -> None:
    """Read runs, and the experiments that they belong to."""
    for store, positions in group_positions(get_layout(info) for info, _ in runs).items():
        of_store = [runs[i] for i in positions]
        records = [get_record(info) for info, _ in of_store]
        settled = store.read_settled(records)
        kept = []
        for (info, key), kinds in zip(of_store, settled, strict=True):
            if kinds is None:
                read.n_unsettled += 1
            elif isinstance(kinds, KedroHydraflowError):
                read.failures.append(Failure(get_place(info).url, kinds))
            else:
                kept.append((info, key, kinds))
        reader = BulkReader(None, options.n_jobs, options.progress, discovered=True)
        configs = reader.read([info for info, _, _ in kept])
        for (info, key, kinds), config in zip(kept, configs, strict=True):
            if isinstance(config, KedroHydraflowError):
                read.failures.append(Failure(get_config_url(info), config))
            else:
                of_config = {} if config is None else {"config": config}
                read.rows.append(Row(*key, {**kinds, **of_config}))
        experiments = store.read_experiments(records)
        read.experiments += [(_get_key(index, place), meta) for place, meta in experiments]


def _decode(index: SharedIndex, parts: Sequence[PublishedPart]) -> dict[str, dict[Key, Row]]:
    """Return the rows of each part by name, without parts that cannot be decoded."""
    decoded: dict[str, dict[Key, Row]] = {}
    for published in parts:
        with index.skipping(published.name):
            rows = published.part.make_rows()
            decoded[published.name] = {(row.folder, row.name): row for row in rows}
    return decoded


def _list_experiments(parts: Mapping[str, Mapping[Key, Row]], read: _Read) -> set[Key]:
    """Return the experiments in the parts that are beside those that were read."""
    folders = {folder for (folder, _), _ in read.experiments}
    rows = (row for of_part in parts.values() for row in of_part.values())
    return {(r.folder, r.name) for r in rows if r.folder in folders and "experiment" in r.kinds}


def _list_gone(parts: Mapping[str, Mapping[Key, Row]], listed: Iterable[Key]) -> set[Key]:
    """Return the runs that are no longer in a folder in which runs are listed."""
    present = set(listed)
    folders = {folder for folder, _ in present}
    known = {key for of_part in parts.values() for key in of_part}
    return {key for key in known if key[0] in folders and key not in present}


def _write(index: SharedIndex, rows: Sequence[Row], number: int) -> None:
    """Write rows as parts, none of which is too large to be read."""
    if not rows:
        return
    rows = sorted(rows, key=lambda row: (row.folder, row.name))
    if len(rows) <= _MAX_ROWS:
        content = encode(rows)
        if len(rows) == 1 or len(content) <= get_max_file_size() // _SHARE_OF_LIMIT:
            index.write_part(content, number)
            return
    middle = min(len(rows) // 2, _MAX_ROWS)
    _write(index, rows[:middle], number)
    _write(index, rows[middle:], number)
