"""What was recorded about runs beside their configurations, by key."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.columns import copy_data
from kedro_hydraflow.config import parse_logged, take_leaves
from kedro_hydraflow.errors import ConfigError, KedroHydraflowError
from kedro_hydraflow.keys import KEYED_FILES, is_recorded, to_dotted
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.run_info import (
    LOGGED_KINDS,
    PARSED_KINDS,
    check_is_run,
    read_fact,
    read_logged,
    read_parsed_files,
)
from kedro_hydraflow.selecting import select_stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.keys import Key
    from kedro_hydraflow.run_info import RunInfo


def read_key(infos: Sequence[RunInfo], key: Key) -> list[Any]:
    """Return the value of a key of each run, read at once.

    Args:
        infos: The runs.
        key: A key with `Key.is_recorded`.

    Returns:
        For each run its value, MISSING without one, or the error of reading it. A fact that is
        not recorded is None.
    """
    if key.kind == "fact":
        return _read_fact(infos, key.path)
    if key.kind == "overrides":
        contents = read_parsed_files(infos, key.kind)
        return [MISSING if content is None else content for content in contents]
    return read_entries(infos, key.path)


def to_ordered(key: str, values: list[Any]) -> list[Any]:
    """Return values as runs are ordered by them: params and tags, which are text, by number.

    If some text is no number, as `parse_logged` reads it, all of it stays text.
    """
    kind = to_dotted(key).removeprefix("logged.").partition(".")[0]
    if kind not in ("params", "tags"):
        return values
    texts = {value for value in values if type(value) is str}
    try:
        numbers = {text: parse_logged(text) for text in texts}
    except ConfigError:
        return values
    if not all(type(number) in (int, float) for number in numbers.values()):
        return values
    return [numbers[value] if type(value) is str else value for value in values]


def _read_fact(infos: Sequence[RunInfo], name: str) -> list[Any]:
    with suppress(KedroHydraflowError):  # then each run is read alone, and has its error
        read_fact(infos, name)
    values: list[Any] = []
    for info in infos:
        try:
            values.append(getattr(info, name))
        except KedroHydraflowError as exc:  # noqa: PERF203 - it is of this run alone
            values.append(exc)
    return values


def read_entries(infos: Sequence[RunInfo], key: str) -> list[Any]:
    """Return the value of a key such as ``metrics.accuracy`` or ``hydra.job.num`` of each run.

    ``metrics.a__b`` is the metric ``a__b``, and in runs without that the metric ``a.b``; so are the
    names of other entries.

    Args:
        infos: The runs.
        key: The key. If it is not one of `is_recorded`, no run has a value.

    Returns:
        For each run its value, MISSING without one, or the error of reading it.
    """
    spellings = [k for k in dict.fromkeys((key, to_dotted(key))) if is_recorded(k)]
    if not spellings:
        return [MISSING] * len(infos)
    if spellings[0].partition(".")[0] in LOGGED_KINDS:
        return _read_logged(infos, spellings)
    return _read_parsed(infos, spellings)


def _read_logged(infos: Sequence[RunInfo], spellings: Sequence[str]) -> list[Any]:
    values = read_logged(infos, spellings[0])
    if len(spellings) > 1:
        others = [i for i, value in enumerate(values) if value is None]
        found = read_logged([infos[i] for i in others], spellings[1])
        for i, value in zip(others, found, strict=True):
            values[i] = value
    return [MISSING if value is None else value for value in values]


def _read_parsed(infos: Sequence[RunInfo], spellings: Sequence[str]) -> list[Any]:
    kind = spellings[0].partition(".")[0]
    names = [spelling.partition(".")[2] for spelling in spellings]
    return [
        content if isinstance(content, Exception) else _select_entry(kind, content, names)
        for content in read_parsed_files(infos, kind)
    ]


def _select_entry(kind: str, content: Any, names: Sequence[str]) -> Any:
    """Return the first of some entries that there is, MISSING if there is none."""
    for name in names:
        value = select_stored(content, name)
        if value is not MISSING and not (kind == "hydra" and value == "???"):
            return copy_data(value)
    return MISSING


def list_entries(infos: Sequence[RunInfo], kind: str, limit: int | None = None) -> list[Any]:
    """Return what there is of a kind, such as ``metrics`` or ``results``, of each run.

    Args:
        infos: The runs.
        kind: A kind of logged values, or of parsed files with keys.
        limit: The maximum number of entries of a run, the first ones; by default all.

    Returns:
        For each run a mapping, or the error of reading it: do not modify it.
    """
    is_parsed = kind in KEYED_FILES
    read = read_parsed_files(infos, kind) if is_parsed else read_logged(infos, kind, limit)
    entries: list[Any] = [{} if content is None else content for content in read]
    if limit is None:
        return entries
    return [take_leaves(each, limit) if isinstance(each, dict) else each for each in entries]


def get_logged(info: RunInfo, kind: str, limit: int | None = None) -> dict[str, Any]:
    """Return the metrics, params or tags of a run by name: do not modify them.

    Args:
        info: The run.
        kind: The kind.
        limit: How many are enough; by default, it is all of them.

    Raises:
        MetadataError: If their record is malformed.
        NotARunError: If the directory is not that of a run.
        StorageError: If it cannot be read.
    """
    (values,) = read_logged([info], kind, limit)
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


def read_at_once(infos: Sequence[RunInfo], name: str) -> None:
    """Read all facts or values of a kind, such as ``status`` or ``metrics``, for many runs.

    Names of other attributes read nothing.
    """
    if name in PARSED_KINDS:
        read_parsed_files(infos, name)
    elif name in LOGGED_KINDS:
        read_logged(infos, name)
    else:
        read_fact(infos, name)
