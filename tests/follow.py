"""Follow a page of the documentation as its reader does, in an empty directory.

``python -m tests.follow docs/start.md`` runs the blocks of the page one after the other, with the
programs that are on PATH:

- ``sh``: commands of a shell. The directory and the variables that they leave hold afterwards.
- ``console``: ``$ command``, and below it the output that it has to give.
- ``python``: code. The blocks share their names.
- ``yaml``: entries, which are added to ``conf/base/catalog.yml``, or to the file that a comment in
  the first line names. Python with such a comment is that file.

A block without a language is what the block before it shows, among other lines. Blocks with a
comment ``<!-- not run: … -->`` are left out, unless they install packages. `tests/test_docs.py`
runs pages in its own process instead, with the example data.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.blocks import RUN, Block, read_blocks

_CATALOG = "conf/base/catalog.yml"

_SHELL = """\
set -euo pipefail
{code}
{{ pwd; env -0; }} > "$STATE"
"""

_PYTHON = """\
import os, sys
names = {"__name__": "__main__"}
while file := sys.stdin.readline().strip():
    directory = sys.stdin.readline().strip()
    os.chdir(directory)
    sys.path[0] = directory
    with open(file, encoding="utf-8") as block:
        code = block.read()
    exec(compile(code, file, "exec"), names)
    print(file, flush=True)
"""


class PageError(Exception):
    """A block does not do what the page says."""


class Reader:
    """Does what blocks say, one after the other.

    Args:
        directory: The directory to begin in.
        environment: The environment variables to begin with.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = dict(environment)
        self._python: subprocess.Popen[str] | None = None

    def follow(self, block: Block) -> None:
        """Do what a block says.

        Raises:
            PageError: If it fails, or shows something else.
        """
        if block.file is not None or block.language == "yaml":
            self._write(block.file or _CATALOG, block.code)
        elif block.language == "sh":
            _check_shown(self._run_shell(block.code), block)
        elif block.language == "console":
            self._compare(block.code)
        elif block.language == "python":
            _check_shown(self._run_python(block.code), block)

    def close(self) -> None:
        """End the interpreter that has run blocks of Python."""
        if self._python is not None:
            with self._python:
                self._python.kill()

    def _write(self, path: str, text: str) -> None:
        file = self._directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        is_yaml = file.suffix in (".yml", ".yaml")
        with file.open("a" if is_yaml else "w", encoding="utf-8") as stream:
            stream.write(text)

    def _run_shell(self, code: str) -> str:
        """Run commands, and return what they show."""
        with tempfile.NamedTemporaryFile() as state:
            done = subprocess.run(
                ["bash", "-c", _SHELL.format(code=code)],
                cwd=self._directory,
                env={**self._environment, "STATE": state.name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if done.returncode:
                raise PageError(f"exit code {done.returncode}:\n{done.stdout}")
            directory, _, variables = state.read().decode().partition("\n")
        self._directory = Path(directory)
        pairs = (each.partition("=") for each in variables.split("\0") if each)
        self._environment = {name: value for name, _, value in pairs if name != "STATE"}
        return done.stdout

    def _compare(self, code: str) -> None:
        for part in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            found = self._run_shell(command)
            if found.rstrip() != expected.rstrip():
                raise PageError(f"expected of {command}:\n{expected}\nfound:\n{found}")

    def _run_python(self, code: str) -> str:
        """Run code, and return what it prints."""
        if self._python is None:
            self._python = subprocess.Popen(
                ["python", "-c", _PYTHON],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        with tempfile.NamedTemporaryFile("w", suffix=".py", encoding="utf-8") as file:
            file.write(code)
            file.flush()
            self._python.stdin.write(f"{file.name}\n{self._directory}\n")
            self._python.stdin.flush()
            shown = ""
            for line in self._python.stdout:
                if line.strip() == file.name:
                    return shown
                shown += line
        raise PageError(shown)


def _check_shown(shown: str, block: Block) -> None:
    """Raise PageError unless the lines that a block is to show are shown, in their order."""
    rest = shown
    for line in (line.strip("… ") for line in (block.output or "").splitlines()):
        if line:
            _, found, rest = rest.partition(line)
            if not found:
                raise PageError(f"expected the line {line!r}, found:\n{shown}")


def follow(page: Path, directory: Path, environment: Mapping[str, str]) -> None:
    """Run the blocks of a page, and print what each of them takes.

    Raises:
        PageError: If one does not do what the page says.
    """
    reader = Reader(directory, environment)
    try:
        for block in read_blocks(page.read_text(encoding="utf-8")):
            if block.language not in RUN:
                continue
            name = f"{page}:{block.line}: {block.language}"
            if block.reason is not None and "pip install" not in block.code:
                print(f"{name} is not run: {block.reason}", flush=True)
                continue
            start = time.perf_counter()
            try:
                reader.follow(block)
            except PageError as exc:
                raise PageError(f"{name}: {exc}") from exc
            print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    finally:
        reader.close()


def main() -> None:
    """Follow the pages on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        with tempfile.TemporaryDirectory() as directory:
            try:
                follow(page, Path(directory), os.environ)
            except PageError as exc:
                sys.exit(str(exc))


if __name__ == "__main__":
    main()
