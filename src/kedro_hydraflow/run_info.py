"""The facts about a run that are not in its configuration, and its logged values."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

from kedro_hydraflow.config import ConfigReader
from kedro_hydraflow.errors import (
    KedroHydraflowError,
    MetadataError,
    NotARunError,
    NotFoundError,
    RunNotFoundError,
    StorageError,
    UnreachableError,
)
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores.find import find_layout, find_stores
from kedro_hydraflow.stores.record import LOGGED_KINDS as LOGGED_KINDS
from kedro_hydraflow.stores.record import RECORDED_FACTS as RECORDED_FACTS
from kedro_hydraflow.stores.record import RunRecord, is_deleted, make_run_record
from kedro_hydraflow.stores.run_folder import check_not_above

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro_hydraflow.config import PlainConfig
    from kedro_hydraflow.storage import AnyPath, Place, Storage
    from kedro_hydraflow.stores import Point, Store
    from kedro_hydraflow.stores.record import ExperimentRecord, Facts

logger = logging.getLogger(__name__)

STATUSES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
"""``RunStatus`` of MLflow's ``service.proto``, by the number that the file store writes."""


class RunInfo:
    """Facts about one run.

    The run directory is given. All other facts are read on first use, from the store that
    tracked the run, and do not change after that.

    Args:
        run_dir: The run directory: a ``pathlib.Path``, or a ``UPath`` on remote storage.

    Examples:
        >>> from pathlib import Path
        >>> from kedro_hydraflow import RunInfo
        >>> experiment = Path("examples/data/mlruns/803221166256626715")
        >>> info = RunInfo(experiment / "16188f25c92f4d218507a2809e71ec9f")
        >>> info.job_name, info.status, info.run_name
        ('train_digits_v2', 'FAILED', 'intelligent-gull-281')
        >>> (info.end_time - info.start_time).total_seconds()
        0.061
    """

    __slots__ = ("_failure", "_is_located", "_layout", "_logged", "_record", "_run_dir", "_store")

    _record: RunRecord
    _store: Store | None
    """The store that tracked the run. With None, it is found on first use."""

    _layout: Store | None
    """The store that locates the configuration and the artifacts, if it is not `_store`."""

    _logged: dict[str, Any] | None
    """The metrics, params and tags that have been read: all of a kind (``metrics``), and
    single ones (``metrics.accuracy``)."""

    _failure: Exception | None
    """The error of reading the facts, until it is raised."""

    _is_located: bool
    """Whether the artifacts are known to be where the record says."""

    _run_dir: AnyPath | None

    def __init__(self, run_dir: AnyPath) -> None:
        self._set_up(make_run_record(locate(run_dir)), None, None)
        self._run_dir = run_dir

    def _set_up(self, record: RunRecord, store: Store | None, layout: Store | None) -> None:
        self._record = record
        self._store = store
        self._layout = layout
        self._logged = None if record.logged is None else {**record.logged}
        self._failure = None
        self._is_located = record.artifacts_dir is not None
        self._run_dir = None  # made on first use: loading many runs takes text paths

    @classmethod
    def from_record(
        cls, record: RunRecord, store: Store | None, layout: Store | None = None
    ) -> RunInfo:
        """Return the info of a recorded run.

        Args:
            record: The record.
            store: The store that tracked the run. With None, it is found on first use.
            layout: The store that locates the configuration and the artifacts, by default
                ``store``, or else the one that `find_layout` finds.
        """
        info = cls.__new__(cls)
        info._set_up(record, store, layout)
        return info

    def __repr__(self) -> str:
        return f"RunInfo({self.run_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunInfo) and self.run_dir == other.run_dir

    def __hash__(self) -> int:
        return hash(self.run_dir)

    def __reduce__(self) -> tuple[Any, ...]:
        # Flat, because a call for each nested object would double the time.
        record = self._record
        return rebuild_info, (
            record.storage,
            record.path,
            record.run_id,
            record.experiment,
            record.facts,
            self._logged,
            self._store,
            record.artifacts_dir,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> RunInfo:
        return self

    @property
    def run_dir(self) -> AnyPath:
        """The run directory: a ``pathlib.Path``, or a ``UPath`` on remote storage."""
        if self._run_dir is None:
            self._run_dir = self._record.to_path()
        return self._run_dir

    @property
    def run_id(self) -> str:
        """The MLflow run ID, the name of the run directory."""
        return self._record.run_id

    @property
    def job_name(self) -> str:
        """The Hydra job name, which HydraFlow uses as the MLflow experiment's name.

        Empty if it is not recorded.
        """
        experiment = self._record.experiment
        if experiment.experiment_name is None:
            experiment = self.get_store().name_experiment(self._record)
            if experiment.experiment_name:
                self._record = replace(self._record, experiment=experiment)
        return experiment.experiment_name or ""

    @property
    def experiment_id(self) -> str:
        """The MLflow experiment ID."""
        return self._record.experiment.experiment_id

    @property
    def status(self) -> str | None:
        """RUNNING, SCHEDULED, FINISHED, FAILED or KILLED; None if it is not recorded."""
        status = self._get_fact("status")
        return None if status is None else STATUSES.get(status, status)

    @property
    def run_name(self) -> str | None:
        """The name that MLflow shows for the run; None if it is not recorded."""
        return self._get_fact("run_name")

    @property
    def start_time(self) -> datetime | None:
        """The start of the run in UTC, to the millisecond; None if it is not recorded."""
        return self._get_time("start_time")

    @property
    def end_time(self) -> datetime | None:
        """The end of the run in UTC, to the millisecond; None while the run goes on."""
        return self._get_time("end_time")

    @property
    def lifecycle_stage(self) -> str | None:
        """``active`` or ``deleted``; None if it is not recorded."""
        return self._get_fact("lifecycle_stage")

    def get_place(self) -> Place:
        """Return the place of the run directory."""
        return self._record

    def get_record(self) -> RunRecord:
        """Return the store's record, with the facts that have been read."""
        return self._record

    def get_store(self) -> Store:
        """Return the store that tracked the run."""
        if self._store is None:
            find_missing_stores([self])
        return cast("Store", self._store)

    def get_layout(self) -> Store:
        """Return the store that locates the configuration and the artifacts.

        Finding it opens no database, which might be locked or broken.
        """
        if self._layout is None:
            self._layout = self._store or find_layout(self._record.experiment)
        return self._layout

    def get_artifacts(self) -> Place:
        """Return the place of the artifacts directory, which need not exist.

        Raises:
            StorageError: If the storage denies access or cannot be reached.
        """
        if self.may_be_elsewhere():
            (error,) = find_artifacts([self])
            if error is not None:
                raise error
        return self.get_layout().artifacts(self._record)

    def may_be_elsewhere(self) -> bool:
        """Whether `get_artifacts` has to look for the artifacts."""
        return not self._is_located and self.get_layout().may_be_elsewhere(self._record)

    def get_config_url(self) -> str:
        """Return the URL of the configuration file, for messages."""
        return self.get_layout().config_url(self._record)

    def read_config(self) -> PlainConfig:
        """Return the stored configuration, an empty one if there is none.

        A run directory that does not exist is logged, as in hydraflow.

        Raises:
            ConfigError: If it cannot be read.
            NotARunError: If it is a tracking or experiment directory.
            StorageError: If the storage denies it or cannot be reached.
        """
        layout = self.get_layout()
        (config,) = layout.read_configs([self._record], ConfigReader()).values
        if config is None and not self._is_located:
            (error,) = find_artifacts([self])
            if error is not None:
                raise error
            if self._record.artifacts_dir is not None:
                (config,) = layout.read_configs([self._record], ConfigReader()).values
        if isinstance(config, KedroHydraflowError):
            raise config
        if config is not None:
            self._is_located = True
            return config
        (error,) = layout.get_run_errors([self._record])
        if isinstance(error, RunNotFoundError) or (error is None and is_absent_locally(self)):
            warn_of_absent([self])
        elif isinstance(error, NotARunError):
            check_not_above(self._record)  # other folders are empty runs, as in hydraflow
        elif error is not None and not is_listing_denied(error):
            raise error
        return {}

    def _get_fact(self, name: str) -> str | None:
        facts = self._record.facts
        failure = self._failure
        if facts is None and failure is None:
            (found,) = self.get_store().read_facts([self._record])
            if isinstance(found, Exception):
                raise found
            if found is not None:
                self._record = replace(self._record, facts=found)
            facts = found
        if facts is None and failure is not None:
            self._failure = None  # the facts are read again the next time
            raise failure
        return None if facts is None else facts.get(name) or None

    def _get_time(self, name: str) -> datetime | None:
        text = self._get_fact(name)
        if text in (None, "null"):
            return None
        try:
            return datetime.fromtimestamp(int(text) / 1000, tz=timezone.utc)
        except (ValueError, OverflowError, OSError) as exc:
            raise MetadataError(
                f"{self._record.url}: expected {name} in milliseconds, found {text!r}"
            ) from exc


FACTS = frozenset(
    name
    for name, value in vars(RunInfo).items()
    if isinstance(value, property) and not name.startswith("_")
)
"""The public attributes of `RunInfo`."""


def rebuild_info(
    storage: Storage,
    path: str,
    run_id: str,
    experiment: ExperimentRecord,
    facts: Facts | None,
    logged: dict[str, Any] | None,
    store: Store | None,
    artifacts_dir: Place | None,
) -> RunInfo:
    """Return the info of a run that was pickled."""
    record = RunRecord(storage, path, run_id, experiment, facts, logged, artifacts_dir)
    return RunInfo.from_record(record, store)


# Reading many runs at once -------------------------------------------------------------------


def find_artifacts(infos: Sequence[RunInfo]) -> list[KedroHydraflowError | None]:
    """Find the artifacts of many runs at once, for `RunInfo.get_artifacts`.

    It is meant for runs without a configuration in their directory.

    Returns:
        For each run None, or the error.
    """
    errors: dict[int, KedroHydraflowError] = {}
    groups: dict[Store, list[RunInfo]] = {}
    for info in infos:
        groups.setdefault(info.get_layout(), []).append(info)
    for layout, group in groups.items():
        found = layout.find_artifacts(_get_records(group))
        for info, record in zip(group, found, strict=True):
            if isinstance(record, KedroHydraflowError):
                errors[id(info)] = record
            else:
                info._record = record
                info._is_located = True
    return [errors.get(id(info)) for info in infos]


def keep_artifacts(infos: Iterable[RunInfo]) -> None:
    """Note that the artifacts of runs are where their records say."""
    for info in infos:
        info._is_located = True


def read_facts(infos: Iterable[RunInfo]) -> None:
    """Read the facts of many runs at once, unless they have been read.

    An error is raised on the first use of a fact of its run.
    """
    unread = [info for info in infos if info._record.facts is None and info._failure is None]
    for store, group in _group_by_store(unread):
        for info, facts in zip(group, store.read_facts(_get_records(group)), strict=True):
            if isinstance(facts, Exception):
                info._failure = facts
            elif facts is not None:
                info._record = replace(info._record, facts=facts)


def read_logged(infos: Sequence[RunInfo], key: str) -> list[Any]:
    """Return a logged value of each run, read at once unless it has been read.

    Args:
        infos: The runs.
        key: One value (``metrics.accuracy``), or all of a kind (``metrics``).

    Returns:
        For each run its value, or the values by name; None if there is none, or the error of
        reading it. Errors are not kept: the next call reads again.
    """
    kind, _, name = key.partition(".")
    unread = [info for info in infos if {kind, key}.isdisjoint(info._logged or ())]
    failures: dict[int, KedroHydraflowError] = {}
    for store, group in _group_by_store(unread):
        records = _get_records(group)
        values: Sequence[Any]
        values = store.read_values(records, kind, name) if name else store.read_all(records, kind)
        for info, value in zip(group, values, strict=True):
            if isinstance(value, KedroHydraflowError):
                failures[id(info)] = value
            else:
                info._logged = info._logged or {}
                info._logged[key] = value
    if failures:
        return [failures.get(id(info)) or _get_logged(info, kind, name, key) for info in infos]
    return [_get_logged(info, kind, name, key) for info in infos]


def _get_logged(info: RunInfo, kind: str, name: str, key: str) -> Any:
    """Return a logged value that has been read, None if the run has none."""
    logged = info._logged or {}
    return logged[kind].get(name) if name and kind in logged else logged.get(key)


def read_histories(infos: Sequence[RunInfo], name: str) -> list[list[Point] | KedroHydraflowError]:
    """Return all values of a metric of each run, sorted, or the error of reading them."""
    found: dict[int, list[Point] | KedroHydraflowError] = {}
    for store, group in _group_by_store(infos):
        histories = store.read_histories(_get_records(group), name)
        found.update(zip(map(id, group), histories, strict=True))
    return [found[id(info)] for info in infos]


def is_known_as_deleted(info: RunInfo) -> bool:
    """Whether a run was deleted in MLflow, by the facts that have been read."""
    return is_deleted(info.get_record().facts)


def is_listing_denied(error: KedroHydraflowError | None) -> bool:
    """Whether an error only says that the storage does not list a run directory.

    A web server need not list directories: a run is read there by its URL alone.
    """
    unclear = (NotARunError, NotFoundError, UnreachableError)
    return isinstance(error, StorageError) and not isinstance(error, unclear)


def is_absent_locally(info: RunInfo) -> bool:
    """Whether a run of a database or server has a local run directory that does not exist.

    On remote storage it is not looked at, because that takes a request for each run.
    """
    place = info.get_place()
    if info.get_layout().finds_folders or place.storage.is_remote:
        return False
    return not place.is_dir()


def warn_of_absent(infos: Sequence[RunInfo]) -> None:
    """Log once that these runs have no run directory, and so an empty configuration.

    As in hydraflow, it is no error.
    """
    if not infos:
        return
    where = infos[0].get_place().url
    store = infos[0].get_layout()
    hint = ""
    if not store.finds_folders:
        hint = (
            f"; it was recorded there, and is not beside {store.where} either: give the directory "
            "or URL that holds the artifacts now as artifact_root"
        )
    if len(infos) == 1:
        logger.warning("there is no run directory %s; its configuration is empty%s", where, hint)
    else:
        logger.warning(
            "there are no run directories for %d runs; their configurations are empty. The first "
            "is %s%s",
            len(infos),
            where,
            hint,
        )


def warn_of_no_config(info: RunInfo, n_runs: int) -> None:
    """Log that none of so many runs has a configuration, and where that of one was looked for."""
    looked = " and ".join(info.get_layout().list_config_locations(info.get_record()))
    runs = "the run has no" if n_runs == 1 else f"none of {n_runs} runs has a"
    logger.warning(
        "%s configuration: looked for %s of %s; give artifact_root if the artifacts are elsewhere",
        runs,
        looked,
        info.run_id,
    )


def find_missing_stores(infos: Iterable[RunInfo]) -> None:
    """Find the stores of many runs at once, unless they are known."""
    unknown = [info for info in infos if info._store is None]
    for info, store in zip(unknown, find_stores(_get_records(unknown)), strict=True):
        info._store = info._layout if info._layout == store else store  # to share one


def _get_records(infos: Sequence[RunInfo]) -> list[RunRecord]:
    return [info.get_record() for info in infos]


def _group_by_store(infos: Sequence[RunInfo]) -> Iterable[tuple[Store, list[RunInfo]]]:
    """Return the stores of the runs, each with its runs."""
    find_missing_stores(infos)
    groups: dict[Store, list[RunInfo]] = {}
    last = None
    for info in infos:
        store = info.get_store()
        if store is not last:
            group = groups.setdefault(store, [])
            last = store
        group.append(info)
    return groups.items()
