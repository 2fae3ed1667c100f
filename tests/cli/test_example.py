from __future__ import annotations

import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from kedro_hydraflow import Run, iter_run_dirs
from tests.cli.conftest import COMMAND, Execute, invoke
from tests.conftest import SWEEP
from tests.example_sweep import ARCHIVE, read_sweep


def test_the_archive_has_the_sweep_of_the_demo() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert packed == read_sweep(SWEEP), "run python -m tests.example_sweep"


def test_the_default_directory(execute: Execute, tmp_path: Path) -> None:
    done = execute(*COMMAND, "example", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "wrote 31 runs to mlruns; to list them: kedro-hydraflow ls mlruns\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mlruns"]
    assert read_sweep(tmp_path / "mlruns") == read_sweep(SWEEP)
    assert len(Run.load(iter_run_dirs(tmp_path / "mlruns"))) == 31


def test_a_directory(tmp_path: Path) -> None:
    directory = tmp_path / "new folder" / "sweep"
    result = invoke("example", directory)
    assert (result.exit_code, result.stderr) == (0, "")
    command = f"kedro-hydraflow ls '{directory}'"
    assert result.stdout == f"wrote 31 runs to {directory}; to list them: {command}\n"
    assert read_sweep(directory) == read_sweep(SWEEP)
    umask = os.umask(0o077)
    os.umask(umask)
    for path in (directory, directory / "0", directory / "0/meta.yaml"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask


@pytest.mark.parametrize("kind", ["directory", "file", "broken link"])
def test_what_exists_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mlruns"
    if kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_text("precious\n")
    else:
        path.symlink_to("nowhere")
    result = invoke("example", path)
    assert (result.exit_code, result.stdout) == (2, "")
    message = f"Error: '{path}' exists; give a DIRECTORY that does not, or remove it\n"
    assert result.stderr == message
    assert list(tmp_path.rglob("*")) == [path]


def test_a_directory_needs_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("example", "")
    assert (result.exit_code, result.stdout) == (2, "")
    message = "Error: DIRECTORY: expected the path of a new directory, found an empty text\n"
    assert result.stderr == message


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = invoke("example", tmp_path / "file" / "mlruns")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: cannot write '{tmp_path / 'file' / 'mlruns'}': ")


@pytest.mark.parametrize("url", ["s3://team/mlruns", "s3://user:secret@team/mlruns"])
def test_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("example", url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "DIRECTORY: expected the path of a new directory on this machine" in result.stderr
    assert "secret" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="there are no such limits")
def test_a_write_that_fails_leaves_nothing(execute: Execute, tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "from kedro_hydraflow.cli.main import main\n"
        "main(['example'])\n"
    )
    done = execute(sys.executable, "-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: cannot write 'mlruns': ")
    assert list(tmp_path.iterdir()) == []
