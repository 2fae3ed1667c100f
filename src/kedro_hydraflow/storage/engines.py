"""The engines that can talk to an object store."""

from __future__ import annotations

from kedro_hydraflow.errors import OptionError

ENGINES = ("fsspec", "obstore")


def check_engine(engine: str | None) -> None:
    """Raise OptionError unless it is one of `ENGINES`, or None, which leaves the choice open."""
    if engine not in (None, *ENGINES):
        raise OptionError(f"engine: expected one of {ENGINES}, found {engine!r}")
