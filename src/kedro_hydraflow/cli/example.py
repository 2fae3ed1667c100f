"""``example``: the runs of a real sweep, to try the package with."""

from __future__ import annotations

import shlex
import shutil
import zipfile
from importlib import resources
from pathlib import Path
from typing import NoReturn

import click

from kedro_hydraflow.cli.command import FOUND, Command, write
from kedro_hydraflow.errors import OptionError, StorageError, describe

_ARCHIVE = "example_sweep.zip"
"""The runs, beside this module. ``tests/example_sweep.py`` makes it of those of the demo."""

_HELP = """\
Write a small sweep, to try the other commands with.

DIRECTORY, by default mlruns, must not exist yet. It becomes a tracking directory of MLflow with 31
runs, which HydraFlow wrote: a search for the best classifier of handwritten digits.

\b
Exit codes:
  0  written
  2  an error, and nothing is written
"""


@click.command(cls=Command, help=_HELP)
@click.argument("directory", metavar="[DIRECTORY]", default="mlruns")
def example(directory: str) -> NoReturn:
    """Write the example sweep, as `_HELP` says."""
    from kedro_hydraflow.escaping import escape
    from kedro_hydraflow.storage import is_url

    if not directory:
        raise OptionError("DIRECTORY: expected the path of a new directory, found an empty text")
    if is_url(directory):
        raise OptionError(
            "DIRECTORY: expected the path of a new directory on this machine, found a URL; copy "
            "the directory to other storage afterwards"
        )
    n_runs = _extract(Path(directory))
    command = escape(f"kedro-hydraflow ls {shlex.quote(directory)}")
    write(f"wrote {n_runs} runs to {escape(directory)}; to list them: {command}\n")
    click.get_current_context().exit(FOUND)


def _extract(directory: Path) -> int:
    """Write the sweep into a new directory, as a whole or not at all, and count its runs.

    Raises:
        OptionError: If the directory exists.
        StorageError: If it cannot be written.
    """
    try:
        directory.mkdir(parents=True)
    except FileExistsError as exc:
        raise OptionError(
            f"{str(directory)!r} exists; give a DIRECTORY that does not, or remove it"
        ) from exc
    except (OSError, ValueError) as exc:
        raise _make_error(directory, exc) from exc
    archive = resources.files(__package__) / _ARCHIVE
    try:
        with archive.open("rb") as file, zipfile.ZipFile(file) as sweep:
            sweep.extractall(directory)
            # <experiment_id>/<run_id>/meta.yaml
            return sum(
                name.endswith("/meta.yaml") and name.count("/") == 2 for name in sweep.namelist()
            )
    except BaseException as exc:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(exc, OSError):
            raise _make_error(directory, exc) from exc
        raise


def _make_error(directory: Path, exc: Exception) -> StorageError:
    return StorageError(f"cannot write {str(directory)!r}: {describe(exc)}")
