"""Finding and loading the runs below a tracking directory, as catalog entries describe it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_hydraflow.checkpoint import Checkpoint
from kedro_hydraflow.datasets._base import (
    import_object,
    is_importable_path,
)
from kedro_hydraflow.datasets._preview import Some, explain_too_many, load_some
from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    NotFoundError,
    OptionError,
    check_flag,
    show_count,
    show_names,
)
from kedro_hydraflow.finding import Search, find_runs, report
from kedro_hydraflow.index import NO_INDEX
from kedro_hydraflow.loading import LoadOptions, load_runs
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.progress import showing_progress
from kedro_hydraflow.redaction import Options, SafeRepr
from kedro_hydraflow.run import Run
from kedro_hydraflow.run_info import (
    get_place,
    get_record,
    get_store,
    read_facts,
    set_options,
)
from kedro_hydraflow.run_lock import RunLock
from kedro_hydraflow.source import Layout, Source, check_location, show_location
from kedro_hydraflow.stores import ExperimentFilter, open_store

if TYPE_CHECKING:
    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.filters import Conditions, Filters
    from kedro_hydraflow.finding import Findings
    from kedro_hydraflow.index import Index, IndexOption
    from kedro_hydraflow.loading import LoadedRuns
    from kedro_hydraflow.run_collection import RunCollection
    from kedro_hydraflow.run_info import ReadOptions, RunInfo
    from kedro_hydraflow.storage import Location

    StateFile = Location | Mapping[str, Any] | None

logger = get_logger(f"kedro.{__name__}")
"""Below ``kedro``: by default, Kedro shows INFO of its own loggers and of the project alone."""


class Query(NamedTuple):
    """Which runs to find, and how to read them."""

    search: Search
    options: LoadOptions


class Loaded(NamedTuple):
    """What a search found."""

    runs: RunCollection[Run[Any, Any]]
    lost: Sequence[RunInfo]
    """Those of the runs whose artifacts, and so their configurations, cannot be found."""


class _Selected(NamedTuple):
    """The search for the runs that a checkpoint or lock leaves over."""

    search: Search
    lock: RunLock | None = None
    locked: dict[str, str] | None = None
    """The digests of the locked runs by ID, None if nothing is locked yet."""

    def check(self, loaded: LoadedRuns[Any]) -> None:
        """Raise LockError unless the runs are those that are locked, if any are."""
        if self.lock is not None and self.locked is not None:
            self.lock.check(loaded.runs, self.locked, [info for info, _ in loaded.lost])

    def pin(self, runs: RunCollection[Run[Any, Any]]) -> str:
        """Write the lock if there is none yet. Return what the log is to say of it."""
        if self.lock is None or self.locked is not None:
            return ""
        if not runs:
            return "; nothing is locked"
        self.lock.write(runs)
        logger.warning(
            "%s: there was no lock: locked %s; later loads give these. Keep the file with the "
            "project",
            self.lock.place.url,
            show_count(len(runs), "run"),
        )
        return ""


@dataclass(frozen=True, repr=False)
class RunSearch(SafeRepr):
    """The options of a catalog entry that finds runs. The constructor checks them, without I/O.

    They are documented in `HydraflowRunCollectionDataset`.
    """

    path: Location | None = None
    tracking_uri: str | None = None
    artifact_root: Location | None = None
    experiment_names: ExperimentFilter = None
    filters: Filters = None
    n_jobs: int = 0
    progress: bool = False
    on_error: OnError = "raise"
    include_deleted: bool | None = None
    index: IndexOption = None
    layout: Layout | None = None
    results: str | None = None
    checkpoint: StateFile = None
    lock: StateFile = None
    storage_options: Mapping[str, Any] = field(default_factory=Options)

    def __post_init__(self) -> None:
        if self.path is not None and self.tracking_uri is not None:
            raise OptionError("give path or tracking_uri, not both")
        if self.tracking_uri is None:
            check_location("path", self.path)
        object.__setattr__(self, "storage_options", Options(self.storage_options))
        for name in ("experiment_names", "filters"):  # the caller's own lists may change
            value = getattr(self, name)
            if isinstance(value, Sequence) and not isinstance(value, str):
                object.__setattr__(self, name, list(value))
        for name in ("checkpoint", "lock"):
            _parse_state_file(name, getattr(self, name))
        if self.checkpoint is not None and self.lock is not None:
            raise OptionError(
                "give checkpoint or lock, not both: one gives new runs alone, the other always the "
                "same ones"
            )
        self._make_search()
        self._make_load_options(None, None)

    def _make_search(self) -> Search:
        source = Source(
            self.path, self.tracking_uri, self.artifact_root, self.storage_options, self.layout
        )
        return Search(
            source, self.experiment_names, self.include_deleted, self.on_error, self.filters
        )

    def _make_load_options(
        self, impl: Callable[..., Any] | None, config_class: type | None
    ) -> LoadOptions:
        return LoadOptions(
            impl, config_class, self.n_jobs, self.progress, self.on_error, self.index, self.results
        )

    def make_query(
        self, impl: Callable[..., Any] | None = None, config_class: type | None = None
    ) -> Query:
        """Return what the entry loads, for those who load it in their own way."""
        selected = self._select(self._import_names(), config_class)
        return Query(selected.search, self._make_load_options(impl, config_class))

    def load(
        self,
        impl: Callable[..., Any] | None = None,
        config_class: type | None = None,
        *,
        is_wanted: Callable[[RunInfo], bool] | None = None,
        min_runs: int = 0,
        writes_lock: bool = True,
        has_artifact: bool = False,
    ) -> Loaded:
        """Return the runs, sorted by experiment name, then by run directory.

        With ``checkpoint``, these are the new ones, whose facts are read before anything else of
        them. With ``lock``, these are the ones that are locked.

        Args:
            impl: The class or function that builds ``run.impl``.
            config_class: A dataclass onto which configurations are merged.
            is_wanted: A predicate on the facts of a run. Runs that fail it are not read.
            min_runs: The number of runs that there have to be.
            writes_lock: Whether to write the lock if there is none yet.
            has_artifact: Whether an artifact of each run says that it has ended, if nothing else
                does.

        Raises:
            OptionError: If the store cannot say which runs a checkpoint or lock means.
            NotFoundError: If there are fewer than ``min_runs``.
            RunLoadError: If ``on_error`` is ``raise`` and something cannot be read.
            LockError: If the runs are not those that are locked.
            StateFileError: If the checkpoint or lock is damaged.
        """
        options = self._make_load_options(impl, config_class)
        selected = self._select(self._import_names(), config_class)
        search = selected.search
        index = options.open_index(search.source)
        conditions = search.make_conditions()
        with showing_progress(show=self.progress):
            # Of the runs with the ID, all are counted.
            found = find_runs(search, index, conditions, narrow=is_wanted is None)
            infos = found.runs if is_wanted is None else list(filter(is_wanted, found.runs))
            unread: list[Failure] = []
            if self.checkpoint is not None or self.lock is not None:
                self._check_store(infos, has_artifact=has_artifact)
                # First: what is read afterwards of a run that has ended is final.
                infos, unread = _read_facts(infos, options.make_read_options(index))
            loaded = load_runs(infos, Run, options, index, was_searched=True, conditions=conditions)
        conditions.check()
        failures = [*found.failures, *unread, *loaded.failures]
        report(
            failures,
            found.total,
            self.on_error,
            what="runs and experiments",
            n_ruled_out=loaded.n_ruled_out,
        )
        selected.check(loaded)
        runs = loaded.runs
        steps = self._list_steps(found, unread, loaded, conditions)
        shown = f"{self.shown_location}: {', '.join(steps)}"
        if len(runs) < min_runs:
            raise NotFoundError(f"expected min_runs={min_runs} or more, found {shown}")
        if writes_lock:
            shown += selected.pin(runs)
        was_logged = not found.runs and found.emptiness is None
        is_usual = bool(runs) or was_logged or self.checkpoint is not None
        logger.log(logging.INFO if is_usual else logging.WARNING, shown)
        return Loaded(runs, [info for info, _ in loaded.lost])

    def _check_store(self, infos: Sequence[RunInfo], *, has_artifact: bool) -> None:
        """Raise OptionError if a checkpoint or lock cannot know which runs it means."""
        for info in infos:
            store = get_store(info)
            if not store.has_unique_ids(get_record(info)):
                option = "lock" if self.checkpoint is None else "checkpoint"
                raise OptionError(
                    f"{option}: the run IDs in {self.shown_location} are relative to it, such as "
                    f"{info.run_id!r}, so that runs elsewhere may have the same ones; keep the "
                    "output directories of Hydra below a folder 'multirun' or 'outputs'"
                )
            knows_end = store.records_facts or self.results is not None or has_artifact
            if self.checkpoint is not None and not knows_end:
                raise OptionError(
                    f"checkpoint: it is not recorded in {self.shown_location} which runs have "
                    "ended; give the option results, the name of a file that each run writes at "
                    "its end, such as result.json"
                )

    def load_locked(
        self, impl: Callable[..., Any] | None = None, config_class: type | None = None
    ) -> RunCollection[Run[Any, Any]] | None:
        """Return the runs that are locked, None if none are. The errors are those of `load`."""
        if self._select(self._import_names(), config_class).locked is None:
            return None
        return self.load(impl, config_class).runs

    def _select(self, search: Search, config_class: type | None = None) -> _Selected:
        """Return the search for the runs that the checkpoint or lock leaves over."""
        if self.lock is not None:
            file = _parse_state_file("lock", self.lock)
            place = search.source.locate_beside("lock", file.location)
            lock = RunLock(place, self._describe_query(config_class), file.logged)
            locked = lock.read()
            if locked is not None:
                # They met the filters, of which one may be about what is newest.
                search = replace(search, filters=None, keeps=locked.__contains__)
            return _Selected(search, lock, locked)
        if self.checkpoint is not None:
            confirmed = self.open_checkpoint().read()
            if confirmed:
                search = replace(search, keeps=lambda run_id: run_id not in confirmed)
        return _Selected(search)

    def _describe_query(self, config_class: type | None) -> dict[str, Any]:
        """Return the options that say which runs are wanted, as a lock has them."""
        names = self.experiment_names
        if callable(names):
            names = getattr(names, "__qualname__", type(names).__qualname__)
        names, filters = ([v] if isinstance(v, str) else v or [] for v in (names, self.filters))
        return {
            "experiment_names": sorted(names),
            "filters": list(filters),
            "config_class": None if config_class is None else config_class.__qualname__,
        }

    def open_checkpoint(self) -> Checkpoint:
        """Return the checkpoint.

        Raises:
            OptionError: If there is none.
        """
        if self.checkpoint is None:
            raise OptionError(
                f"{self.shown_location}: the option checkpoint is not given, such as {{filepath: "
                "data/processed_runs.json}, so no runs can be confirmed"
            )
        file = _parse_state_file("checkpoint", self.checkpoint)
        return Checkpoint(self._make_search().source.locate_beside("checkpoint", file.location))

    def _list_steps(
        self,
        found: Findings,
        unread: Sequence[Failure],
        loaded: LoadedRuns[Any],
        conditions: Conditions,
    ) -> list[str]:
        """Return how many runs were found, and how many each step of a load left over."""
        count = len(found.experiments)
        experiments = f"runs of {'one experiment' if count == 1 else f'{count} experiments'}"
        without = [f"without {found.n_deleted} that were deleted"] if found.n_deleted else []
        if found.n_left_out:
            reason = "confirmed" if self.checkpoint is not None else "new since the lock"
            without.append(f"without {found.n_left_out} {reason}")
        if conditions.is_narrowed:  # so are the deleted ones
            first, *others = conditions.steps
            steps = [experiments, first, *without, *others]
        else:
            steps = [f"{len(found.runs)} {experiments}", *without]
            if loaded.n_found < len(found.runs):
                steps.append(f"{loaded.n_found} with the run_id")
            steps += conditions.steps
        n_skipped = len(unread) + len(loaded.failures)
        if n_skipped:
            steps.append(f"without {n_skipped} that could not be read")
        if loaded.without_config:
            steps.append(f"{len(loaded.without_config)} of those read have no configuration")
        return steps

    def find(self) -> list[RunInfo]:
        """Return the runs of the experiments, unread and unfiltered; none without experiments."""
        search = self._import_names()
        try:
            return find_runs(search, self._open_requested_index(search)).runs
        except NotFoundError:
            return []

    def load_some(self, count: int, config_class: type | None = None) -> Some:
        """Return the first of the runs that `load` gives, for previews."""
        search = self._select(self._import_names(), config_class).search
        options = LoadOptions(
            config_class=config_class, on_error=self.on_error, results=self.results
        )
        return load_some(search, options, count, self._open_requested_index(search))

    def explain_too_many(self) -> str | None:
        """Return why a preview does not choose one of the runs; None if it may."""
        search = self._select(self._import_names()).search
        return explain_too_many(search, self._open_requested_index(search))

    def _open_requested_index(self, search: Search) -> Index:
        """Return the index that the option names, so that a few runs are those that `load` gives.

        The index of local disks, which is there by default, saves nothing for a few runs.
        """
        if not self.index:
            return NO_INDEX
        return LoadOptions(index=self.index).open_index(search.source)

    def exists(self) -> bool:
        """Whether the tracking directory, database or server exists, even if it has no runs."""
        source = self._make_search().source
        if source.uri is None and source.locate().is_dir():
            return True
        try:
            open_store(source).find_experiments(())
        except NotFoundError:
            return False
        return True

    @property
    def shown_location(self) -> str:
        """The tracking directory or URI for messages, without credentials."""
        return show_location(self.path or self.tracking_uri or "")

    def describe(self) -> dict[str, Any]:
        """Return the options that have a value, as Kedro shows them, without credentials."""
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        del shown["storage_options"]
        for name in ("checkpoint", "lock"):
            if shown[name] is not None:
                shown[name] = _parse_state_file(name, shown[name]).location
        for name in ("path", "tracking_uri", "artifact_root", "index", "checkpoint", "lock"):
            if shown[name] is not None:
                shown[name] = show_location(shown[name])
        names = self.experiment_names
        shown["experiment_names"] = getattr(names, "__qualname__", names)
        return {name: value for name, value in shown.items() if value is not None}

    def list_given(self) -> list[str]:
        """Return the names of the options of a search alone that differ from their defaults."""
        of_any_run = ("path", "results", "storage_options")
        options = [f for f in fields(self) if f.name not in of_any_run]
        return [f.name for f in options if getattr(self, f.name) != f.default]

    def _import_names(self) -> Search:
        """Return the search, with ``experiment_names`` imported if it is a dotted path."""
        search = self._make_search()
        names = self.experiment_names
        if not isinstance(names, str) or not is_importable_path(names):
            return search
        advice = f"write [{names!r}] if it is the name of an experiment"
        try:
            predicate = import_object("experiment_names", names)
        except OptionError as exc:
            raise OptionError(f"{exc}; {advice}") from exc
        if not callable(predicate):
            raise OptionError(
                f"experiment_names: expected a callable, found {predicate!r} at {names!r}; {advice}"
            )
        return replace(search, experiment_names=predicate)


def _read_facts(
    infos: Sequence[RunInfo], options: ReadOptions
) -> tuple[list[RunInfo], list[Failure]]:
    """Return the runs whose facts could be read, and the failures."""
    for info in infos:
        set_options(info, options)
    read_facts(infos)
    kept = []
    failures = []
    for info in infos:
        try:
            _ = info.status
            kept.append(info)
        except KedroHydraflowError as exc:  # noqa: PERF203 - it is of this run alone
            failures.append(Failure(get_place(info).url, exc))
    return kept, failures


def check_min_runs(min_runs: int) -> int:
    """Return the number. Raise OptionError unless it is an integer, 0 or more."""
    if not isinstance(min_runs, int) or isinstance(min_runs, bool) or min_runs < 0:
        raise OptionError(f"min_runs: expected an integer, 0 or more, found {min_runs!r}")
    return min_runs


class _StateFile(NamedTuple):
    """Where a checkpoint or lock is."""

    location: Location
    logged: bool = False
    """Whether the digests in a lock cover logged values."""


def _parse_state_file(option: str, value: Any) -> _StateFile:
    """Return where a checkpoint or lock is: at a path or URL, or at the one in a mapping.

    Without a value, the location is empty.
    """
    if value is None:
        return _StateFile("")
    if not isinstance(value, Mapping):
        return _StateFile(check_location(option, value))
    others = {"logged"} if option == "lock" else set()
    if "filepath" not in value or not {"filepath", *others}.issuperset(value):
        more = ", and logged" if others else ""
        raise OptionError(
            f"{option}: expected a path, a URL or a mapping with the key filepath{more}, found "
            f"one with {show_names(list(map(str, value))) or 'no keys'}"
        )
    logged = check_flag(f"{option}: logged", value.get("logged", False))
    return _StateFile(check_location(f"{option}: filepath", value["filepath"]), logged)
