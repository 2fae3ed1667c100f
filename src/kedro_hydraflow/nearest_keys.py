"""The keys of runs most like a mistyped one, for messages."""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.config import flatten_config, list_leaves
from kedro_hydraflow.errors import KedroHydraflowError
from kedro_hydraflow.keys import (
    KEYED_FILES,
    MLFLOW_PREFIXES,
    identify,
    is_pattern,
    name_config_key,
    to_dotted,
)
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
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from kedro_hydraflow.keys import Key

RESULTS_HINT = (
    "load the runs with the option results, the path of a JSON or YAML file in each run's "
    "artifacts directory, such as results='result.json'"
)
"""What to do about absent results, for messages."""

_N_CONFIGS = 100
"""The maximum number of runs whose configurations are looked at."""

_N_LOGGED = 3
"""The maximum number of runs whose logged values are looked at, which may have to be read."""

_N_SHOWN = 3
"""The maximum number of keys that a phrase names."""

_OUTRIGHT = ("cfg", "impl", "info", "logged", *MLFLOW_PREFIXES)
"""Prefixes that say where a key is; keys like it are looked for everywhere."""

_OTHER_NAMES = {"experiment_name": "job_name", "experiment": "job_name"}
"""What a key is called elsewhere, and here."""

_ODDITIES = {".": "has a dot", "[": "has a bracket", "__": "has '__', which stands for a dot"}
"""What the name of an entry may have in it, so that no key selects it."""

_PREFIXES = ("", "info.", *(f"{kind}." for kind in (*LOGGED_KINDS, *KEYED_FILES)))
"""What may be in front of a pattern."""

NO_SIMILAR_KEYS = "no similar keys"
"""The phrase of `describe_nearest_keys` where there are none."""

_WILDCARD = re.compile(r"[*?]")


def describe_nearest_keys(
    runs: Sequence[RunBase], key: str, show: Callable[[str], str] = str
) -> str:
    """Return a phrase that names the keys of some runs most like one that they lack.

    What is not in configurations is named with its prefix: ``metrics.accuracy``. If results are
    asked for without the option, the phrase names the option. If a configuration has the key, but
    no key can select it, the phrase says why.

    Args:
        runs: The runs, first the one of which the key was asked. A few of them are looked at.
        key: The key, with dots.
        show: Returns a key as it is to be written, by default unchanged.
    """
    head, _, rest = key.partition(".")
    wanted = rest if rest and head in _OUTRIGHT else key
    if reason := _explain_unselectable(runs, rest if rest and head == "cfg" else key):
        return reason
    known = dict.fromkeys(_iter_keys(runs, head))
    known |= dict.fromkeys(_iter_attributes(runs, key, known))
    own = identify(key)
    near = find_nearest(wanted, [k for k in known if identify(k) != own], "./")
    if wanted in _OTHER_NAMES:
        near = [_OTHER_NAMES[wanted]]
    if not near and head != "hydra":  # its many keys are seldom meant
        of_hydra = ["overrides", *_iter_entries(runs, "hydra")]
        near = find_nearest(wanted, [k for k in of_hydra if identify(k) != own], "./")
    hint = ""
    if head == "results" and not any(has_results_file(run.info) for run in runs):
        hint = f"; for the results of the application, {RESULTS_HINT}"
    return f"{_show_near(map(show, near))}{hint}"


def describe_nearest_matches(runs: Sequence[RunBase], pattern: Key) -> str:
    """Return a phrase that names keys, or other patterns, like a pattern that matches none.

    Args:
        runs: The runs. A few of them are looked at.
        pattern: The pattern.
    """
    kind = pattern.kind
    if kind == "results" and not any(has_results_file(run.info) for run in runs):
        return f"for the results of the application, {RESULTS_HINT}"
    is_whole = kind in ("cfg", "fact")
    name = pattern.path if is_whole else pattern.path.partition(".")[2]
    known = list(dict.fromkeys(_iter_keys(runs, kind)))
    elsewhere = [p for p in (f"{prefix}{name}" for prefix in _PREFIXES) if _matches_any(p, known)]
    if elsewhere and name.strip("*?."):
        return _show_near(elsewhere[:_N_SHOWN])
    groups = {key.rpartition(".")[0] for key in known} - {""}
    stem = _WILDCARD.split(name if is_whole else pattern.path)[0].rstrip("./_")
    near = find_nearest(stem, dict.fromkeys([*sorted(groups), *known]), "./")
    return _show_near(f"{key}.*" if key in groups else key for key in near)


def _matches_any(pattern: str, known: Sequence[str]) -> bool:
    """Whether one of the keys of `_iter_keys` matches a pattern with a prefix of `_PREFIXES`."""
    glob = pattern.replace("[", "[[]")
    if glob.startswith("info."):
        return any(fnmatchcase(f"info.{fact}", glob) for fact in FACTS)
    is_config = not glob.startswith(_PREFIXES[1:])
    return any(
        fnmatchcase(key, glob)
        for key in known
        if not is_config or (key not in FACTS and not key.startswith(_PREFIXES[1:]))
    )


def describe_nearest_metrics(runs: Sequence[RunBase], name: str) -> str:
    """Return a phrase that names the metrics most like one, or like those of a pattern.

    Args:
        runs: The runs. A few of them are looked at.
        name: The name that no run has, or the pattern that no name matches.
    """
    known = [key.removeprefix("metrics.") for key in _iter_entries(runs, "metrics")]
    folders: set[str] = set()
    if is_pattern(name):
        folders = {metric.rpartition("/")[0] for metric in known} - {""}
        name = _WILDCARD.split(name)[0].rstrip("./_")
    near = find_nearest(name.removeprefix("metrics."), dict.fromkeys([*sorted(folders), *known]))
    shown = ", ".join(repr(f"{k}/*" if k in folders else k) for k in near)
    return f"the nearest are {shown}" if shown else "there is none like it"


def _show_near(near: Iterable[str]) -> str:
    shown = ", ".join(map(repr, near))
    return f"similar keys: {shown}" if shown else NO_SIMILAR_KEYS


def _explain_unselectable(runs: Sequence[RunBase], key: str) -> str:
    """Return why a value of a configuration cannot be selected, empty if there is none."""
    for run in _choose(runs, _N_CONFIGS):
        try:
            leaves = list_leaves(get_configuration(run).to_plain())
        except KedroHydraflowError:
            continue
        for path, value in leaves:
            names = list(map(str, path))
            for end in range(1, len(path) + 1):
                if to_dotted(".".join(names[:end])) == to_dotted(key):
                    return _explain(path[:end], value if end == len(path) else None)
    return ""


def _explain(path: tuple[Any, ...], value: Any) -> str:
    if value == "???":
        return "its value is '???', which stands for a missing one"
    odd = next((name for name in path if _find_oddity(name)), None)
    if odd is None:
        return ""
    where = "".join(f"[{name!r}]" for name in path)
    return f"the name {odd!r} in it {_find_oddity(odd)}, so no key selects it; use run.cfg{where}"


def _find_oddity(name: Any) -> str:
    """Return why the name of an entry cannot be part of a key, empty if it can."""
    if not isinstance(name, str):
        return "is an integer" if type(name) is int else f"is of type {type(name).__name__}"
    return next((oddity for part, oddity in _ODDITIES.items() if part in name), "")


def _iter_keys(runs: Sequence[RunBase], kind: str) -> Iterator[str]:
    """Yield the keys of configurations and those above them, of facts, logged values and files.

    The entries of Hydra's own configuration count only if they are of the kind that is wanted.
    """
    yield from sorted({k for run in _choose(runs, _N_CONFIGS) for k in _list_config_keys(run)})
    yield from sorted(FACTS)
    for logged in LOGGED_KINDS:
        yield from _iter_entries(runs, logged)
    for file in KEYED_FILES:
        if file == "results" or kind == file:
            yield from _iter_entries(runs, file)


def _iter_attributes(runs: Sequence[RunBase], key: str, known: Collection[str]) -> Iterator[str]:
    """Yield the attributes of an implementation if looking for the key has built it."""
    elsewhere = ("cfg", "info", "logged", *LOGGED_KINDS, *KEYED_FILES)
    is_elsewhere = key in FACTS or key.partition(".")[0] in elsewhere
    if runs and key not in known and not is_elsewhere:
        yield from (k for k in getattr(runs[0].impl, "__dict__", ()) if not k.startswith("_"))


def _iter_entries(runs: Sequence[RunBase], kind: str) -> Iterator[str]:
    """Yield the keys of what a few runs have of a kind. What cannot be read has none."""
    infos = [run.info for run in _choose(runs, _N_LOGGED)]
    read = read_parsed_files if kind in KEYED_FILES else read_logged
    try:
        contents = read(infos, kind)
    except KedroHydraflowError:
        return
    for content in contents:
        if isinstance(content, dict):
            flat = flatten_config(content)
            yield from (f"{kind}.{name}" for name, value in flat.items() if value != "???")


def _choose(runs: Sequence[RunBase], count: int) -> Sequence[RunBase]:
    """Return up to so many runs at equal distances, with the first."""
    return runs[:: max(1, math.ceil(len(runs) / count))]


def _list_config_keys(run: RunBase) -> list[str]:
    """Return the keys of a configuration and those above them, unless they select nothing."""
    try:
        leaves = list_leaves(get_configuration(run).to_plain())
    except KedroHydraflowError:
        return []
    paths = [path for path, value in leaves if value != "???"]
    paths += {path[:-1] for path, _ in leaves} - {()}
    keys = [".".join(map(str, path)) for path in paths if not any(map(_find_oddity, path))]
    return list(map(name_config_key, filter(None, keys)))
