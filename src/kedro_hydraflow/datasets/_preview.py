"""The first runs that a catalog entry gives, for previews, which have to be quick."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_hydraflow.datasets._base import make_table, to_table
from kedro_hydraflow.default_columns import MAX_KEYS, list_value_keys, read_config_columns
from kedro_hydraflow.errors import KedroHydraflowError, show_count
from kedro_hydraflow.finding import find_experiments, open_search, read_infos
from kedro_hydraflow.json_columns import make_column
from kedro_hydraflow.key_patterns import fill
from kedro_hydraflow.keys import parse_key
from kedro_hydraflow.loading import load_runs
from kedro_hydraflow.recorded import read_key
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_collection import RunCollection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from kedro_hydraflow.datasets._base import TablePreview
    from kedro_hydraflow.errors import Failure
    from kedro_hydraflow.finding import Search
    from kedro_hydraflow.index import Index
    from kedro_hydraflow.loading import LoadOptions
    from kedro_hydraflow.stores import Store
    from kedro_hydraflow.stores.record import ExperimentRecord, RunNames

MAX_LOOKED_AT = 1000
"""The maximum number of runs that a preview looks at to find some that meet the filters."""

MAX_SECONDS = 5.0
"""The time after which a preview looks at no more runs."""

MAX_CANDIDATES = 2000
"""The maximum number of runs that are read to choose one of them."""

_BATCH_SIZE = 100
"""How many runs are looked at at once, if some of them may be left out."""

_FACTS = ("run_id", "job_name", "status")

_MIN_DIFFERENT = 2
"""The number of different values from which on a column is not constant."""

_MAX_VALUES = 5
"""The maximum number of metrics and results in the table of a collection."""

_MAX_LISTED_VALUES = 20
"""The number of metrics of a run, and of results, of which these are the first."""

_MIN_LISTED = 100
"""The number of names in an experiment to list in addition: some may not be those of runs."""


class Some(NamedTuple):
    """The first runs of a search."""

    runs: RunCollection[Run[Any, Any]]

    notes: Sequence[str] = ()
    """Why there may be more runs, or why there are none, for those who see the preview."""

    def to_table(self, frame: pl.DataFrame, n_keys: int = 0) -> TablePreview:
        """Return a table of a frame of the runs, with the notes as its last rows.

        Args:
            frame: The frame.
            n_keys: The number of keys that were looked at, if not all of them have a column.
        """
        notes = [*self.notes]
        if max(n_keys, frame.width) >= MAX_KEYS:
            notes.append(f"… of the first {MAX_KEYS:,} keys of a run: a preview looks at no more")
        return to_table(frame, notes)


def make_note_table(note: str) -> TablePreview:
    """Return a table of a note alone."""
    return make_table([], [], 0, [note])


def load_some(search: Search, options: LoadOptions, count: int, index: Index) -> Some:
    """Return the first runs that meet the filters and can be read, in the order of the search.

    It lists at most `MAX_LOOKED_AT` names in an experiment, and looks at as many runs, but not for
    longer than `MAX_SECONDS`.

    Raises:
        FilterError: If no run has a key in the filters, and all were looked at.
        KedroHydraflowError: If experiments or runs cannot be listed.
    """
    store, search = open_search(search, index)
    conditions = search.make_conditions()
    experiments = find_experiments(store, search, conditions).experiments.matching
    leaves_out = bool(conditions) or search.keeps is not None
    limit = MAX_LOOKED_AT if leaves_out else count + _MIN_LISTED
    deadline = time.monotonic() + MAX_SECONDS
    runs: list[Run[Any, Any]] = []
    n_looked_at = n_left_out = n_deleted = 0
    failures: list[Failure] = []
    for part in _list_parts(store, experiments, limit, _BATCH_SIZE if leaves_out else count):
        if part is None or n_looked_at >= MAX_LOOKED_AT or time.monotonic() > deadline:
            note = (
                f"… of the first {show_count(n_looked_at, 'run')} alone: a preview looks at no more"
            )
            return Some(RunCollection(runs), [note, *_describe_failures(failures)])
        read = read_infos(store, [part], search)
        n_looked_at += len(part.names)
        n_left_out += read.n_left_out
        n_deleted += read.n_deleted
        loaded = load_runs(read.runs, Run, options, index, was_searched=True, conditions=conditions)
        runs += loaded.runs
        failures += [*read.failures, *loaded.failures]
        if len(runs) >= count:
            return Some(RunCollection(runs[:count]), _describe_failures(failures))
    conditions.check()
    notes = _describe_failures(failures)
    if not (runs or notes):
        notes = [_explain_none(n_looked_at, n_left_out, n_deleted)]
    return Some(RunCollection(runs), notes)


def explain_too_many(search: Search, index: Index) -> str | None:
    """Return why a preview does not choose one of the runs of a search; None if it may.

    Raises:
        KedroHydraflowError: If experiments or runs cannot be listed.
    """
    store, search = open_search(search, index)
    matching = find_experiments(store, search, search.make_conditions())
    n_left = MAX_CANDIDATES
    for experiment in matching.experiments.matching:
        n_left -= store.list_runs([experiment], n_left + 1).total
        if n_left < 0:
            return f"… a preview does not choose one of more than {MAX_CANDIDATES:,} runs"
    return None


def _list_parts(
    store: Store, experiments: Sequence[ExperimentRecord], limit: int, size: int
) -> Iterator[RunNames | None]:
    """Yield the names of runs in parts, and None where there are more than the limit."""
    for experiment in experiments:
        for names in store.list_runs([experiment], limit + _MIN_LISTED).experiments:
            for start in range(0, min(len(names.names), limit), max(size, 1)):
                yield names.take(start, min(start + max(size, 1), limit))
            if len(names.names) > limit:
                yield None


def _describe_failures(failures: Sequence[Failure]) -> list[str]:
    if not failures:
        return []
    return [f"{len(failures)} of the runs looked at could not be read, such as {failures[0]}"]


def _explain_none(n_looked_at: int, n_left_out: int, n_deleted: int) -> str:
    if n_looked_at == n_deleted:
        return f"no runs: {n_deleted} were deleted" if n_deleted else "no runs"
    if n_left_out == n_looked_at:
        return f"no runs: none of {n_looked_at} is left by the checkpoint or lock"
    return f"no runs: none of {n_looked_at} meets the filters"


def make_collection_table(some: Some) -> TablePreview:
    """Return a table of runs: facts, the first metrics and results, and the configurations.

    Of the configurations, or else of the params, what differs comes first. The first `MAX_KEYS`
    keys of a run are looked at. Columns without a value are left out. Values that cannot be read
    are null, and a note says so.
    """
    import polars as pl

    runs = some.runs
    values, unsure = list_value_keys(runs, max_keys=_MAX_LISTED_VALUES) if runs else ([], [])
    recorded, failures = _read_recorded(runs, values[:_MAX_VALUES])
    others = [
        make_column(key, fill(runs, column, None), "json")
        for key, column in read_config_columns(runs, MAX_KEYS).items()
    ]
    # Not `n_unique`, for which Polars needs threads, which a forked process lacks.
    others.sort(key=lambda column: len(set(map(repr, column.to_list()))) < _MIN_DIFFERENT)
    columns = [
        column
        for column in [*recorded, *others]
        if column.name == "run_id" or not runs or column.null_count() < len(runs)
    ]
    notes = [*some.notes, *(f"… {text}" for text in unsure)]
    if len(values) > _MAX_VALUES:
        notes.append(f"… the first {_MAX_VALUES} metrics and results alone: a preview has no more")
    if failures:
        count = show_count(len(failures), "value")
        notes.append(f"{count} shown as null could not be read, such as {failures[0]}")
    return some._replace(notes=notes).to_table(pl.DataFrame(columns), len(others))


def _read_recorded(
    runs: RunCollection[Run[Any, Any]], keys: Sequence[str]
) -> tuple[list[pl.Series], list[KedroHydraflowError]]:
    """Return the columns of facts, metrics and results, and the errors of values, null there."""
    columns = []
    failures = []
    for key in [*_FACTS, *keys]:
        # Where the configuration has a key like that of a metric, too, it is not meant.
        prefix = "info." if key in _FACTS else "logged." if key.startswith("metrics.") else ""
        values = read_key([run.info for run in runs], parse_key(f"{prefix}{key}"))
        failures += [value for value in values if isinstance(value, KedroHydraflowError)]
        known = [None if isinstance(value, KedroHydraflowError) else value for value in values]
        columns.append(make_column(key, fill(runs, known, None), "json"))
    return columns, failures
