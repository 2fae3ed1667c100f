"""The values of a key for many runs. ``Run.get`` is the case of one run."""

from __future__ import annotations

import inspect
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from kedro_hydraflow.columns import SCALARS
from kedro_hydraflow.errors import (
    ImplError,
    KedroHydraflowError,
    MissingKeyError,
    OptionError,
    describe,
    raise_first,
)
from kedro_hydraflow.keys import Key, is_pattern, parse_key, to_dotted
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.missing import MISSING, to_missing
from kedro_hydraflow.nearest_keys import describe_nearest_keys
from kedro_hydraflow.recorded import read_at_once, read_key
from kedro_hydraflow.run_base import RunBase, get_configuration
from kedro_hydraflow.run_info import FACTS, LOGGED_KINDS, PARSED_KINDS, has_results_file
from kedro_hydraflow.selecting import Selector, select, to_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kedro_hydraflow.selecting import Column

logger = get_logger(__name__)

Advise: TypeAlias = "Callable[[str], str]"
"""Takes a key as a filter means it, and returns what to do about runs that lack it."""

OBJECTS = frozenset({"cfg", "impl", "info", "run"})
"""The keys of whole objects, which win over attributes of these names."""

_READ_AT_ONCE = frozenset({*FACTS, *LOGGED_KINDS, *PARSED_KINDS})
"""The attributes of runs that are read for many at once."""

_PLACES = {
    "fact": "info",
    "overrides": "Hydra's overrides",
    "hydra": "Hydra's own configuration",
    "results": "the results",
    **{kind: f"the logged {kind}" for kind in LOGGED_KINDS},
}
"""Where keys of a kind are looked for, for messages."""

_PATTERN_HINT = "a pattern is for to_frame and list_keys"


def get_value(run: RunBase, key: str, default: Any = MISSING) -> Any:
    """Return the value of a key, as ``Run.get`` explains it."""
    value = select(get_configuration(run), to_dotted(key))
    if value is MISSING:
        return _Finder([run], key).get(0, default)
    _warn_of_hidden(key, [run])
    return value


def get_values(
    runs: Sequence[RunBase], key: str, default: Any = MISSING, advise: Advise | None = None
) -> list[Any]:
    """Return the value of a key for each run, as ``Run.get`` explains it.

    What is read besides configurations is read for all of them at once.

    Args:
        runs: The runs.
        key: The key.
        default: The value for runs that lack the key; if callable, called with the run.
        advise: For callers that take no default: what the error advises if only some runs lack
            the key.
    """
    configurations = [get_configuration(run) for run in runs]
    column = Selector().select_column(configurations, to_dotted(key), as_nodes=True)
    finder = _Finder(runs, key, column.missing, advise)
    return _complete(runs, key, column, lambda i: finder.get(i, default))


def get_data(
    runs: Sequence[RunBase], key: str, default: Any = MISSING, advise: Advise | None = None
) -> list[Any]:
    """Return the values of `get_values`, with lists and mappings as plain, resolved data.

    They may be shared: do not modify them. The `OBJECTS` stay objects.
    """
    configurations = [get_configuration(run) for run in runs]
    column = Selector().select_column(configurations, to_dotted(key))
    finder = _Finder(runs, key, column.missing, advise)
    return _complete(runs, key, column, lambda i: _to_data(runs[i], key, finder.get(i, default)))


def _complete(
    runs: Sequence[RunBase], key: str, column: Column, get: Callable[[int], Any]
) -> list[Any]:
    """Return the values of a column. Those that it lacks are looked up with `get`, by position.

    Errors are raised in the order of the runs.
    """
    for i in column.missing:
        column.values[i] = get(i)
    if column.error is not None:
        raise column.error
    if len(column.missing) < len(runs):
        missing = set(column.missing)
        _warn_of_hidden(key, (run for i, run in enumerate(runs) if i not in missing))
    return column.values


def read_values(runs: Sequence[RunBase], key: Key) -> list[Any]:
    """Return the value of a key of each run, by the spelling of the key alone.

    Args:
        runs: The runs.
        key: The key.

    Returns:
        For each run its value, as plain, resolved data that may be shared: do not modify them.
        MISSING without a value, or the error of reading it.
    """
    if key.is_recorded:
        return read_key([run.info for run in runs], key)
    selector = Selector()
    values: list[Any] = []
    configurations = iter([get_configuration(run) for run in runs])
    while key.kind != "impl" and len(values) < len(runs):  # again after each error
        column = selector.select_column(configurations, key.path)
        values += column.values
        if column.error is not None:
            values.append(column.error)
    if key.kind == "cfg":
        return values
    values = values or [MISSING] * len(runs)
    for i, run in enumerate(runs):
        if values[i] is MISSING:
            try:
                values[i] = _to_data(run, key.text, _find_attribute_of_impl(run, key.path))
            except KedroHydraflowError as exc:
                values[i] = exc
    return values


def get_by_spelling(runs: Sequence[RunBase], key: str, default: Any = MISSING) -> list[Any]:
    """Return the value of a key of each run, by its spelling alone, as in filters.

    Args:
        runs: The runs.
        key: The key.
        default: The value for runs that lack the key; if callable, called with the run.

    Returns:
        For each run its value, as plain data that may be shared: do not modify them. MISSING
        without a value and a default.

    Raises:
        KedroHydraflowError: If the value of a run cannot be read.
    """
    default = to_missing(default)
    values = read_values(runs, parse_key(key))
    raise_first(values)
    for i, run in enumerate(runs):
        if values[i] is MISSING:
            values[i] = default(run) if callable(default) else default
    return values


def check_some_have(runs: Sequence[RunBase], key: Key, values: Iterable[Any]) -> None:
    """Raise MissingKeyError if there are runs, and all their values of a key are MISSING."""
    if runs and all(value is MISSING for value in values):
        some = "the run" if len(runs) == 1 else f"any of the {len(runs)} runs"
        raise MissingKeyError(f"no such key: {key.text!r} in {some} ({explain_lack(runs, key)})")


def explain_lack(runs: Sequence[RunBase], key: Key, show: Callable[[str], str] = str) -> str:
    """Return a phrase that says what may be meant by a key that none of the runs has.

    Args:
        runs: The runs.
        key: The key, which means what its spelling says.
        show: Returns a key as it is to be written, by default unchanged.
    """
    if key.is_recorded and not key.is_outright:
        own = parse_key(f"cfg.{key.text}")
        values = read_values(runs, own)
        if not all(value is MISSING or isinstance(value, Exception) for value in values):
            return f"for that of the configuration, write {show(own.text)}"
    if is_pattern(key.text):
        return _PATTERN_HINT
    return describe_nearest_keys(runs, to_dotted(key.text), show)


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


class _Finder:
    """Finds the values of a key outside of configurations.

    They are what was recorded, `OBJECTS`, attributes, or what a prefix says outright. What has to
    be read is read for all runs at once, when the first value is asked for.

    Args:
        runs: The runs.
        key: The key, with dots or ``__``.
        lacking: The positions of the runs whose configuration lacks the key, by default all.
        advise: As for `get_values`.
    """

    def __init__(
        self,
        runs: Sequence[RunBase],
        key: str,
        lacking: Sequence[int] | None = None,
        advise: Advise | None = None,
    ) -> None:
        self._runs = runs
        self._lacking = range(len(runs)) if lacking is None else lacking
        self._advise = advise
        self._name = to_dotted(key)
        self._key = _parse_prefixed(key)
        self._values: list[Any] | None = None
        self._is_to_be_read = self._name in _READ_AT_ONCE

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
        is_recorded = self._key is not None and self._key.is_recorded
        is_cheap = is_recorded or run.impl is None  # building others takes time
        if n_runs > 1 and is_cheap:
            lacking = [self._runs[i] for i in self._lacking if self._is_missing(i)]
            some = "all" if len(lacking) == n_runs else f"{len(lacking)} of"
            count = f"; {some} {n_runs} runs lack it"
        return MissingKeyError(
            f"run {run.info.run_id}: no such key: {self._name!r} in {self._describe_places()} "
            f"({describe_nearest_keys(lacking, self._name)}){count}"
            f"{self._describe_remedy(len(lacking) == n_runs)}"
        )

    def _describe_places(self) -> str:
        """Return where the key was looked for."""
        if self._key is not None:
            place = _PLACES.get(self._key.kind, self._key.kind)
            return place if self._key.is_outright else f"cfg or {place}"
        head, _, rest = self._name.partition(".")
        return "info" if rest and head == "info" else "cfg, impl or info"

    def _describe_remedy(self, is_lacking_everywhere: bool) -> str:
        if is_pattern(self._name):
            return f"; {_PATTERN_HINT}"
        if self._advise is None:
            return "; a default, where one can be given, allows for it"
        if is_lacking_everywhere:
            return ""
        is_hidden = _parse_recorded(self._name) is not None and len(self._lacking) < len(self._runs)
        return f"; {self._advise(f'cfg.{self._name}' if is_hidden else self._name)}"

    def _is_missing(self, i: int) -> bool:
        try:
            return self.find(i) is MISSING
        except KedroHydraflowError:
            return False

    def find(self, i: int) -> Any:
        """Return the value for the run at a position, MISSING without one."""
        run = self._runs[i]
        if self._key is not None:
            if self._values is None and self._key.is_recorded:
                self._values = read_values(self._runs, self._key)
            value = self._values[i] if self._values else read_values([run], self._key)[0]
            if isinstance(value, Exception):
                raise value
            return value
        if self._is_to_be_read:
            self._is_to_be_read = False
            with suppress(KedroHydraflowError):  # then each run is read alone, and has its error
                read_at_once([run.info for run in self._runs], self._name)
        if self._name in OBJECTS:
            return run if self._name == "run" else getattr(run, self._name)
        return _find_attribute(run, self._name)


def _parse_prefixed(key: str) -> Key | None:
    """Return what a key with a prefix means, such as ``metrics.accuracy``; None for others."""
    if "." not in to_dotted(key):
        return None
    try:
        parsed = parse_key(key)
    except OptionError:  # such as info.absent
        return None
    return None if parsed.kind == "any" else parsed


def _warn_of_hidden(key: str, runs: Iterable[RunBase]) -> None:
    """Log that a key is taken from configurations, if they hide what was recorded under it.

    Args:
        key: The key.
        runs: The runs whose configuration has it. What was recorded for the first one is read.
    """
    parsed = _parse_recorded(key)
    run = None if parsed is None else next(iter(runs), None)
    if parsed is None or run is None:
        return
    (value,) = read_key([run.info], parsed)
    if value is None or value is MISSING or isinstance(value, Exception):
        return
    prefix = "info" if parsed.kind == "fact" else "logged" if parsed.kind in LOGGED_KINDS else ""
    advice = f"write '{prefix}.{parsed.path}'" if prefix else f"see run.{parsed.kind}"
    logger.warning(
        "the key %r is taken from the configuration, which hides what was recorded, as in run %s: "
        "%s for that, or 'cfg.%s' for the configuration",
        key,
        run.info.run_id,
        advice,
        to_dotted(key),
    )


def warn_of_other_meaning(runs: Sequence[RunBase], key: Key) -> None:
    """Log that a key means what was recorded, if configurations that have been read have it too.

    It is meant for keys that users give, before `read_values` or `get_by_spelling`.
    """
    if not key.is_recorded or key.is_outright:
        return
    known = [(run, get_configuration(run)) for run in runs]
    known = [(run, c) for run, c in known if c.data is not None or c.has_dictconfig()]
    column = Selector().select_column([c for _, c in known], to_dotted(key.text))
    having = [i for i, value in enumerate(column.values) if value is not MISSING]
    if having:
        logger.warning(
            "the key %r means what was recorded, but the configuration has it too, as in run %s: "
            "write 'cfg.%s' for that",
            key.text,
            known[having[0]][0].info.run_id,
            to_dotted(key.text),
        )


@lru_cache(maxsize=4096)
def _parse_recorded(key: str) -> Key | None:
    """Return what a key means that is recorded by its spelling; None for others, and outright."""
    try:
        parsed = parse_key(key)
    except OptionError:
        return None
    return parsed if parsed.is_recorded and not parsed.is_outright else None


def _find_attribute(run: RunBase, name: str) -> Any:
    """Return an attribute of the impl, the info or the run that is not callable, or MISSING."""
    value = _find_attribute_of_impl(run, name)
    if value is not MISSING or name[:1] == "_":
        return value
    value = getattr(run.info, name, MISSING)
    if value is MISSING or callable(value):
        try:
            value = getattr(run, name, MISSING)
        except OptionError:
            if name != "results" or has_results_file(run.info):
                raise
            return MISSING  # the option was not given
    return MISSING if callable(value) else value


def _find_attribute_of_impl(run: RunBase, name: str) -> Any:
    """Return an attribute that is not callable, or MISSING; an error in it names the run."""
    impl = run.impl
    if impl is None:
        return MISSING
    try:
        value = getattr(impl, name, MISSING)
        if value is MISSING and inspect.getattr_static(impl, name, MISSING) is not MISSING:
            value = getattr(impl, name)  # a property that raises AttributeError itself
    except Exception as exc:
        raise ImplError(
            f"run {run.info.run_id}: {type(impl).__qualname__}.{name} failed: {describe(exc)}"
        ) from exc
    return MISSING if callable(value) else value
