"""Follow a page of the documentation as its reader does, in an empty directory.

``python -m tests.follow docs/start.md`` runs the blocks of the page one after the other:

- ``sh``: commands of a shell. The directory and the variables that they leave hold afterwards.
- ``console``: ``$ command``, and below it the output that it has to give.
- ``python``: code. The blocks share their names.
- ``yaml``: entries of the catalog, which are added to ``conf/base/catalog.yml``.

A block whose first line is a comment with a path, such as ``# conf/base/globals.yml``, is that
file, or added to it if it is YAML. A block after an HTML comment is left out: the comment says why.
Other languages are to read.

Needs nothing but the standard library: the package under test is what the reader has installed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"(?P<comment><!--(?:(?!-->).)*-->\s*)?^(?P<indent> *)```(?P<language>\w+)[^\n]*\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# ((?:[\w.-]+/)*[\w-]+\.(?:cfg|ini|json|py|toml|ya?ml))\n")

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


class Block(NamedTuple):
    """A block of code in a page."""

    language: str
    code: str
    line: int
    reason: str | None
    """Why it cannot be run, None if it can."""


class PageError(Exception):
    """A block does not do what the page says."""


def read_blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a page in Markdown."""
    for match in _BLOCK.finditer(text):
        comment = match["comment"]
        yield Block(
            match["language"],
            textwrap.dedent(match["code"]),
            text.count("\n", 0, match.start("language")) + 1,
            None if comment is None else " ".join(comment.strip()[4:-3].split()),
        )


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
            PageError: If it fails, or a command writes something else.
        """
        file = _FILE.match(block.code)
        if file is not None or block.language == "yaml":
            self._write(_CATALOG if file is None else file[1], block.code)
        elif block.language == "sh":
            self._run_shell(block.code)
        elif block.language == "console":
            self._compare(block.code)
        elif block.language == "python":
            self._run_python(block.code)

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
        """Run commands, and return what they write."""
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
            if [*map(str.rstrip, found.splitlines())] != [*map(str.rstrip, expected.splitlines())]:
                raise PageError(f"expected of {command}:\n{expected}\nfound:\n{found}")

    def _run_python(self, code: str) -> None:
        if self._python is None:
            self._python = subprocess.Popen(
                ["python", "-c", _PYTHON],
                # Windows looks for the program on its own PATH, others on this one.
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
            written = ""
            for line in self._python.stdout:
                if line.strip() == file.name:
                    return
                written += line
        raise PageError(written)


def follow(page: Path, directory: Path, environment: Mapping[str, str]) -> None:
    """Run the blocks of a page, and print what each of them takes.

    Raises:
        PageError: If one does not do what the page says.
    """
    reader = Reader(directory, environment)
    try:
        for block in read_blocks(page.read_text(encoding="utf-8")):
            name = f"{page}:{block.line}: {block.language}"
            if block.reason is not None:
                print(f"{name} is left out: {block.reason}", flush=True)
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
    """Follow the pages on the command line, with the programs that are on PATH."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        with tempfile.TemporaryDirectory() as directory:
            try:
                follow(page, Path(directory), os.environ)
            except PageError as exc:
                sys.exit(str(exc))


if __name__ == "__main__":
    main()
