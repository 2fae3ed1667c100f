"""Which runs a command is about, in which order: no more are read than that takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import ConfigError, RunLoadError
from kedro_hydraflow.fact_checks import is_meant
from kedro_hydraflow.finding import (
    Search,
    explain_emptiness,
    find_experiments,
    find_runs,
    open_search,
    read_infos,
    report,
)
from kedro_hydraflow.loading import (
    LoadOptions,
    Need,
    Tally,
    load_runs,
    read_runs,
    warn_of_none_left,
)
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.progress import progress_bar
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_collection import RunCollection, find_by_id
from kedro_hydraflow.run_info import (
    get_config_url,
    raises_errors,
    read_leniently,
    set_options,
    was_malformed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.cli.orders import Order
    from kedro_hydraflow.errors import Failure
    from kedro_hydraflow.filters import Conditions
    from kedro_hydraflow.index import Index
    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.stores.record import RunNames

logger = get_logger(__name__)

_BATCH_SIZE = 1000
"""The number of runs to read at once where filters may leave out most of them."""


@dataclass(frozen=True)
class Wanted:
    """Which runs are wanted of those that a place or entry has."""

    filters: Sequence[str] = ()
    """Conditions, all of which have to hold."""

    order: Order | None = None
    """By default, the order is that of `iter_run_dirs`."""

    limit: int | None = None
    """The maximum number of runs, by default all."""

    run_ids: Sequence[str] = ()
    """IDs, or beginnings of IDs, of the runs; by default, any ID will do."""


EVERYTHING = Wanted()


@dataclass(frozen=True)
class Selection:
    """The runs that a command is about."""

    runs: RunCollection[Run[Any, Any]]

    failures: Sequence[Failure] = ()
    """What could not be read. It has been logged."""

    n_matching: int | None = None
    """The number of runs without the limit; None if they were not counted."""

    ordered: Sequence[RunInfo] = ()
    """The infos of all runs that were put in order, of which some may be beyond the limit."""

    is_strict: bool = True
    """Whether it is an error if something cannot be read."""

    of_copies: str = "--experiment NAME"
    """What to give to choose one of several copies of a run."""

    @property
    def is_incomplete(self) -> bool:
        """Whether it is an error that some runs, or values of runs, could not be read until now."""
        infos = (*(run.info for run in self.runs), *self.ordered)
        return self.is_strict and (bool(self.failures) or any(map(was_malformed, infos)))

    def find(self, run_id: str) -> Run[Any, Any]:
        """Return the run with an ID, or the only one with an ID that begins so.

        Raises:
            OptionError: If there is none, or there are several.
            RunLoadError: If there may be one among those that could not be read.
        """
        for failure in self.failures:
            if not self.runs or run_id in failure.path:
                raise RunLoadError(f"the run {run_id!r} could not be read: {failure}")
        return find_by_id(self.runs, run_id, self.of_copies)


def select_runs(search: Search, options: LoadOptions, wanted: Wanted) -> Selection:
    """Return the runs of a search that are wanted. What cannot be read is logged.

    Without an order, runs are read in batches until there are enough. With an order by what was
    recorded, such as a time or a metric, that is read of all runs, but the configurations of the
    first runs alone. Otherwise everything is read.

    Args:
        search: The search.
        options: How to read the runs.
        wanted: Which runs of the search to return.

    Raises:
        OptionError: If no run has a key of the order, or its values cannot be compared.
        KedroHydraflowError: As for `iter_run_dirs`, except for what is only logged.
    """
    is_strict = search.on_error == "raise"
    search = _add_filters(replace(search, on_error="warn"), wanted.filters)
    options = replace(options, progress=True)
    index = options.open_index(search.source)
    order, limit = wanted.order, wanted.limit
    if wanted.run_ids:
        selection = _select_by_id(search, options, wanted.run_ids, index)
    elif limit is not None and order is None:
        selection = _select_first(search, options, limit, index)
    elif limit is not None and order is not None and order.is_recorded:
        selection = _select_by_record(search, options, order, limit, index)
    else:
        selection = _select_all(search, options, order, index)
    # What is read for the columns from now on is no reason to show nothing.
    read_leniently(run.info for run in selection.runs)
    return replace(selection, runs=selection.runs[:limit], is_strict=is_strict)


def select_among(runs: RunCollection[Run[Any, Any]], wanted: Wanted) -> Selection:
    """Return those of some runs that are wanted. `Selection.find` chooses by ID."""
    chosen = runs.filter(*wanted.filters)
    infos = [run.info for run in chosen]
    is_strict = any(map(raises_errors, infos))
    read_leniently(infos)
    if wanted.order is not None:
        chosen = wanted.order.apply(chosen)
    return Selection(chosen[: wanted.limit], (), len(chosen), infos, is_strict)


def _add_filters(search: Search, filters: Sequence[str]) -> Search:
    given = search.filters or ()
    given = (given,) if isinstance(given, str) else given
    return replace(search, filters=(*given, *filters))


def _select_by_id(
    search: Search, options: LoadOptions, run_ids: Sequence[str], index: Index
) -> Selection:
    """Return the runs whose IDs are meant. Nothing is read of the others.

    A malformed configuration is an error when it is used.
    """
    keeps = search.keeps

    def is_wanted(run_id: str) -> bool:
        return any(is_meant(run_id, text) for text in run_ids) and (keeps is None or keeps(run_id))

    search = replace(search, keeps=is_wanted)
    conditions = search.make_conditions()
    found = find_runs(search, index, conditions)
    loaded = load_runs(found.runs, Run, options, index, was_searched=True, conditions=conditions)
    malformed = {f.path for f in loaded.failures if isinstance(f.error, ConfigError)}
    runs = [*loaded.runs]
    if malformed:  # What else there is of these runs can be shown.
        unread = read_runs(
            found.runs,
            Run,
            options,
            index,
            was_searched=True,
            conditions=conditions,
            need=Need(configs=False),
        )
        runs += [run for run in unread.runs if get_config_url(run.info) in malformed]
    known = {get_config_url(run.info) for run in runs}
    failures = [*found.failures, *(f for f in loaded.failures if f.path not in known)]
    _report(failures, found.total)
    return Selection(RunCollection(runs), failures)


def _select_all(
    search: Search, options: LoadOptions, order: Order | None, index: Index
) -> Selection:
    conditions = search.make_conditions()
    found = find_runs(search, index, conditions)
    loaded = load_runs(found.runs, Run, options, index, was_searched=True, conditions=conditions)
    conditions.check()
    failures = [*found.failures, *loaded.failures]
    _report(failures, len(found.runs) + len(found.failures))
    if not loaded.runs and not failures:
        _warn_of_none(found.emptiness, len(found.runs), conditions)
    infos = [run.info for run in loaded.runs]
    read_leniently(infos)
    runs = loaded.runs if order is None else order.apply(loaded.runs)
    return Selection(runs, failures, len(runs), infos)


def _select_first(search: Search, options: LoadOptions, count: int, index: Index) -> Selection:
    """Return the first runs, in the order of the search."""
    options = replace(options, progress=False)  # one bar for all batches
    store, search = open_search(search, index)
    conditions = search.make_conditions()
    found = find_experiments(store, search, conditions)
    runs: list[Run[Any, Any]] = []
    failures: list[Failure] = []
    tally = Tally()
    unlisted = list(found.experiments.matching)
    left: Sequence[RunNames] = []
    # How many runs have to be looked at is not known.
    with progress_bar(None, show=True) as advance:
        while unlisted and len(runs) < count:
            listing = store.list_runs([unlisted.pop(0)])
            failures += listing.failures
            left = listing.experiments
            while left and len(runs) < count:
                size = _BATCH_SIZE if conditions else count - len(runs)
                read = read_infos(store, [part.take(0, size) for part in left], search)
                left = [part.take(size, len(part.names)) for part in left if len(part.names) > size]
                loaded = read_runs(
                    read.runs, Run, options, index, was_searched=True, conditions=conditions
                )
                advance(len(read.runs))
                runs += tally.add(
                    replace(loaded, n_deleted=read.n_deleted, n_left_out=read.n_left_out)
                )
                failures += [*read.failures, *loaded.failures]
    if len(runs) < count:
        conditions.check()
    tally.warn()
    _report(failures, tally.n_found + len(failures) - tally.n_failures)
    failures += found.experiments.failures  # which have been logged
    if not runs and not failures:
        emptiness = None
        if not tally.n_found and not found.was_explained:
            emptiness = explain_emptiness(store, found, tally.n_deleted, tally.n_left_out)
        _warn_of_none(emptiness, tally.n_found, conditions)
    is_all = len(runs) <= count and not left and not unlisted
    return Selection(RunCollection(runs), failures, len(runs) if is_all else None)


def _select_by_record(
    search: Search, options: LoadOptions, order: Order, count: int, index: Index
) -> Selection:
    """Return the first runs in an order that is known without configurations."""
    conditions = search.make_conditions()
    found = find_runs(search, index, conditions)
    read_options = options.make_read_options(index)
    for info in found.runs:
        set_options(info, read_options)
    selected = conditions.select_infos(found.runs)
    failures = [*found.failures, *selected.failures]
    read_leniently(selected.runs)
    infos = order.apply_to_infos(selected.runs)
    runs: list[Run[Any, Any]] = []
    size = max(count, _BATCH_SIZE) if conditions.need_configs else count
    n_read = 0
    for start in range(0, len(infos), size):
        batch = infos[start : start + size]
        n_read += len(batch)
        loaded = load_runs(batch, Run, options, index, was_searched=True)
        chosen = conditions.select_runs(loaded.runs)
        runs += chosen.runs
        failures += [*loaded.failures, *chosen.failures]
        if len(runs) >= count:
            break
    else:
        conditions.check()
    _report(failures, len(found.runs) + len(found.failures))
    if not runs and not failures:
        _warn_of_none(found.emptiness, len(found.runs), conditions)
    n_matching: int | None = len(infos)
    if conditions.need_configs:
        n_matching = len(runs) if n_read == len(infos) else None
    return Selection(RunCollection(runs), failures, n_matching, infos)


def _report(failures: Sequence[Failure], total: int) -> None:
    report(failures, total, "warn", what="runs and experiments")


def _warn_of_none(emptiness: str | None, n_found: int, conditions: Conditions) -> None:
    """Log why there are no runs, unless that has been logged."""
    if emptiness is not None:
        logger.warning(emptiness)
    elif n_found:
        warn_of_none_left(n_found, conditions)
