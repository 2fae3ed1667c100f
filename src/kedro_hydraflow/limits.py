"""Limits on what the data of others may take, and the environment variables that raise them."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from kedro_hydraflow.errors import FileSizeError, OptionError

FILE_SIZE_VARIABLE = "KEDRO_HYDRAFLOW_MAX_FILE_SIZE"
"""The environment variable that limits the files that are read into memory: configurations,
metadata, metrics, params, tags and results. Artifacts are not limited."""

CACHE_SIZE_VARIABLE = "KEDRO_HYDRAFLOW_CACHE_SIZE"
"""The environment variable that limits the size of the artifact cache, such as ``500MB``."""

NODES_VARIABLE = "KEDRO_HYDRAFLOW_MAX_NODES"
"""The environment variable that limits the keys and values of a configuration, and of other YAML
and JSON. Each takes some 500 bytes while a file is read."""

QUERY_SIZE_VARIABLE = "KEDRO_HYDRAFLOW_MAX_QUERY_SIZE"
"""The environment variable that limits the size of what one query of a database returns."""

QUERY_SECONDS_VARIABLE = "KEDRO_HYDRAFLOW_MAX_QUERY_SECONDS"
"""The environment variable that limits the time of one query of a database: in SQLite the
processor time."""

_DEFAULT_NODES = 300_000
_DEFAULT_QUERY_SECONDS = 60.0

_DEFAULTS = {FILE_SIZE_VARIABLE: "100MB", CACHE_SIZE_VARIABLE: "10GB", QUERY_SIZE_VARIABLE: "500MB"}


def get_max_file_size() -> int:
    """Return the maximum size of a file that is read into memory, in bytes.

    Raises:
        OptionError: If the environment variable is not a size.
    """
    return _get_size(FILE_SIZE_VARIABLE)


def get_cache_size() -> int:
    """Return the size limit of the artifact cache in bytes.

    Raises:
        OptionError: If the environment variable is not a size.
    """
    return _get_size(CACHE_SIZE_VARIABLE)


def get_max_nodes() -> int:
    """Return the maximum number of keys and values in a file.

    Raises:
        OptionError: If the environment variable is not a number.
    """
    text = os.environ.get(NODES_VARIABLE)
    if not text:
        return _DEFAULT_NODES
    if text.isdecimal() and len(text) < 20:
        return int(text)
    raise OptionError(f"{NODES_VARIABLE}: expected a number such as 1000000, found {text!r}")


def get_max_query_size() -> int:
    """Return the maximum size of what one query of a database returns, in bytes.

    Raises:
        OptionError: If the environment variable is not a size.
    """
    return _get_size(QUERY_SIZE_VARIABLE)


def get_max_query_seconds() -> float:
    """Return the maximum time of one query of a database, in seconds.

    Raises:
        OptionError: If the environment variable is not a number.
    """
    text = os.environ.get(QUERY_SECONDS_VARIABLE)
    if not text:
        return _DEFAULT_QUERY_SECONDS
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text, re.ASCII):
        return float(text)
    raise OptionError(f"{QUERY_SECONDS_VARIABLE}: expected seconds such as 600, found {text!r}")


def describe_nodes_limit(limit: int, noun: str = "nodes") -> str:
    """Return the end of a message about more than `get_max_nodes` allows."""
    return f"{limit:,} {noun}, the limit that the environment variable {NODES_VARIABLE} raises"


def check_file_size(size: int | None, limit: int) -> None:
    """Raise FileSizeError if a file is larger than the limit.

    Args:
        size: The size in bytes, or a part of it that has been read; None if it is unknown.
        limit: The result of `get_max_file_size`.
    """
    if size is not None and size > limit:
        raise FileSizeError(
            f"it is larger than {limit:,} bytes, the limit that the environment variable "
            f"{FILE_SIZE_VARIABLE} raises"
        )


def _get_size(variable: str) -> int:
    return _parse_size(variable, os.environ.get(variable) or _DEFAULTS[variable])


@lru_cache
def _parse_size(variable: str, text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)(I?)B?", text.strip().upper())
    if match is None:
        raise OptionError(f"{variable}: expected a size such as '20GB' or '500MB', found {text!r}")
    number, prefix, is_binary = match.groups()
    base = 1024 if is_binary else 1000
    return int(float(number) * base ** " KMGT".index(prefix or " "))
