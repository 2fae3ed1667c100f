"""The keys of runs most like a mistyped one, for messages."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from kedro_hydraflow.config import flatten_config
from kedro_hydraflow.errors import KedroHydraflowError
from kedro_hydraflow.nearest import find_nearest
from kedro_hydraflow.run_base import RunBase, get_configuration
from kedro_hydraflow.run_info import FACTS, LOGGED_KINDS, read_logged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_N_CONFIGS = 100
"""The maximum number of runs whose configurations are looked at."""

_N_LOGGED = 3
"""The maximum number of runs whose logged values are looked at, which may have to be read."""


def describe_nearest_keys(
    runs: Sequence[RunBase], key: str, show: Callable[[str], str] | None = None
) -> str:
    """Return a phrase that names the keys of some runs most like one that they lack.

    Metrics, params and tags are named with their prefix: ``metrics.accuracy``.

    Args:
        runs: The runs, first the one of which the key was asked. A few of them are looked at.
        key: The key, with dots.
        show: Returns a key as it is to be written, by default unchanged.
    """
    known = dict.fromkeys(_iter_keys(runs, key))
    known.pop(key, None)
    near = find_nearest(key, known, "./")
    if show is not None:
        near = list(map(show, near))
    return f"similar keys: {', '.join(map(repr, near))}" if near else "no similar keys"


def _iter_keys(runs: Sequence[RunBase], key: str) -> Iterator[str]:
    """Yield the keys of configurations and those above them, and those of facts and logged values.

    The attributes of an implementation count only if looking for the key has built it.
    """
    in_configs = {k for run in _choose(runs, _N_CONFIGS) for k in _list_config_keys(run)}
    yield from sorted(in_configs)
    yield from sorted(FACTS)
    is_logged = key.partition(".")[0] in LOGGED_KINDS
    if runs and key not in in_configs and key not in FACTS and not is_logged:
        yield from (k for k in getattr(runs[0].impl, "__dict__", ()) if not k.startswith("_"))
    infos = [run.info for run in _choose(runs, _N_LOGGED)]
    for kind in LOGGED_KINDS:
        with suppress(KedroHydraflowError):
            for values in read_logged(infos, kind):
                if isinstance(values, dict):
                    yield from (f"{kind}.{name}" for name in values)


def _choose(runs: Sequence[RunBase], count: int) -> Sequence[RunBase]:
    """Return up to so many runs at equal distances, with the first."""
    return runs[:: max(1, math.ceil(len(runs) / count))]


def _list_config_keys(run: RunBase) -> list[str]:
    try:
        leaves = [*flatten_config(get_configuration(run).to_plain())]
    except KedroHydraflowError:
        return []
    return [*leaves, *{k.rpartition(".")[0] for k in leaves} - {""}]
