"""The facts about a run that are not in its configuration, and its logged values."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from kedro_hydraflow.config import ConfigReader
from kedro_hydraflow.errors import (
    ConfigError,
    KedroHydraflowError,
    MetadataError,
    NotARunError,
    NotFoundError,
    RunNotFoundError,
    StorageError,
    UnreachableError,
    show_count,
    show_none_has,
)
from kedro_hydraflow.html_parts import make_html, make_note, make_table
from kedro_hydraflow.index import NO_INDEX, Index
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.progress import step
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.source import locate_option
from kedro_hydraflow.storage import group_positions
from kedro_hydraflow.stores.given_runs import find_layouts, find_stores
from kedro_hydraflow.stores.parsed_files import HYDRA_FILES, RESULTS, ParsedFile
from kedro_hydraflow.stores.parsed_files import PARSED_KINDS as PARSED_KINDS
from kedro_hydraflow.stores.record import LOGGED_KINDS as LOGGED_KINDS
from kedro_hydraflow.stores.record import (
    PARENT_TAG,
    ExperimentRecord,
    LostArtifactsError,
    MalformedValuesError,
    RunRecord,
    is_deleted,
    make_run_record,
)
from kedro_hydraflow.stores.record import RECORDED_FACTS as RECORDED_FACTS
from kedro_hydraflow.stores.record import STATUSES as STATUSES
from kedro_hydraflow.stores.run_folder import check_not_above
from kedro_hydraflow.times import from_milliseconds
from kedro_hydraflow.value_text import show_counts, show_short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from kedro_hydraflow.config import PlainConfig
    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.storage import AnyPath, Place, Storage
    from kedro_hydraflow.stores import Point, Store
    from kedro_hydraflow.stores.record import Facts

K = TypeVar("K")
T = TypeVar("T")

logger = get_logger(__name__)

History: TypeAlias = "list[Point] | KedroHydraflowError | None"
"""The values of a metric of a run, as `read_histories` returns them."""

_PARENT = f"tags.{PARENT_TAG}"
"""The key of the tag, for `read_logged`."""


@dataclass(frozen=True)
class ReadOptions:
    """How facts, logged values and files of runs are read when they are first used."""

    on_error: OnError = "raise"
    """What to do about malformed ones: with "warn", they are logged, and missing. A storage that
    denies access or cannot be reached is an error in any case."""

    results: ParsedFile | None = None
    """The file that ``run.results`` reads."""

    index: Index = field(default=NO_INDEX, repr=False)
    """The cache for results. It does not travel to other processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadOptions, (self.on_error, self.results)


_DEFAULTS = ReadOptions()

_MAX_SHOWN = 80
"""The maximum number of characters of a recorded value shown in an error."""


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

    __slots__ = (
        "_failure",
        "_is_located",
        "_is_run",
        "_layout",
        "_logged",
        "_options",
        "_record",
        "_run_dir",
        "_store",
        "_was_malformed",
    )

    _record: RunRecord
    _store: Store | None
    """The store that tracked the run. With None, it is found on first use."""

    _layout: Store | None
    """The store that locates the configuration and the artifacts, if it is not `_store`."""

    _logged: dict[str, Any] | None
    """The metrics, params and tags that have been read: all of a kind (``metrics``), and
    single ones (``metrics.accuracy``). Also parsed files, by kind (``hydra``, ``results``)."""

    _failure: Exception | None
    """The error of reading the facts, until it is raised."""

    _is_located: bool
    """Whether the artifacts are known to be where the record says."""

    _is_run: bool
    """Whether the directory is known to be that of a run, or its absence has been logged."""

    _options: ReadOptions

    _run_dir: AnyPath | None

    _was_malformed: bool
    """Whether something of the run was malformed, and is taken for missing."""

    def __init__(self, run_dir: AnyPath) -> None:
        self._set_up(make_run_record(locate_option("run_dir", run_dir)), None, None)

    def _set_up(self, record: RunRecord, store: Store | None, layout: Store | None) -> None:
        self._record = record
        self._store = store
        self._layout = layout
        self._logged = None if record.logged is None else {**record.logged}
        self._failure = None
        self._is_located = record.artifacts_dir is not None
        self._is_run = store is not None
        self._options = _DEFAULTS
        self._run_dir = None  # made on first use: loading many runs takes text paths
        self._was_malformed = False

    def __repr__(self) -> str:
        return f"RunInfo({describe_run(self)})"

    def _repr_html_(self) -> str:
        """Return the facts for a notebook. Of a run on remote storage, nothing is read for it."""
        return make_html(f"RunInfo({self.run_id!r})", lambda: make_facts_table(self))

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
            self._is_located,
            self._options,
            self._is_run,
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
        """The MLflow run ID, the name of the run directory.

        For Hydra alone, the path of the run directory from the last directory named ``multirun``
        or ``outputs`` on, such as ``multirun/2026-11-25/23-01-50/3``. Without such a directory,
        the path relative to the directory that was searched.
        """
        return self._record.run_id

    @property
    def job_name(self) -> str | None:
        """The Hydra job name, which HydraFlow uses as the MLflow experiment's name.

        Empty if it is not recorded, None if MLflow's record says null.
        """
        experiment = self._record.experiment
        if experiment.experiment_name is None:
            try:
                experiment = get_store(self).name_experiment(self._record)
            except MetadataError as exc:
                if self._options.on_error == "raise":
                    raise
                _log_malformed("job_name", [exc], [self])
                experiment = replace(experiment, experiment_name="")
                self._record = replace(self._record, experiment=experiment)
            if experiment.experiment_name:
                self._record = replace(self._record, experiment=experiment)
        return experiment.shown_name

    @property
    def experiment_id(self) -> str:
        """The MLflow experiment ID; for Hydra alone, the ID of the directory above the run.

        That is the directory of a sweep, so runs can be grouped by sweep, or the date's directory
        of single runs.
        """
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

    @property
    def parent_run_id(self) -> str | None:
        """The ID of the run in which this one was started; None if it is not a nested run."""
        (value,) = read_logged([self], _PARENT)
        if isinstance(value, Exception):
            raise value
        return value or None

    def _get_fact(self, name: str) -> str | None:
        if self._record.facts is None:
            failure, self._failure = self._failure, None  # they are read again the next time
            if failure is None:
                (failure,) = _read_facts([self])
            if failure is not None:
                raise failure
        return (self._record.facts or {}).get(name) or None

    def _get_time(self, name: str) -> datetime | None:
        text = self._get_fact(name)
        if text in (None, "null"):
            return None
        try:
            return from_milliseconds(int(text))
        except (ValueError, OverflowError) as exc:
            error = MetadataError(
                f"{get_store(self).locate_record(self._record)}: expected {name} in milliseconds, "
                f"found {text[:_MAX_SHOWN]!r}"
            )
            if self._options.on_error == "raise":
                raise error from exc
            _log_malformed(name, [error], [self])
            facts = {k: v for k, v in (self._record.facts or {}).items() if k != name}
            self._record = replace(self._record, facts=facts)
            return None


FACTS = frozenset(
    name
    for name, value in vars(RunInfo).items()
    if isinstance(value, property) and not name.startswith("_")
)
"""The public attributes of `RunInfo`."""

FACTS_IN_ORDER = (
    "run_id",
    "run_name",
    "job_name",
    "experiment_id",
    "status",
    "start_time",
    "end_time",
    "lifecycle_stage",
    "parent_run_id",
    "run_dir",
)
"""The `FACTS` in the order in which ``info.*`` names them."""


def rebuild_info(
    storage: Storage,
    path: str,
    run_id: str,
    experiment: ExperimentRecord,
    facts: Facts | None,
    logged: dict[str, Any] | None,
    store: Store | None,
    artifacts_dir: Place | None,
    is_located: bool,
    options: ReadOptions,
    is_run: bool,
) -> RunInfo:
    """Return the info of a run that was pickled."""
    record = RunRecord(storage, path, run_id, experiment, facts, logged, artifacts_dir)
    info = make_info(record, store)
    info._is_located = is_located
    set_options(info, options)
    info._is_run = is_run
    return info


class CredentialRemover:
    """Makes infos without credentials. What infos share, those that it makes share too."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}

    def remove(self, info: RunInfo) -> RunInfo:
        """Return an info with all that has been read, which reads no more from remote storage."""
        record = info._record
        bare = replace(
            record,
            storage=self._replace(record.storage),
            path=record.bare_path,
            experiment=self._replace(record.experiment),
            artifacts_dir=self._replace_place(record.artifacts_dir),
        )
        copied = make_info(bare, self._replace(info._store), self._replace(info._layout))
        copied._logged = None if info._logged is None else {**info._logged}
        copied._is_located = info._is_located
        copied._is_run = info._is_run
        set_options(copied, replace(info._options, index=NO_INDEX))
        return copied

    def _replace(self, shared: T) -> T:
        """Return a storage, store or experiment without credentials, None for None."""
        if shared is None:
            return shared
        made = self._made.get(id(shared))
        if made is None:
            bare: Any
            if isinstance(shared, ExperimentRecord):
                location = redact_url(shared.artifact_location)
                bare = replace(
                    shared,
                    storage=self._replace(shared.storage),
                    path=shared.bare_path,
                    artifact_location=location,
                )
            else:
                bare = cast("Any", shared).without_credentials()
            made = self._made[id(shared)] = (shared, bare)  # `shared` keeps its ID
        return cast("T", made[1])

    def _replace_place(self, place: Place | None) -> Place | None:
        if place is None:
            return None
        return replace(place, storage=self._replace(place.storage), path=place.bare_path)


# For the other modules of the package ---------------------------------------------------------


def make_info(
    record: RunRecord, store: Store | None = None, layout: Store | None = None
) -> RunInfo:
    """Return the info of a recorded run.

    Args:
        record: The record.
        store: The store that tracked the run. With None, it is found on first use.
        layout: The store that locates the configuration and the artifacts, by default
            ``store``, or else the one that `find_layouts` finds.
    """
    info = RunInfo.__new__(RunInfo)
    info._set_up(record, store, layout)
    return info


def get_place(info: RunInfo) -> Place:
    """Return the place of the run directory."""
    return info._record


def get_record(info: RunInfo) -> RunRecord:
    """Return the store's record, with the facts that have been read."""
    return info._record


def get_store(info: RunInfo) -> Store:
    """Return the store that tracked the run."""
    if info._store is None:
        find_missing_stores([info])
    return cast("Store", info._store)


@contextmanager
def connected(infos: Iterable[RunInfo]) -> Iterator[None]:
    """Let what is read of runs in the block share a connection to each of their stores."""
    stores = {id(info._store): info._store for info in infos}
    with ExitStack() as stack:
        for store in stores.values():
            if store is not None:
                stack.enter_context(store.connected())
        yield


def get_layout(info: RunInfo) -> Store:
    """Return the store that locates the configuration and the artifacts.

    Finding it opens no database, which might be locked or broken.
    """
    if info._layout is None:
        info._layout = info._store
        if info._layout is None:
            find_missing_layouts([info])
    return cast("Store", info._layout)


def get_artifacts(info: RunInfo) -> Place:
    """Return the place of the artifacts directory, which need not exist.

    Raises:
        StorageError: If the storage denies access or cannot be reached.
    """
    (error,) = settle_artifacts([info])
    if error is not None:
        raise error
    return get_layout(info).artifacts(info._record)


def get_models(info: RunInfo) -> dict[str, Place]:
    """Return the place of each model that the run logged, by name.

    Raises:
        StorageError: If the models cannot be read.
    """
    return get_store(info).find_models(info._record)


def note_run(info: RunInfo) -> None:
    """Note that a directory is that of a run, or that its absence has been logged."""
    info._is_run = True


def set_options(info: RunInfo, options: ReadOptions) -> None:
    """Set how the facts, logged values and files of a run are read."""
    info._options = options


def raises_errors(info: RunInfo) -> bool:
    """Whether what is malformed is an error, rather than logged, and missing."""
    return info._options.on_error == "raise"


def read_leniently(infos: Iterable[RunInfo]) -> None:
    """Have what is malformed logged, and missing, that is read of runs from now on."""
    lenient: dict[int, ReadOptions] = {}
    for info in infos:
        options = info._options
        if id(options) not in lenient:
            lenient[id(options)] = replace(options, on_error="warn")
        info._options = lenient[id(options)]


def was_malformed(info: RunInfo) -> bool:
    """Whether something of a run was malformed, and is taken for missing."""
    return info._was_malformed


def has_results_file(info: RunInfo) -> bool:
    """Whether the option ``results`` was given for a run."""
    return info._options.results is not None


def get_config_url(info: RunInfo) -> str:
    """Return the URL of the configuration file, for messages."""
    return get_layout(info).config_url(info._record)


def read_config(info: RunInfo) -> PlainConfig:
    """Return the stored configuration, an empty one if there is none.

    A run directory that does not exist is logged, as in hydraflow.

    Raises:
        ConfigError: If it cannot be read.
        NotARunError: If it is a file, or a tracking or experiment directory.
        StorageError: If the storage denies access or cannot be reached.
    """
    layout = get_layout(info)
    (config,) = layout.read_configs([info._record], ConfigReader()).values
    if config is None and not info._is_located:
        (failure,) = find_artifacts([info])
        if failure is not None:
            raise failure
        if info._record.artifacts_dir is not None:
            (config,) = layout.read_configs([info._record], ConfigReader()).values
    if isinstance(config, KedroHydraflowError):
        raise config
    if config is not None:
        info._is_located = info._is_run = True
        return config
    (error,) = layout.get_run_errors([info._record])
    if isinstance(error, RunNotFoundError):
        warn_of_absent([info])
    elif isinstance(error, NotARunError):
        check_not_above(info._record)
        # As in hydraflow, any other folder is a run without a configuration.
        logger.warning("%s; its configuration is empty", error)
    elif error is not None and not is_listing_denied(error):
        raise error
    return {}


class StoredConfig:
    """The stored configuration of a run, as `Configuration` reads it."""

    __slots__ = ("_info",)

    def __init__(self, info: RunInfo) -> None:
        self._info = info

    @property
    def run_id(self) -> str:
        """The run ID, for messages."""
        return self._info.run_id

    @property
    def url(self) -> str:
        """The file, for messages."""
        return get_config_url(self._info)

    def read(self) -> PlainConfig:
        """Return the configuration, as `read_config` does."""
        return read_config(self._info)


# Reading many runs at once -------------------------------------------------------------------


def find_artifacts(infos: Sequence[RunInfo]) -> list[KedroHydraflowError | None]:
    """Find the artifacts of many runs at once, and log one warning for those that are lost.

    It is meant for runs without a configuration in their directory.

    Returns:
        For each run None, or the error.
    """
    errors = look_for_artifacts(infos)
    lost = [
        (info, error)
        for info, error in zip(infos, errors, strict=True)
        if isinstance(error, LostArtifactsError)
    ]
    if lost:
        warn_of_lost(*lost[0], len(lost))
    return [None if isinstance(error, LostArtifactsError) else error for error in errors]


def settle_artifacts(infos: Sequence[RunInfo]) -> list[KedroHydraflowError | None]:
    """Find the artifacts of many runs at once, as far as `get_artifacts` has to look for them.

    Returns:
        For each run None, or the error.
    """
    unsure = [
        info
        for info in infos
        if not info._is_located and get_layout(info).may_be_elsewhere(info._record)
    ]
    if not unsure:
        return [None] * len(infos)
    errors = dict(zip(map(id, unsure), find_artifacts(unsure), strict=True))
    return [errors.get(id(info)) for info in infos]


def look_for_artifacts(infos: Sequence[RunInfo]) -> list[KedroHydraflowError | None]:
    """Find the artifacts of many runs at once, like `find_artifacts`, but log nothing.

    Returns:
        For each run None, or the error. That of a run whose artifacts are lost is a
        LostArtifactsError, in a second call None.
    """
    errors: dict[int, KedroHydraflowError] = {}
    find_missing_layouts(infos)
    for layout, group in _group(infos, get_layout):
        found = layout.find_artifacts(_get_records(group))
        for info, record in zip(group, found, strict=True):
            if isinstance(record, RunRecord):
                info._record = record
                info._is_located = True
            else:
                errors[id(info)] = record
                info._is_located = isinstance(record, LostArtifactsError)
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
    for info, error in zip(unread, _read_facts(unread), strict=True):
        info._failure = error


def _read_facts(infos: Sequence[RunInfo]) -> list[Exception | None]:
    """Read the facts of runs. Return the errors of doing so."""
    failures: dict[int, Exception] = {}
    malformed: list[MetadataError] = []
    without = []
    for store, group in _group_by_store(infos):
        with step("reading facts"):
            read = store.read_facts(_get_records(group))
        for info, found in zip(group, read, strict=True):
            facts = found
            if isinstance(facts, MetadataError) and info._options.on_error == "warn":
                malformed.append(facts)
                info._was_malformed = True
                facts = {}
            if isinstance(facts, Exception):
                failures[id(info)] = _explain_stray(info, facts)
            elif facts is not None:
                info._record = replace(info._record, facts=facts)
                info._is_run = info._is_run or bool(facts)
                without.append(info)
    _log_malformed("the facts", malformed, infos)
    for info, error in _find_strays(without):
        failures[id(info)] = error
        info._record = replace(info._record, facts=None)
    return [failures.get(id(info)) for info in infos]


def read_fact(infos: Sequence[RunInfo], name: str) -> None:
    """Read one of the `FACTS` of many runs at once, unless it has been read.

    An error is raised on the first use of the fact of its run.
    """
    if name in RECORDED_FACTS:
        read_facts(infos)
    elif name == "job_name":
        read_job_names(infos)
    elif name == "parent_run_id":
        read_logged(infos, _PARENT)


def read_job_names(infos: Sequence[RunInfo]) -> None:
    """Read the job names of many runs at once, unless they have been read.

    An error is raised on the first use of the name of its run.
    """
    unnamed = [info for info in infos if info._record.experiment.experiment_name is None]
    for store, group in _group_by_store(unnamed):
        for info, found in zip(group, store.name_experiments(_get_records(group)), strict=True):
            if not isinstance(found, Exception) and found.experiment_name:
                info._record = replace(info._record, experiment=found)


def read_parsed_files(
    infos: Sequence[RunInfo], kind: str
) -> list[Any | KedroHydraflowError | None]:
    """Return the parsed content of a file of each run, read at once unless it has been read.

    Args:
        infos: The runs.
        kind: One of `PARSED_KINDS`: ``hydra`` for Hydra's own configuration, a mapping;
            ``overrides`` for a list of text; ``results`` for the mapping in the file that the
            option of this name names.

    Returns:
        For each run the content, None if there is no such file, or the error of reading it. Do
        not modify the content: runs share parts of it. Errors are not kept: the next call reads
        again.
    """
    unread = [info for info in infos if kind not in (info._logged or ())]
    if kind == RESULTS:
        unread = list(filter(has_results_file, unread))
    find_missing_layouts(unread)
    failures = {
        id(info): error
        for info, error in zip(unread, settle_artifacts(unread), strict=True)
        if error is not None
    }
    malformed: list[ConfigError] = []
    for source, group in _group(unread, lambda info: (get_layout(info), *_get_file(info, kind))):
        layout, file, index = source
        with step(f"reading {file.path}"):
            contents = layout.read_parsed_files(_get_records(group), file, index)
        for info, found in zip(group, contents, strict=True):
            content = found
            if isinstance(content, ConfigError) and info._options.on_error == "warn":
                malformed.append(content)
                info._was_malformed = True
                content = None
            if isinstance(content, KedroHydraflowError):
                failures[id(info)] = content
            else:
                info._logged = info._logged or {}
                info._logged[kind] = content
    _log_malformed(kind, malformed, unread)
    found = [failures.get(id(info)) or (info._logged or {}).get(kind) for info in infos]
    if kind == RESULTS and unread and not malformed and all(content is None for content in found):
        _warn_of_no_results(unread)
    return found


def _warn_of_no_results(infos: Sequence[RunInfo]) -> None:
    """Log that no run has its file of results."""
    first = infos[0]
    file, _ = _get_file(first, RESULTS)
    logger.warning(
        "results: %s a file %r; looked for %s",
        show_none_has(len(infos)),
        file.path,
        get_layout(first).artifacts(first._record).join(file.path).url,
    )


def _get_file(info: RunInfo, kind: str) -> tuple[ParsedFile, Index]:
    """Return a file of a run, and the index for it. Hydra's files are not cached."""
    options = info._options
    if kind == RESULTS and options.results is not None:
        return options.results, options.index
    return HYDRA_FILES[kind], NO_INDEX


def read_logged(infos: Sequence[RunInfo], key: str, limit: int | None = None) -> list[Any]:
    """Return a logged value of each run, read at once unless it has been read.

    Args:
        infos: The runs.
        key: One value (``metrics.accuracy``), or all of a kind (``metrics``).
        limit: For all of a kind, how many of each run are enough. There may be more in the result.

    Returns:
        For each run its value, or the values by name; None if there is none, or the error of
        reading it. Errors are not kept: the next call reads again.
    """
    kind, _, name = key.partition(".")
    unread = [info for info in infos if {kind, key}.isdisjoint(info._logged or ())]
    failures: dict[int, KedroHydraflowError] = {}
    parts: dict[int, Any] = {}
    malformed: list[MetadataError] = []
    without = []
    for store, group in _group_by_store(unread):
        with step(f"reading {key}"):
            values = _read_values(store, _get_records(group), kind, name, limit)
        for info, found in zip(group, values, strict=True):
            value = found
            if isinstance(value, MetadataError) and info._options.on_error == "warn":
                malformed += value.errors if isinstance(value, MalformedValuesError) else [value]
                info._was_malformed = True
                others = value.values if isinstance(value, MalformedValuesError) else {}
                value = None if name else others
            if isinstance(value, KedroHydraflowError):
                failures[id(info)] = value
            elif limit is not None and isinstance(value, dict) and len(value) >= limit:
                parts[id(info)] = value
            else:
                info._logged = info._logged or {}
                info._logged[key] = value
                if value is None or value == {}:
                    without.append(info)
    _log_malformed(key, malformed, unread)
    for info, error in _find_strays(without):
        failures[id(info)] = error
        (info._logged or {}).pop(key)
    if failures or parts:
        parts |= failures
        return [parts.get(id(info)) or _get_logged(info, kind, name, key) for info in infos]
    return [_get_logged(info, kind, name, key) for info in infos]


def _read_values(
    store: Store, records: Sequence[RunRecord], kind: str, name: str, limit: int | None
) -> Sequence[Any]:
    if name:
        return store.read_values(records, kind, name)
    if limit is not None:
        return store.read_first(records, kind, limit)
    return store.read_all(records, kind)


def _get_logged(info: RunInfo, kind: str, name: str, key: str) -> Any:
    """Return a logged value that has been read, None if the run has none."""
    logged = info._logged or {}
    return logged[kind].get(name) if name and kind in logged else logged.get(key)


def read_histories(infos: Sequence[RunInfo], name: str) -> list[History]:
    """Return all values of a metric of each run, sorted; None if it has no such metric.

    Instead of these, it is the error of reading them. They are empty if they are malformed, which
    is logged with ``on_error="warn"``.
    """
    histories: dict[int, History] = {}
    malformed: list[MetadataError] = []
    for store, group in _group_by_store(infos):
        read = store.read_histories(_get_records(group), name)
        for info, history in zip(group, read, strict=True):
            if isinstance(history, MetadataError) and info._options.on_error == "warn":
                malformed.append(history)
                info._was_malformed = True
                histories[id(info)] = []
            else:
                histories[id(info)] = None if history == [] else history
    _log_malformed(f"the history of {name!r}", malformed, infos)
    for info, error in _find_strays([info for info in infos if histories[id(info)] is None]):
        histories[id(info)] = error
    return [histories[id(info)] for info in infos]


def check_is_run(info: RunInfo) -> None:
    """Raise NotARunError if the directory is not that of a run. Log it if there is none."""
    for _, error in _find_strays([info]):
        raise error


def _find_strays(infos: Sequence[RunInfo]) -> list[tuple[RunInfo, KedroHydraflowError]]:
    """Return those whose directory is not that of a run, with the error. Log those without any.

    It is meant for runs of which nothing was found. Each is looked at once, unless a search found
    it, or its configuration or facts have been read.
    """
    unsure = [info for info in infos if not info._is_run]
    strays = []
    absent = []
    for store, group in _group_by_store(unsure):
        for info, error in zip(group, store.get_run_errors(_get_records(group)), strict=True):
            if isinstance(error, RunNotFoundError):
                absent.append(info)
            elif isinstance(error, (NotARunError, UnreachableError)):
                strays.append((info, _explain_stray(info, error)))
                continue
            # Otherwise, it is a run, even if it cannot be listed, or has a malformed meta.yaml.
            info._is_run = True
    warn_of_absent(absent, "MLflow record")
    return strays


def _explain_stray(info: RunInfo, error: KedroHydraflowError) -> KedroHydraflowError:
    """Return the error for a directory that is not a run, which says so if runs are below it."""
    if isinstance(error, NotARunError):
        try:
            check_not_above(info._record)
        except KedroHydraflowError as exc:
            return exc
    return error


def _log_malformed(
    what: str, errors: Sequence[KedroHydraflowError], infos: Sequence[RunInfo]
) -> None:
    """Log what is taken for missing because it is malformed, and how much that is."""
    for error in errors:
        logger.warning("taken for missing: %s", error)
    if errors:
        logger.warning("%s: %d malformed in %s", what, len(errors), show_count(len(infos), "run"))


def is_read(info: RunInfo, name: str) -> bool:
    """Whether a fact, or a kind of logged values or parsed files, is there without reading it."""
    logged = info._logged or {}
    if name in RECORDED_FACTS:
        return info._record.facts is not None
    if name == "job_name":
        return info._record.experiment.experiment_name is not None
    if name == "parent_run_id":
        return "tags" in logged or _PARENT in logged
    return name in FACTS or name in logged


def get_read_values(info: RunInfo, kind: str) -> dict[str, Any]:
    """Return the logged values of a kind that have been read by name, perhaps not all of them."""
    logged = info._logged or {}
    if kind in logged:
        return logged[kind] or {}
    prefix = f"{kind}."
    return {
        key.removeprefix(prefix): value
        for key, value in logged.items()
        if key.startswith(prefix) and value is not None
    }


def is_config_in_place(info: RunInfo) -> bool:
    """Whether the configuration is in a local run directory, so that reading it is quick."""
    if info._record.storage.is_remote:
        return False
    (config,) = get_layout(info).read_configs([info._record], ConfigReader()).values
    return isinstance(config, dict)


def may_read(infos: Iterable[RunInfo]) -> bool:
    """Whether facts and logged values are read without asking a remote storage."""
    return not any(info._record.storage.is_remote for info in infos)


def make_facts_table(info: RunInfo) -> str:
    """Return the facts about a run for a notebook: on remote storage those that have been read."""
    rows = []
    errors: dict[str, None] = {}
    for name in FACTS_IN_ORDER:
        if may_read([info]) or is_read(info, name):
            try:
                # The URL of a directory is the one without credentials.
                value = info._record.url if name == "run_dir" else getattr(info, name)
            except KedroHydraflowError as exc:
                value = "cannot be read"
                errors[str(exc)] = None
            if value not in (None, ""):
                rows.append([name, value])
    notes = [make_note(f"cannot be read: {error}") for error in errors]
    return "\n".join([make_table(["fact", "value"], rows, len(rows)), *notes])


def describe_run(info: RunInfo) -> str:
    """Return the ID, job name and status for a ``repr``, as far as they have been read."""
    facts = {name: getattr(info, name) for name in ("job_name", "status") if is_read(info, name)}
    shown = [f"{name}={show_short(value)}" for name, value in facts.items() if value]
    return ", ".join([repr(info.run_id), *shown])


def describe_runs(infos: Sequence[RunInfo]) -> str:
    """Return how many runs there are by job name and status, for a ``repr``.

    A fact that has not been read of all runs is left out.
    """
    shown = []
    for name in ("job_name", "status"):
        if all(is_read(info, name) for info in infos):
            counts = Counter(getattr(info, name) for info in infos)
            if any(counts):
                shown.append(f"{name}={show_counts(counts)}")
    return ", ".join(shown)


def is_known_as_deleted(info: RunInfo) -> bool:
    """Whether a run was deleted in MLflow, by the facts that have been read."""
    return is_deleted(get_record(info).facts)


def is_settled(info: RunInfo) -> bool:
    """Whether a run is not expected to change any more, by the facts that have been read."""
    return get_store(info).is_settled(get_record(info))


def is_listing_denied(error: KedroHydraflowError | None) -> bool:
    """Whether an error only means that the run directory cannot be listed.

    A web server may not list directories, but a run can still be read by its URL.
    """
    unclear = (NotARunError, NotFoundError, UnreachableError)
    return isinstance(error, StorageError) and not isinstance(error, unclear)


def warn_of_absent(infos: Sequence[RunInfo], what: str = "configuration") -> None:
    """Log one warning for given run directories that do not exist.

    Args:
        infos: The runs.
        what: What is empty because of that.
    """
    if not infos:
        return
    where = get_place(infos[0]).url
    if len(infos) == 1:
        logger.warning("there is no run directory %s; its %s is empty", where, what)
    else:
        logger.warning(
            "there are no run directories for %d runs; their %ss are empty. The first is %s",
            len(infos),
            what,
            where,
        )


def warn_of_lost(info: RunInfo, error: LostArtifactsError, n_runs: int) -> None:
    """Log that the artifacts of so many runs are lost, and where those of one were looked for."""
    if n_runs == 1:
        runs = f"run {info.run_id} has no artifacts, so its configuration is empty. They"
    else:
        runs = (
            f"{n_runs} runs have no artifacts, so their configurations are empty. Those of the "
            f"first, {info.run_id},"
        )
    logger.warning(
        "%s were recorded at %r; looked for %s. If they are elsewhere, give artifact_root",
        runs,
        error.location,
        _describe_locations(info),
    )


def warn_of_no_config(info: RunInfo, n_runs: int) -> None:
    """Log that none of so many runs has a configuration, and where that of one was looked for."""
    runs = f"{show_none_has(n_runs)} a"
    logger.warning(
        "%s configuration: looked for %s of %s; give artifact_root if the artifacts are elsewhere",
        runs,
        _describe_locations(info),
        info.run_id,
    )


def _describe_locations(info: RunInfo) -> str:
    """Return where the configuration of a run is looked for."""
    *others, last = get_layout(info).list_config_locations(info._record)
    return f"{', '.join(others)} and {last}" if others else last


def find_missing_layouts(infos: Iterable[RunInfo]) -> None:
    """Find where the configurations and artifacts of many runs are, unless that is known."""
    unknown = [info for info in infos if info._layout is None and info._store is None]
    for info, layout in zip(unknown, find_layouts(_get_records(unknown)), strict=True):
        info._layout = layout
        if not layout.records_facts:  # an output directory of Hydra, known by its configuration
            info._is_run = True


def find_missing_stores(infos: Iterable[RunInfo]) -> None:
    """Find the stores of many runs at once, unless they are known."""
    unknown = [info for info in infos if info._store is None]
    find_missing_layouts(unknown)
    layouts = [get_layout(info) for info in unknown]
    for info, store in zip(unknown, find_stores(_get_records(unknown), layouts), strict=True):
        info._store = info._layout if info._layout == store else store  # to share one


def _get_records(infos: Sequence[RunInfo]) -> list[RunRecord]:
    return [get_record(info) for info in infos]


def _group_by_store(infos: Sequence[RunInfo]) -> list[tuple[Store, list[RunInfo]]]:
    """Return the stores that track the runs, each with its runs."""
    find_missing_stores(infos)
    return _group(infos, get_store)


def _group(infos: Sequence[RunInfo], get: Callable[[RunInfo], K]) -> list[tuple[K, list[RunInfo]]]:
    groups = group_positions(map(get, infos))
    return [(key, [infos[i] for i in positions]) for key, positions in groups.items()]
