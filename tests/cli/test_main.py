"""The commands in processes of their own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.text import Text

from kedro_hydraflow import Run, __version__, iter_run_dirs
from tests.cli.conftest import COMMAND, Execute
from tests.conftest import SWEEP, TrackingDir


def test_exit_codes(execute: Execute) -> None:
    ls = [*COMMAND, "ls", str(SWEEP)]
    assert execute(*ls).returncode == 0
    none = execute(*ls, "-f", "status == RUNNING")
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr == "WARNING: no runs are left of 31: 0 after 'status == RUNNING'\n"
    failed = execute(*COMMAND, "ls", "nowhere")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == "Error: there is no directory 'nowhere'\n"


def test_a_reader_that_stops(tracking_dir: TrackingDir, environment: dict[str, str]) -> None:
    tracking_dir.add_runs(300, lambda i: f"text: {'x' * 150}{i}\n")  # more than a pipe holds
    run = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *COMMAND, "ls", tracking_dir.root],
        env=environment,
        text=True,
        capture_output=True,
    )
    assert run.stdout.startswith("run_id  job_name  status")
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk(environment: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [*COMMAND, "ls", str(SWEEP)],
            env=environment,
            text=True,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    message = "Error: OSError: No space left on device\n"
    assert (run.returncode, run.stderr) == (2, message)


def run_in_terminal(
    command: list[str], environment: dict[str, str], width: int, *, stderr: bool = False
) -> tuple[int, str, str]:
    """Run a command in a terminal.

    Args:
        command: The command.
        environment: The environment variables.
        width: The width of the terminal.
        stderr: Whether standard error is the terminal, instead of standard output.

    Returns:
        The exit code, what the terminal gets, and what the other stream gets.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    with subprocess.Popen(
        command,
        env={**environment, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=subprocess.PIPE if stderr else theirs,
        stderr=theirs if stderr else subprocess.PIPE,
        text=True,
    ) as process:
        os.close(theirs)
        written = bytearray()
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            written += part
        os.close(ours)
        out, errors = process.communicate()
    return process.returncode, written.decode().replace("\r\n", "\n"), out if stderr else errors


@pytest.mark.parametrize("width", [60, 100, 200])
def test_a_terminal(width: int, environment: dict[str, str]) -> None:
    command = [*COMMAND, "ls", str(SWEEP), "-s", "-start_time", "-n", "2"]
    code, text, errors = run_in_terminal(command, environment, width)
    lines = Text.from_ansi(text).plain.splitlines()
    assert code == 0
    assert "\x1b[31mFAILED" in text
    assert len(lines) == 3
    assert lines[1].startswith("16188f25  train_d")
    assert max(map(len, lines)) <= width
    assert ("no room for" in errors) == (width < 200)


@pytest.mark.parametrize(
    "arguments", [["show", SWEEP, "13f4"], ["diff", SWEEP, "13f4", "cde9", "--all"]]
)
def test_lines_are_no_wider_than_the_terminal(
    arguments: list[object], environment: dict[str, str]
) -> None:
    code, text, errors = run_in_terminal([*COMMAND, *map(str, arguments)], environment, 40)
    lines = Text.from_ansi(text).plain.splitlines()
    assert (code, errors) == (0, "")
    assert max(map(len, lines)) <= 40
    assert any("…" in line for line in lines)
    assert any("[0, 1," in line for line in lines)


IMPATIENT = """\
import sys
from kedro_hydraflow import progress
from kedro_hydraflow.cli.main import main
progress.BAR_DELAY = 0
main(sys.argv[1:])
"""


def test_loads_show_progress_in_a_terminal_alone(
    environment: dict[str, str], tracking_dir: TrackingDir
) -> None:
    tracking_dir.add_runs(600)
    command = [sys.executable, "-c", IMPATIENT, "ls", str(tracking_dir.root), "--csv", "-c", "i"]
    code, text, out = run_in_terminal(command, environment, 100, stderr=True)
    assert (code, len(out.splitlines())) == (0, 601)
    assert "600/600" in text
    assert "run/s" in text
    code, _, errors = run_in_terminal(command, environment, 100)
    assert (code, errors) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ("-c metrics.loss", ["finding runs: ", " found", "60/60", "reading metrics.loss: "]),
        ("-s metrics.loss -n 1 -c i", ["finding runs: ", "reading metrics.loss: "]),
        ("-n 20 -c i", ["20run"]),
        ("-n 1 -f i==59 -c i", ["60run"]),
        ("-f status==FINISHED -c i", ["finding runs: ", "/60 [", "60/60"]),
    ],
)
def test_each_step_is_shown(
    environment: dict[str, str], tracking_dir: TrackingDir, arguments: str, shown: list[str]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(60):
        tracking_dir.add_run(experiment, f"r{i:03}", f"i: {i}\n", {"loss": f"1 {i} 0\n"})
    ls = ["ls", str(tracking_dir.root), "--csv", *arguments.split()]
    command = [sys.executable, "-c", IMPATIENT, *ls]
    code, text, _ = run_in_terminal(command, environment, 100, stderr=True)
    assert code == 0
    assert [each for each in shown if each not in text] == []
    _, _, errors = run_in_terminal(command, environment, 100)
    notes = ("", "the first 1 of 60 runs\n", "the first 20 runs; there may be more\n")
    assert errors in notes


def test_python_imports_kedro_for_entries_alone() -> None:
    code = (
        "import sys\n"
        "from kedro_hydraflow.cli.main import main\n"
        "print(*sys.modules)\n"
        "main(['ls', sys.argv[1], '-n', '1'], standalone_mode=False)\n"
        "print(*sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(SWEEP)], text=True, capture_output=True, check=True
    )
    before, *table, after = run.stdout.splitlines()
    assert len(table) == 2
    assert {"kedro", "polars", "rich", "fsspec"} & set(before.split()) == set()
    assert {"kedro", "rich"} & set(after.split()) == set()
    assert "polars" in after.split()


def test_kedro_imports_little_to_list_its_commands() -> None:
    code = "import sys, kedro_hydraflow.cli.project\nprint(*sys.modules)\n"
    run = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert {"kedro", "polars", "rich", "fsspec"} & set(run.stdout.split()) == set()


def test_help(execute: Execute) -> None:
    text = execute(*COMMAND, "ls", "--help").stdout
    assert "Exit codes:\n    0  there are runs\n    1  no run matches\n    2  an error" in text
    for option in ("--filter", "--sort", "--columns", "--limit", "--csv", "--md", "--json"):
        assert option in text
    for command in ("ls", "show", "diff", "best", "export"):
        text = execute(*COMMAND, command, "--help").stdout
        assert "PATH_OR_URL is a directory" in text
        assert "Exit codes:\n    0  " in text
    assert execute(*COMMAND, "--version").stdout == f"kedro-hydraflow, version {__version__}\n"


def test_the_entry_point_of_the_console_script(execute: Execute) -> None:
    code = (
        "from importlib.metadata import distribution\n"
        "(point,) = distribution('kedro-hydraflow').entry_points.select(group='console_scripts')\n"
        "assert point.name == 'kedro-hydraflow'\n"
        "point.load()(['ls', 'examples/data/mlruns', '--csv', '-c', 'seed', '-n', '1'])\n"
    )
    assert execute(sys.executable, "-c", code).stdout == "seed\n7\n"


# With Kedro -----------------------------------------------------------------------------

JSON = ["--json", "--columns", "run_id,metrics.accuracy", "--sort", "-metrics.accuracy"]


def test_kedro_hydraflow(execute: Execute, project: Path) -> None:
    command = [sys.executable, "-m", "kedro", "hydraflow", "ls", "sweep_runs", *JSON]
    done = execute(*command, cwd=project / "examples/digits")
    assert done.returncode == 0
    rows = json.loads(done.stdout[done.stdout.index("[\n") :])  # Kedro logs a line before
    runs = Run.load(iter_run_dirs(SWEEP, filters="status == FINISHED"))
    assert [row["metrics.accuracy"] for row in rows] == sorted(
        runs.to_list("metrics.accuracy"), reverse=True
    )
    assert "use kedro-hydraflow ls --entry sweep_runs\n" in done.stderr
    help_text = execute(sys.executable, "-m", "kedro", "hydraflow", "ls", "-h", cwd=project).stdout
    assert "ENTRY is an entry of the catalog with runs" in help_text


def test_nothing_but_the_runs_goes_to_standard_output(execute: Execute, project: Path) -> None:
    done = execute(*COMMAND, "ls", "--entry", "sweep_runs", *JSON, cwd=project)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == 30
    assert "as logging configuration" in " ".join(done.stderr.split())


def test_kedro_that_logs_to_standard_error(execute: Execute, project: Path) -> None:
    handlers = {"e": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}}
    root = {"handlers": ["e"], "level": "INFO"}
    config = {"version": 1, "handlers": handlers, "loggers": {}, "root": root}
    logging = project / "conf/logging.yml"
    logging.write_text(json.dumps(config))
    try:
        done = execute(
            sys.executable, "-m", "kedro", "hydraflow", "ls", "sweep_runs", *JSON, cwd=project
        )
    finally:
        logging.unlink()
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) == 30
    assert "use kedro-hydraflow" not in done.stderr


# Interrupts and closed streams ------------------------------------------------------------

INTERRUPTED = """\
import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from kedro_hydraflow.__main__ import run
run(["ls", sys.argv[2], "--sort", "seed"])
"""


@pytest.mark.parametrize(
    "module",
    ["click", "kedro_hydraflow.cli.main", "kedro_hydraflow.cli.orders", "omegaconf", "polars"],
)
def test_ctrl_c_while_it_begins(execute: Execute, module: str) -> None:
    """It is pressed while the command imports a module."""
    done = execute(sys.executable, "-c", INTERRUPTED, module, str(SWEEP))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def run_in_shell(environment: dict[str, str], line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which ``"$@"`` is the command, with the exit code of the command."""
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {line}', "-", *COMMAND],
        env=environment,
        text=True,
        capture_output=True,
        cwd=SWEEP.parents[2],
    )


@pytest.mark.parametrize(
    "arguments",
    ["ls", "show RUN 13f4", "diff RUN 13f4 cde9", "best --by seed --mode max", "--help", "ls -h"],
)
def test_no_reader_is_no_error(environment: dict[str, str], arguments: str) -> None:
    line = arguments.replace("RUN", str(SWEEP))
    line = f"{line} {SWEEP}" if arguments.split()[0] in ("ls", "best") else line
    for redirection in "| true", ">&-":
        done = run_in_shell(environment, f"{line} {redirection}")
        assert (done.returncode, done.stdout) == (0, "")
        assert "Error" not in done.stderr
        assert "Traceback" not in done.stderr
