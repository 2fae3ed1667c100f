"""The files of Hydra besides the configuration: ``hydra.yaml`` and ``overrides.yaml``.

Hydra writes both into ``.hydra`` when a job starts, with ``OmegaConf.save``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kedro_hydraflow.config import ConfigReader, parse_texts
from kedro_hydraflow.errors import ConfigError

if TYPE_CHECKING:
    from kedro_hydraflow.config import PlainConfig

HYDRA_FOLDER = ".hydra"
"""The directory of Hydra's files, relative to the artifacts directory."""

_BEGIN = re.compile(rb"hydra:[ \t]*\r?\n")
_MARGIN = re.compile(rb"^  ", re.MULTILINE)
_WITHOUT_MARGIN = re.compile(rb"^(?!  |\r?$)", re.MULTILINE)

_USUAL_OVERRIDES = re.compile(r"(?:- [\w+][\w.=/@+,-]*\n)+", re.ASCII)
"""Matches most lists of overrides, which then need no YAML parser."""

_MAX_USUAL = 100_000
"""The maximum length matched: each line takes memory until the end of the match."""


class HydraReader:
    """Reads ``hydra.yaml`` files, and remembers what those of a sweep share."""

    def __init__(self) -> None:
        self._reader = ConfigReader()

    def read(self, content: bytes) -> PlainConfig:
        """Return Hydra's own configuration as plain data: do not modify it.

        Interpolations are not resolved.

        Raises:
            ConfigError: If the content is not a mapping with the key ``hydra``.
        """
        begin = _BEGIN.match(content)
        if begin is not None:
            body = content[begin.end() :].rstrip(b"\r\n") + b"\n"
            if _WITHOUT_MARGIN.search(body[:-1]) is None:
                # Without the margin, the reader parses the parts that jobs share only once.
                config = self._reader.read(_MARGIN.sub(b"", body))
                if config:  # else the file is cut off, or its entry is null
                    return config
        found = self._reader.read(content).get("hydra")
        if not isinstance(found, dict):
            raise ConfigError(f"expected a mapping at the key 'hydra', found {repr(found)[:80]}")
        return found


def parse_overrides(content: bytes) -> list[str]:
    """Return the overrides in an ``overrides.yaml``.

    Raises:
        ConfigError: If the content is not a list of text.
    """
    text = content.decode("utf-8", errors="replace")
    if len(text) <= _MAX_USUAL and _USUAL_OVERRIDES.fullmatch(text):
        return [line[2:] for line in text.splitlines()]
    overrides = parse_texts(text)
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise ConfigError("expected a list of overrides, such as '- seed=5'")
    return overrides
