"""The engines for object stores."""

from __future__ import annotations

from kedro_hydraflow.errors import OptionError

ENGINES = ("fsspec", "obstore")


def check_engine(engine: str | None) -> None:
    """Raise OptionError unless an engine is one of `ENGINES`, or None for the default."""
    if engine not in (None, *ENGINES):
        expected = " or ".join(map(repr, ENGINES))
        raise OptionError(f"engine: expected {expected}, found {engine!r}")
