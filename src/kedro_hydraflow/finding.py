"""Finding runs: the experiments and runs of a tracking directory or URI."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    NotFoundError,
    OnError,
    OptionError,
    RunLoadError,
    TrackingDirectoryError,
    check_flag,
    check_on_error,
    show_count,
    show_lines,
    show_names,
)
from kedro_hydraflow.filters import NO_CONDITIONS, Conditions, Filters, parse_filters
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.nearest import find_nearest
from kedro_hydraflow.progress import step
from kedro_hydraflow.redaction import SafeRepr
from kedro_hydraflow.run_info import RunInfo, make_info
from kedro_hydraflow.source import DirectoryOrNames, Layout, Source, is_location
from kedro_hydraflow.stores import (
    ExperimentFilter,
    Store,
    make_name_filter,
    naming_variable,
    open_store,
)
from kedro_hydraflow.stores.base import DEFAULT_EXPERIMENT_NAME, is_glob, list_patterns
from kedro_hydraflow.stores.record import RunStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kedro_hydraflow.storage import Location
    from kedro_hydraflow.stores.record import ExperimentRecord, Experiments, RunListing, RunNames

logger = get_logger(__name__)

_MAX_SHOWN = 100
"""Maximum number of failures shown in an error."""

_MAX_SHOWN_NAMES = 10
"""Maximum number of experiment names shown in a message."""


@dataclass(frozen=True, repr=False)
class Search(SafeRepr):
    """Which runs to find. The options are checked here, once; nothing is read.

    `iter_run_dirs` explains them.
    """

    source: Source
    experiment_names: ExperimentFilter = None
    include_deleted: bool | None = None
    on_error: OnError = "raise"
    filters: Filters = None
    keeps: Callable[[str], bool] | None = None
    """Whether to keep a run, by its ID. Nothing is read of the others."""

    def __post_init__(self) -> None:
        make_name_filter(self.experiment_names)
        names = self.experiment_names
        if isinstance(names, Sequence) and not isinstance(names, str):  # the caller's may change
            object.__setattr__(self, "experiment_names", tuple(names))
        if self.include_deleted is not None:
            check_flag("include_deleted", self.include_deleted)
        check_on_error(self.on_error)
        parse_filters(self.filters)
        if self.filters is not None and not isinstance(self.filters, str):
            object.__setattr__(self, "filters", tuple(self.filters))

    def make_conditions(self) -> Conditions:
        """Return the filters for one search."""
        return Conditions(
            parse_filters(self.filters),
            without_deleted=self.include_deleted is None,
            is_partial=self.keeps is not None,
        )


@dataclass(frozen=True)
class Findings:
    """The runs that match a search, and what could not be read."""

    runs: list[RunInfo]
    """Sorted by experiment name, then by run directory."""

    experiments: list[str]
    """The names of the experiments that match."""

    failures: list[Failure]

    n_deleted: int
    """The number of runs that were left out because they were deleted. If the store applied
    `Conditions.clauses`, of those that meet them."""

    where: str
    """What was searched, for messages."""

    n_left_out: int
    """The number of runs that `Search.keeps` left out."""

    emptiness: str | None
    """Why there are no runs, for a warning; None if there are some, or if that was logged."""

    @property
    def total(self) -> int:
        """The number of runs and experiments, with those that could not be read."""
        return len(self.runs) + len(self.failures)


def make_search(
    tracking_dir: Location | ExperimentFilter = None,
    experiment_names: ExperimentFilter = None,
    include_deleted: bool | None = None,
    on_error: OnError = "raise",
    tracking_uri: str | None = None,
    artifact_root: Location | None = None,
    storage_options: Mapping[str, Any] | None = None,
    layout: Layout | None = None,
    filters: Filters = None,
) -> Search:
    """Return the search that the arguments of `iter_run_dirs` mean.

    A list or a callable in the first place can only be experiment names. Whether a text there is a
    directory is decided by `open_search`.
    """
    directory: Any = tracking_dir
    make_source = Source
    if isinstance(tracking_dir, str):
        if experiment_names is None and tracking_uri is None:
            make_source = DirectoryOrNames
    elif not is_location(tracking_dir) and is_filter(tracking_dir):
        if experiment_names is not None:
            raise make_names_error(tracking_dir)
        directory, experiment_names = None, cast("ExperimentFilter", tracking_dir)
    source = make_source(directory, tracking_uri, artifact_root, storage_options, layout)
    return Search(source, experiment_names, include_deleted, on_error, filters)


def is_filter(value: object) -> bool:
    """Whether a value that is no text can be experiment names: a list or a predicate."""
    if isinstance(value, Sequence):
        return not isinstance(value, bytes)
    return callable(value) and not isinstance(value, type)


def make_names_error(names: object) -> OptionError:
    """Return the error for experiment names that are given in two places."""
    return OptionError(
        f"experiment_names: given twice, as {names!r} and by name; give a path or URL first, then "
        "experiment_names"
    )


def open_search(search: Search, index: Index = NO_INDEX) -> tuple[Store, Search]:
    """Return the store to search, and the search with the meaning of a text in the first place.

    Raises:
        NotFoundError: If there is no such directory, and no experiment with that name.
        KedroHydraflowError: As for `open_store`.
    """
    source = search.source
    if isinstance(source, DirectoryOrNames) and not source.is_directory():
        return take_as_names(search, str(source.tracking_dir), "the name of", index)
    try:
        return open_store(source, index), search
    except TrackingDirectoryError as exc:
        if not isinstance(source, DirectoryOrNames) or os.path.dirname(str(source.tracking_dir)):
            raise
        raise type(exc)(f"{exc}; {source.suggest_names()}") from exc


def take_as_names(
    search: Search, names: str, role: str, index: Index = NO_INDEX
) -> tuple[Store, Search]:
    """Return the store that MLflow reads by default, and the search for experiment names in it.

    Args:
        search: A search with a `DirectoryOrNames`, whose directory does not exist.
        names: The name or glob.
        role: How the text of the source relates to an experiment, for messages.
        index: As for `open_store`.

    Raises:
        KedroHydraflowError: If there is no such experiment either.
    """
    source = cast("DirectoryOrNames", search.source)
    text = str(source.tracking_dir)
    search = replace(search, source=source.without_directory(), experiment_names=names)
    try:
        store = open_store(search.source, index)
        found = _find_experiments(store, search)
        if not found.matching:
            raise NotFoundError(_describe_missing(names, store, found))
    except KedroHydraflowError as exc:
        problem = f"there is no directory {text!r}; taken as {role} an experiment"
        raise type(exc)(f"{problem}: {exc}{source.suggest()}") from exc
    return store, search


def find_runs(
    search: Search,
    index: Index = NO_INDEX,
    conditions: Conditions = NO_CONDITIONS,
    *,
    include_default: bool = False,
    narrow: bool = True,
) -> Findings:
    """Return the runs that match, and the failures: one bad run does not stop the others.

    Args:
        search: Which runs to find.
        index: The cache of what was read.
        conditions: The filters of the search. Those on experiments are applied, and perhaps some
            of the others: see `iter_listings`.
        include_default: As for `Store.find_experiments`.
        narrow: Whether runs that do not meet the conditions may be left out.

    Raises:
        NotFoundError: If there is no experiment with a name that was given.
        StorageError: If the experiments cannot be listed.
    """
    store, search = open_search(search, index)
    with store.connected(), step("finding runs"):
        found = _find_matching(store, search, conditions, include_default=include_default)
        for listing in iter_listings(store, found.experiments.matching, conditions, narrow=narrow):
            read = read_infos(store, listing.experiments, search)
            if not listing.is_narrowed or read.failures or read.n_left_out:
                break
            if conditions.are_met_as_narrowed(read.runs):
                break
        emptiness = None
        if not read.runs and not found.was_explained:
            emptiness = explain_emptiness(store, found, read.n_deleted, read.n_left_out)
    return Findings(
        read.runs,
        experiments=found.experiments.names,
        failures=[*found.experiments.failures, *listing.failures, *read.failures],
        n_deleted=read.n_deleted,
        n_left_out=read.n_left_out,
        where=store.where,
        emptiness=emptiness,
    )


def iter_listings(
    store: Store,
    experiments: Sequence[ExperimentRecord],
    conditions: Conditions,
    *,
    narrow: bool = True,
) -> Iterator[RunListing]:
    """Yield the runs that may meet all clauses, if the store can tell, and then all runs.

    Take the first listing with a run that meets the conditions with clauses, or cannot be read.
    Where there is none, what is said of the conditions needs to count all runs. The conditions
    count each listing from the beginning.
    """
    clauses = conditions.clauses if narrow else ()
    narrowed = store.list_narrowed(experiments, clauses) if clauses else None
    if narrowed is not None and narrowed.total:
        conditions.start(is_narrowed=True)
        yield narrowed
        conditions.start(is_narrowed=False)
    yield store.list_runs(experiments)


def iter_streams(
    store: Store, experiments: Sequence[ExperimentRecord], conditions: Conditions
) -> Iterator[RunStream]:
    """Yield what `iter_listings` yields. All runs are listed while they are iterated over."""
    clauses = conditions.clauses
    # At once: what meets a filter changes, and would be shifted between the pages of a server.
    narrowed = store.list_narrowed(experiments, clauses) if clauses else None
    if narrowed is not None and narrowed.total:
        conditions.start(is_narrowed=True)
        yield RunStream.make(narrowed)
        conditions.start(is_narrowed=False)
    yield store.stream_runs(experiments)


class ReadInfos(NamedTuple):
    """The runs that match, of those that were listed."""

    runs: list[RunInfo]
    failures: list[Failure]
    n_deleted: int
    n_left_out: int
    """The number of those that `Search.keeps` left out."""


def read_infos(store: Store, listed: Sequence[RunNames], search: Search) -> ReadInfos:
    """Return those of the listed runs that match, and the failures."""
    kept = listed if search.keeps is None else _keep(store, listed, search.keeps)
    with step("finding runs"):
        found = store.read_runs(kept, include_deleted=search.include_deleted)
    infos = [make_info(record, store) for record in found.records]
    n_left_out = sum(len(part.names) for part in listed) - sum(len(part.names) for part in kept)
    return ReadInfos(infos, found.failures, found.n_deleted, n_left_out)


def _keep(store: Store, listed: Sequence[RunNames], keeps: Callable[[str], bool]) -> list[RunNames]:
    """Return the names of the runs that are kept."""
    return [
        replace(
            part,
            names=[name for name in part.names if keeps(store.get_run_id(part.experiment, name))],
        )
        for part in listed
    ]


class Matching(NamedTuple):
    """What a search of experiments found."""

    experiments: Experiments

    ruled_out: list[str]
    """The names of the experiments that do not meet the filters."""

    was_explained: bool
    """Whether it was logged that no experiment matches, or that "Default" is left out."""


def _find_matching(
    store: Store,
    search: Search,
    conditions: Conditions = NO_CONDITIONS,
    *,
    include_default: bool = False,
) -> Matching:
    """Return the experiments that match. Log which names match nothing, and what is left out.

    Raises:
        NotFoundError: If there is no experiment with a name that was given.
    """
    names = search.experiment_names
    found = _find_experiments(store, search, include_default=include_default)
    _check_names(names, store, found)
    defaults = [e for e in found.defaults if _may_mean(names, e.experiment_name or "")]
    is_left_out = bool(defaults) and store.has_active_runs(defaults)
    if is_left_out:
        name = defaults[0].experiment_name
        logger.warning(
            "%s: the runs of the experiment %r are left out; to include them, give its name, as in "
            "experiment_names=[%r, '*']",
            store.where,
            name,
            name,
        )
    kept = conditions.keep_experiments(found.matching)
    ruled_out = [e.experiment_name or "" for e in found.matching if e not in kept]
    was_explained = is_left_out or (names is not None and not found.matching)
    return Matching(replace(found, matching=kept), ruled_out, was_explained)


def _find_experiments(
    store: Store, search: Search, *, include_default: bool = False
) -> Experiments:
    with naming_variable(search.source):
        return store.find_experiments(search.experiment_names, include_default=include_default)


def explain_emptiness(store: Store, matching: Matching, n_deleted: int, n_left_out: int = 0) -> str:
    """Return why a search finds no runs, for a warning, if `Matching.was_explained` is false.

    Args:
        store: What was searched.
        matching: The experiments.
        n_deleted: The number of runs that were left out because they were deleted.
        n_left_out: The number of runs that `Search.keeps` left out.
    """
    found, ruled_out, _ = matching
    experiments = found.names
    shown = f"{len(experiments)} experiments" if len(experiments) > 1 else "one experiment"
    shown += f" ({show_names(experiments, _MAX_SHOWN_NAMES)})"
    if not experiments and ruled_out:
        names = show_names(ruled_out, _MAX_SHOWN_NAMES)
        reason = f"none of {show_count(len(ruled_out), 'experiment')} ({names}) meets the filters"
    elif not experiments:
        defaults = [e.experiment_name or "" for e in found.defaults]
        besides = f" besides {show_names(defaults, _MAX_SHOWN_NAMES)}" if defaults else ""
        reason = f"there are no experiments{besides}"
    elif n_left_out:
        count = show_count(n_left_out, "run")
        reason = f"{count} of {shown}, none of which the checkpoint or lock leaves over"
    elif n_deleted:
        advice = "set include_deleted=True to include them"
        reason = f"{show_count(n_deleted, 'run')} of {shown}, all deleted; {advice}"
    else:
        reason = f"{shown}, without runs"
    n_others = len(found.other_names)
    others = f"; {n_others} more that experiment_names leaves out" if n_others else ""
    return f"no runs in {store.where}: {reason}{others}"


def _check_names(names: ExperimentFilter, store: Store, found: Experiments) -> None:
    """Raise NotFoundError for names that do not exist, log globs and callables without a match."""
    patterns = list_patterns(names)
    matching = {experiment.experiment_name or "" for experiment in found.matching}
    matching.update(found.unlocated)
    unmatched = [p for p in patterns if not any(map(make_name_filter(p), matching))]
    missing = [pattern for pattern in unmatched if not is_glob(pattern)]
    if missing:
        described = "; ".join(_describe_missing(name, store, found) for name in missing)
        raise NotFoundError(f"experiment_names: {described}")
    if unmatched or (names is not None and not matching):
        logger.warning(
            "%s: no experiment matches experiment_names=%s; %s",
            store.where,
            ", ".join(map(repr, unmatched)) or getattr(names, "__qualname__", "[]"),
            _list_names(found),
        )


def _may_mean(names: ExperimentFilter, default: str) -> bool:
    """Whether a filter that leaves "Default" out might be meant to include it."""
    if names is None or callable(names):
        return True
    return make_name_filter(names)(default)


def _describe_missing(name: str, store: Store, found: Experiments) -> str:
    names = {e.experiment_name or "" for e in (*found.matching, *found.defaults)}
    near = find_nearest(name, names.union(found.other_names))
    listed = f"the nearest are {', '.join(map(repr, near))}" if near else _list_names(found)
    failed = [f"; {len(found.failures)} could not be read: {f}" for f in found.failures[:1]]
    renamed = [e.experiment_name for e in found.defaults] if name == DEFAULT_EXPERIMENT_NAME else []
    default = f"; the experiment 0 has the name {renamed[0]!r}" if renamed else ""
    return f"there is no experiment {name!r} in {store.where}; {listed}{default}{''.join(failed)}"


def _list_names(found: Experiments) -> str:
    """Return the first names of experiments for a message, without "Default"."""
    names = sorted({*(e.experiment_name or "" for e in found.matching), *found.other_names})
    return f"found {show_names(names, _MAX_SHOWN_NAMES) or 'no experiments'}"


def find_experiments(
    store: Store, search: Search, conditions: Conditions = NO_CONDITIONS
) -> Matching:
    """Return the experiments that match. Raise or log those that cannot be read."""
    matching = _find_matching(store, search, conditions)
    found = matching.experiments
    total = len(found.matching) + len(found.failures)
    report(found.failures, total, search.on_error, what="experiments")
    return matching


def report(
    failures: Sequence[Failure],
    total: int,
    on_error: OnError,
    *,
    what: str = "runs",
    caller: str | None = None,
    n_ruled_out: int | None = 0,
) -> None:
    """Raise one error that names all failures, or log each, as ``on_error`` says.

    Args:
        failures: The failures.
        total: The number of all that should have been read.
        on_error: The option.
        what: What was read, for messages.
        caller: The function to which the user gives ``on_error``, if it is not obvious.
        n_ruled_out: The number of those that were not read, because conditions ruled them out;
            None if there may be others, which were not counted.
    """
    if not failures:
        return
    others = "others" if n_ruled_out is None else f"{n_ruled_out} others" if n_ruled_out else ""
    ruled_out = f" ({others} were ruled out by filters)" if others else ""
    summary = f"{len(failures)} of {total} {what} could not be read{ruled_out}"
    if on_error == "raise":
        n_more = len(failures) - _MAX_SHOWN
        lines = show_lines(map(str, failures[:_MAX_SHOWN]), n_more, ", in `failures` of this error")
        where = "" if caller is None else f" in {caller}"
        advice = f"set on_error='warn'{where} to skip them"
        raise RunLoadError(f"{summary}; {advice}:{lines}", failures)
    for failure in failures:
        logger.warning("skipped: %s", failure)
    logger.warning(
        "skipped %d of %d %s that could not be read%s", len(failures), total, what, ruled_out
    )
