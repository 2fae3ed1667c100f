"""The files in the artifacts of a run that are read as data: those of Hydra, and results.

A file of results is what the application wrote itself: JSON or YAML with a mapping.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import ConfigError, OptionError
from kedro_hydraflow.limits import describe_nodes_limit, get_max_nodes
from kedro_hydraflow.storage import is_url
from kedro_hydraflow.stores.hydra_files import HYDRA_FOLDER, HydraReader, parse_overrides
from kedro_hydraflow.yaml_reader import (
    MAX_DEPTH,
    MAX_DIGITS,
    ConfigReader,
    check_mapping,
    decode,
    make_digits_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = "results"
"""The kind of the file that the option of this name names."""

_ENDINGS = (".json", ".yaml", ".yml")


@dataclass(frozen=True)
class ParsedFile:
    """A file that is read as data."""

    kind: str
    """``hydra``, ``overrides`` or `RESULTS`: an attribute of ``Run``, and a key or its prefix."""

    path: str
    """The path relative to the artifacts directory, with ``/``."""

    def make_parser(self) -> Callable[[bytes], Any]:
        """Return a function that parses such files. It caches what the files of a sweep share."""
        if self.kind != RESULTS:
            return HydraReader().read if self.kind == "hydra" else parse_overrides
        return parse_json if self.path.lower().endswith(".json") else ConfigReader().read_data


HYDRA_FILES = {
    kind: ParsedFile(kind, f"{HYDRA_FOLDER}/{kind}.yaml") for kind in ("hydra", "overrides")
}
"""Hydra's files besides the configuration, by kind."""

PARSED_KINDS = (*HYDRA_FILES, RESULTS)


def make_results_file(results: Any) -> ParsedFile | None:
    """Return the file that the option ``results`` names, None if it is None.

    Raises:
        OptionError: If the option is invalid.
    """
    if results is None:
        return None
    if not isinstance(results, str) or not _is_inside(results) or not _has_ending(results):
        raise OptionError(
            "results: expected the path of a file in each run's artifacts directory that ends in "
            f".json, .yaml or .yml, such as result.json, found {results!r}"
        )
    return ParsedFile(RESULTS, posixpath.normpath(results))


def _is_inside(path: str) -> bool:
    """Whether a path is relative on every system, and cannot lead out of a directory."""
    is_relative = PureWindowsPath(path).anchor == "" and not is_url(path) and "\\" not in path
    return is_relative and ".." not in path.split("/")


def _has_ending(path: str) -> bool:
    return path.lower().endswith(_ENDINGS)


def parse_json(content: bytes) -> dict[str, Any]:
    """Return the mapping in a JSON file. NaN and Infinity are floats.

    Raises:
        ConfigError: If it is not one mapping in JSON with distinct keys, or exceeds the limit of
            `get_max_nodes`, `MAX_DEPTH` or `MAX_DIGITS`.
    """
    max_nodes = get_max_nodes()
    text = decode(content, max_nodes).removeprefix("\ufeff")  # which programs on Windows write
    _check_number(text, max_nodes)
    try:
        data = json.loads(text, object_pairs_hook=_make_mapping, parse_int=_make_integer)
    except ConfigError:
        raise
    except RecursionError as exc:
        raise ConfigError(f"nested deeper than {MAX_DEPTH} levels") from exc
    except ValueError as exc:
        raise ConfigError(f"expected JSON: {exc}") from exc
    _check_depth(data)
    return check_mapping(data)


def _make_mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ConfigError(f"the key {name!r} occurs twice")
    return mapping


def _make_integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise make_digits_error(digits)
    return int(digits)


def _check_number(text: str, max_nodes: int) -> None:
    """Raise ConfigError if JSON has too many values, before they are made."""
    if len(text) <= max_nodes or _count_marks(text) <= max_nodes:
        return
    without_escapes = text.replace("\\\\", "").replace('\\"', "")
    if _count_marks(_STRING.sub("", without_escapes)) > max_nodes:
        raise ConfigError(f"it has more than {describe_nodes_limit(max_nodes)}")


def _count_marks(text: str) -> int:
    """Return the number of characters in JSON of which each value but the first needs one."""
    return sum(map(text.count, ",[{"))


_STRING = re.compile(r'"[^"]*(?:"|\Z)')


def _check_depth(data: Any) -> None:
    """Raise ConfigError if data is nested deeper than YAML may be. Goes level by level."""
    level = [data]
    depth = 0
    while level := [node for node in level if type(node) in (dict, list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"nested deeper than {MAX_DEPTH} levels")
        level = [v for node in level for v in (node.values() if type(node) is dict else node)]
