"""The keys of runs most like a mistyped one, for messages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.config import flatten_config, list_leaves
from kedro_hydraflow.errors import KedroHydraflowError
from kedro_hydraflow.keys import KEYED_FILES
from kedro_hydraflow.nearest import find_nearest
from kedro_hydraflow.run_base import RunBase, get_configuration
from kedro_hydraflow.run_info import (
    FACTS,
    LOGGED_KINDS,
    has_results_file,
    read_logged,
    read_parsed_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kedro_hydraflow.run_info import RunInfo

RESULTS_HINT = (
    "load the runs with the option results, the path of a JSON or YAML file in each run's "
    "artifacts directory, such as results='result.json'"
)
"""What to do about absent results, for messages."""

_N_CONFIGS = 100
"""The maximum number of runs whose configurations are looked at."""

_N_LOGGED = 3
"""The maximum number of runs whose logged values are looked at, which may have to be read."""


def describe_nearest_keys(
    runs: Sequence[RunBase], key: str, show: Callable[[str], str] | None = None
) -> str:
    """Return a phrase that names the keys of some runs most like one that they lack.

    What is not in configurations is named with its prefix: ``metrics.accuracy``. If results are
    asked for without the option, the phrase names the option. If the first run's configuration has
    the key, but OmegaConf does not select it, the phrase says why.

    Args:
        runs: The runs, first the one of which the key was asked. A few of them are looked at.
        key: The key, with dots.
        show: Returns a key as it is to be written, by default unchanged.
    """
    if runs and (reason := _explain_unselectable(runs[0], key)):
        return reason
    known = dict.fromkeys(_iter_keys(runs, key))
    known.pop(key, None)
    near = find_nearest(key, known, "./")
    if show is not None:
        near = list(map(show, near))
    hint = ""
    if key.partition(".")[0] == "results" and not any(has_results_file(run.info) for run in runs):
        hint = f"; for the results of the application, {RESULTS_HINT}"
    return f"{'similar keys: ' if near else 'no similar keys'}{', '.join(map(repr, near))}{hint}"


def list_metrics(runs: Sequence[RunBase]) -> set[str]:
    """Return the names of the metrics of a few runs. What cannot be read has none."""
    infos = [run.info for run in _choose(runs, _N_LOGGED)]
    keys = _list_entries(read_logged, infos, "metrics")
    return {key.removeprefix("metrics.") for key in keys}


def _explain_unselectable(run: RunBase, key: str) -> str:
    """Return why a value of a run's configuration cannot be selected, empty if there is none."""
    try:
        leaves = list_leaves(get_configuration(run).to_plain())
        path, value = next((p, v) for p, v in leaves if ".".join(map(str, p)) == key)
    except (KedroHydraflowError, StopIteration):
        return ""
    if value == "???":
        return "its value is '???', which stands for a missing one"
    odd = next((name for name in path if not isinstance(name, str) or "." in name), None)
    if odd is None:
        return ""
    kind = "has a dot" if isinstance(odd, str) else f"is of type {type(odd).__name__}"
    kind = "is an integer" if type(odd) is int else kind
    where = "".join(f"[{name!r}]" for name in path)
    return f"the name {odd!r} in it {kind}, so OmegaConf does not select it; use run.cfg{where}"


def _iter_keys(runs: Sequence[RunBase], key: str) -> Iterator[str]:
    """Yield the keys of configurations and those above them, of facts, logged values and files.

    The attributes of an implementation count only if looking for the key has built it, the entries
    of Hydra's own configuration only if the key is like theirs.
    """
    in_configs = {k for run in _choose(runs, _N_CONFIGS) for k in _list_config_keys(run)}
    yield from sorted(in_configs)
    yield from sorted(FACTS)
    kind = key.partition(".")[0]
    is_recorded = key in FACTS or kind in (*LOGGED_KINDS, *KEYED_FILES)
    if runs and key not in in_configs and not is_recorded:
        yield from (k for k in getattr(runs[0].impl, "__dict__", ()) if not k.startswith("_"))
    infos = [run.info for run in _choose(runs, _N_LOGGED)]
    for logged in LOGGED_KINDS:
        yield from _list_entries(read_logged, infos, logged)
    for file in KEYED_FILES:
        if file == "results" or kind == file:
            yield from _list_entries(read_parsed_files, infos, file)


def _list_entries(
    read: Callable[[Sequence[RunInfo], str], list[Any]], infos: Sequence[RunInfo], kind: str
) -> list[str]:
    """Return the keys of what is read of a kind. What cannot be read has none."""
    try:
        contents = read(infos, kind)
    except KedroHydraflowError:
        return []
    return [
        f"{kind}.{name}"
        for content in contents
        if isinstance(content, dict)
        for name, value in flatten_config(content).items()
        if value != "???"
    ]


def _choose(runs: Sequence[RunBase], count: int) -> Sequence[RunBase]:
    """Return up to so many runs at equal distances, with the first."""
    return runs[:: max(1, math.ceil(len(runs) / count))]


def _list_config_keys(run: RunBase) -> list[str]:
    try:
        leaves = [*flatten_config(get_configuration(run).to_plain())]
    except KedroHydraflowError:
        return []
    return [*leaves, *{k.rpartition(".")[0] for k in leaves} - {""}]
