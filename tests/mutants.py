"""Change the code in small ways, and look whether the tests notice: mutation testing.

    python -m tests.mutants --sample 300 --seed 1

mutmut makes every mutant of the modules in ``[tool.mutmut]`` of pyproject.toml. A fixed random
sample of them is tested, each with the tests that call the changed function, the fastest first.
A test that fails or hangs kills the mutant. Those that survive are shown. The exit status is 1
if fewer than `--least` percent are killed.

All of it is in ``.cache/mutants``, where mutmut keeps a copy of the project.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / ".cache/mutants"

KILLED = ("killed", "timeout", "segfault", "suspicious")
"""What mutmut says of mutants that the tests noticed. The last is an exit status of no meaning."""

_OVERRIDE = re.compile(r"^ *@override\n", re.MULTILINE)
"""mutmut leaves out functions with decorators. This one does nothing."""

_RESULT = re.compile(r"^    (\S+): (.+)$", re.MULTILINE)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", type=int, default=300, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=90, help="percent")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()

    copy_project()
    make_mutants(options.jobs)
    sample = draw(list(get_statuses()), options.sample, options.seed)
    run_mutmut("run", "--max-children", options.jobs, *sample)
    statuses = get_statuses()
    survivors = [name for name in sample if statuses[name] not in KILLED]
    for name in survivors:
        run_mutmut("show", name)
    print(f"\n{len(sample)} of {len(statuses)} mutants, seed {options.seed}:")
    for status, count in Counter(statuses[name] for name in sample).most_common():
        print(f"{count:6} {status}")
    percent = 100 * (1 - len(survivors) / len(sample))
    print(f"{percent:.1f} % are killed")
    sys.exit(percent < options.least)


def copy_project() -> None:
    """Copy what git tracks, without the decorators that would hide functions from mutmut."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in listing.stdout.decode().split("\0")[:-1]:
        target = PROJECT / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
        if name.startswith("src/"):
            target.write_text(_OVERRIDE.sub("", target.read_text("utf-8")), "utf-8")
    (PROJECT / "tmp").mkdir()


def make_mutants(jobs: int) -> None:
    """Make the mutants, and find which tests call which functions."""
    nothing = "none"  # mutmut stops when it finds no mutant of this name
    run_mutmut("run", "--max-children", jobs, nothing, is_checked=False)
    if not (PROJECT / "mutants/mutmut-stats.json").exists():
        sys.exit("the tests fail without a mutant")


def get_statuses() -> dict[str, str]:
    """Return what mutmut says of each mutant by its name."""
    return dict(_RESULT.findall(run_mutmut("results", "--all", "true", is_shown=False)))


def draw(names: list[str], n: int, seed: int) -> list[str]:
    """Return a random sample, in which a name's place does not depend on the other names."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:n]


def run_mutmut(*args: object, is_checked: bool = True, is_shown: bool = True) -> str:
    """Run mutmut; return its output, empty if that is shown."""
    command = [str(Path(sys.executable).with_name("mutmut")), *map(str, args)]
    result = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "TMPDIR": str(PROJECT / "tmp")},
        stdout=None if is_shown else subprocess.PIPE,
        text=True,
        check=is_checked,
    )
    return result.stdout or ""


if __name__ == "__main__":
    main()
