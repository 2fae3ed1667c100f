from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.io import DatasetError

from kedro_hydraflow import HydraflowRunCollectionDataset, HydraflowRunDataset, publish_index
from kedro_hydraflow.errors import NotFoundError, RunLoadError, StorageError
from kedro_hydraflow.storage import LocalStorage
from tests.conftest import FilesRead, TrackingDir, WebServer, replace_meta, write
from tests.datasets.conftest import from_catalog


def test_a_bad_option_names_itself() -> None:
    with pytest.raises(ValueError, match="index: expected true, false, a directory"):
        HydraflowRunCollectionDataset(path="mlruns", index=3)  # type: ignore[arg-type]


def test_filters_by_facts_read_nothing_of_known_runs(
    tracking_dir: TrackingDir, tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    tracking_dir.add_runs(3)
    server = serve(tracking_dir.root.parent)
    for n_files in (7, 0):
        server.requests.clear()
        dataset = HydraflowRunCollectionDataset(
            path=f"{server.url}/mlruns",
            index=tmp_path / "index",
            filters=["status == FINISHED"],
            include_deleted=False,
        )
        assert len(dataset.load()) == 3
        assert sum(path.endswith(".yaml") for path in server.requests) == n_files


@pytest.fixture
def published(tracking_dir: TrackingDir, tmp_path: Path) -> str:
    """The URL of an index with three runs. What was recorded has changed since."""
    url = (tmp_path / "shared").as_uri()
    tracking_dir.add_runs(3)
    publish_index(tracking_dir.root, index=url)
    for path in tracking_dir.root.glob("1/*/artifacts/.hydra/config.yaml"):
        path.write_text("seed: -1\n")
    replace_meta(tracking_dir.root / "1", name="renamed")
    return url


def test_a_preview_shows_what_a_load_with_the_shared_index_gives(
    tracking_dir: TrackingDir, tmp_path: Path, published: str, files_read: FilesRead
) -> None:
    root = str(tracking_dir.root)
    dataset = HydraflowRunCollectionDataset(path=root, index=published)
    parts = {path: path.read_bytes() for path in (tmp_path / "shared").iterdir()}
    tracking_dir.add_run(tracking_dir.root / "1", "r003", "seed: 3")  # not published yet
    files_read.clear()
    preview = dataset.preview()
    of_runs = [path for path in files_read.paths if path.startswith(root)]
    assert {os.path.relpath(path, root) for path in of_runs} == {
        "1/r003/artifacts/.hydra/config.yaml",
        "1/r003/meta.yaml",  # which says whether it was deleted
    }
    loaded = dataset.load().to_frame()
    columns = loaded.columns
    assert sorted(preview["columns"]) == sorted([*columns, "status"])
    rows = [dict(zip(preview["columns"], row, strict=True)) for row in preview["data"]]
    assert [tuple(row[name] for name in columns) for row in rows] == loaded.rows()
    (name,) = set(loaded["job_name"])
    assert name != "renamed"
    for run_id, expected in (("r003", True), ("r004", False)):
        of_name = HydraflowRunDataset(
            path=root, index=published, experiment_names=name, run_id=run_id
        )
        assert of_name.exists() is expected
    assert {path: path.read_bytes() for path in (tmp_path / "shared").iterdir()} == parts


def test_a_preview_publishes_nothing(
    tracking_dir: TrackingDir, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_runs(1)
    url = (tmp_path / "nothing").as_uri()
    dataset = HydraflowRunCollectionDataset(path=str(tracking_dir.root), index=url)
    assert len(dataset.preview()["data"]) == 1
    assert "nothing was published there yet" in caplog.text
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(("is_requested", "n_again"), [(True, 0), (False, 5)])
def test_a_preview_uses_a_requested_index(
    tracking_dir: TrackingDir,
    tmp_path: Path,
    serve: Callable[[Path], WebServer],
    is_requested: bool,
    n_again: int,
) -> None:
    pytest.importorskip("aiohttp")
    index = tmp_path / "index" if is_requested else False
    tracking_dir.add_runs(9)
    server = serve(tracking_dir.root.parent)
    dataset = HydraflowRunCollectionDataset(path=f"{server.url}/mlruns", index=index)
    first = dataset.preview()
    server.requests.clear()
    assert dataset.preview() == first
    assert sum(path.endswith("config.yaml") for path in server.requests) == n_again


def test_the_option_is_described() -> None:
    assert "index='a/b'" in repr(HydraflowRunCollectionDataset(path="mlruns", index="a/b"))


def is_eval(name: str) -> bool:
    return name.startswith("eval")


@pytest.mark.parametrize(
    ("experiment_names", "expected"),
    [
        ("train_*", 29),
        ("eval_digits", 2),
        (["train_digits_v2", "eval_*"], 7),
        ([], 0),
        (is_eval, 2),
        (f"{__name__}.is_eval", 2),
    ],
)
def test_experiment_names(sweep: Path, experiment_names: Any, expected: int) -> None:
    dataset = HydraflowRunCollectionDataset(path=sweep, experiment_names=experiment_names)
    assert len(dataset.load()) == expected


@pytest.mark.parametrize(
    "experiment_names", ["no.such.package", [f"{__name__}.is_eval"], ["eval_*", "train_digits_v3"]]
)
def test_a_name_that_does_not_exist_is_an_error(sweep: Path, experiment_names: Any) -> None:
    dataset = HydraflowRunCollectionDataset(
        path=sweep, experiment_names=experiment_names, on_error="warn"
    )
    message = r"experiment_names: there is no experiment '.*' in .*mlruns; "
    with pytest.raises(DatasetError, match=message) as raised:
        dataset.load()
    assert isinstance(raised.value.__cause__, NotFoundError)
    assert dataset.exists()  # of its name, there is the directory


def test_a_name_taken_for_a_callable_tells_how_to_write_it(sweep: Path) -> None:
    dataset = HydraflowRunCollectionDataset(
        path=sweep, experiment_names="__main__.no_such_name.either"
    )
    with pytest.raises(DatasetError, match=r"write \['__main__"):
        dataset.load()


def test_no_matching_experiment_is_logged_with_those_there_are(
    sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from_catalog(path=str(sweep), experiment_names="test_*").load()
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.message == (
        f"{sweep}: no experiment matches experiment_names='test_*'; found 'eval_digits', "
        "'train_digits_v1', 'train_digits_v2'"
    )


def test_filters(sweep: Path) -> None:
    filters = ["status == FINISHED", "training.learning_rate < 0.1", "metrics.accuracy > 0.9"]
    runs = from_catalog(path=str(sweep), filters=filters).load()
    assert 0 < len(runs) < 31
    assert all(accuracy > 0.9 for accuracy in runs.to_list("metrics.accuracy"))


@pytest.mark.parametrize("n_jobs", [0, 1, 2, -1])
def test_n_jobs(sweep: Path, n_jobs: int) -> None:
    runs = from_catalog(path=str(sweep), n_jobs=n_jobs).load()
    assert runs.to_list("run_id") == from_catalog(path=str(sweep)).load().to_list("run_id")


@pytest.fixture
def broken(tracking_dir: TrackingDir) -> Path:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "good", "a: 1\n")
    tracking_dir.add_run(experiment, "list", "- 1\n")
    tracking_dir.add_run(experiment, "tab", "a:\n\tb: 1\n")
    write(tracking_dir.root / "2" / "meta.yaml", "- 1\n")
    return tracking_dir.root


@pytest.mark.parametrize("n_jobs", [0, 2])
def test_on_error_raise_names_every_failure(broken: Path, n_jobs: int) -> None:
    with pytest.raises(DatasetError) as caught:
        from_catalog(path=str(broken), n_jobs=n_jobs).load()
    assert isinstance(caught.value.__cause__, RunLoadError)
    text = str(caught.value)
    assert "3 of 4 runs and experiments could not be read" in text
    for name in ("1/list/", "1/tab/", "/2"):
        assert name in text


def test_on_error_warn_logs_each_and_counts_them(
    broken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = from_catalog(path=str(broken), on_error="warn").load()
    assert runs.to_list("run_id") == ["good"]
    messages = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len([m for m in messages if m.startswith("skipped: ")]) == 3
    assert "skipped 3 of 4 runs and experiments that could not be read" in messages


def test_filters_on_the_parent(tracking_dir: TrackingDir, sweep: Path) -> None:
    experiment = tracking_dir.add_experiment("train")
    for name in ("a", "b"):
        run_dir = tracking_dir.add_run(experiment, name)
    write(run_dir / "tags/mlflow.parentRunId", "a")

    def find(path: Path, text: str) -> list[str]:
        runs = HydraflowRunCollectionDataset(path=path, filters=[text]).load()
        return runs.to_list("run_id")

    assert find(tracking_dir.root, "parent_run_id == null") == ["a"]
    assert find(tracking_dir.root, "parent_run_id == a") == ["b"]
    assert find(tracking_dir.root, "parent_run_id != null") == ["b"]
    assert len(find(sweep, "parent_run_id == null")) == 31


def test_failing_filter_follows_on_error(sweep: Path) -> None:
    def fail(artifacts_dir: Path) -> None:
        raise OSError("disk gone")

    options: dict[str, Any] = {"path": sweep, "impl": fail, "filters": ["score > 1"]}
    with pytest.raises(
        DatasetError, match=r"31 of 31 runs and experiments could not be read(.|\n)*disk gone"
    ):
        HydraflowRunCollectionDataset(**options).load()
    assert len(HydraflowRunCollectionDataset(**options, on_error="warn").load()) == 0


@pytest.fixture
def site(tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]) -> WebServer:
    """Serve three runs with a metric."""
    experiment = tracking_dir.add_experiment("train")
    for name in "abc":
        tracking_dir.add_run(experiment, name, "x: 1\n", {"loss": "1 0.5 0\n"})
    return serve(tracking_dir.root)


@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize(
    ("status", "message"), [(403, "access denied"), (503, "503"), (401, "access denied")]
)
def test_what_is_denied_or_unreachable_is_never_a_skipped_run(
    site: WebServer, no_waiting: None, on_error: str, status: int, message: str
) -> None:
    site.answers = {"/b/metrics/loss": [status] * 99, "/b/metrics/": [status] * 99}
    dataset = from_catalog(path=site.url, filters=["metrics.loss < 1"], on_error=on_error)
    with pytest.raises(DatasetError) as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, StorageError)
    assert "filter 'metrics.loss < 1': cannot " in str(caught.value)
    assert f"{site.url}/1/b/metrics" in str(caught.value)
    assert message in str(caught.value)
    site.answers = {}
    assert len(dataset.load()) == 3


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_denied_fact_is_never_a_skipped_run(
    site: WebServer, no_waiting: None, on_error: str
) -> None:
    site.answers = {"/b/meta.yaml": [403] * 99}
    dataset = from_catalog(path=site.url, filters=["status == FINISHED"], on_error=on_error)
    with pytest.raises(DatasetError, match=r"filter 'status == FINISHED': .*b/meta.yaml'.*denied"):
        dataset.load()


def test_what_an_implementation_is_denied_is_never_a_skipped_run(
    site: WebServer, no_waiting: None
) -> None:
    def read(artifacts_dir: Path) -> Any:
        return SimpleNamespace(score=len((artifacts_dir / ".hydra/config.yaml").read_text()))

    def make_dataset(impl: Any) -> HydraflowRunCollectionDataset:
        return HydraflowRunCollectionDataset(
            path=site.url, impl=impl, filters=["score > 1"], on_error="warn"
        )

    assert len(make_dataset(read).load()) == 3
    site.answers = {"/b/artifacts/model.txt": [403] * 99}

    def read_model(artifacts_dir: Path) -> Any:
        return (artifacts_dir / "model.txt").read_text()

    with pytest.raises(DatasetError, match=r"filter 'score > 1': (.|\n)*denied"):
        make_dataset(read_model).load()


def test_what_is_malformed_or_absent_is_a_skipped_run(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    def read(artifacts_dir: Path) -> Any:
        return SimpleNamespace(score=int((artifacts_dir / "score.txt").read_text()))

    experiment = tracking_dir.add_experiment("train")
    for name, score in (("a", "3"), ("b", "three"), ("c", None)):
        run_dir = tracking_dir.add_run(experiment, name)
        if score is not None:
            write(run_dir / "artifacts/score.txt", score)
    options: dict[str, Any] = {"impl": read, "filters": ["score > 1"], "on_error": "warn"}
    runs = HydraflowRunCollectionDataset(path=tracking_dir.root, **options).load()
    assert runs.to_list("run_id") == ["a"]
    assert "skipped 2 of 3 runs and experiments that could not be read" in caplog.messages


def test_deleted_runs(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a")
    tracking_dir.add_run(experiment, "b", lifecycle_stage="deleted")
    path = str(tracking_dir.root)
    assert from_catalog(path=path).load().to_list("run_id") == ["a"]
    assert len(from_catalog(path=path, include_deleted=True).load()) == 2


def test_a_run_that_just_finished_is_seen(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    dataset = from_catalog(path=str(tracking_dir.root))
    assert len(dataset.load()) == 0
    tracking_dir.add_run(experiment, "a")
    assert len(dataset.load()) == 1


@pytest.mark.parametrize("remote", [False, True])
def test_deleted_runs_are_left_out_where_they_are_known(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "a", "lr: 1")
    tracking_dir.add_run(experiment, "b", "lr: 1", lifecycle_stage="deleted")
    monkeypatch.setattr(LocalStorage, "is_remote", remote)

    def load(**options: Any) -> list[str]:
        dataset = HydraflowRunCollectionDataset(path=tracking_dir.root, **options)
        return dataset.load().to_list("run_id")

    assert load() == (["a", "b"] if remote else ["a"])
    assert load(filters=["status == FINISHED"]) == ["a"]
    assert load(include_deleted=False) == ["a"]
    assert load(include_deleted=True) == ["a", "b"]
    assert load(include_deleted=True, filters=["status == FINISHED"]) == ["a", "b"]


def test_missing_directory(tmp_path: Path) -> None:
    dataset = from_catalog(path=str(tmp_path / "nowhere"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"there is no directory '.*nowhere'"):
        dataset.load()


def test_exists(publish: Callable[[Path], str], sweep: Path) -> None:
    location = publish(sweep)
    assert from_catalog(path=location).exists()


def test_preview_looks_at_few_of_many_runs(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    for number in range(150):
        name = f"e{number // 75}"
        experiment = tracking_dir.root / str(1 + number // 75)
        if not experiment.exists():
            tracking_dir.add_experiment(name, experiment.name)
        tracking_dir.add_run(experiment, f"run{number}", f"seed: {number}\n")
    assert len(from_catalog(path=str(tracking_dir.root)).preview(nrows=3)["data"]) == 3
    assert len(files_read.paths) == 2 + 3 + 3  # names, facts and configurations of three runs


# What is said of the steps --------------------------------------------------------------

STEPS = (
    "{path}: 31 runs of 3 experiments, 30 after 'status == FINISHED', "
    "{count} after 'metrics.accuracy > {limit}'"
)


@pytest.mark.parametrize(("limit", "count", "level"), [(0.95, 13, "INFO"), (1, 0, "WARNING")])
def test_each_filter_says_how_many_runs_it_left(
    sweep: Path, caplog: pytest.LogCaptureFixture, limit: float, count: int, level: str
) -> None:
    filters = ["status == FINISHED", f"metrics.accuracy > {limit}"]
    dataset = from_catalog(path=str(sweep), filters=filters)
    with caplog.at_level(logging.INFO, "kedro"):
        assert len(dataset.load()) == count
    (record,) = [r for r in caplog.records if "experiments" in r.getMessage()]
    assert record.getMessage() == STEPS.format(path=sweep, limit=limit, count=count)
    assert record.levelname == level
    assert record.name.startswith("kedro.")  # whose INFO Kedro shows by default


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, "{root}: 0 runs of 2 experiments, without 3 that were deleted"),
        ("a", "{root}: 0 runs of one experiment, without 3 that were deleted"),
        ("b", "{root}: 0 runs of one experiment"),
        ("c*", "{root}: no experiment matches experiment_names='c*'; found 'a', 'b'"),
    ],
)
def test_an_empty_search_is_one_warning(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture, names: Any, message: str
) -> None:
    experiment = tracking_dir.add_experiment("a")
    tracking_dir.add_experiment("b", "2")
    for number in range(3):
        tracking_dir.add_run(experiment, f"r{number}", lifecycle_stage="deleted")
    options = {} if names is None else {"experiment_names": names}
    assert len(from_catalog(path=str(tracking_dir.root), **options).load()) == 0
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [message.format(root=tracking_dir.root)]


def test_runs_without_a_configuration_are_counted(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("a")
    for name, config in {"r0": "x: 1\n", "r1": None, "r2": None}.items():
        tracking_dir.add_run(experiment, name, config)
    with caplog.at_level(logging.INFO, "kedro"):
        from_catalog(path=str(tracking_dir.root), filters=["run_id != r2"]).load()
    assert caplog.messages[-1] == (
        f"{tracking_dir.root}: 3 runs of one experiment, 2 after 'run_id != r2', "
        "1 of those read have no configuration"
    )


def test_fewer_runs_than_expected_are_an_error(sweep: Path) -> None:
    options = {"path": str(sweep), "filters": ["status == FINISHED", "metrics.accuracy > 1"]}
    expected = f"min_runs=1 or more, found {STEPS.format(path=sweep, limit=1, count=0)}"
    with pytest.raises(DatasetError) as raised:
        from_catalog(**options, min_runs=1).load()
    assert expected in str(raised.value)
    assert len(from_catalog(path=str(sweep), min_runs=31).load()) == 31
