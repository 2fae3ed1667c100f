"""Patterns that name several keys of runs, such as ``metrics.*``."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING, Any

from typing_extensions import NamedTuple

from kedro_hydraflow.config import flatten_config
from kedro_hydraflow.config_columns import ConfigColumns
from kedro_hydraflow.errors import (
    MissingKeyError,
    OptionError,
    raise_first,
    show_names,
    show_none_has,
)
from kedro_hydraflow.keys import (
    KEYED_FILES,
    Key,
    identify,
    is_pattern,
    name_config_key,
    parse_pattern,
)
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.missing import MISSING, to_missing
from kedro_hydraflow.nearest_keys import describe_nearest_matches
from kedro_hydraflow.recorded import list_entries, read_key
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.run_info import FACTS_IN_ORDER, LOGGED_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_hydraflow.run_base import RunBase

logger = get_logger(__name__)

_SYSTEM_TAGS = "mlflow."
"""The beginning of the tags that MLflow itself sets."""


class KeyColumn(NamedTuple):
    """A column that a key, or a pattern, stands for."""

    name: str
    """The key."""

    default: Any
    """The default of a key that was given as it is; MISSING without one."""

    values: list[Any] | None
    """The values of a key that a pattern matched, with defaults; None for other keys."""


def expand_columns(
    runs: Sequence[RunBase],
    keys: Iterable[str | tuple[str, Any]],
    defaults: Mapping[str, Any],
    max_keys: int | None = None,
) -> list[KeyColumn]:
    """Return the columns that keys and patterns stand for.

    A key that is given as it is and matches a pattern, too, comes once, at the first place.

    Args:
        runs: The runs.
        keys: Keys, patterns, or pairs of either and a default, which may be a callable that takes
            a run. Without a default, runs that lack a key that a pattern matched have None.
        defaults: Defaults by key or pattern.
        max_keys: For patterns, as for `read_columns`.

    Raises:
        MissingKeyError: If there is no key that a pattern without a default matches.
    """
    pairs = [k if isinstance(k, tuple) else (k, defaults.get(k, MISSING)) for k in keys]
    given = {identify(key): key for key, _ in reversed(pairs) if not is_pattern(key)}
    columns: dict[str, KeyColumn] = {}
    for key, default in pairs:
        if not is_pattern(key):
            columns[key] = KeyColumn(key, to_missing(default), None)
            continue
        found = read_columns(runs, key, max_keys)
        if runs and not found and to_missing(default) is MISSING:
            raise make_no_match_error(runs, key)
        for name, values in found.items():
            filled = fill(runs, values, defaults.get(name, default))
            place = given.get(identify(name), name)
            columns.setdefault(place, KeyColumn(name, MISSING, filled))
    return list(columns.values())


def read_columns(
    runs: Sequence[RunBase], pattern: str, max_keys: int | None = None
) -> dict[str, list[Any]]:
    """Return the values for each run of each key that matches a pattern, MISSING without a value.

    Everything is read at once. Facts are in the order of `FACTS_IN_ORDER`, logged values sorted by
    name, other keys in the order in which the runs have them first. Interpolations that cannot be
    resolved stay text. A configuration's ``???`` is None.

    Args:
        runs: The runs.
        pattern: A pattern, or one key as it is written with a prefix.
        max_keys: The maximum number of keys of a run to look at, the first ones; by default all.

    Raises:
        OptionError: If it is a pattern of attributes of the `impl`.
        KedroHydraflowError: If a run cannot be read.
    """
    key = _parse(pattern)
    if key.kind == "fact":
        infos = [run.info for run in runs]
        names = _choose(key, FACTS_IN_ORDER)
        columns = {name: read_key(infos, Key(name, "fact", name)) for name in names}
        raise_first(chain.from_iterable(columns.values()))
        return columns
    if key.kind == "cfg":
        written = ConfigColumns(runs, max_keys)
        return {
            name_config_key(name): written.resolve(written.get_written(name))
            for name in choose_config_keys(pattern, written.names)
        }
    rows = _read_rows(runs, key.kind, max_keys)
    return {
        _spell(key.kind, name): [row.get(name, MISSING) for row in rows]
        for name in _choose(key, chain.from_iterable(rows))
    }


def choose_default_pattern(runs: Sequence[RunBase]) -> str:
    """Return ``*`` for the configurations, or ``params.*`` if no run has one but some have params.

    Raises:
        KedroHydraflowError: If a run cannot be read.
    """
    if any(get_configuration(run).to_plain() for run in runs):
        return "*"
    return "params.*" if list_keys(runs, ["params.*"]) else "*"


def choose_config_keys(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the keys of configurations that match a pattern, as they are in `ConfigColumns`."""
    return _choose(_parse(pattern), names)


def list_keys(runs: Sequence[RunBase], patterns: Iterable[str]) -> list[str]:
    """Return the keys that match one of some patterns, in the order of `read_columns`.

    Raises:
        OptionError: If it is not a pattern, or one of attributes of the `impl`.
        KedroHydraflowError: If a run cannot be read.
    """
    keys: dict[str, None] = {}
    for pattern in patterns:
        if not is_pattern(pattern):
            raise OptionError(f"expected a pattern such as 'metrics.*', found {pattern!r}")
        key = _parse(pattern)
        names: Iterable[str]
        if key.kind == "fact":
            names = FACTS_IN_ORDER
        elif key.kind == "cfg":
            names = ConfigColumns(runs).names
        else:
            names = chain.from_iterable(_read_rows(runs, key.kind))
        keys |= dict.fromkeys(_spell(key.kind, name) for name in _choose(key, names))
    return list(keys)


def fill(runs: Sequence[RunBase], values: list[Any], default: Any) -> list[Any]:
    """Return values with a default in place of MISSING; without one, it is None."""
    default = None if to_missing(default) is MISSING else default
    return [
        value if value is not MISSING else default(run) if callable(default) else default
        for run, value in zip(runs, values, strict=True)
    ]


def _parse(pattern: str) -> Key:
    key = parse_pattern(pattern)
    if key.kind == "impl":
        raise OptionError(
            f"{pattern!r}: the attributes of an implementation cannot be listed; name each of them"
        )
    return key


def _choose(key: Key, names: Iterable[str]) -> list[str]:
    """Return the names that match a pattern, each once.

    As in MLflow's interface, a tag that MLflow itself sets is not among them, unless the pattern
    begins like it.
    """
    is_whole = key.kind in ("cfg", "fact")
    pattern = key.path if is_whole else key.path.partition(".")[2]
    glob = pattern.replace("[", "[[]")  # no wildcard here
    chosen = [name for name in dict.fromkeys(names) if fnmatchcase(name, glob)]
    if key.kind == "tags" and not pattern.startswith(_SYSTEM_TAGS.rstrip(".")):
        chosen = [name for name in chosen if not name.startswith(_SYSTEM_TAGS)]
    return sorted(chosen) if key.kind in LOGGED_KINDS else chosen


def _spell(kind: str, name: str) -> str:
    if kind == "cfg":
        return name_config_key(name)
    return name if kind == "fact" else f"{kind}.{name}"


def make_no_match_error(runs: Sequence[RunBase], pattern: str) -> MissingKeyError:
    """Return the error for a pattern that matches no key of any run."""
    key = parse_pattern(pattern)
    if key.kind == "tags" and list_keys(runs, [f"tags.{_SYSTEM_TAGS}*"]):
        hint = f"those of MLflow itself match only patterns such as 'tags.{_SYSTEM_TAGS}*'"
    else:
        hint = (key.path == "*" and _hint_at_params(runs)) or describe_nearest_matches(runs, key)
    return MissingKeyError(f"{show_none_has(len(runs))} a key that matches {pattern!r}; {hint}")


def warn_of_no_configuration(runs: Sequence[RunBase]) -> None:
    """Log that no configuration of the runs has a key, if they have params instead."""
    hint = _hint_at_params(runs)
    if hint:
        logger.warning("%s a configuration; %s", show_none_has(len(runs)), hint)


def _hint_at_params(runs: Sequence[RunBase]) -> str:
    """Return how to get the params of runs, empty if they have none."""
    params = list_keys(runs, ["params.*"])
    return f"for {show_names(params)} give 'params.*'" if params else ""


def _read_rows(
    runs: Sequence[RunBase], kind: str, limit: int | None = None
) -> list[dict[str, Any]]:
    """Return what each run has of a kind, by name. The values are shared: do not modify them."""
    entries = list_entries([run.info for run in runs], kind, limit)
    raise_first(entries)
    if kind not in KEYED_FILES:
        return entries
    unset = "???" if kind == "hydra" else MISSING
    return [{k: v for k, v in flatten_config(entry).items() if v != unset} for entry in entries]
