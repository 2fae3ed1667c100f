"""What is known about one run without its configuration."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.config import ConfigReader, PlainConfig
from kedro_hydraflow.errors import ConfigError, MetadataError, StorageError, prefix_error
from kedro_hydraflow.storage import Place, Storage, locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kedro_hydraflow.storage import AnyPath
    from kedro_hydraflow.stores.base import Point, Store

logger = logging.getLogger(__name__)

STATUSES = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
"""``RunStatus`` of MLflow's ``service.proto``, by the number that the file store writes."""

_ENDED = frozenset({"3", "4", "5", "FINISHED", "FAILED", "KILLED"})

LOGGED_KINDS = ("metrics", "params", "tags")
"""What an application logs to MLflow besides artifacts."""


def is_settled(meta: object) -> bool:
    """Tell whether a run's ``meta.yaml`` says that it has ended, and was not deleted."""
    if not isinstance(meta, dict):
        return False
    return meta.get("status") in _ENDED and meta.get("lifecycle_stage") == "active"


class ExperimentInfo:
    """One experiment: its directory, what tracks it and, read on first use, its name.

    The runs of one load share it, so that the name is read once.

    Args:
        storage: What holds the directory.
        path: The experiment's directory, as the storage names it.
        name: The experiment's name, where it is known already.
        store: What tracks it. None looks for that on first use.
        experiment_id: Its ID, by default the name of its directory.
    """

    __slots__ = ("_experiment_id", "_name", "_storage", "_store", "path")

    def __init__(
        self,
        storage: Storage,
        path: str,
        name: str | None = None,
        store: Store | None = None,
        experiment_id: str | None = None,
    ) -> None:
        self._storage = storage
        self.path = path
        self._name = name
        self._store = store
        self._experiment_id = experiment_id

    @property
    def experiment_id(self) -> str:
        """The experiment's ID in MLflow, empty if nothing tells it."""
        if self._experiment_id is None:
            return self._storage.split(self.path)[1]
        return self._experiment_id

    @property
    def directory(self) -> AnyPath:
        """The directory: a ``pathlib.Path``, or a ``UPath`` on remote storage."""
        return self._storage.to_path(self.path)

    @property
    def name(self) -> str:
        """The experiment's name, empty if nothing recorded it, of one that a store found."""
        return self._name or ""

    def get_store(self, run_dir: str) -> Store:
        """Return what tracks the experiment; it is found by looking at one of its runs."""
        if self._store is None:
            # Against the direction of the other imports, for who starts with one directory.
            from kedro_hydraflow.stores import find_store

            self._store = find_store(self._storage, run_dir)
        return self._store

    def get_name(self, run_dir: str) -> str:
        """Return the experiment's name, empty if nothing recorded it."""
        if self._name is None:
            # An empty one is not remembered: it may be about to be written.
            self._name = self.get_store(run_dir).read_experiment_name(self, run_dir) or None
        return self._name or ""

    def __reduce__(self) -> tuple[Any, ...]:
        return ExperimentInfo, (
            self._storage,
            self.path,
            self._name,
            self._store,
            self._experiment_id,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> ExperimentInfo:
        return self


class RunInfo:
    """Facts about one run. They do not change once they are read.

    The directory is known from the start. Everything else is read on first use from what
    tracked the run, and stays as it was read.

    Args:
        run_dir: The run directory: a ``pathlib.Path``, or a ``UPath`` on remote storage.
        experiment: The experiment, where it is known already.
    """

    __slots__ = ("_experiment", "_logged", "_meta", "_path", "_run_dir", "_storage")

    _meta: dict[str, str] | MetadataError | StorageError | None
    """Entries as in a ``meta.yaml``, whatever the store; why they cannot be read; or unread."""

    _logged: dict[str, Any] | None
    """All metrics, params or tags by kind (``metrics``), and single ones by key
    (``metrics.accuracy``), as far as they are read."""

    _run_dir: AnyPath | None

    def __init__(self, run_dir: AnyPath, experiment: ExperimentInfo | None = None) -> None:
        place = locate(run_dir)
        self._set_up(place.storage, place.path, experiment, None)
        self._run_dir = run_dir

    def _set_up(
        self,
        storage: Storage,
        path: str,
        experiment: ExperimentInfo | None,
        meta: dict[str, str] | None,
    ) -> None:
        self._storage = storage
        self._path = path
        self._experiment = experiment
        self._meta = meta
        self._logged = None
        self._run_dir = None  # made on first use: a load of many runs works with text paths

    @classmethod
    def make(
        cls,
        storage: Storage,
        path: str,
        experiment: ExperimentInfo | None = None,
        meta: dict[str, str] | None = None,
    ) -> RunInfo:
        """Return the facts about the run at a storage's path.

        Args:
            storage: What holds the run directory.
            path: The run directory, as the storage names it.
            experiment: The experiment, where it is known already.
            meta: The entries of the run's ``meta.yaml``, where they are known already.
        """
        info = cls.__new__(cls)
        info._set_up(storage, path, experiment, meta)
        return info

    def __repr__(self) -> str:
        return f"RunInfo({self.run_id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunInfo) and self.run_dir == other.run_dir

    def __hash__(self) -> int:
        return hash(self.run_dir)

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild_info, (
            self._storage,
            self._path,
            self._experiment,
            self._meta,
            self._logged,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> RunInfo:
        return self

    @property
    def run_dir(self) -> AnyPath:
        """The run directory: a ``pathlib.Path``, or a ``UPath`` on remote storage."""
        if self._run_dir is None:
            self._run_dir = self._storage.to_path(self._path)
        return self._run_dir

    @property
    def run_id(self) -> str:
        """The MLflow run ID, which is the name of the run directory."""
        name = self._path.rpartition(self._storage.sep)[2]
        return "" if name == "." else name  # as pathlib has it

    def get_place(self) -> Place:
        """Return the place of the run directory."""
        return Place(self._storage, self._path)

    @property
    def job_name(self) -> str:
        """The Hydra job name, which HydraFlow uses as the MLflow experiment's name.

        Empty if nothing recorded it.
        """
        return self._get_experiment().get_name(self._path)

    @property
    def experiment_id(self) -> str:
        """The MLflow experiment ID."""
        return self._get_experiment().experiment_id

    @property
    def status(self) -> str | None:
        """RUNNING, SCHEDULED, FINISHED, FAILED or KILLED; None if it is not recorded."""
        status = self._fact("status")
        return None if status is None else STATUSES.get(status, status)

    @property
    def run_name(self) -> str | None:
        """The name that MLflow shows for the run; None if it is not recorded."""
        return self._fact("run_name")

    @property
    def start_time(self) -> datetime | None:
        """When the run started, in UTC, to the millisecond; None if it is not recorded."""
        return self._time("start_time")

    @property
    def end_time(self) -> datetime | None:
        """When the run ended, in UTC, to the millisecond; None while it goes on."""
        return self._time("end_time")

    @property
    def lifecycle_stage(self) -> str | None:
        """``active`` or ``deleted``; None if it is not recorded."""
        return self._fact("lifecycle_stage")

    @property
    def _is_known_as_deleted(self) -> bool:
        """Whether it was deleted in MLflow, as far as that has been read."""
        return isinstance(self._meta, dict) and self._meta.get("lifecycle_stage") == "deleted"

    def _get_experiment(self) -> ExperimentInfo:
        if self._experiment is None:
            self._experiment = ExperimentInfo(self._storage, self._storage.split(self._path)[0])
        return self._experiment

    def _get_store(self) -> Store:
        return self._get_experiment().get_store(self._path)

    def _fact(self, key: str) -> str | None:
        if self._meta is None:
            read_facts([self])
        meta = self._meta
        if isinstance(meta, Exception):
            self._meta = None  # it is read again the next time
            raise meta
        return None if meta is None else meta.get(key) or None

    def _time(self, key: str) -> datetime | None:
        text = self._fact(key)
        if text in (None, "null"):
            return None
        try:
            return datetime.fromtimestamp(int(text) / 1000, tz=timezone.utc)
        except (ValueError, OverflowError, OSError) as exc:
            raise MetadataError(
                f"{self._storage.url(self._path)}: expected {key} in milliseconds, found {text!r}"
            ) from exc


FACTS = frozenset(
    name
    for name, value in vars(RunInfo).items()
    if isinstance(value, property) and not name.startswith("_")
)
"""The public attributes of `RunInfo`."""

META_FACTS = ("end_time", "lifecycle_stage", "run_name", "start_time", "status")
"""Those that what tracked the run has to be asked for."""


def read_facts(infos: Iterable[RunInfo]) -> None:
    """Read the facts of many runs at once, where they have not been read.

    Why they cannot be read is raised when a fact of that run is asked for.
    """
    for store, group in _group([info for info in infos if info._meta is None]):
        store.read_facts(group)


def read_logged(infos: Sequence[RunInfo], key: str) -> list[Any]:
    """Return what was logged for each run, read at once where it has not been read.

    Args:
        infos: The runs.
        key: All of a kind (``metrics``), or one of it (``metrics.accuracy``).

    Returns:
        For each run the values by name, or the one value; None without one, or why it cannot
        be read, which is not remembered.
    """
    kind, _, name = key.partition(".")
    unread = [info for info in infos if {kind, key}.isdisjoint(info._logged or ())]
    failures: dict[int, Exception] = {}
    for store, group in _group(unread):
        values: Sequence[Any]
        values = store.read_values(group, kind, name) if name else store.read_all(group, kind)
        for info, value in zip(group, values, strict=True):
            info._logged = info._logged or {}
            if isinstance(value, Exception):
                failures[id(info)] = value
            else:
                info._logged[key] = value
    read = []
    for info in infos:
        logged = info._logged or {}
        value = logged[kind].get(name) if name and kind in logged else logged.get(key)
        read.append(failures.get(id(info), value))
    return read


def read_config(info: RunInfo) -> PlainConfig:
    """Return the configuration of one run; without one, an empty one and a warning.

    Raises:
        ConfigError: If it cannot be read.
        StorageError: If the storage denies it or cannot be reached.
    """
    place = get_artifacts(info).join(".hydra/config.yaml")
    content = place.read()
    if content is None:
        warn_of_absent([info])
        return {}
    try:
        return ConfigReader().read(content)
    except ConfigError as exc:
        raise prefix_error(place.url, exc) from exc


def warn_of_absent(infos: Iterable[RunInfo]) -> None:
    """Log once which of these runs without a configuration have no run directory either.

    As in hydraflow, it is no error: they have empty configurations. On remote storage it is
    not looked at, because that takes further requests.
    """
    absent = [i for i in infos if not i._storage.is_remote and not i._storage.is_dir(i._path)]
    if not absent:
        return
    place = absent[0].get_place()
    store = absent[0]._get_experiment()._store
    hint = ""
    if store is not None and not store.finds_folders:
        hint = (
            f"; it was recorded there, and is not beside {store.where} either: give the directory "
            "or URL that holds the artifacts now as artifact_root"
        )
    if len(absent) == 1:
        logger.warning(
            "there is no run directory %s; its configuration is empty%s", place.url, hint
        )
    else:
        logger.warning(
            "there are no run directories for %d runs; their configurations are empty. The first "
            "is %s%s",
            len(absent),
            place.url,
            hint,
        )


def get_artifacts(info: RunInfo) -> Place:
    """Return the artifacts directory of a run."""
    return info.get_place().join("artifacts")


def read_histories(
    infos: Sequence[RunInfo], name: str
) -> list[list[Point] | MetadataError | StorageError]:
    """Return all values of a metric of each run, sorted, or why they cannot be read."""
    found: dict[int, list[Point] | MetadataError | StorageError] = {}
    for store, group in _group(infos):
        found.update(zip(map(id, group), store.read_histories(group, name), strict=True))
    return [found[id(info)] for info in infos]


def _group(infos: Iterable[RunInfo]) -> Iterable[tuple[Store, list[RunInfo]]]:
    groups: dict[Store, list[RunInfo]] = {}
    last = None
    for info in infos:
        store = info._get_store()
        if store is not last:
            group = groups.setdefault(store, [])
            last = store
        group.append(info)
    return groups.items()


def rebuild_info(
    storage: Storage,
    path: str,
    experiment: ExperimentInfo | None,
    meta: dict[str, str] | None,
    logged: dict[str, Any] | None,
) -> RunInfo:
    """Return the facts of a run that was pickled."""
    info = RunInfo.make(storage, path, experiment, meta)
    info._logged = logged
    return info
