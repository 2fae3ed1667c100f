"""Change the code in small ways, and look whether the tests notice: mutation testing.

    python -m tests.mutants --sample 300 --seed 1

First all tests run once, to see which of them run which lines. Then a fixed random sample of the
mutants is tested, each with the tests that run its line, the fastest first. A test that fails kills
the mutant, and so does one that does not end. Those that survive are named. The exit status is 1 if
fewer than `--least` percent are killed.

With ``TMPDIR`` on a disk in memory, such as ``/dev/shm``, it takes less time.

All of it happens in copies of the project in ``.cache/mutants``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from coverage import CoverageData

from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.mutations import Mutant, list_mutants, mutate, normalize

ROOT = Path(__file__).parent.parent.parent
CACHE = ROOT / ".cache/mutants"
TRACE = CACHE / "trace.json"
PACKAGE = "src/kedro_hydraflow"

MODULES = [
    "filters/comparison.py",
    "filters/evaluation.py",
    "filters/expressions.py",
    "filters/narrowing.py",
    "filters/parser.py",
    "filters/writing.py",
    "index.py",
    "index_file.py",
    "keys.py",
    "lookup.py",
    "recorded.py",
    "storage/bulk.py",
    "storage/local.py",
    "stores/file_store.py",
    "stores/metric_file.py",
    "stores/parsed_files.py",
]
"""Where to be wrong is to read the wrong thing without an error."""

N_FIRST_FILES = 3
"""How many files of tests are tried first, besides that of the module: those with most tests."""

MAX_SHARE = 0.05
"""How much of the time of all tests those of a mutant may take, in each of the two groups of files.
The slowest are left out."""

TEST_TIMEOUT = 60
"""Seconds after which a test is stopped. All take less."""

TIMED_OUT = -1000
NO_TESTS = 5

NOT_RUN = ["tests/integration", "tests/test_demo.py", "tests/test_typing.py"]
"""Tests of other processes, or of no code."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", type=int, default=300, help="how many mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=90, help="percent")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="test all mutants with this in their names")
    parser.add_argument("--again", action="store_true", help="trace only tests that changed")
    options = parser.parse_args()
    start = time.monotonic()

    copies = [CACHE / str(i) for i in range(options.jobs)]
    for copy in copies:
        copy_project(copy)
    sources = {name: (copies[0] / PACKAGE / name).read_text("utf-8") for name in MODULES}
    mutants = [m for name, source in sources.items() for m in list_mutants(name, source)]
    check_equivalent(mutants)
    sample = [m for m in mutants if options.only in get_key(m)]
    if not options.only:
        sample = draw(mutants, options.sample, options.seed)
    changed = list_changed_tests() if options.again else []
    if changed or not options.again:
        trace_tests(copies[0], options.jobs, changed)
    outcomes: Counter[str] = Counter()
    for mutant, outcome in test_all(sample, sources, copies):
        outcomes[outcome] += 1
        if outcome not in ("killed", "equivalent") or options.only:
            print(f"{outcome}: {get_key(mutant)}", flush=True)
        if outcomes.total() % 50 == 0:
            print(f"{outcomes.total()} of {len(sample)}", flush=True)
    minutes = (time.monotonic() - start) / 60
    print(f"{len(sample)} of {len(mutants)} mutants, seed {options.seed}, {minutes:.0f} minutes")
    print(", ".join(f"{outcome}: {n}" for outcome, n in outcomes.most_common()))
    n_killed = outcomes["killed"] + outcomes["timed out"]
    percent = 100 * n_killed / max(outcomes.total() - outcomes["equivalent"], 1)
    print(f"{percent:.1f} % of those that are not equivalent are killed")
    sys.exit(percent < options.least)


def get_key(mutant: Mutant) -> str:
    return f"{mutant.module} {mutant.name}"


def check_equivalent(mutants: Sequence[Mutant]) -> None:
    """Exit if a mutant listed as equivalent does not exist any more."""
    if gone := EQUIVALENT.keys() - {get_key(mutant) for mutant in mutants}:
        sys.exit("\n".join(["tests/mutants/equivalent.py has what is no mutant:", *sorted(gone)]))


def draw(mutants: Sequence[Mutant], n: int, seed: int) -> list[Mutant]:
    """Return a random sample, in which a mutant's place does not depend on the others."""

    def get_place(mutant: Mutant) -> bytes:
        return hashlib.sha256(f"{seed} {get_key(mutant)}".encode()).digest()

    return sorted(mutants, key=get_place)[:n]


def copy_project(copy: Path) -> None:
    """Copy what git tracks and new files, with the modules as they are before a change."""
    shutil.rmtree(copy, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in listing.stdout.decode().split("\0")[:-1]:
        if (ROOT / name).exists():  # unless it was removed since the last commit
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    for module in MODULES:
        write_module(copy, module, normalize((copy / PACKAGE / module).read_text("utf-8")))


def write_module(copy: Path, module: str, source: str) -> None:
    """Write a module, with a time that shows Python that what it has compiled is outdated."""
    path = copy / PACKAGE / module
    path.write_text(source, "utf-8")
    seconds = next(_times)
    os.utime(path, (seconds, seconds))


_times = count(10**9)


def run_pytest(copy: Path, *args: str, timeout: float | None = None, **variables: str) -> int:
    """Run pytest in a copy of the project; return its exit status, TIMED_OUT without one."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants.plugin", *args]
    with TemporaryDirectory() as temporary, (copy / "output.txt").open("w") as output:
        Path(temporary).chmod(0o755)  # some tests give up the rights of root
        environment = {"PYTHONPATH": str(copy / "src"), "TMPDIR": temporary, **variables}
        process = subprocess.Popen(
            command,
            cwd=copy,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# Which tests run which lines ---------------------------------------------------------------


def trace_tests(copy: Path, jobs: int, files: Sequence[str] = ()) -> None:
    """Run tests once, and write down which of them run which lines, and how long they take.

    Args:
        copy: A copy of the project.
        jobs: How many processes run tests.
        files: The files of tests that have changed since the last time; all by default.
    """
    start = time.time()
    status = run_pytest(
        copy,
        *("-n", str(jobs), "--dist", "worksteal", "-m", "not integration"),
        *(f"--ignore={path}" for path in NOT_RUN),
        *("--cov", "--cov-context=test", "--cov-report="),
        *files,
        COVERAGE_FILE=str(copy / "coverage"),
        MUTANT_SECONDS=str(copy / "seconds.json"),
    )
    if status > 1:
        sys.exit((copy / "output.txt").read_text())
    if status == 1:
        print(f"tests that fail without a mutant are not run:\n{(copy / 'output.txt').read_text()}")
    seconds = json.loads((copy / "seconds.json").read_text())
    data = CoverageData(str(copy / "coverage"))
    data.read()
    tests: dict[str, dict[str, list[str]]] = {}
    for module in MODULES:
        tests[module] = {
            str(line): sorted({context.rpartition("|")[0] for context in contexts} & seconds.keys())
            for line, contexts in data.contexts_by_lineno(str(copy / PACKAGE / module)).items()
        }
    if files:
        old = json.loads(TRACE.read_text())
        seconds = {**old["seconds"], **seconds}
        for module, lines in old["tests"].items():
            for line, names in lines.items():
                kept = [name for name in names if get_file(name) not in files]
                tests[module][line] = sorted({*kept, *tests[module].get(line, [])})
    TRACE.write_text(json.dumps({"seconds": seconds, "tests": tests}))
    os.utime(TRACE, (start, start))


def list_changed_tests() -> list[str]:
    """Return the files of tests that have changed since `trace_tests` began."""
    since = TRACE.stat().st_mtime
    files = [path for path in ROOT.glob("tests/**/test_*.py") if path.stat().st_mtime > since]
    return [path.relative_to(ROOT).as_posix() for path in files]


class Trace:
    """Which tests run a line, as `trace_tests` saw it."""

    def __init__(self) -> None:
        trace = json.loads(TRACE.read_text())
        self._seconds: dict[str, float] = trace["seconds"]
        self._tests: dict[str, dict[str, list[str]]] = trace["tests"]

    def choose(self, mutant: Mutant) -> list[list[str]]:
        """Return the tests for a mutant: those in the most fitting files, and those in others.

        To import all files takes several times as long as most tests.
        """
        tests_of = self._tests[mutant.module]
        tests = tests_of.get(str(mutant.line))
        if not tests:  # a line that runs only when it is imported
            tests = sorted({test for others in tests_of.values() for test in others})
        module = Path("tests", mutant.module)
        own = module.with_name(f"test_{module.name}").as_posix()
        files = Counter(map(get_file, tests))
        first = {own, *(file for file, _ in files.most_common(N_FIRST_FILES))}
        groups: list[list[str]] = [[], []]
        left = [MAX_SHARE * sum(self._seconds.values())] * 2
        for test in sorted(tests, key=self._seconds.__getitem__):
            group = get_file(test) not in first
            left[group] -= self._seconds[test]
            if left[group] >= 0:
                groups[group].append(test)
        return groups

    def get_seconds(self, tests: Sequence[str]) -> float:
        return sum(self._seconds[test] for test in tests)


def get_file(test: str) -> str:
    return test.partition("::")[0]


# Testing mutants ---------------------------------------------------------------------------


def test_all(
    sample: Sequence[Mutant], sources: Mapping[str, str], copies: Sequence[Path]
) -> Iterator[tuple[Mutant, str]]:
    """Yield mutants and what became of them."""
    trace = Trace()
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def test(mutant: Mutant) -> str:
        if get_key(mutant) in EQUIVALENT:
            return "equivalent"
        copy = free.get()
        try:
            return test_mutant(mutant, sources[mutant.module], trace, copy)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        yield from zip(sample, pool.map(test, sample), strict=True)


def test_mutant(mutant: Mutant, source: str, trace: Trace, copy: Path) -> str:
    """Return what became of a mutant: "killed", "timed out" or "survived"."""
    write_module(copy, mutant.module, mutate(source, mutant))
    try:
        for tests in trace.choose(mutant):
            outcome = run_tests(copy, tests, trace.get_seconds(tests)) if tests else "survived"
            if outcome != "survived":
                return outcome
    finally:
        write_module(copy, mutant.module, source)
    return "survived"


def run_tests(copy: Path, tests: Sequence[str], seconds: float) -> str:
    """Run tests, which take some seconds without a mutant, up to the first one that fails."""
    (copy / "tests.json").write_text(json.dumps(tests))
    status = run_pytest(
        copy,
        *("-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"),
        *dict.fromkeys(map(get_file, tests)),
        f"--timeout={TEST_TIMEOUT}",
        timeout=TEST_TIMEOUT + 3 * seconds,
        MUTANT_TESTS="tests.json",
    )
    output = (copy / "output.txt").read_text("utf-8", "replace")
    if status == NO_TESTS:
        sys.exit(f"these tests were not found: {tests}\n{output}")
    if status == -signal.SIGTERM:
        sys.exit("pytest was terminated")
    if status == TIMED_OUT or "Failed: Timeout" in output:
        return "timed out"
    return "killed" if status else "survived"


if __name__ == "__main__":
    main()
