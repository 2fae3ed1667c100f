"""Building the implementation of a run with its ``impl_factory``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import ImplError, describe
from kedro_hydraflow.run_info import get_artifacts

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_hydraflow.config import Configuration
    from kedro_hydraflow.run_info import RunInfo

ImplFactory = Callable[..., Any]
"""Builds an implementation from ``(artifacts_dir)`` or ``(artifacts_dir, cfg)``."""


def build_impl(
    factory: ImplFactory, info: RunInfo, artifacts_dir: Path, configuration: Configuration
) -> Any:
    """Return the implementation of a run.

    Raises:
        ImplError: If the factory raises; its exception is the cause.
        ConfigError: If the factory takes the configuration, and that cannot be read.
    """
    arguments: tuple[Any, ...] = (artifacts_dir,)
    if takes_config(factory):
        arguments = (*arguments, configuration.get_dictconfig())
    try:
        return factory(*arguments)
    except Exception as exc:
        name = getattr(factory, "__qualname__", repr(factory))
        raise ImplError(
            f"run {info.run_id}: {name} failed for {get_artifacts(info).url}: {describe(exc)}"
        ) from exc


def takes_config(factory: ImplFactory) -> bool:
    """Whether an ``impl_factory`` takes the configuration besides the directory.

    It is passed as a second positional argument; the parameter may have a default.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return sum(p.kind in positional for p in parameters) > 1
