"""The values of a key for many runs. ``Run.get`` is the case of one run."""

from __future__ import annotations

import inspect
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Protocol

from kedro_hydraflow.columns import SCALARS
from kedro_hydraflow.config import iter_leaf_keys
from kedro_hydraflow.errors import (
    ImplError,
    KedroHydraflowError,
    MissingKeyError,
    describe,
)
from kedro_hydraflow.missing import MISSING, to_missing
from kedro_hydraflow.run_info import (
    FACTS,
    LOGGED_KINDS,
    RECORDED_FACTS,
    read_facts,
    read_hydra_files,
    read_job_names,
    read_logged,
)
from kedro_hydraflow.selecting import Selector, select, to_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kedro_hydraflow.config import Configuration
    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.selecting import Column

OBJECTS = frozenset({"cfg", "impl", "info", "run"})
"""The keys that stand for a whole object, whatever attributes the others have."""

_READ_AT_ONCE = frozenset({"job_name", *RECORDED_FACTS, *LOGGED_KINDS})
"""The attributes of runs that are read, or prepared, for many at once."""


class AnyRun(Protocol):
    """A run, as far as keys are looked up in it."""

    @property
    def info(self) -> RunInfo:
        """Its facts."""

    @property
    def impl(self) -> Any:
        """Its implementation, built on first use; None if it has none."""

    def get_configuration(self) -> Configuration:
        """Return its configuration."""


def get_value(run: AnyRun, key: str, default: Any = MISSING) -> Any:
    """Return the value of a key, as ``Run.get`` explains it."""
    value = select(run.get_configuration(), to_dotted(key))
    return _Elsewhere([run], key, default).get(0) if value is MISSING else value


def get_values(runs: Sequence[AnyRun], key: str, default: Any = MISSING) -> list[Any]:
    """Return the value of a key for each run, as ``Run.get`` explains it.

    What is read besides configurations is read for all of them at once.
    """
    configurations = [run.get_configuration() for run in runs]
    column = Selector().select_column(configurations, to_dotted(key), as_nodes=True)
    return _complete(column, _Elsewhere(runs, key, default).get)


def get_data(runs: Sequence[AnyRun], key: str, default: Any = MISSING) -> list[Any]:
    """Return as `get_values` does, but lists and mappings as plain data, interpolations resolved.

    They may be shared: do not modify them. The `OBJECTS` stay objects.
    """
    configurations = [run.get_configuration() for run in runs]
    column = Selector().select_column(configurations, to_dotted(key))
    return _complete(column, _Elsewhere(runs, key, default).get_data)


def _complete(column: Column, get: Callable[[int], Any]) -> list[Any]:
    """Return the values of a column, with what it lacks from elsewhere.

    Errors are raised in the order of the runs.
    """
    for i in column.missing:
        column.values[i] = get(i)
    if column.error is not None:
        raise column.error
    return column.values


def iter_outcomes(
    runs: Sequence[AnyRun], key: str, fact: str | None = None
) -> Iterator[Any | KedroHydraflowError]:
    """Yield a value for each run as `get_data` returns it, whatever happens to the others.

    Args:
        runs: The runs.
        key: The key.
        fact: The fact that it names where the configuration has no such key. No `impl` is
            built for it.

    Yields:
        The value, `MISSING` if there is none, or why it cannot be known.
    """
    dotted = to_dotted(key)
    selector = Selector()
    elsewhere = _Elsewhere(runs, key, MISSING, fact)
    for i, run in enumerate(runs):
        try:
            value = selector.select_data(run.get_configuration(), dotted)
            yield elsewhere.find_data(i) if value is MISSING else value
        except KedroHydraflowError as exc:  # noqa: PERF203 - it is of this run alone
            yield exc


def are_objects(runs: Sequence[AnyRun], key: str) -> bool:
    """Whether a key stands for one of the `OBJECTS` in all runs."""
    if key not in OBJECTS:
        return False
    selector = Selector()
    return all(selector.select_data(r.get_configuration(), key) is MISSING for r in runs)


def describe_nearest_keys(run: AnyRun, key: str) -> str:
    """Return a phrase that names the keys of a run that are most like one that was looked up."""
    known = [*iter_leaf_keys(run.get_configuration().to_plain()), *sorted(FACTS)]
    known += {k.rpartition(".")[0] for k in known} - {""}
    if key not in known and not _is_logged(to_dotted(key)):  # the impl has been built
        known += [k for k in getattr(run.impl, "__dict__", ()) if not k.startswith("_")]
    kind = key.partition(".")[0]
    if kind in LOGGED_KINDS:
        known += [f"{kind}.{name}" for name in get_logged(run.info, kind)]
    near = get_close_matches(key, known, n=3) or [k for k in known if k.endswith(f".{key}")][:3]
    return f"the nearest are {', '.join(map(repr, near))}" if near else "nothing is near"


def get_logged(info: RunInfo, kind: str) -> dict[str, Any]:
    """Return all metrics, params or tags of a run by name: do not modify them.

    Raises:
        MetadataError: If what records them has another format.
        StorageError: If it cannot be read.
    """
    (values,) = read_logged([info], kind)
    if isinstance(values, Exception):
        raise values
    return values or {}


def get_hydra(info: RunInfo, kind: str) -> Any:
    """Return what one of Hydra's files holds, None without one: do not modify it.

    Raises:
        ConfigError: If it is malformed.
        StorageError: If it cannot be read.
    """
    (content,) = read_hydra_files([info], kind)
    if isinstance(content, Exception):
        raise content
    return content


class _Elsewhere:
    """The places where runs have a key that their configurations lack.

    Args:
        runs: The runs.
        key: The key as it was given.
        default: For runs that lack it; MISSING raises an error.
        fact: The one fact that it may name.
    """

    def __init__(
        self, runs: Sequence[AnyRun], key: str, default: Any, fact: str | None = None
    ) -> None:
        self._runs = runs
        self._key = key
        self._dotted = to_dotted(key)
        self._default = to_missing(default)
        self._fact = fact
        self._is_logged = fact is None and _is_logged(self._dotted)
        self._is_read = False
        self._logged: list[Any] | None = None

    def get(self, i: int) -> Any:
        """Return the value for a run, or the default.

        Raises:
            MissingKeyError: If there is neither.
        """
        value = self._find(i)
        if value is not MISSING:
            return value
        if self._default is not MISSING:
            default = self._default
            return default(self._runs[i]) if callable(default) else default
        run = self._runs[i]
        raise MissingKeyError(
            f"run {run.info.run_id}: no such key: {self._dotted!r} in cfg, impl or info "
            f"({describe_nearest_keys(run, self._dotted)}); give a default to allow for it"
        )

    def get_data(self, i: int) -> Any:
        """Return as `get` does, but as plain data."""
        return self._to_data(i, self.get(i))

    def find_data(self, i: int) -> Any:
        """Return the value for a run as plain data, MISSING without one."""
        return self._to_data(i, self._find(i))

    def _to_data(self, i: int, value: Any) -> Any:
        if type(value) in SCALARS or self._dotted in OBJECTS:
            return value
        return to_data(self._runs[i].get_configuration(), self._key, value)

    def _find(self, i: int) -> Any:
        if not self._is_read:
            self._read()
        run = self._runs[i]
        if self._is_logged:  # no attribute has a dot in its name
            value = self._read_logged([run])[0] if self._logged is None else self._logged[i]
            if isinstance(value, Exception):
                raise value
            return MISSING if value is None else value
        if self._fact is not None:
            return getattr(run.info, self._fact)
        if self._dotted in OBJECTS:
            return run if self._dotted == "run" else getattr(run, self._dotted)
        return _find_attribute(run, self._dotted)

    def _read(self) -> None:
        """Read metrics, params, tags and facts of all runs at once.

        If that fails, `_find` reads them of each run, and raises the error where it belongs.
        """
        self._is_read = True
        name = self._fact or self._dotted
        if not self._is_logged and name not in _READ_AT_ONCE:
            return
        with suppress(KedroHydraflowError):
            infos = [run.info for run in self._runs]
            if self._is_logged:
                self._logged = self._read_logged(self._runs)
            elif name in LOGGED_KINDS:
                read_logged(infos, name)
            elif name == "job_name":
                read_job_names(infos)
            else:
                read_facts(infos)

    def _read_logged(self, runs: Sequence[AnyRun]) -> list[Any]:
        """Return a metric, param or tag of each run, None without it, or why it cannot be read.

        ``__`` in the key is a dot, unless the name itself has it.
        """
        infos = [run.info for run in runs]
        is_ambiguous = self._key != self._dotted and _is_logged(self._key)
        values = read_logged(infos, self._key if is_ambiguous else self._dotted)
        if is_ambiguous:
            rest = [i for i, value in enumerate(values) if value is None]
            read = read_logged([infos[i] for i in rest], self._dotted)
            for i, value in zip(rest, read, strict=True):
                values[i] = value
        return values


def _find_attribute(run: AnyRun, name: str) -> Any:
    """Return an attribute of the impl, the info or the run that is not callable, or MISSING."""
    impl = run.impl
    if impl is not None:
        value = _get_attribute_of_impl(run, impl, name)
        if value is not MISSING and not callable(value):
            return value
    if name[:1] == "_":
        return MISSING
    value = getattr(run.info, name, MISSING)
    if value is MISSING or callable(value):
        value = getattr(run, name, MISSING)
    return MISSING if callable(value) else value


def _get_attribute_of_impl(run: AnyRun, impl: Any, name: str) -> Any:
    """Return an attribute, MISSING without one; an error in it names the run."""
    try:
        value = getattr(impl, name, MISSING)
        if value is MISSING and inspect.getattr_static(impl, name, MISSING) is not MISSING:
            value = getattr(impl, name)  # a property that raises AttributeError itself
    except Exception as exc:
        raise ImplError(
            f"run {run.info.run_id}: {type(impl).__qualname__}.{name} failed: {describe(exc)}"
        ) from exc
    return value


def _is_logged(key: str) -> bool:
    """Whether a dotted key names a metric, param or tag."""
    kind, _, name = key.partition(".")
    return bool(name) and kind in LOGGED_KINDS


def to_dotted(key: str) -> str:
    """Return a key with dots, for which ``__`` may stand."""
    return key.replace("__", ".") if "__" in key else key
