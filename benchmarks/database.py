"""Compare the time to a frame of the runs in MLflow's database: kedro-hydraflow and MLflow.

    .venv-integration/bin/python benchmarks/database.py --mlflow-python .venv-mlflow/bin/python

The databases are an SQLite file and, where they are installed, PostgreSQL and MariaDB. Each run
has 100 metrics, params and tags, and a configuration. The frame has ten columns, of facts, metrics,
params and tags. Each contender works on the same database in a new process. The exit status is not
0 if their frames differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import uuid
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from compare import HERE, MISSING_PACKAGE, measuring, timed

sys.path.append(str(HERE.parent / "tests"))  # the servers are those of the tests

from servers import MissingServerError, mariadb, postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Measured = dict[str, Any]
    Results = dict[tuple[int, str, str], list[Measured]]

EXAMPLE = HERE.parent / "examples" / "data" / "sqlite" / "mlflow.db"
"""Has the tables of MLflow 3.17."""

SERVERS = {"PostgreSQL": postgresql, "MariaDB": mariadb}

OURS = "kedro-hydraflow"
MLFLOW = "mlflow.search_runs"

COLUMNS = {
    "run_id": "run_id",
    "status": "status",
    "metrics.metric_003": "metrics.metric_003",
    "metrics.metric_050": "metrics.metric_050",
    "metrics.metric_099": "metrics.metric_099",
    "params.param_003": "params.param_003",
    "params.param_050": "params.param_050",
    "params.param_099": "params.param_099",
    "tags.tag_003": "tags.tag_003",
    "tags.tag_050": "tags.tag_050",
}
"""The columns of the frame, by the key in kedro-hydraflow the name that MLflow gives it."""

N_KEYS = 100
N_EXPERIMENTS = 4
START_MS = 1_795_394_369_654


# The data ------------------------------------------------------------------------------


def write_database(directory: Path, n_runs: int) -> None:
    """Write ``mlflow.db`` and ``mlruns``. A directory that is complete is left as it is."""
    if directory.exists():
        return
    print(f"writing {n_runs:,} runs to {directory}", file=sys.stderr, flush=True)
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with closing(sqlite3.connect(partial / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -2000000")  # in KB
        connection.execute("BEGIN")
        copy_schema(connection)
        write_runs(connection, directory, n_runs)
        connection.execute("COMMIT")
    write_configs(partial, n_runs)
    partial.rename(directory)


def copy_schema(connection: sqlite3.Connection) -> None:
    """Create MLflow's tables and indexes, empty but for the default experiment."""
    connection.execute("ATTACH ? AS example", (str(EXAMPLE),))
    select = "SELECT sql FROM example.sqlite_master WHERE sql IS NOT NULL ORDER BY type != 'table'"
    for (sql,) in connection.execute(select).fetchall():
        connection.execute(sql)
    for table in ("alembic_version", "workspaces"):
        connection.execute(f"INSERT INTO {table} SELECT * FROM example.{table}")
    connection.execute("INSERT INTO experiments SELECT * FROM example.experiments LIMIT 1")


def iter_runs(n_runs: int) -> Iterator[tuple[int, int, str]]:
    """Yield the number of each run, its experiment and its ID."""
    rng = random.Random(0)
    for number in range(n_runs):
        yield number, 1 + number % N_EXPERIMENTS, uuid.UUID(int=rng.getrandbits(128), version=4).hex


def write_runs(
    connection: sqlite3.Connection, directory: Path, n_runs: int, n_keys: int = N_KEYS
) -> None:
    """Fill the tables as MLflow does, run after run."""
    runs = list(iter_runs(n_runs))
    experiments = [
        (i, f"train_{i}", f"{directory}/mlruns/{i}", START_MS) for i in range(1, N_EXPERIMENTS + 1)
    ]
    connection.executemany(
        "INSERT INTO experiments VALUES (?1, ?2, ?3, 'active', ?4, ?4, 'default')", experiments
    )
    connection.executemany(
        "INSERT INTO runs VALUES (?1, 'run-' || ?2, 'UNKNOWN', '', '', 'me', 'FINISHED', ?3, "
        "?3 + 1000, '', 'active', ?4, ?5, NULL)",
        (
            (i, number, START_MS + number, f"{directory}/mlruns/{e}/{i}/artifacts", e)
            for number, e, i in runs
        ),
    )
    for start in range(0, n_runs, 1000):
        part = runs[start : start + 1000]
        metrics = [
            (f"metric_{k:03}", k / 1000 + number / n_runs, START_MS + number, run_id)
            for number, _, run_id in part
            for k in range(n_keys)
        ]
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, 1, 0)", metrics)
        connection.executemany("INSERT INTO latest_metrics VALUES (?1, ?2, ?3, 1, 0, ?4)", metrics)
        for table, kind in (("params", "param"), ("tags", "tag")):
            rows = [
                (f"{kind}_{k:03}", f"value {(number * 7 + k) % 1000}", run_id)
                for number, _, run_id in part
                for k in range(n_keys)
            ]
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)


def write_configs(directory: Path, n_runs: int) -> None:
    """Write the configuration of each run."""
    from generate import make_config

    rng = random.Random(0)
    for number, experiment_id, run_id in iter_runs(n_runs):
        folder = directory / f"mlruns/{experiment_id}/{run_id}/artifacts/.hydra"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(make_config("sweep", number, rng)[1])


# One contender, in its own process ------------------------------------------------------


def measure_ours(location: str) -> tuple[Measured, list[tuple[Any, ...]]]:
    """Make the frame; it reads all configurations too."""
    measured: Measured = {}
    with timed(measured, "imports"):
        import polars  # noqa: F401 - imported on first use otherwise

        import kedro_hydraflow
        from kedro_hydraflow import Run, iter_run_dirs

        if "://" in location and not location.startswith("sqlite"):
            import sqlalchemy

            sqlalchemy.create_engine(location)  # which imports the driver; MLflow has done so
    measured["version"] = kedro_hydraflow.__version__
    with measuring(measured):
        run_dirs = iter_run_dirs(tracking_uri=location)
        frame = Run.load(run_dirs, index=False).to_frame(*COLUMNS)
    return measured, frame.rows()


def measure_mlflow(location: str) -> tuple[Measured, list[tuple[Any, ...]]]:
    """Make MLflow's frame, which always has all columns."""
    measured: Measured = {}
    with timed(measured, "imports"):
        try:
            import mlflow
        except ImportError:
            sys.exit(MISSING_PACKAGE)
    measured["version"] = mlflow.__version__
    mlflow.set_tracking_uri(location)
    with measuring(measured):
        frame = mlflow.search_runs(search_all_experiments=True)
    return measured, list(frame[list(COLUMNS.values())].itertuples(index=False, name=None))


def measure(contender: str, location: str) -> None:
    """Print what was measured, and a digest of the rows, as JSON."""
    measured, rows = (measure_mlflow if contender == MLFLOW else measure_ours)(location)
    digest = f"{hash(tuple(sorted(rows))):x}"
    print(json.dumps(measured | {"runs": len(rows), "digest": digest}))


# All of them ---------------------------------------------------------------------------


def start(contender: str, python: str, location: str) -> Measured | None:
    """Return what another process measured, None if the contender is not installed."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if contender == MLFLOW:
        environment.pop("PYTHONPATH", None)  # meant for the other interpreter
    command = [python, __file__, "--measure", contender, location]
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if process.returncode == MISSING_PACKAGE:
        return None
    if process.returncode != 0:
        sys.exit(f"{contender} failed: {' '.join(command)}")
    measured: Measured = json.loads(process.stdout.splitlines()[-1])
    return measured


def print_table(results: Results) -> None:
    """Print the medians as a Markdown table."""
    print("| runs | database | | seconds | ratio | CPU, s | peak MB | of it added |")
    print("|--:|---|---|--:|--:|--:|--:|--:|")
    for (size, database, contender), repeated in results.items():
        keys = ("seconds", "cpu", "peak", "growth")
        seconds, cpu, peak, growth = (statistics.median(m[key] for m in repeated) for key in keys)
        ratio = seconds / statistics.median(m["seconds"] for m in results[size, database, OURS])
        print(
            f"| {size:,} | {database} | {contender} {repeated[0]['version']} | {seconds:.2f} "
            f"| {ratio:.1f} | {cpu:.2f} | {peak:.0f} | {growth:.0f} |"
        )


def find_differences(results: Results) -> list[str]:
    """Return what is wrong in the results, as text."""
    first = {size: repeated[0] for (size, *_), repeated in reversed(results.items())}
    return [
        f"{contender} on {database} has another frame of {size} runs, with {measured['runs']} rows"
        for (size, database, contender), repeated in results.items()
        for measured in repeated
        if measured["digest"] != first[size]["digest"] or measured["runs"] != size
    ]


def compare(
    results: Results, size: int, database: str, location: str, options: argparse.Namespace
) -> None:
    """Add what the contenders took for a database."""
    start(OURS, sys.executable, location)  # from now on the files are cached
    for _ in range(options.repeat):
        measured = start(OURS, sys.executable, location)
        results.setdefault((size, database, OURS), []).append(measured or {})
    if options.mlflow_python and size <= options.mlflow_runs:
        measured = start(MLFLOW, options.mlflow_python, location)
        if measured is None:
            print(f"there is no mlflow for {options.mlflow_python}", file=sys.stderr)
        else:
            results[size, database, MLFLOW] = [measured]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, nargs="*", default=[3_000, 30_000])
    parser.add_argument("--server-runs", type=int, nargs="*", default=[3_000])
    parser.add_argument("--repeat", type=int, default=3, help="MLflow runs once")
    parser.add_argument("--mlflow-python", help="an interpreter that has mlflow")
    parser.add_argument(
        "--mlflow-runs", type=int, default=3_000, help="the most runs that MLflow is given"
    )
    options = parser.parse_args()

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}\n", flush=True)
    results: Results = {}
    directories = {
        size: HERE / "data" / f"database-{size}" for size in (*options.runs, *options.server_runs)
    }
    for size, directory in directories.items():
        write_database(directory, size)
    for size in options.runs:
        compare(results, size, "SQLite", f"sqlite:///{directories[size]}/mlflow.db", options)
    for name, run_server in SERVERS.items():
        with ExitStack() as stack:
            try:
                server = stack.enter_context(run_server()) if options.server_runs else None
            except MissingServerError as exc:
                print(f"without {name}: {exc}", file=sys.stderr)
                continue
            for size in options.server_runs:
                server.put(directories[size] / "mlflow.db")
                if name == "PostgreSQL":
                    server.execute("ANALYZE")  # as it does by itself, in time
                compare(results, size, name, server.get_url(), options)
    print_table(results)
    if differences := find_differences(results):
        sys.exit("\n".join(["The results differ:", *differences]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main()
