"""The values of a key for many runs. ``Run.get`` is the case of one run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.columns import SCALARS, copy_data
from kedro_hydraflow.errors import (
    ImplError,
    KedroHydraflowError,
    MissingKeyError,
    OptionError,
    describe,
)
from kedro_hydraflow.missing import MISSING, to_missing
from kedro_hydraflow.nearest_keys import KEYED_FILES, describe_nearest_keys
from kedro_hydraflow.run_base import RunBase, get_configuration
from kedro_hydraflow.run_info import (
    FACTS,
    LOGGED_KINDS,
    PARSED_KINDS,
    check_is_run,
    has_results_file,
    read_fact,
    read_logged,
    read_parsed_files,
)
from kedro_hydraflow.selecting import Selector, select, select_stored, to_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.selecting import Column

OBJECTS = frozenset({"cfg", "impl", "info", "run"})
"""The keys of whole objects, which win over attributes of these names."""

_READ_AT_ONCE = frozenset({*FACTS, *LOGGED_KINDS, *PARSED_KINDS})
"""The attributes of runs that are read for many at once."""

_Reader = Callable[[Sequence[RunBase], str], list[Any]]
"""Reads the values of a key for many runs: MISSING without one, or the error."""


def get_value(run: RunBase, key: str, default: Any = MISSING) -> Any:
    """Return the value of a key, as ``Run.get`` explains it."""
    value = select(get_configuration(run), to_dotted(key))
    return _Finder([run], key).get(0, default) if value is MISSING else value


def get_values(runs: Sequence[RunBase], key: str, default: Any = MISSING) -> list[Any]:
    """Return the value of a key for each run, as ``Run.get`` explains it.

    What is read besides configurations is read for all of them at once.
    """
    configurations = [get_configuration(run) for run in runs]
    column = Selector().select_column(configurations, to_dotted(key), as_nodes=True)
    finder = _Finder(runs, key, lacking=column.missing)
    return _complete(column, lambda i: finder.get(i, default))


def get_data(runs: Sequence[RunBase], key: str, default: Any = MISSING) -> list[Any]:
    """Return the values of `get_values`, with lists and mappings as plain, resolved data.

    They may be shared: do not modify them. The `OBJECTS` stay objects.
    """
    configurations = [get_configuration(run) for run in runs]
    column = Selector().select_column(configurations, to_dotted(key))
    finder = _Finder(runs, key, lacking=column.missing)
    return _complete(column, lambda i: _to_data(runs[i], key, finder.get(i, default)))


def _complete(column: Column, get: Callable[[int], Any]) -> list[Any]:
    """Return the values of a column. Those that it lacks are looked up with `get`, by position.

    Errors are raised in the order of the runs.
    """
    for i in column.missing:
        column.values[i] = get(i)
    if column.error is not None:
        raise column.error
    return column.values


def iter_outcomes(
    runs: Sequence[RunBase], key: str, fact: str | None = None
) -> Iterator[Any | KedroHydraflowError]:
    """Yield a value for each run as `get_data` does, or the error of that run.

    Args:
        runs: The runs.
        key: The key.
        fact: The attribute of `RunInfo` to use for runs whose configuration lacks the key. If
            it is given, no `impl` is built.

    Yields:
        The value, `MISSING` without one, or the error.
    """
    selector = Selector()
    finder = _Finder(runs, key, fact)
    for i, run in enumerate(runs):
        try:
            value = selector.select_data(get_configuration(run), to_dotted(key))
            yield _to_data(run, key, finder.find(i)) if value is MISSING else value
        except KedroHydraflowError as exc:  # noqa: PERF203 - it is of this run alone
            yield exc


def _to_data(run: RunBase, key: str, value: Any) -> Any:
    """Return a value as plain data, unless it is one of the `OBJECTS`."""
    if type(value) in SCALARS or key in OBJECTS:
        return value
    return to_data(get_configuration(run), key, value)


def are_objects(runs: Sequence[RunBase], key: str) -> bool:
    """Whether a key stands for one of the `OBJECTS` in all runs."""
    if key not in OBJECTS:
        return False
    selector = Selector()
    return all(selector.select_data(get_configuration(r), key) is MISSING for r in runs)


def get_logged(info: RunInfo, kind: str) -> dict[str, Any]:
    """Return all metrics, params or tags of a run by name: do not modify them.

    Raises:
        MetadataError: If their record is malformed.
        NotARunError: If the directory is not that of a run.
        StorageError: If it cannot be read.
    """
    (values,) = read_logged([info], kind)
    if isinstance(values, Exception):
        raise values
    return values or {}


def get_parsed(info: RunInfo, kind: str) -> Any:
    """Return the content of a file as `read_parsed_files` does: do not modify it.

    Raises:
        ConfigError: If it is malformed.
        NotARunError: If the directory is not that of a run.
        StorageError: If it cannot be read.
    """
    (content,) = read_parsed_files([info], kind)
    if isinstance(content, Exception):
        raise content
    if content is None:
        check_is_run(info)
    return content


class _Finder:
    """Finds the values of a key outside of configurations.

    They are metrics, params and tags, entries of parsed files, `OBJECTS`, or attributes. What has
    to be read is read for all runs at once, when the first value is asked for.

    Args:
        runs: The runs.
        key: The key, with dots or ``__``.
        fact: The attribute of `RunInfo` that the key means, and nothing else.
        lacking: The positions of the runs whose configuration lacks the key, by default all.
    """

    def __init__(
        self,
        runs: Sequence[RunBase],
        key: str,
        fact: str | None = None,
        lacking: Sequence[int] | None = None,
    ) -> None:
        self._runs = runs
        self._lacking = range(len(runs)) if lacking is None else lacking
        self._key = key
        self._name = to_dotted(key) if fact is None else fact
        self._is_fact = fact is not None
        self._reader = _get_reader(self._name)
        self._values: list[Any] | None = None
        self._is_to_be_read = self._reader is not None or self._name in _READ_AT_ONCE

    def get(self, i: int, default: Any) -> Any:
        """Return the value for the run at a position, or the default, called if it can be.

        Raises:
            MissingKeyError: If there is no value, and the default is MISSING.
        """
        value = self.find(i)
        if value is not MISSING:
            return value
        run = self._runs[i]
        default = to_missing(default)
        if default is not MISSING:
            return default(run) if callable(default) else default
        raise self._make_missing_error(run)

    def _make_missing_error(self, run: RunBase) -> MissingKeyError:
        lacking, count = [run], ""
        n_runs = len(self._runs)
        is_cheap = self._reader is not None or run.impl is None  # building others takes time
        if n_runs > 1 and is_cheap:
            lacking = [self._runs[i] for i in self._lacking if self._is_missing(i)]
            some = "all" if len(lacking) == n_runs else f"{len(lacking)} of"
            count = f"{some} {n_runs} runs lack it; "
        return MissingKeyError(
            f"run {run.info.run_id}: no such key: {self._name!r} in cfg, impl or info "
            f"({describe_nearest_keys(lacking, self._name)}); {count}a default, where one can be "
            "given, allows for it"
        )

    def _is_missing(self, i: int) -> bool:
        try:
            return self.find(i) is MISSING
        except KedroHydraflowError:
            return False

    def find(self, i: int) -> Any:
        """Return the value for the run at a position, MISSING without one."""
        if self._is_to_be_read:
            self._is_to_be_read = False
            with suppress(KedroHydraflowError):  # then each run is read alone, and has its error
                self._read_at_once()
        run = self._runs[i]
        if self._reader is not None:
            value = self._reader([run], self._key)[0] if self._values is None else self._values[i]
            if isinstance(value, Exception):
                raise value
            return value
        if self._is_fact:
            return getattr(run.info, self._name)
        if self._name in OBJECTS:
            return run if self._name == "run" else getattr(run, self._name)
        return _find_attribute(run, self._name)

    def _read_at_once(self) -> None:
        infos = [run.info for run in self._runs]
        if self._reader is not None:
            self._values = self._reader(self._runs, self._key)
        elif self._name in PARSED_KINDS:
            read_parsed_files(infos, self._name)
        elif self._name in LOGGED_KINDS:
            read_logged(infos, self._name)
        elif self._name in FACTS:
            read_fact(infos, self._name)


def read_recorded(runs: Sequence[RunBase], key: str) -> list[Any]:
    """Return the values of a key with a prefix, such as ``metrics.accuracy``, read at once.

    A run without one has MISSING, or the error of reading it. Other keys have none.
    """
    reader = _get_reader(to_dotted(key))
    return [MISSING] * len(runs) if reader is None else reader(runs, key)


def _read_logged(runs: Sequence[RunBase], key: str) -> list[Any]:
    """Return a metric, param or tag of each run.

    ``metrics.a__b`` is the metric ``a__b``, and in runs without that the metric ``a.b``.
    """
    infos = [run.info for run in runs]
    names = _get_spellings(key)
    values = read_logged(infos, names[0])
    if len(names) > 1:
        others = [i for i, value in enumerate(values) if value is None]
        found = read_logged([infos[i] for i in others], names[1])
        for i, value in zip(others, found, strict=True):
            values[i] = value
    return [MISSING if value is None else value for value in values]


def _read_entries(runs: Sequence[RunBase], key: str) -> list[Any]:
    """Return an entry of a parsed file of each run; ``__`` is as in `_read_logged`."""
    spellings = _get_spellings(key)
    kind = spellings[0].partition(".")[0]
    names = [spelling.partition(".")[2] for spelling in spellings]
    return [
        content if isinstance(content, Exception) else _select_entry(kind, content, names)
        for content in read_parsed_files([run.info for run in runs], kind)
    ]


def _select_entry(kind: str, content: Any, names: Sequence[str]) -> Any:
    """Return the first of some entries that there is, MISSING if there is none."""
    for name in names:
        value = select_stored(content, name)
        if value is not MISSING and not (kind == "hydra" and value == "???"):
            return copy_data(value)
    return MISSING


def _get_spellings(key: str) -> list[str]:
    """Return what a key with a prefix can mean: itself, and with dots in place of ``__``."""
    return [k for k in dict.fromkeys((key, to_dotted(key))) if _get_reader(k) is not None]


def _find_attribute(run: RunBase, name: str) -> Any:
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
        try:
            value = getattr(run, name, MISSING)
        except OptionError:
            if name != "results" or has_results_file(run.info):
                raise
            return MISSING  # the option was not given
    return MISSING if callable(value) else value


def _get_attribute_of_impl(run: RunBase, impl: Any, name: str) -> Any:
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


def _get_reader(key: str) -> _Reader | None:
    """Return what reads the values of a key with a prefix, None for other keys."""
    kind, _, name = key.partition(".")
    if not name:
        return None
    if kind in LOGGED_KINDS:
        return _read_logged
    return _read_entries if kind in KEYED_FILES else None


def to_dotted(key: str) -> str:
    """Return a key with each ``__`` replaced by a dot."""
    return key.replace("__", ".") if "__" in key else key
