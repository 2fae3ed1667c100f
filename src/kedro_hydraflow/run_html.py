"""What notebooks show of runs.

Runs on remote storage are shown as far as they have been read. Of local ones, a bounded number of
files is read. Of each run, the first `MAX_KEYS` keys of each kind are looked at: those of the
configuration, metrics, params and tags. `_MAX_VALUES` bounds how many values are compared.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.comparing import find_differing, find_values
from kedro_hydraflow.config import flatten_config, list_leaves, take_leaves
from kedro_hydraflow.default_columns import MAX_KEYS, SHOWN, make_default_columns
from kedro_hydraflow.errors import KedroHydraflowError, raise_first, show_count
from kedro_hydraflow.formats import make_cells
from kedro_hydraflow.html_parts import (
    cut_middle,
    make_details,
    make_html,
    make_note,
    make_table,
    show_briefly,
)
from kedro_hydraflow.keys import name_config_key, parse_key
from kedro_hydraflow.recorded import get_logged, list_entries, read_key
from kedro_hydraflow.run_base import get_configuration, is_config_read
from kedro_hydraflow.run_info import (
    FACTS_IN_ORDER,
    LOGGED_KINDS,
    get_read_values,
    has_results_file,
    is_config_in_place,
    is_read,
    make_facts_table,
    may_read,
)
from kedro_hydraflow.summary import describe_values
from kedro_hydraflow.value_text import show_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kedro_hydraflow.run_base import RunBase
    from kedro_hydraflow.run_info import RunInfo

_MAX_RUNS = 10
"""The number of runs that are shown."""

_MAX_COMPARED = 1000
"""The number of runs that are counted by status and compared."""

_MAX_VALUES = 100_000
"""The number of values of configurations, of all runs together, that are compared."""

_MAX_LENGTH = 36
"""The maximum length of one of several values."""

_MAX_DISTINCT = 5
"""The number of distinct values that are shown instead of a range."""


# One run -----------------------------------------------------------------------------------


def make_run_html(class_name: str, run: RunBase) -> str:
    """Return the facts, logged values and configuration of a run: see ``Run._repr_html_``."""
    info = run.info
    return make_html(
        f"{class_name}({info.run_id!r})",
        lambda: make_facts_table(info),
        *(_show_logged(info, kind) for kind in LOGGED_KINDS),
        lambda: _show_results(info),
        lambda: _show_config(run),
    )


def make_loader_html(artifact: str, dataset: str, info: RunInfo) -> str:
    """Return what a function that loads an artifact of a run is: see ``ArtifactLoader``."""
    return make_html(
        f"ArtifactLoader({artifact!r})",
        lambda: make_note(f"Call it to load the artifact with {dataset}."),
        lambda: make_facts_table(info),
    )


def _show_logged(info: RunInfo, kind: str) -> Callable[[], str]:
    def show() -> str:
        values = _get_logged(info, kind, MAX_KEYS + 1)
        names = sorted(name for name in values if not name.startswith("mlflow."))
        shown = {name: values[name] for name in names}
        return _show_values(kind, shown, len(values), column=kind, is_open=kind == "metrics")

    return show


def _show_results(info: RunInfo) -> str:
    if not has_results_file(info) or not (may_read([info]) or is_read(info, "results")):
        return ""
    (results,) = list_entries([info], "results", MAX_KEYS + 1)
    raise_first([results])
    values = flatten_config(results)
    return _show_values("results", values, len(values), is_open=True)


def _get_logged(info: RunInfo, kind: str, limit: int) -> dict[str, Any]:
    """Return the first logged values of a kind by name: of a remote run those that were read."""
    values = get_logged(info, kind, limit) if may_read([info]) else get_read_values(info, kind)
    return take_leaves(values, limit)


def _show_config(run: RunBase) -> str:
    if not is_config_read(run) and not is_config_in_place(run.info):
        return make_note("The configuration has not been read.")
    values = flatten_config(take_leaves(get_configuration(run).to_plain(), MAX_KEYS + 1))
    shown = {name_config_key(key): value for key, value in values.items()}
    return _show_values("configuration", shown, len(values))


def _show_values(
    title: str,
    values: Mapping[str, Any],
    n_looked_at: int,
    *,
    column: str = "key",
    is_open: bool = False,
) -> str:
    """Return a table of values by key, nothing without any.

    If more than `MAX_KEYS` were looked at, it says that there are more.
    """
    if not values:
        return ""
    is_cut = n_looked_at > MAX_KEYS
    table = make_table([column, "value"], values.items(), len(values), is_cut=is_cut)
    count = f"more than {MAX_KEYS:,}" if is_cut else len(values)
    return make_details(f"{title} ({count})", table, is_open=is_open)


# Many runs ---------------------------------------------------------------------------------


def make_runs_html(title: str, runs: Sequence[RunBase]) -> str:
    """Return counts of runs, a table of the first ones, and what differs.

    See ``RunCollection._repr_html_``.
    """
    if not runs:
        return make_html(title)
    return make_html(
        title,
        lambda: _show_counts(runs, "job_name"),
        lambda: _show_counts(runs, "status"),
        lambda: _show_first(runs[:_MAX_RUNS], len(runs)),
        lambda: _show_differing(runs),
    )


def _show_counts(runs: Sequence[RunBase], name: str) -> str:
    infos = [run.info for run in runs]
    n_unread = sum(not is_read(info, name) for info in infos)
    if not may_read(infos) or len(infos) > _MAX_COMPARED:
        infos = [info for info in infos if is_read(info, name)]
    else:
        n_unread = 0
    values = read_key(infos, parse_key(f"info.{name}"))
    counts = Counter("unreadable" if isinstance(v, Exception) else v for v in values)
    counts = Counter({value: n for value, n in counts.items() if value})
    shown = [f"{value} {n}" for value, n in counts.most_common(_MAX_RUNS)]
    if len(counts) > _MAX_RUNS:
        shown.append(f"… {len(counts) - _MAX_RUNS} more")
    if n_unread and counts:
        shown.append(f"not read {n_unread}")
    return make_note(f"{name}: {', '.join(shown)}") if shown else ""


def _show_first(runs: Sequence[RunBase], n_runs: int) -> str:
    infos = [run.info for run in runs]
    read = [name for name in SHOWN if name != "cfg" and all(is_read(i, name) for i in infos)]
    config = ["cfg"] if all(map(_is_config_known, runs)) else []
    among = [name for name in SHOWN if name != "cfg"] if may_read(infos) else read
    notes = []
    try:
        columns = make_default_columns(runs, "json", [*among, *config], max_keys=MAX_KEYS)
    except KedroHydraflowError as exc:
        notes.append(make_note(f"cannot be read: {exc}"))
        columns = make_default_columns(runs, "json", [*read, *config], max_keys=MAX_KEYS)
    if columns.omission:
        notes.append(make_note(f"not shown: {columns.omission}"))
    cells = make_cells(columns.frame, short_ids="run_id")
    headers = [column.header for column in cells]
    rows = list(zip(*(column.cells for column in cells), strict=True))
    return "\n".join([make_table(headers, rows, n_runs, [c.kind for c in cells]), *notes])


def _show_differing(runs: Sequence[RunBase]) -> str:
    read = [run for run in runs[:_MAX_COMPARED] if is_config_read(run)]
    compared, is_whole = _choose_compared(read)
    if len(compared) < 2:
        return ""
    columns = find_differing(
        compared, ["*"], lambda key: find_values(compared, key), max_keys=MAX_KEYS
    )
    rows = ([column.name, *_summarise(column.name, column.values)] for column in columns)
    table = make_table(["key", "values", "missing"], rows, len(columns), ["text", "text", "number"])
    among = [] if len(compared) == len(runs) else [show_count(len(compared), "run")]
    among += [] if is_whole else [f"the first {MAX_KEYS:,} keys of each"]
    title = " among ".join(["what differs", *filter(None, [", ".join(among)])])
    return make_details(f"{title} ({len(columns)})", table if columns else "", is_open=True)


def _choose_compared(runs: Sequence[RunBase]) -> tuple[list[RunBase], bool]:
    """Return the first runs, which have no more than `_MAX_VALUES` keys together.

    Returns:
        The runs, none if they have no keys, and whether none of them has more than `MAX_KEYS`.
    """
    compared: list[RunBase] = []
    n_values = 0
    is_whole = True
    for run in runs:
        config = get_configuration(run).to_plain()
        looked_at = take_leaves(config, MAX_KEYS)
        n_values += len(list_leaves(looked_at))
        if n_values > _MAX_VALUES:
            break
        is_whole = is_whole and looked_at is config
        compared.append(run)
    return (compared if n_values else []), is_whole


def _summarise(key: str, values: list[Any]) -> tuple[str, int]:
    """Return the distinct values or the range of a key, and the number of runs without it."""
    row = describe_values(key, values)
    if row["distinct"] > _MAX_DISTINCT and row["min"] is not None:
        text = f"{row['min']} … {row['max']} ({row['distinct']} distinct)"
    else:
        present = [value for value in values if value is not None]
        distinct = [*dict.fromkeys(map(_show_exactly, present))]
        text = ", ".join(
            cut_middle(each, _MAX_LENGTH) for each in _sort_texts(distinct)[:_MAX_DISTINCT]
        )
        if len(distinct) > _MAX_DISTINCT:
            text = f"{text}, … ({row['distinct']} distinct)"
    return text, row["missing"]


def _show_exactly(value: Any) -> str:
    """Return a value as text with all its digits, and with quotes where it is text that needs them.

    No more is looked at of a long value than `show_briefly` does.
    """
    if isinstance(value, (list, tuple, dict)):
        return show_briefly(value)
    return show_value(cut_middle(value, _MAX_LENGTH) if isinstance(value, str) else value)


def _sort_texts(texts: Iterable[str]) -> list[str]:
    """Return texts in order, numbers among them by value."""

    def order(text: str) -> tuple[bool, float, str]:
        try:
            return False, float(text), text
        except ValueError:
            return True, 0.0, text

    return sorted(texts, key=order)


# Keys ---------------------------------------------------------------------------------------


def list_known_keys(runs: Sequence[RunBase]) -> list[str]:
    """Return the keys of a few runs that IPython offers: of what is read, or quickly read."""
    keys = dict.fromkeys(FACTS_IN_ORDER)
    for run in runs[:_MAX_RUNS]:
        try:
            if _is_config_known(run):
                config = flatten_config(take_leaves(get_configuration(run).to_plain(), MAX_KEYS))
                keys |= dict.fromkeys(map(name_config_key, config))
            for kind in LOGGED_KINDS:
                values = _get_logged(run.info, kind, MAX_KEYS)
                keys |= dict.fromkeys(f"{kind}.{name}" for name in values)
        except KedroHydraflowError:  # noqa: PERF203 - the keys of the others are still of use
            continue
    return list(keys)


def _is_config_known(run: RunBase) -> bool:
    return is_config_read(run) or is_config_in_place(run.info)
