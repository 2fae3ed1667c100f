"""Lazy frames of runs: what they give, and what they read for it."""

from __future__ import annotations

import io
import pickle
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_hydraflow import Run, RunCollection, iter_run_dirs, iter_runs, scan_runs
from kedro_hydraflow.errors import (
    FilterError,
    NotFoundError,
    OptionError,
    RunLoadError,
    SchemaError,
)
from kedro_hydraflow.scan import Scan, _split_conjunction
from tests.conftest import Database, FilesRead, TrackingDir, write
from tests.stores.conftest import Requests
from tests.stores.conftest import memory as memory  # the fixtures
from tests.stores.conftest import requests as requests

SCHEMA: dict[str, Any] = {
    "run_id": pl.String,
    "job_name": pl.String,
    "status": pl.String,
    "start_time": pl.Datetime,
    "metrics.loss": pl.Float64,
    "metrics.acc": pl.Float64,
    "params.n": pl.Int64,
    "hydra.job.num": pl.Int64,
    "results.score": pl.Float64,
    "lr": pl.Float64,
    "model.name": pl.String,
    "layers": pl.List(pl.Int64),
    "nowhere": pl.Int64,
}

N_RUNS = 20
POLARS = tuple(map(int, pl.__version__.split(".")[:2]))


def write_configuration(artifacts: Path, i: int) -> None:
    model = "{name: mlp}" if i % 3 else "{name: cnn, width: 1}"
    lr = "null" if i % 6 == 5 else str(i / 10)
    write(artifacts / ".hydra/config.yaml", f"lr: {lr}\nmodel: {model}\nlayers: [{i}]\n")
    write(artifacts / ".hydra/hydra.yaml", f"hydra:\n  job:\n    num: {i}\n")
    write(artifacts / "result.json", f'{{"score": {i / 2}}}')


def write_runs(tracking_dir: TrackingDir) -> None:
    """Write two experiments with ten runs each. A third has no loss, a quarter FAILED."""
    for number, name in enumerate(("eval", "train"), start=1):
        experiment = tracking_dir.add_experiment(name, str(number))
        for i in range(10):
            run_dir = tracking_dir.add_run(
                experiment,
                f"{number}{i:031x}",
                metrics={"acc": f"1 {i / 10} 0\n", **({"loss": f"1 {i} 0\n"} if i % 3 else {})},
                status=3 if i % 4 else 4,
                start_time=1795394369957 + i * 1000,
            )
            write(run_dir / "params/n", f"{i}")
            write_configuration(run_dir / "artifacts", i)


def write_database(path: Path) -> None:
    """Write the same runs into a database."""
    database = Database(path / "mlflow.db")
    for number, name in enumerate(("eval", "train"), start=1):
        database.add_experiment(name, number)
        for i in range(10):
            run_id = database.add_run(
                number,
                f"{number}{i:031x}",
                metrics={"acc": [(0, 1, i / 10)], **({"loss": [(0, 1, i)]} if i % 3 else {})},
                params={"n": f"{i}"},
                status="FINISHED" if i % 4 else "FAILED",
                start_time=1795394369957 + i * 1000,
            )
            write_configuration(path / f"mlruns/{number}/{run_id}/artifacts", i)


@pytest.fixture(scope="module", params=["files", "database"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of which every column of the schema but one has values."""
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "files":
        write_runs(TrackingDir(path))
    else:
        write_database(path)
    return path


def read_eagerly(root: Path | str, **options: Any) -> pl.DataFrame:
    runs = Run.load(iter_run_dirs(root, **options), results="result.json")
    return runs.to_frame(schema=SCHEMA)


def scan(root: Path | str, **options: Any) -> pl.LazyFrame:
    return scan_runs(root, schema=SCHEMA, results="result.json", **options)


# The same as the eager frame --------------------------------------------------------------


def test_it_is_the_frame_of_all_runs(root: Path) -> None:
    lazy = scan(root, batch_size=3)
    assert [*lazy.collect_schema().items()] == [*read_eagerly(root).schema.items()]
    frame = lazy.collect()
    assert frame.equals(read_eagerly(root))
    assert frame.height == N_RUNS
    assert frame["run_id"].is_sorted()


NOON = datetime.fromtimestamp(1795394369957 / 1000, timezone.utc)

ATOMS = [
    pl.col("run_id") > f"1{5:031x}",
    pl.col("job_name") == "train",
    pl.col("job_name").str.contains("ai"),
    pl.col("status") == "FINISHED",
    pl.col("status").is_in(["FAILED", "KILLED"]),
    pl.col("start_time") >= NOON + timedelta(seconds=4),
    pl.col("metrics.loss") > 2,
    pl.col("metrics.loss").is_null(),
    pl.col("metrics.loss") > pl.col("metrics.acc") * 5,
    pl.col("params.n").is_between(2, 7),
    pl.col("hydra.job.num") % 2 == 0,
    pl.col("results.score") < 3.5,
    pl.col("lr") > 0.3,
    pl.col("lr").is_null(),
    pl.col("lr") < pl.col("metrics.loss"),
    pl.col("model.name") == "cnn",
    pl.col("layers").list.first() > 4,
    pl.col("nowhere").is_null(),
    pl.col("nowhere") == 1,
    pl.lit(value=True),
]

predicates = st.recursive(
    st.sampled_from(ATOMS),
    lambda parts: (
        st.tuples(parts, parts).map(lambda pair: pair[0] & pair[1])
        | st.tuples(parts, parts).map(lambda pair: pair[0] | pair[1])
        | parts.map(lambda part: ~part)
    ),
    max_leaves=6,
)

Step = Callable[[Any], Any]

steps: st.SearchStrategy[Step] = st.one_of(
    predicates.map(lambda predicate: lambda lazy: lazy.filter(predicate)),
    st.integers(0, 12).map(lambda n: lambda lazy: lazy.head(n)),
    st.tuples(st.integers(-9, 9), st.integers(0, 9)).map(
        lambda pair: lambda lazy: lazy.slice(*pair)
    ),
    st.just(lambda lazy: lazy.with_columns(pl.col("lr") + 1)),
    st.just(lambda lazy: lazy.filter(pl.col("metrics.acc") > pl.col("metrics.acc").mean())),
    st.just(lambda lazy: lazy.sort("metrics.acc", descending=True, maintain_order=True)),
)
ends = st.one_of(
    st.lists(st.sampled_from([*SCHEMA]), unique=True, min_size=1).map(
        lambda names: lambda lazy: lazy.select(names)
    ),
    st.just(lambda lazy: lazy.select(pl.len())),
    st.just(lambda lazy: lazy.group_by("model.name", maintain_order=True).agg(pl.max("lr"))),
    st.just(lambda lazy: lazy),
)


@pytest.fixture(scope="module")
def eager(root: Path) -> pl.DataFrame:
    return read_eagerly(root)


@given(st.lists(steps, max_size=3), ends, st.sampled_from([1, 3, 7, 100]))
def test_any_query_gives_what_it_gives_on_the_eager_frame(
    root: Path, eager: pl.DataFrame, steps: list[Step], end: Step, batch_size: int
) -> None:
    lazy: Any = scan(root, batch_size=batch_size)
    expected: Any = eager.lazy()
    for step in (*steps, end):
        lazy, expected = step(lazy), step(expected)
    found = lazy.collect()
    assert found.schema == expected.collect_schema()
    assert found.equals(expected.collect(), null_equal=True)


@given(predicates)
def test_filters_as_text_come_first(root: Path, predicate: pl.Expr) -> None:
    filters = "metrics.acc > 0.2 and lr is not null"
    expected = read_eagerly(root, filters=filters)
    assert (
        scan(root, filters=filters).filter(predicate).collect().equals(expected.filter(predicate))
    )
    assert (
        scan(root, filters=filters)
        .head(4)
        .filter(predicate)
        .collect()
        .equals(expected.head(4).filter(predicate))
    )


def test_batches_of_iter_runs_give_the_same(root: Path) -> None:
    frames = [runs.to_frame(schema={"lr": float}) for runs in iter_runs(root, batch_size=4)]
    assert scan_runs(root, schema={"lr": float}, batch_size=4).collect().equals(pl.concat(frames))


def test_no_runs(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_experiment("train")
    frame = scan(tracking_dir.root).filter(pl.col("lr") > 1).collect()
    assert (frame.height, frame.columns) == (0, [*SCHEMA])


class Impl:
    def __init__(self, artifacts_dir: Path) -> None:
        self.n_files = len(list(artifacts_dir.iterdir()))


def test_attributes_of_the_implementation_and_json(root: Path) -> None:
    lazy = scan_runs(
        root, "train", Impl, schema={"n_files": int, "layers": str, "model": str}, nested="json"
    )
    frame = lazy.filter(pl.col("n_files") == 2).collect()
    assert frame.height == 10
    assert frame.row(0) == (2, "[0]", '{"name": "cnn", "width": 1}')


# What is read -------------------------------------------------------------------------------


def count(paths: list[str]) -> dict[str, int]:
    """Return how many files were read, by the name of the file, of runs and of experiments."""
    names = (
        "experiment" if len(Path(path).parent.name) == 1 else Path(path).name for path in paths
    )
    return dict(Counter(names))


ID = f"1{4:031x}"
ALL_METAS = {"experiment": 2, "meta.yaml": 20}

READS: list[tuple[str, Callable[[pl.LazyFrame], pl.LazyFrame], int, dict[str, int]]] = [
    # the query, the number of rows, and the files that are read besides meta.yaml
    ("facts", lambda lazy: lazy.select("run_id", "status"), 20, {}),
    ("a metric", lambda lazy: lazy.select("run_id", "metrics.acc"), 20, {"acc": 20}),
    ("a param", lambda lazy: lazy.select("params.n"), 20, {"n": 20}),
    ("Hydra's", lambda lazy: lazy.select("hydra.job.num"), 20, {"hydra.yaml": 20}),
    ("results", lambda lazy: lazy.select("results.score"), 20, {"result.json": 20}),
    ("a configuration", lambda lazy: lazy.select("lr"), 20, {"config.yaml": 20}),
    (
        "one run",
        lambda lazy: lazy.filter(pl.col("run_id") == ID),
        1,
        {"acc": 1, "loss": 1, "n": 1, "hydra.yaml": 1, "result.json": 1, "config.yaml": 1},
    ),
    (
        "failed ones",
        lambda lazy: lazy.filter(pl.col("status") == "FAILED").select("lr"),
        6,
        {"config.yaml": 6},
    ),
    (
        "the cheapest condition first",
        lambda lazy: lazy.filter(
            (pl.col("lr") > 0.5)
            & (pl.col("results.score") > 2)
            & (pl.col("metrics.acc") > 0.2)
            & (pl.col("job_name") == "train")
        ).select("model.name"),
        4,
        {"acc": 10, "result.json": 7, "config.yaml": 5},
    ),
    (
        "one after the other",
        lambda lazy: (
            lazy.filter(pl.col("job_name") == "train")
            .filter(pl.col("params.n") < 5)
            .select("run_id")
        ),
        5,
        {"n": 10},
    ),
    (
        "alternatives",
        lambda lazy: lazy.filter((pl.col("metrics.acc") > 0.8) | (pl.col("params.n") == 0)).select(
            "lr"
        ),
        4,
        {"acc": 20, "n": 20, "config.yaml": 4},
    ),
    (
        "what needs a configuration",
        lambda lazy: lazy.filter((pl.col("lr") > 0.8) | (pl.col("params.n") == 0)).select("run_id"),
        4,
        {"n": 20, "config.yaml": 20},
    ),
    (
        "three",
        lambda lazy: lazy.head(3).select("lr"),
        3,
        {"meta.yaml": 3, "config.yaml": 3},
    ),
    ("none", lambda lazy: lazy.filter(pl.col("job_name") == "x").select("lr"), 0, {}),
]


@pytest.mark.parametrize(("query", "n_rows", "files"), [r[1:] for r in READS], ids=lambda r: "")
def test_local_files(
    tracking_dir: TrackingDir,
    files_read: FilesRead,
    query: Callable[[pl.LazyFrame], pl.LazyFrame],
    n_rows: int,
    files: dict[str, int],
) -> None:
    write_runs(tracking_dir)
    frame = query(scan(tracking_dir.root, index=False)).collect()
    assert frame.height == n_rows
    read = count(files_read.paths)
    assert {name: read.get(name, 0) for name in {*read, *files}} == {**ALL_METAS, **files}


@pytest.fixture
def remote(tracking_dir: TrackingDir, memory: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the runs, which are read as from a network."""
    monkeypatch.setattr("kedro_hydraflow.storage.remote._IN_PROCESS", frozenset())
    write_runs(tracking_dir)
    fsspec.filesystem("memory").put(str(tracking_dir.root), f"{memory}/mlruns", recursive=True)
    return f"{memory}/mlruns"


REMOTE_READS: list[tuple[Callable[[pl.LazyFrame], pl.LazyFrame], dict[str, int]]] = [
    (lambda lazy: lazy.select("run_id", "job_name"), {}),
    (lambda lazy: lazy.select("status"), {"meta.yaml": 20}),
    (lambda lazy: lazy.filter(pl.col("run_id") <= ID).select("lr"), {"config.yaml": 5}),
    (
        lambda lazy: lazy.filter(
            (pl.col("status") == "FAILED") & (pl.col("job_name") == "eval")
        ).select("lr"),
        {"meta.yaml": 10, "config.yaml": 3},
    ),
    (lambda lazy: lazy.head(2).select("lr"), {"config.yaml": 2}),
]


@pytest.mark.parametrize(("query", "files"), REMOTE_READS)
def test_remote_files(
    remote: str,
    requests: Requests,
    query: Callable[[pl.LazyFrame], pl.LazyFrame],
    files: dict[str, int],
) -> None:
    expected = query(read_eagerly(remote).lazy()).collect()
    requests.read.clear()
    assert query(scan(remote, index=False)).collect().equals(expected)
    assert count(requests.read) == {"experiment": 2, **files}


def test_whether_a_run_is_known_to_be_deleted_does_not_depend_on_the_query(
    remote: str, memory: str
) -> None:
    path = f"{memory}/mlruns/1/{ID}/meta.yaml"
    fs = fsspec.filesystem("memory")
    fs.pipe(path, fs.cat(path).replace(b"lifecycle_stage: active", b"lifecycle_stage: deleted"))
    lazy = scan(remote, index=False)
    assert lazy.select("run_id").collect().height == 20
    assert lazy.filter(pl.col("status") == "FINISHED").collect().height == 14
    assert lazy.select("status", "lr").collect().height == 20
    lazy = scan(remote, index=False, include_deleted=False)
    assert lazy.select("run_id").collect().height == 19


def test_first_rows_stop_the_reading(
    tracking_dir: TrackingDir, files_read: FilesRead, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, is_over = threading.Lock(), threading.Event()
    read_frames = Scan.read

    def read(*args: Any) -> Iterator[pl.DataFrame]:
        frames = read_frames(*args)
        while True:
            with reading:
                frame = None if is_over.is_set() else next(frames, None)
            if frame is None:
                return
            yield frame

    monkeypatch.setattr(Scan, "read", read)
    tracking_dir.add_runs(300)
    lazy = scan_runs(tracking_dir.root, schema={"i": int}, batch_size=5, index=False)
    assert lazy.filter(pl.col("i") > 12).head(2).collect()["i"].to_list() == [13, 14]
    with reading:  # a thread of Polars may still be reading ahead, and would in other tests
        is_over.set()
    if POLARS >= (2, 0):  # it reads ahead, others read on to the end
        assert count(files_read.paths)["config.yaml"] < 300


def test_first_rows_that_meet_filters(tracking_dir: TrackingDir, files_read: FilesRead) -> None:
    tracking_dir.add_runs(60)
    lazy = scan_runs(
        tracking_dir.root, schema={"i": int}, batch_size=10, index=False, filters="i > 12"
    )
    assert lazy.head(2).collect()["i"].to_list() == [13, 14]
    assert count(files_read.paths)["config.yaml"] == 20


def test_each_collect_looks_anew(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(2)
    lazy = scan_runs(tracking_dir.root, schema={"i": int})
    assert lazy.collect().height == 2
    tracking_dir.add_run(tracking_dir.root / "1", "r2", "i: 2\n")
    assert lazy.collect().height == 3


def test_explain_shows_what_is_pushed_down(root: Path) -> None:
    lazy = scan(root).filter(pl.col("status") == "FAILED").select("run_id")
    plan = lazy.explain()
    assert "PYTHON SCAN" in plan
    assert "PROJECT 2/13 COLUMNS" in plan
    assert "SELECTION: " in plan
    assert str(root) not in plan


@pytest.mark.skipif(POLARS < (1, 31), reason="this version of Polars has no sinks for it")
def test_batches_are_written_one_after_the_other(
    tracking_dir: TrackingDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(tracking_dir)
    alive: list[int] = []
    make_frame = RunCollection.__init__

    def note(self: Any, *args: Any, **kwargs: Any) -> None:
        make_frame(self, *args, **kwargs)
        alive.append(len(self))

    monkeypatch.setattr(RunCollection, "__init__", note)
    path = tmp_path / "runs.parquet"
    scan(tracking_dir.root, batch_size=4).drop("layers").sink_parquet(path)
    assert max(alive) == 4
    assert pl.read_parquet(path).equals(read_eagerly(tracking_dir.root).drop("layers"))


# What goes wrong ----------------------------------------------------------------------------


def raises(error: type[Exception], match: str) -> Any:
    """Expect an error that is ours, or one of an older Polars with its text."""
    return pytest.raises((error, pl.exceptions.ComputeError), match=match)


def test_a_value_that_does_not_fit(root: Path) -> None:
    lazy = scan_runs(root, schema={"model.name": pl.Int64, "job_name": pl.Int64, "lr": float})
    with raises(SchemaError, match="'model.name' is 'cnn' .* which does not fit Int64"):
        lazy.collect()
    with raises(SchemaError, match="'job_name' is 'eval' .* which does not fit Int64"):
        lazy.filter(pl.col("job_name") > 1).select("lr").collect()
    assert lazy.select("lr").collect().height == 20
    lazy = scan_runs(root, schema={"model.name": pl.Int64}, strict=False)
    assert lazy.collect()["model.name"].null_count() == 20


def test_runs_that_cannot_be_read(tracking_dir: TrackingDir, caplog: Any) -> None:
    write_runs(tracking_dir)
    write(tracking_dir.root / f"1/{ID}/artifacts/.hydra/config.yaml", "lr: [\n")
    with raises(RunLoadError, match="1 of 10 runs could not be read"):
        scan(tracking_dir.root, batch_size=10).collect()
    lazy = scan(tracking_dir.root, on_error="warn")
    assert lazy.select("lr").collect().height == 19
    assert any("skipped" in text for text in caplog.messages)
    assert scan(tracking_dir.root).filter(pl.col("run_id") > ID).collect().height == 15
    assert scan(tracking_dir.root).select("status").collect().height == 20


def test_folders_that_are_no_runs(tracking_dir: TrackingDir) -> None:
    write_runs(tracking_dir)
    (tracking_dir.root / "1" / "notes").mkdir()
    shutil.rmtree(tracking_dir.root / "1" / ID / "artifacts/.hydra")
    expected = read_eagerly(tracking_dir.root)
    assert scan(tracking_dir.root).collect().equals(expected)
    names = scan(tracking_dir.root).select("run_id", "metrics.acc").collect()
    assert names.equals(expected.select("run_id", "metrics.acc"))


def test_a_key_in_filters_that_no_run_has(root: Path) -> None:
    lazy = scan(root, filters="dropout > 1")
    with raises(FilterError, match="none of the 20 runs has the key 'dropout'"):
        lazy.collect()
    # Of those that the query leaves out, nothing is known.
    assert lazy.filter(pl.col("job_name") == "train").collect().height == 0


def test_there_is_no_such_place(tmp_path: Path) -> None:
    lazy = scan_runs(tmp_path / "absent", schema={"lr": float})
    with raises(NotFoundError, match="absent"):
        lazy.collect()


@pytest.mark.parametrize("schema", [None, {}, {"lr": "Flot"}, {"m.*": float}])
def test_a_schema_is_needed(root: Path, schema: Any) -> None:
    with pytest.raises(OptionError, match="schema: "):
        scan_runs(root, schema=schema)
    with pytest.raises(TypeError, match="schema"):
        scan_runs(root)  # type: ignore[call-arg]


# What Polars calls unstable -----------------------------------------------------------------


@pytest.mark.parametrize("n_parts", [1, 2, 3, 5])
def test_conjunctions_are_split(n_parts: int) -> None:
    """Here, and as Polars hands them over, which may order them differently."""
    conditions = [pl.col(f"c{i}") > i for i in range(n_parts)]
    together = conditions[0]
    for condition in conditions[1:]:
        together = together & condition
    handed_over = pl.Expr.deserialize(io.BytesIO(together.meta.serialize()))
    for predicate in (together, handed_over):
        assert sorted(map(str, _split_conjunction(predicate))) == sorted(map(str, conditions))


@pytest.mark.parametrize(
    "predicate",
    [
        pl.col("a") | pl.col("b"),
        pl.col("a") ^ pl.col("b"),
        ~(pl.col("a") & pl.col("b")),
        pl.col("a") + pl.col("b") > 1,
        pl.col("a"),
        pl.when(pl.col("a")).then(pl.col("b")).otherwise(pl.col("c")),
    ],
)
def test_other_expressions_are_whole(predicate: pl.Expr) -> None:
    assert [str(part) for part in _split_conjunction(predicate)] == [str(predicate)]


def test_rows_are_counted_before_the_predicate_is_applied(root: Path) -> None:
    """Polars may give both: how many rows to read, and what those have to meet."""
    lazy = scan(root, batch_size=3).head(5).filter(pl.col("metrics.acc") > 0.2)
    assert lazy.collect()["metrics.acc"].to_list() == [0.3, 0.4]


def test_a_lazy_frame_can_be_copied(root: Path) -> None:
    lazy = scan(root).select("run_id")
    assert lazy.clone().collect().height == 20
    if POLARS >= (2, 0):
        assert pickle.loads(pickle.dumps(lazy)).collect().height == 20
