"""Digests of runs: text that is equal as long as a run is the same, wherever it is kept.

A digest is the SHA-256 of a JSON text, as 64 hexadecimal digits. The text is an object without
spaces, in ASCII, whose keys are sorted, as in
``{"config":{"seed":1},"end_time":1769379310123,"format":1,"run_id":"…","start_time":…,"status":…}``:

- ``format``: the version of this format, 1.
- ``run_id``.
- ``config``: the configuration of the `Run`, with interpolations as they are. If JSON would not
  give it back, ``tagged_config`` with the type of each value takes its place.
- ``status``, such as ``FINISHED``; null if it is not recorded.
- ``start_time``, ``end_time``: milliseconds since 1970, UTC; null if they are not recorded.
- With logged values also ``metrics`` (the latest values), ``params`` and ``tags``, but no tags
  ``mlflow.*``, some of which change with the place. Infinities are the largest float, as in
  MLflow's databases, and NaN is the word ``NaN``. If the option ``results`` was given, also
  ``results``, the content of that file.

The digest of several runs is that of the JSON list of their digests, sorted.
"""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime, timedelta, timezone
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import raise_first
from kedro_hydraflow.exact_json import CONTAINERS, is_exact
from kedro_hydraflow.recorded import list_entries
from kedro_hydraflow.run_base import get_configuration
from kedro_hydraflow.run_info import LOGGED_KINDS, has_results_file, read_facts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kedro_hydraflow.config import PlainConfig
    from kedro_hydraflow.run_base import RunBase
    from kedro_hydraflow.run_info import RunInfo

_FORMAT = 1

_to_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LARGEST = sys.float_info.max


def make_digests(runs: Sequence[RunBase], *, logged: bool = False) -> list[str]:
    """Return the digest of each run. What has not been read is read for all runs at once.

    Args:
        runs: The runs.
        logged: Whether to include metrics, params and tags.

    Raises:
        ConfigError: If a configuration cannot be read.
        MetadataError: If a fact or logged value is malformed.
        StorageError: If the storage denies access or cannot be reached.
    """
    infos = [run.info for run in runs]
    read_facts(infos)
    values: list[dict[str, Any]] = [{} for _ in runs]
    for kind in (*LOGGED_KINDS, "results") if logged else ():
        entries = list_entries(infos, kind)
        raise_first(entries)
        for info, of_run, found in zip(infos, values, entries, strict=True):
            if kind != "results":
                of_run[kind] = _select_logged(kind, found)
            elif has_results_file(info):
                of_run[kind] = found if is_exact([found]) else _tag(found)
    texts = _ConfigTexts()
    return [
        _hash(_make_text(run.info, texts.get(get_configuration(run).to_plain()), of_run))
        for run, of_run in zip(runs, values, strict=True)
    ]


def combine_digests(digests: Iterable[str]) -> str:
    """Return the digest of several runs, whatever their order."""
    return _hash(_to_json(sorted(digests)))


def _make_text(info: RunInfo, config: str, logged: Mapping[str, Any]) -> str:
    recorded = {
        "end_time": _to_milliseconds(info.end_time),
        "format": _FORMAT,
        "run_id": info.run_id,
        "start_time": _to_milliseconds(info.start_time),
        "status": info.status,
        **logged,
    }
    parts = [config, *(f"{_to_json(name)}:{_to_json(value)}" for name, value in recorded.items())]
    return f"{{{','.join(sorted(parts))}}}"


def _hash(text: str) -> str:
    return sha256(text.encode("ascii")).hexdigest()


def _to_milliseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - _EPOCH) // timedelta(milliseconds=1)


def _select_logged(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "tags":
        return {name: text for name, text in values.items() if not name.startswith("mlflow.")}
    if kind == "metrics":
        return {name: _bound(value) for name, value in values.items()}
    return dict(values)


def _bound(value: float) -> float:
    """Return a number as databases keep it: the largest float for infinity, no negative zero."""
    return value if math.isnan(value) else min(max(-_LARGEST, value), _LARGEST) + 0.0


class _ConfigTexts:
    """The JSON of configurations, whose parts are shared by runs and written once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}
        """The parts by their ID, which no other gets as long as they are kept, with their JSON."""

    def get(self, config: PlainConfig) -> str:
        """Return the member of the JSON object for a configuration, its key included."""
        if is_exact([config]):
            members = (f"{_to_json(k)}:{self._get_of_part(config[k])}" for k in sorted(config))
            return f'"config":{{{",".join(members)}}}'
        return f'"tagged_config":{_to_json(_tag(config))}'

    def _get_of_part(self, part: Any) -> str:
        if type(part) not in CONTAINERS:
            return _to_json(part)
        if id(part) not in self._known:
            self._known[id(part)] = part, _to_json(part)
        return self._known[id(part)][1]


def _tag(value: Any) -> Any:
    """Return a value as a list of its type and its content, both of which JSON gives back."""
    kind = type(value).__name__
    if isinstance(value, dict):
        pairs = [[_tag(key), _tag(inner)] for key, inner in value.items()]
        return ["dict", sorted(pairs, key=_to_json)]
    if isinstance(value, list):
        return ["list", list(map(_tag, value))]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, Enum):
        return ["enum", type(value).__qualname__, value.name]
    if isinstance(value, (str, bool, int, float, type(None))):
        return [kind, value]
    return ["path", value.as_posix()] if hasattr(value, "as_posix") else [kind, str(value)]
