"""``show``: one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

from kedro_hydraflow.cli.command import FAILED, FOUND, logs_on_stderr, write
from kedro_hydraflow.cli.output import get_width
from kedro_hydraflow.errors import KedroHydraflowError
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kedro_hydraflow.cli.selection import Selection, Wanted
    from kedro_hydraflow.run import Run

logger = get_logger(__name__)

_HELP = """\
Show one run: facts, overrides, configuration, what was logged, and artifacts.

RUN is the ID of a run, or at least 4 characters that only this one begins with.

\b
Exit codes:
  0  shown
  2  an error, or some of it could not be read
"""

_MAX_ROWS = 100
"""The number of rows of a section that are shown to people."""

_MAX_FOLDERS = 200
"""The number of folders of artifacts that are listed."""


@click.command(help=_HELP)
@click.argument("run_id", metavar="RUN")
@click.option("--json", is_flag=True, help="Write a JSON object with all of it.")
def show(select: Callable[[Wanted], Selection], run_id: str, json: bool) -> NoReturn:
    """Show a run, as `_HELP` says."""
    from kedro_hydraflow.cli.selection import Wanted
    from kedro_hydraflow.formats import to_json_object

    with logs_on_stderr():
        selection = select(Wanted(run_ids=(run_id,)))
        run = selection.find(run_id)
        facts = _read_facts(run)
        sections = {name: _try(name, read, run) for name, read in _list_sections(run).items()}
    if json:
        write(f"{to_json_object({**facts, **sections})}\n")
    else:
        write(_to_text(facts, sections, get_width()))
    is_incomplete = selection.is_incomplete or None in sections.values()
    code = FAILED if is_incomplete else FOUND
    click.get_current_context().exit(code)


def _list_sections(run: Run[Any, Any]) -> dict[str, Callable[[Run[Any, Any]], Any]]:
    """Return what reads each part of a run, by its name."""
    from functools import partial

    from kedro_hydraflow.run_info import LOGGED_KINDS, has_results_file

    kinds = [*LOGGED_KINDS, *(["results"] if has_results_file(run.info) else [])]
    return {
        "overrides": lambda run: run.overrides,
        "configuration": _read_configuration,
        **{kind: partial(_read_entries, kind) for kind in kinds},
        "artifacts": _list_artifacts,
    }


def _try(name: str, read: Callable[[Run[Any, Any]], Any], run: Run[Any, Any]) -> Any:
    """Return a part of a run, None if it cannot be read, which is logged."""
    try:
        return read(run)
    except KedroHydraflowError as exc:
        logger.warning("%s cannot be read: %s", name, exc)
        return None


def _read_facts(run: Run[Any, Any]) -> dict[str, Any]:
    from kedro_hydraflow.run_info import FACTS_IN_ORDER, get_place

    facts = {name: getattr(run.info, name) for name in FACTS_IN_ORDER}
    return {**facts, "run_dir": get_place(run.info).url}


def _read_configuration(run: Run[Any, Any]) -> dict[str, Any]:
    """Return the values of the configuration by key, with interpolations resolved."""
    from kedro_hydraflow.key_patterns import read_columns

    return {key: value for key, (value,) in read_columns([run], "*").items()}


def _read_entries(kind: str, run: Run[Any, Any]) -> dict[str, Any]:
    """Return what was logged of a kind, or the results, by name."""
    from kedro_hydraflow.config import flatten_config
    from kedro_hydraflow.errors import raise_first
    from kedro_hydraflow.recorded import list_entries

    entries = list_entries([run.info], kind)
    raise_first(entries)
    values = flatten_config(entries[0]) if kind == "results" else entries[0]
    return {name: values[name] for name in sorted(values)}


def _list_artifacts(run: Run[Any, Any]) -> list[dict[str, Any]]:
    """Return the path and size of each artifact. Folders that were not listed end with a slash."""
    import posixpath

    from kedro_hydraflow.artifacts.listings import FolderListings
    from kedro_hydraflow.run_info import get_artifacts

    listings = FolderListings(get_artifacts(run.info))
    paths = listings.list_some(_MAX_FOLDERS)
    parents = {posixpath.dirname(path) for path in paths}
    artifacts = []
    for path in paths:
        entry = listings.get_entry(path)
        if entry is not None and not entry.is_dir:
            artifacts.append({"path": path, "size": _get_size(run, path, entry.size)})
        elif path not in parents:
            artifacts.append({"path": f"{path}/", "size": None})
    return artifacts


def _get_size(run: Run[Any, Any], path: str, size: int | None) -> int | None:
    from kedro_hydraflow.run_info import get_artifacts
    from kedro_hydraflow.storage import LocalStorage

    if size is None and isinstance(get_artifacts(run.info).storage, LocalStorage):
        try:
            return run.path(path).stat().st_size
        except OSError:  # it has gone meanwhile
            return None
    return size


# For people -------------------------------------------------------------------------------


def _to_text(facts: Mapping[str, Any], sections: Mapping[str, Any], width: int | None) -> str:
    from kedro_hydraflow.cli.tables import make_list
    from kedro_hydraflow.formats import to_cell

    known = [(name, to_cell(value)) for name, value in facts.items() if value is not None]
    lines = make_list(known, width)
    for name, content in sections.items():
        pairs = _to_pairs(name, content)
        if not pairs:
            continue
        lines += ["", f"{name} ({len(pairs)})"]
        indented = [(f"  {key}", value) for key, value in pairs[:_MAX_ROWS]]
        lines += make_list(indented, width)
        if len(pairs) > _MAX_ROWS:
            lines.append(f"  … {len(pairs) - _MAX_ROWS} more, which --json has")
    return "".join(f"{line}\n" for line in lines)


def _to_pairs(name: str, content: Any) -> Sequence[tuple[str, str]]:
    """Return the rows of a section."""
    from kedro_hydraflow.formats import to_cell
    from kedro_hydraflow.value_text import show_value

    if not content:
        return []
    if name == "overrides":
        return [(escape(override), "") for override in content]
    if name == "artifacts":
        return [(escape(each["path"]), _show_size(each["size"])) for each in content]
    shown = content.items()
    if name == "tags":  # MLflow's own are not shown there either
        shown = [(key, value) for key, value in shown if not key.startswith("mlflow.")]
    show = show_value if name in ("configuration", "results") else to_cell
    return [(escape(key), show(value)) for key, value in shown]


def _show_size(size: int | None) -> str:
    """Return a number of bytes with three digits."""
    if size is None:
        return ""
    if size < 1000:
        return f"{size} B"
    value, unit = size / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"
