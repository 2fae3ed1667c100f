"""PostgreSQL and MariaDB with MLflow's tables give what an SQLite file with the same rows gives."""

from __future__ import annotations

import math
import multiprocessing
import pickle
import random
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from kedro_hydraflow import (
    HydraflowRunCollectionDataset,
    Run,
    get_experiment_names,
    iter_run_dirs,
    iter_runs,
    scan_runs,
)
from kedro_hydraflow.errors import (
    MetadataError,
    MissingPackageError,
    NotFoundError,
    OptionError,
    RunLoadError,
    StorageError,
    TrackingDirectoryError,
    UnreachableError,
    WithheldError,
)
from kedro_hydraflow.filters import Conditions, parse_filters
from kedro_hydraflow.run_info import LOGGED_KINDS, get_store, read_histories
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import open_store
from kedro_hydraflow.stores.sql_database import SqlDatabase
from tests import servers
from tests.conftest import DATABASE_SWEEP, Database
from tests.integration.commands import run_commands
from tests.integration.places import is_server_required
from tests.model.changes import DATABASE_CHANGES
from tests.model.compare import Load, compare, compare_filters
from tests.model.trees import make_database
from tests.servers import OWNER, SqlServer
from tests.stores import test_narrowed

pytestmark = pytest.mark.integration

STARTS = {"postgresql": servers.postgresql, "mariadb": servers.mariadb}
DRIVERS = [("postgresql", "psycopg"), ("postgresql", "psycopg2"), ("mariadb", "pymysql")]

N_TREES = 10
N_FILTERS = 6


@pytest.fixture(scope="module")
def started() -> Iterator[dict[str, SqlServer | Exception]]:
    """The servers, each started once."""
    found: dict[str, SqlServer | Exception] = {}
    with ExitStack() as stack:
        for name, start in STARTS.items():
            try:
                found[name] = stack.enter_context(start())
            except servers.MissingServerError as exc:  # noqa: PERF203
                found[name] = exc
        yield found


def get_server(started: dict[str, SqlServer | Exception], name: str) -> SqlServer:
    server = started[name]
    if isinstance(server, SqlServer):
        return server
    if is_server_required():
        raise server
    pytest.skip(str(server))


@pytest.fixture(params=list(STARTS))
def server(request: pytest.FixtureRequest, started: dict[str, Any]) -> SqlServer:
    return get_server(started, request.param)


def put_runs(server: SqlServer, folder: Path) -> Path:
    """Write the runs of `test_narrowed` to a server, and return the same in an SQLite file."""
    database = Database(folder / "db/mlflow.db")
    test_narrowed.fill(database, folder / "db/mlruns")
    server.put(database.path)
    return database.path


def locate(server: SqlServer, folder: Path, **options: Any) -> dict[str, Any]:
    """Return the arguments for the runs of `put_runs`."""
    return {"tracking_uri": server.get_url(), "artifact_root": folder / "db/mlruns", **options}


# The same values --------------------------------------------------------------------------------


def describe(runs: Any) -> list[Any]:
    """Return all that is recorded of runs."""
    names = sorted({name for run in runs for name in run.metrics})
    histories = [read_histories([run.info for run in runs], name) for name in names]
    return [
        [
            (run.info.job_name, run.info.experiment_id, run.info.run_id, run.info.run_name),
            (run.info.status, run.info.start_time, run.info.end_time, run.info.lifecycle_stage),
            [[*getattr(run, kind).items()] for kind in LOGGED_KINDS],
            [*run.models.items()],
            [repr(history[i]) for history in histories],
        ]
        for i, run in enumerate(runs)
    ]


@pytest.mark.parametrize(("name", "driver"), DRIVERS)
def test_values_are_those_of_the_file_that_mlflow_wrote(
    started: dict[str, Any], name: str, driver: str
) -> None:
    server = get_server(started, name)
    database = DATABASE_SWEEP / "mlflow.db"
    server.put(database)
    location = {"tracking_uri": server.get_url(driver=driver)}
    location["artifact_root"] = str(DATABASE_SWEEP / "mlruns")
    assert get_experiment_names(tracking_uri=location["tracking_uri"]) == (
        get_experiment_names(database)
    )
    expected = Run.load(iter_run_dirs(database))
    runs = Run.load(iter_run_dirs(**location))
    assert len(runs) == len(expected) > 0
    assert describe(runs) == describe(expected)
    columns = ("run_id", "info.*", "metrics.*", "params.*", "tags.*", "*")
    assert_frame_equal(runs.to_frame(*columns), expected.to_frame(*columns))
    assert_frame_equal(
        scan_runs(**location, schema={"metrics.accuracy": "float", "seed": "int"}).collect(),
        scan_runs(database, schema={"metrics.accuracy": "float", "seed": "int"}).collect(),
    )


@pytest.mark.parametrize(("name", "driver"), DRIVERS)
def test_commands(started: dict[str, Any], tmp_path: Path, name: str, driver: str) -> None:
    server = get_server(started, name)
    server.put(DATABASE_SWEEP / "mlflow.db")
    root = DATABASE_SWEEP / "mlruns"
    local = Source(DATABASE_SWEEP / "mlflow.db", artifact_root=root)
    first, second = Run.load(iter_run_dirs(DATABASE_SWEEP / "mlflow.db")).to_list("run_id")[:2]
    there = Source(tracking_uri=server.get_url(driver=driver), artifact_root=root)
    arguments = (first, second), "metrics.accuracy", tmp_path
    assert run_commands(there, *arguments) == run_commands(local, *arguments)


VALUES = [0.1, -1.5, 5e-324, 1e308, 1.7976931348623155e308, 2 / 3, math.inf, -math.inf, math.nan]
TEXTS = ["a", "A", "a ", "é", "e", "日本", "😀", "", 'it\'s "%s" \\ %(x)s ?', "two\nlines", "0.10"]


@pytest.fixture
def odd(server: SqlServer, tmp_path: Path) -> tuple[SqlServer, Path]:
    """Values that databases may compare or store differently, on a server and in a file."""
    database = Database(tmp_path / "db/mlflow.db")
    database.add_experiment("train", 1)
    database.add_experiment("gone", 2, lifecycle_stage="deleted")
    database.add_experiment("Eval", 3, artifact_location=None, lifecycle_stage=None)
    for i, value in enumerate(VALUES):
        database.add_run(1, f"{i:032x}", metrics={"loss": [(1, 5, 0.5), (2, 4, value)]})
    for i, text in enumerate(TEXTS):
        run_id = f"{100 + i:032x}"
        database.add_run(3, run_id, params={"p": text}, tags={"t": text, "n": None}, name=text)
    database.add_run(1, "not hexadecimal")
    database.add_run(1, "named", name="", tags={"mlflow.runName": "by its tag"})
    columns = ("name", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri")
    database.add_run(1, "null", **dict.fromkeys(columns))
    database.add_run(1, "deleted", lifecycle_stage="deleted")
    database.add_run(2, "of a deleted experiment")
    loss = [(0, 5, math.nan), (0, 5, 1.0), (-1, 9, math.inf), (0, 5, 0.5), (0, 4, 2.0)]
    database.add_run(3, "history", metrics={"loss": loss})
    server.put(database.path)
    return server, database.path


def test_odd_values_are_the_same(odd: tuple[SqlServer, Path]) -> None:
    server, database = odd
    location = {"tracking_uri": server.get_url(), "artifact_root": database.parent}
    for options in ({}, {"include_deleted": True}, {"experiment_names": ["E*"]}):
        runs = Run.load(iter_run_dirs(**location, **options))
        expected = Run.load(iter_run_dirs(database, artifact_root=database.parent, **options))
        assert describe(runs) == describe(expected)
    runs = Run.load(iter_run_dirs(**location))
    assert runs.to_list("metrics.loss", None)[-len(VALUES) - 3 : -3] == pytest.approx(
        VALUES, nan_ok=True, rel=0, abs=0
    )
    assert [text for text in runs.to_list("params.p", None) if text is not None] == TEXTS
    assert runs.to_list("params.P", None) == [None] * len(runs)
    assert runs.to_list("params.p\0", None) == runs.to_list("params.\ud800", None)
    assert runs.get(run_id="named").info.run_name == "by its tag"


@pytest.mark.parametrize(
    "filters",
    [
        *(f"params.p == {text!r}" for text in ("a", "A", "a ", "e", "é", "日本", "😀", "0.10")),
        *(f"tags.t in ['{text}', zzz]" for text in ("a", "A", "it''s \"%s\" \\ %(x)s ?")),
        "metrics.loss == 0",
        "metrics.loss <= 0.1",
        "metrics.loss > 1e308",
        "metrics.loss < 0",
        f"metrics.loss == {2 / 3!r}",
        "status == FINISHED and metrics.loss >= 0.1",
        "start_time > 2026-01-01",
        "start_time < 2026-01-01 or params.p == a",
        f"run_id in [{8:032x}, named, NAMED]",
    ],
)
def test_filters_select_the_same_runs(odd: tuple[SqlServer, Path], filters: str) -> None:
    server, database = odd
    location = {"tracking_uri": server.get_url(), "artifact_root": database.parent}

    def find(**location: Any) -> list[str]:
        return [run_dir.name for run_dir in iter_run_dirs(**location, filters=filters)]

    assert find(**location) == find(tracking_dir=database, artifact_root=database.parent)


def test_columns_that_cannot_have_some_characters(started: dict[str, Any], tmp_path: Path) -> None:
    server = get_server(started, "mariadb")
    put_runs(server, tmp_path)
    modify = "ALTER TABLE params MODIFY {} VARCHAR({}) CHARACTER SET {} NOT NULL"
    columns = (("`key`", 250), ("value", 8000))
    server.execute(*(modify.format(*column, "latin1") for column in columns))
    try:
        location = locate(server, tmp_path)
        runs = Run.load(iter_run_dirs(**location, filters="params.model in [MLP, 日本]"))
        assert set(runs.to_list("params.model")) == {"MLP"}
        assert runs.to_list("params.日本", None) == [None] * len(runs)
        assert len(Run.load(iter_run_dirs(**location, filters="params.model == 😀"))) == 0
    finally:
        server.execute(*(modify.format(*column, "utf8mb4") for column in columns))


def test_artifacts_that_only_a_server_has(server: SqlServer, tmp_path: Path) -> None:
    database = Database(tmp_path / "db/mlflow.db")
    database.add_experiment("train", artifact_location="mlflow-artifacts:/1")
    database.add_run(1, "a", artifact_uri="mlflow-artifacts:/1/a/artifacts")
    server.put(database.path)
    with pytest.raises(RunLoadError, match=r"only be read through its tracking server"):
        list(iter_run_dirs(tracking_uri=server.get_url()))


@pytest.mark.parametrize(
    ("filters", "n_listed"),
    [
        ("status == FAILED", 4),
        ("status in [failed, RUNNING]", 4),
        ("metrics.loss < 0.3", 6),
        ("metrics.loss > 0.5 and params.model == mlp", None),
        ("params.lr == '0.1' and status == FINISHED", 35),
        ("start_time >= 2026-01-31", 10),
        ("start_time <= 2026-01-05", 5),
        (f"run_id in [{test_narrowed.make_id(3)}, {test_narrowed.make_id(99)}]", 1),
    ],
)
def test_the_database_leaves_out_runs(
    server: SqlServer, tmp_path: Path, filters: str, n_listed: int | None
) -> None:
    database = put_runs(server, tmp_path)
    listings = []
    for source in (Source(tracking_uri=server.get_url()), Source(database)):
        store = open_store(source)
        experiments = store.find_experiments().matching
        clauses = Conditions(parse_filters(filters)).clauses
        listing = store.list_narrowed(experiments, clauses)
        assert listing is not None
        listings.append([part.names for part in listing.experiments])
        if n_listed is not None:
            assert listing.total == n_listed
    kept, expected = ({name for names in listed for name in names} for listed in listings)
    assert kept >= expected  # MariaDB takes 'mlp' and 'MLP' for equal
    assert len(kept) < test_narrowed.N_RUNS


def test_batches_previews_and_names(server: SqlServer, tmp_path: Path) -> None:
    put_runs(server, tmp_path)
    location = locate(server, tmp_path)
    batches = list(iter_runs(**location, batch_size=15))
    assert [seed for batch in batches for seed in batch.to_list("seed")] == [
        i for start in (1, 0) for i in range(start, 40, 2) if i % 20
    ]
    store = open_store(Source(tracking_uri=server.get_url()))
    experiments = store.find_experiments().matching
    assert [part.names for part in store.list_runs(experiments, 2).experiments] == [
        [test_narrowed.make_id(i) for i in numbers] for numbers in ((1, 3), (0, 2))
    ]
    assert store.has_active_runs(experiments)
    assert not store.has_active_runs([])
    dataset = HydraflowRunCollectionDataset(
        tracking_uri=server.get_url(), artifact_root=str(tmp_path / "db/mlruns")
    )
    assert dataset.exists()
    assert "reader" not in str(dataset)


def test_many_runs_take_one_query_a_column(server: SqlServer, tmp_path: Path) -> None:
    database = Database(tmp_path / "db/mlflow.db")
    rng = random.Random(0)
    ids = [f"{rng.getrandbits(128):032x}" for _ in range(1200)]
    for number in (1, 2):
        database.add_experiment(f"train_{number}", number)
    row = "active', 'FINISHED', ?, ?)"
    insert = "INSERT INTO runs (lifecycle_stage, status, run_uuid, experiment_id) VALUES ('"
    database.execute(*((insert + row, (i, 1 + n % 2)) for n, i in enumerate(ids)))
    insert = "INSERT INTO params (key, value, run_uuid) VALUES ('p', ?, ?)"
    database.execute(*((insert, (str(n), i)) for n, i in enumerate(ids)))
    server.put(database.path)
    expected = {i: str(n) for n, i in enumerate(ids)}
    store = open_store(Source(tracking_uri=server.get_url()))
    experiments = store.find_experiments().matching
    found = store.read_runs(store.list_runs(experiments).experiments).records
    assert [record.run_id for record in found] == sorted(ids[::2]) + sorted(ids[1::2])
    for records in (found, found[:550], found[::100], found[:1]):
        wanted = [expected[record.run_id] for record in records]
        assert store.read_values(records, "params", "p") == wanted
        assert store.read_all(records, "params") == [{"p": value} for value in wanted]


def test_loads_give_what_the_reference_reads(server: SqlServer, tmp_path: Path) -> None:
    """As on MLflow's server, see test_model_on_server.py."""
    n_runs = 0
    for seed in range(N_TREES):
        folder = tmp_path / str(seed)
        base = folder / "tree"
        base.mkdir(parents=True)
        rng = random.Random(seed)
        tree = make_database(rng, base, share_moved=1)
        assert tree.database is not None
        if not has_small_ids(tree.database):
            continue
        options: Any = {"index": folder / "index", "uri": server.get_url()}
        server.put(tree.database)
        n_runs += compare(tree, Load("index cold", **options), rng)
        for change in rng.choices(DATABASE_CHANGES, k=3):
            tree.changes.append(change(rng, tree) or "")
        server.put(tree.database)
        n_runs += compare(tree, Load("index warm", how="iter_runs", **options), rng)
        for _ in range(N_FILTERS):
            how = rng.choice(["load", "iter_runs"])
            compare_filters(tree, Load("filters", how=how, **options), rng)
    assert n_runs >= 10


def has_small_ids(database: Path) -> bool:
    """Whether the IDs of experiments fit into MLflow's columns, which SQLite does not check."""
    with closing(sqlite3.connect(database)) as connection:
        ((largest,),) = connection.execute("SELECT max(experiment_id) FROM experiments")
    return bool(largest < 2**31)


# Processes --------------------------------------------------------------------------------------


def load_in_child(runs: Any) -> tuple[list[Any], int]:
    again = Run.load([run.info.run_dir for run in runs[:0]])
    return runs.to_list("params.model", None), len(again)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_other_processes(server: SqlServer, tmp_path: Path, method: str) -> None:
    put_runs(server, tmp_path)
    location = locate(server, tmp_path)
    runs = Run.load(iter_run_dirs(**location))
    models = runs.to_list("params.model", None)  # over a connection of this process
    others = Run.load(iter_run_dirs(**location))
    others.to_list("metrics.loss", None)
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(load_in_child, [others, others])
    assert found == [(models, 0)] * 2
    assert runs.to_list("metrics.loss", None) == others.to_list("metrics.loss", None)
    in_jobs = Run.load(iter_run_dirs(**location), n_jobs=2)
    assert in_jobs.to_list("seed") == runs.to_list("seed")


def test_pickles_hold_the_password_unless_it_is_left_out(server: SqlServer, tmp_path: Path) -> None:
    put_runs(server, tmp_path)
    runs = Run.load(iter_run_dirs(**locate(server, tmp_path)))
    copied = pickle.loads(pickle.dumps(runs))
    assert copied.to_list("params.model", None) == runs.to_list("params.model", None)
    assert get_store(copied[0].info) == get_store(runs[0].info)
    data = pickle.dumps(runs.without_credentials())
    assert b"database-password" not in data
    with pytest.raises(WithheldError, match="is not read for a copy"):
        pickle.loads(data).to_list("metrics.loss", None)


# Connections ------------------------------------------------------------------------------------


@contextmanager
def counting_connections() -> Iterator[dict[str, int]]:
    """Count the connections that are opened and closed in the block."""
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    counts = {"connect": 0, "close": 0}

    def count(name: str) -> Callable[..., None]:
        def listen(*_: Any) -> None:
            counts[name] += 1

        return listen

    listeners = {name: count(name) for name in counts}
    for name, listener in listeners.items():
        event.listen(Pool, name, listener)
    try:
        yield counts
    finally:
        for name, listener in listeners.items():
            event.remove(Pool, name, listener)


def test_a_search_and_a_frame_take_a_connection_each(server: SqlServer, tmp_path: Path) -> None:
    put_runs(server, tmp_path)
    with counting_connections() as counts:
        runs = Run.load(iter_run_dirs(**locate(server, tmp_path)))
    assert counts == {"connect": 1, "close": 1}
    with counting_connections() as counts:
        frame = runs.to_frame("metrics.loss", "params.model", "status", defaults={"none": 0})
    assert counts == {"connect": 1, "close": 1}
    assert frame["params.model"].to_list() == runs.to_list("params.model")
    with counting_connections() as counts:
        runs.to_frame("run_id", "status")  # which are known
    assert counts == {"connect": 0, "close": 0}


def test_queries_in_a_block(server: SqlServer, tmp_path: Path) -> None:
    from sqlalchemy import text

    put_runs(server, tmp_path)
    database = SqlDatabase(Source(tracking_uri=server.get_url()))
    numbers = text("SELECT experiment_id FROM experiments")
    with counting_connections() as counts:
        with database.connected(), database.connected():
            expected = list(database.query(numbers))
            with pytest.raises(TrackingDirectoryError):
                list(database.query(text("SELECT wrong FROM experiments")))
            assert list(database.query(numbers)) == expected
            first, second = database.query(numbers), database.query(numbers)
            assert list(zip(first, second, strict=True)) == [(row, row) for row in expected]
            with ThreadPoolExecutor(1) as pool:  # another thread has its own
                assert pool.submit(lambda: list(database.query(numbers))).result() == expected
            unfinished, late = database.query(numbers), database.query(numbers)
            assert next(unfinished) == next(late) == expected[0]
            unfinished.close()
        assert list(late) == expected[1:]
        assert list(database.query(numbers)) == expected
    assert counts["connect"] == counts["close"]


def read_in_fork(database: SqlDatabase, query: Any, found: Any) -> None:
    found.put(list(database.query(query)))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_forked_in_a_block_has_a_connection_of_its_own(server: SqlServer) -> None:
    from sqlalchemy import text

    database = SqlDatabase(Source(tracking_uri=server.get_url()))
    numbers = text("SELECT experiment_id FROM experiments")
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    with database.connected():
        expected = list(database.query(numbers))
        process = context.Process(target=read_in_fork, args=(database, numbers, found))
        process.start()
        assert found.get() == expected
        process.join()
        assert list(database.query(numbers)) == expected


# Reading only -----------------------------------------------------------------------------------


def test_queries_cannot_write(server: SqlServer) -> None:
    from sqlalchemy import text

    database = SqlDatabase(Source(tracking_uri=server.get_url(OWNER)))
    statements = {
        "postgresql": ["SELECT nextval('experiments_experiment_id_seq')"],
        "mysql": ["DELETE FROM tags", "CREATE TABLE x (y INTEGER)"],
    }
    for statement in statements[server.scheme.partition("+")[0]]:
        with pytest.raises(StorageError, match=r"(?i)read.only"):
            list(database.query(text(statement)))


# Errors -----------------------------------------------------------------------------------------


def catch(kind: type[Exception], url: str) -> str:
    """Return the text of the error of reading a database, which shows no password."""
    with pytest.raises(kind) as raised:
        get_experiment_names(tracking_uri=url)
    assert raised.type is kind
    error: BaseException | None = raised.value
    while error is not None:
        assert "database-password" not in f"{error} {error!r}"
        assert "wrong-password" not in f"{error} {error!r}"
        error = error.__cause__
    return str(raised.value)


@pytest.mark.parametrize(("name", "driver"), DRIVERS)
def test_connections_that_fail(started: dict[str, Any], name: str, driver: str) -> None:
    server = get_server(started, name)
    shown = f"'{server.scheme.partition('+')[0]}+{driver}://127.0.0.1:{server.port}/mlflow'"
    message = catch(StorageError, server.get_url(driver=driver, password="wrong-password"))
    assert message.startswith(f"the database {shown} denies access: ")
    assert message.endswith("check the user and the password in the URL, and that the user may "
                            "read the tables")  # fmt: skip
    message = catch(NotFoundError, server.get_url(OWNER, driver=driver, database="absent"))
    assert message.startswith(f"there is no database {shown.replace('mlflow', 'absent')}: ")
    gone = f"127.0.0.1:{servers.get_free_port()}"
    url = server.get_url(driver=driver).replace(f"127.0.0.1:{server.port}", gone)
    message = catch(UnreachableError, url)
    assert message.startswith(f"cannot read the database '{url.partition(':')[0]}://{gone}/mlflow'")


def test_databases_of_others(server: SqlServer) -> None:
    server.execute("DROP DATABASE IF EXISTS other", "CREATE DATABASE other")
    url = server.get_url(OWNER, database="other")
    message = catch(TrackingDirectoryError, url)
    assert "/other' is not an MLflow database, or its schema is too old (" in message
    assert message.endswith("run `mlflow db upgrade` with its URL")
    servers.execute(url, "CREATE TABLE experiments (experiment_id INTEGER, comment VARCHAR(9))")
    assert "is not an MLflow database" in catch(TrackingDirectoryError, url)


def test_tables_that_may_not_be_read(server: SqlServer, tmp_path: Path) -> None:
    put_runs(server, tmp_path)
    runs = Run.load(iter_run_dirs(**locate(server, tmp_path)))
    server.execute(*server.revoke)
    try:
        with pytest.raises(StorageError, match=r"denies access: .*denied .*params"):
            runs.to_list("params.model")
    finally:
        server.execute(server.grant)


def test_limits(server: SqlServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy

    put_runs(server, tmp_path)
    runs = Run.load(iter_run_dirs(**locate(server, tmp_path)))
    monkeypatch.setenv("KEDRO_HYDRAFLOW_MAX_QUERY_SIZE", "1KB")
    with pytest.raises(StorageError, match=r"more than 1,000 bytes, .*MAX_QUERY_SIZE raises"):
        runs.to_list("params.model")
    monkeypatch.delenv("KEDRO_HYDRAFLOW_MAX_QUERY_SIZE")
    monkeypatch.setenv("KEDRO_HYDRAFLOW_MAX_QUERY_SECONDS", "0.1")
    engine = sqlalchemy.create_engine(server.get_url(OWNER), poolclass=sqlalchemy.NullPool)
    lock = {"postgresql": "LOCK TABLE params", "mysql": "LOCK TABLES params WRITE"}
    with engine.connect() as connection:
        connection.exec_driver_sql(lock[engine.dialect.name])
        with pytest.raises(StorageError, match=r"more than 0.1 seconds, .*MAX_QUERY_SECONDS"):
            runs.to_list("params.model")
        if engine.dialect.name == "mysql":
            connection.exec_driver_sql("UNLOCK TABLES")
    monkeypatch.delenv("KEDRO_HYDRAFLOW_MAX_QUERY_SECONDS")
    assert set(runs.to_list("params.model")) == {"mlp", "MLP"}


def test_values_of_another_type_are_errors_that_name_run_and_column(
    server: SqlServer, tmp_path: Path
) -> None:
    put_runs(server, tmp_path)
    runs = Run.load(iter_run_dirs(**locate(server, tmp_path)))
    to_bytes, to_text = {
        "postgresql": (
            "ALTER TABLE params ALTER value TYPE BYTEA USING value::BYTEA",
            "ALTER TABLE params ALTER value TYPE VARCHAR(8000) USING convert_from(value, 'UTF8')",
        ),
        "mysql": (
            "ALTER TABLE params MODIFY value BLOB",
            "ALTER TABLE params MODIFY value VARCHAR(8000) NOT NULL",
        ),
    }[server.scheme.partition("+")[0]]
    server.execute(to_bytes)
    try:
        place = rf"/mlflow: run {test_narrowed.make_id(1)}: params"
        with pytest.raises(MetadataError, match=rf"{place}.value of 'model': .* found b'mlp'"):
            runs.to_list("params.model")
        with pytest.raises(MetadataError, match=rf"{place} with the key '.*': .* found b'"):
            _ = runs[0].params
    finally:
        server.execute(to_text)


def test_urls_that_name_no_database() -> None:
    pytest.importorskip("sqlalchemy")
    message = catch(OptionError, "postgres://u:database-password@127.0.0.1/mlflow")
    assert message.startswith(
        "tracking_uri: expected the URL of a database, such as "
        "postgresql://user:password@host/database, found 'postgres://127.0.0.1/mlflow': "
    )
    assert "ValueError" in catch(OptionError, "mysql+pymysql://u:database-password@host:port/m")


@pytest.mark.parametrize(
    ("scheme", "driver", "package"),
    [
        ("postgresql+pg8000", "pg8000", "pg8000"),
        ("mysql", "MySQLdb", "mysqlclient"),
        ("mssql+pyodbc", "pyodbc", "pyodbc"),
    ],
)
def test_drivers_that_are_missing(scheme: str, driver: str, package: str) -> None:
    pytest.importorskip("sqlalchemy")
    message = catch(MissingPackageError, f"{scheme}://u:database-password@127.0.0.1/mlflow")
    assert message == (
        f"tracking_uri: reading the database '{scheme}://127.0.0.1/mlflow' needs its driver "
        f"'{driver}', which cannot be imported (No module named '{driver}'): "
        f"pip install 'kedro-hydraflow[sql]' '{package}'"
    )
