"""Check the wheel and the sdist, and follow the Start page with nothing but the wheel.

``make package`` builds them and runs this, in a clone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

from tests.follow import PageError, follow

ROOT = Path(__file__).parents[1]
PAGE = Path("docs/start.md")

DATA = {"py.typed", "catalog.schema.json", "cli/example_sweep.zip"}
"""What is in the package besides Python."""


def check_wheel(wheel: Path) -> None:
    """Exit unless the wheel has the package, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    found = {name.removeprefix("kedro_hydraflow/") for name in names}
    source = ROOT / "src" / "kedro_hydraflow"
    modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
    _compare(wheel, found, modules | DATA)


def check_sdist(sdist: Path) -> None:
    """Exit unless the sdist has what git has: the tests run in it as they do in a clone."""
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    git = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    _compare(sdist, found - {"PKG-INFO"}, {name for name in git.stdout.split("\0") if name})


def _compare(file: Path, found: set[str], expected: set[str]) -> None:
    if found != expected:
        lacking, more = sorted(expected - found), sorted(found - expected)
        sys.exit(f"{file.name}: expected {lacking or 'nothing'} besides, found {more or 'nothing'}")


def follow_page(page: Path, wheel: Path) -> None:
    """Install the wheel into an empty environment, and follow a page there."""
    with tempfile.TemporaryDirectory() as directory:
        environment = Path(directory, "environment")
        venv.create(environment, with_pip=True)
        programs = environment / ("Scripts" if os.name == "nt" else "bin")
        install = [str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheel)]
        subprocess.run(install, check=True)
        variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MAKEFLAGS")}
        variables["PATH"] = f"{programs}{os.pathsep}{variables['PATH']}"
        # For the commands of the page that install this package.
        links = [str(wheel.parent), *filter(None, [variables.get("PIP_FIND_LINKS")])]
        variables["PIP_FIND_LINKS"] = " ".join(links)
        work = Path(directory, "work")
        work.mkdir()
        follow(page, work, variables)


def main() -> None:
    """Check what is in ``dist``."""
    (wheel,), (sdist,) = ROOT.glob("dist/*.whl"), ROOT.glob("dist/*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    start = time.perf_counter()
    try:
        follow_page(PAGE, wheel)
    except PageError as exc:
        sys.exit(str(exc))
    print(f"{PAGE}, with the wheel alone: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
