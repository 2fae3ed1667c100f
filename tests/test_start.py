"""The page docs/start.md does what it shows, from an empty directory to a leaderboard."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PAGE = (ROOT / "docs/start.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class Reader:
    """Someone who does what the page says, and sees what comes of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = ""
        """What the last program wrote."""
        programs = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "DO_NOT_TRACK": "1",
            "COLUMNS": "200",
        }

    def run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}"
        self.output = done.stdout

    def follow(self, language: str, block: str) -> None:
        if language == "sh":
            for line in block.splitlines():
                if line.startswith("cd "):
                    self.directory /= line.removeprefix("cd ")
                elif not line.startswith("pip "):
                    self.run("bash", "-c", line)
        elif language == "console":
            command, shown = block.removeprefix("$ ").split("\n", 1)
            self.run("bash", "-c", command)
            assert self.output == shown
        elif match := re.match(r"# (\S+/\S+)\n", block):
            (self.directory / match[1]).write_text(block, "utf-8")
        elif language == "python":
            self.run(sys.executable, "-c", block)
        elif language == "yaml":  # one more entry
            with (self.directory / "conf/base/catalog.yml").open("a", encoding="utf-8") as file:
                file.write(block)
        else:
            for part in block.split("…\n"):
                assert part.removeprefix("… ").strip() in self.output


def test_the_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for language, block in BLOCKS:
        reader.follow(language, block)
    assert reader.directory.name == "my-project"
    reader.run("kedro", "run")
    lines = (reader.directory / "data/leaderboard.csv").read_text("utf-8").splitlines()
    assert len(lines) == 11
    assert lines[1] == "13f42e9535654d01a4143ddd9be02cb7,mlp,0.01,0.9777777777777777"
