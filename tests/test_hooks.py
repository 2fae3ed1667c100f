from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks
from kedro.io import CachedDataset, DataCatalog, SharedMemoryDataCatalog
from kedro.pipeline import node, pipeline
from kedro.runner import AbstractRunner, ParallelRunner, SequentialRunner, ThreadRunner

import kedro_hydraflow
from kedro_hydraflow import HydraflowRunCollectionDataset, ProvenanceHook, Run, iter_run_dirs
from kedro_hydraflow.digests import combine_digests, make_digests
from kedro_hydraflow.errors import OptionError
from tests.conftest import SWEEP, TrackingDir, WebServer
from tests.projects import BEST, read_provenance, run_kedro, write_project

RUN_ID = "2026-11-27T01.53.39.644Z"
SECRET = "S3CRET"


def count(*loaded: Any) -> int:
    return len(loaded)


def count_in_parts(runs: Any) -> Iterator[int]:
    yield len(runs)


def fail(*loaded: Any) -> None:
    raise ValueError("this node always fails")


def run(
    project: Path,
    catalog: Any,
    *nodes: Any,
    runner: AbstractRunner | None = None,
    hook: ProvenanceHook | None = None,
    **run_params: Any,
) -> None:
    """Run a pipeline with the hook, as a session of Kedro does."""
    manager = _create_hook_manager()
    _register_hooks(manager, [hook or ProvenanceHook()])
    pipe = pipeline(list(nodes))
    run_params = {"run_id": RUN_ID, "project_path": project.as_posix(), **run_params}
    if isinstance(catalog, dict):
        catalog_class = (
            SharedMemoryDataCatalog if isinstance(runner, ParallelRunner) else DataCatalog
        )
        catalog = catalog_class.from_config(catalog)
    arguments = {"run_params": run_params, "pipeline": pipe, "catalog": catalog}
    manager.hook.before_pipeline_run(**arguments)
    try:
        result = (runner or SequentialRunner()).run(pipe, catalog, manager, run_id=RUN_ID)
    except Exception as error:
        manager.hook.on_pipeline_error(error=error, **arguments)
        raise
    manager.hook.after_pipeline_run(run_result=result, **arguments)


def entry(path: object, **options: Any) -> dict[str, Any]:
    type_ = "kedro_hydraflow.HydraflowRunCollectionDataset"
    return {"type": type_, "path": str(path), **options}


# Projects that Kedro runs ------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def run_project(project: Path) -> Iterator[Callable[..., tuple[dict[str, Any], str]]]:
    """Run the project, and return what the hook has written, and what Kedro has."""

    def start(*arguments: str, fails: bool = False, **how: Any) -> tuple[dict[str, Any], str]:
        process = run_kedro(project, *arguments, **how)
        assert bool(process.returncode) == fails, process.stdout
        return read_provenance(project), process.stdout

    yield start
    for file in (project / "data/provenance").glob("*"):
        file.unlink()


@pytest.mark.parametrize(
    ("runner", "start_method", "arguments"),
    [
        ("SequentialRunner", None, []),
        ("SequentialRunner", None, ["--async", "--nodes=count,inner.count"]),  # no generator
        ("ThreadRunner", None, []),
        ("ParallelRunner", "fork", []),
        ("ParallelRunner", "spawn", ["--async", "--nodes=count,inner.count"]),
        ("ParallelRunner", "forkserver", []),
    ],
)
def test_each_runner(
    run_project: Callable[..., Any], runner: str, start_method: str | None, arguments: list[str]
) -> None:
    content, output = run_project(f"--runner={runner}", *arguments, start_method=start_method)
    of_eval, of_train = (
        Run.load(iter_run_dirs(SWEEP, names, filters="status == FINISHED"))
        for names in ("eval_*", "train_*")
    )
    assert content["outcome"] == "succeeded"
    assert content["parameters"]["runner"].endswith(f".{runner}")
    for name, runs in (("eval_runs", of_eval), ("train_runs", of_train)):
        digests = make_digests(runs)
        assert content["entries"][name]["loads"] == [  # though two nodes load eval_runs
            {
                "n_runs": len(runs),
                "digest": combine_digests(digests),
                "runs": dict(zip(runs.to_list("run_id"), digests, strict=True)),
            }
        ]
    assert list(content["entries"]) == ["eval_runs", "train_runs"]
    assert f"{content['run_id']}.json: which runs 2 entries gave" in output


@pytest.mark.parametrize("runner", ["SequentialRunner", "ParallelRunner"])
def test_a_pipeline_that_fails(run_project: Callable[..., Any], runner: str) -> None:
    content, output = run_project("--pipeline=failing", f"--runner={runner}", fails=True)
    assert "this node always fails" in output
    assert content["outcome"] == "failed"
    parameters = content["parameters"]
    assert parameters.get("pipeline_names", [parameters.get("pipeline_name")]) == ["failing"]
    entries = content["entries"]
    assert [load["n_runs"] for load in entries["eval_runs"]["loads"]] == [2]
    assert [list(load["runs"]) for load in entries["best@kedro"]["loads"]] == [[BEST]]


def test_values_of_runtime_parameters_are_not_written(run_project: Callable[..., Any]) -> None:
    content, _ = run_project(f"--params=password={SECRET},lr=0.1", "--nodes=count")
    assert content["parameters"]["runtime_params"] == ["lr", "password"]
    assert content["parameters"]["node_names"] == ["count"]
    assert SECRET not in json.dumps(content)


# The file ----------------------------------------------------------------------------------


def test_the_file(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(2, lambda i: "name: ä\n")
    config = entry(tracking_dir.root, filters=["i >= 0"], checkpoint="seen.json", metadata=1)
    run(tmp_path, {"runs": config}, node(count, "runs", "n"), env="prod", tags=("a",))
    text = (tmp_path / f"data/provenance/{RUN_ID}.json").read_text("ascii")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    first, second = make_digests(runs)
    times = r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"'
    assert (
        re.sub(times, '"…"', text)
        == f"""{{
 "format": "kedro-hydraflow provenance 1",
 "run_id": "{RUN_ID}",
 "outcome": "succeeded",
 "started": "…",
 "ended": "…",
 "kedro": "{__import__("kedro").__version__}",
 "kedro_hydraflow": "{kedro_hydraflow.__version__}",
 "parameters": {{
  "env": "prod",
  "tags": [
   "a"
  ]
 }},
 "entries": {{
  "runs": {{
   "type": "kedro_hydraflow.datasets.run_collection_dataset.HydraflowRunCollectionDataset",
   "options": {{
    "path": {json.dumps(str(tracking_dir.root))},
    "filters": [
     "i >= 0"
    ],
    "n_jobs": 0,
    "progress": false,
    "on_error": "raise",
    "checkpoint": "seen.json"
   }},
   "loads": [
    {{
     "n_runs": 2,
     "digest": "{combine_digests([first, second])}",
     "runs": {{
      "r000": "{first}",
      "r001": "{second}"
     }}
    }}
   ]
  }}
 }}
}}
"""
    )


def read(project: Path) -> dict[str, Any]:
    entries: dict[str, Any] = read_provenance(project)["entries"]
    return entries


def test_loads_that_differ_are_all_in_it(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "b")
    add = lambda runs: tracking_dir.add_run(experiment, "a") and len(runs)  # noqa: E731
    again = lambda runs, n: tracking_dir.add_run(experiment, "c", status=4) and n  # noqa: E731
    run(
        tmp_path,
        {"runs": entry(tracking_dir.root)},
        node(add, "runs", "n1"),
        node(again, ["runs", "n1"], "n2"),
        node(count, ["runs", "n2"], "n3"),
    )
    loads = read(tmp_path)["runs"]["loads"]
    assert [list(load["runs"]) for load in loads] == [["b"], ["a", "b"], ["a", "b", "c"]]


def test_entries_without_runs(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(1)
    empty = entry(tracking_dir.root, filters="i > 5")
    catalog = {"empty": empty, "never": empty, "other": {"type": "MemoryDataset", "data": 1}}
    with pytest.raises(ValueError, match="always fails"):
        run(
            tmp_path,
            catalog,
            node(fail, ["empty", "other"], "failed"),
            node(count, ["never", "failed"], "n"),
        )
    entries = read(tmp_path)
    assert entries["empty"]["loads"] == [{"n_runs": 0, "digest": combine_digests([]), "runs": {}}]
    assert entries["never"]["loads"] == []
    assert list(entries) == ["empty", "never"]


def test_a_lazy_frame(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(1)
    type_ = "kedro_hydraflow.HydraflowFrameDataset"
    frame = {"type": type_, "path": str(tracking_dir.root), "schema": {"i": "Int64"}}
    catalog = {"frame": frame, "lazy": {**frame, "lazy": True}}
    run(tmp_path, catalog, node(count, ["frame", "lazy"], "n"))
    entries = read(tmp_path)
    assert entries["lazy"]["note"] == "runs are read when the frame is collected"
    assert entries["lazy"]["loads"] == []
    assert "note" not in entries["frame"]
    assert list(entries["frame"]["loads"][0]["runs"]) == ["r000"]


def test_generators_and_datasets_in_others(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(1)
    inner = HydraflowRunCollectionDataset(path=str(tracking_dir.root))
    catalog = DataCatalog({"cached": CachedDataset(inner)})
    run(tmp_path, catalog, node(count_in_parts, "cached", "n"), node(count, "cached", "m"))
    found = read(tmp_path)["cached"]
    assert found["type"].endswith(".HydraflowRunCollectionDataset")
    assert [list(load["runs"]) for load in found["loads"]] == [["r000"]]


def test_an_artifact_dataset(tmp_path: Path, sweep: Path) -> None:
    config = {
        "type": "kedro_hydraflow.HydraflowArtifactDataset",
        "path": str(sweep),
        "best_by": "metrics.accuracy",
        "mode": "max",
        "artifact": ".hydra/config.yaml",
        "dataset": "text.TextDataset",
    }
    run(tmp_path, {"best": config}, node(count, "best", "n"))
    found = read(tmp_path)["best"]
    assert found["options"]["best_by"] == "metrics.accuracy"
    assert [list(load["runs"]) for load in found["loads"]] == [[BEST]]


def test_a_pipeline_without_entries_of_this_package_has_no_file(tmp_path: Path) -> None:
    run(tmp_path, {"other": {"type": "MemoryDataset", "data": 1}}, node(count, "other", "n"))
    assert list(tmp_path.iterdir()) == []


def test_copies_of_a_run(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    for number, lr in enumerate([1, 1, 2], 1):
        experiment = tracking_dir.add_experiment(f"train_{number}", str(number))
        tracking_dir.add_run(experiment, "same", f"lr: {lr}\n")
    run(tmp_path, {"runs": entry(tracking_dir.root)}, node(count, "runs", "n"))
    (load,) = read(tmp_path)["runs"]["loads"]
    first, second, third = make_digests(Run.load(iter_run_dirs(tracking_dir.root)))
    assert first == second
    assert load["n_runs"] == 3
    assert load["digest"] == combine_digests([first, second, third])
    assert load["runs"] == {"same": " ".join(sorted([first, third]))}


def test_credentials_are_not_in_it(tmp_path: Path, serve: Callable[[Path], WebServer]) -> None:
    pytest.importorskip("aiohttp")
    server = serve(SWEEP.parent)
    config = entry(
        f"{server.url.replace('//', f'//ann:{SECRET}@')}/mlruns",
        experiment_names="eval_*",
        credentials={"headers": {"X-Api-Key": SECRET}},
        fs_args={"client_kwargs": {"headers": {"X-Token": SECRET}}},
    )
    other = {
        "type": "kedro_hydraflow.HydraflowFrameDataset",
        "tracking_uri": f"postgresql://ann:{SECRET}@host/db?password={SECRET}",
        "artifact_root": f"https://{SECRET}@host/artifacts?sig={SECRET}",
        "index": f"s3://{SECRET}:{SECRET}@bucket/index",
    }
    with pytest.raises(ValueError, match="always fails"):
        run(
            tmp_path,
            {"runs": config, "other": other},
            node(fail, "runs", "failed"),
            node(count, ["other", "failed"], "n"),
            runtime_params={"password": SECRET},
        )
    text = next((tmp_path / "data/provenance").iterdir()).read_text()
    content = json.loads(text)
    assert next(iter(content["entries"]["runs"]["loads"][0]["runs"])).startswith("2ca54cc6")
    assert content["entries"]["runs"]["options"]["path"] == f"{server.url}/mlruns"
    assert content["entries"]["other"]["options"]["tracking_uri"] == "postgresql://host/db"
    assert SECRET not in text


# What cannot be written --------------------------------------------------------------------


def test_the_pipeline_goes_on_if_the_file_cannot_be_written(
    tmp_path: Path, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_runs(1)
    (tmp_path / "data").write_text("this is no folder")
    run(tmp_path, {"runs": entry(tracking_dir.root)}, node(count, "runs", "n"))
    (message,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert message.startswith(f"{RUN_ID}.json cannot be written: cannot write '{tmp_path}/data/")
    assert "File exists" in message or "Not a directory" in message


def test_the_pipeline_goes_on_if_a_run_cannot_be_read_again(
    tmp_path: Path, tracking_dir: TrackingDir
) -> None:
    tracking_dir.add_runs(2)
    meta = tracking_dir.root / "1/r001/meta.yaml"
    meta.write_text(meta.read_text().replace("start_time: 1", "start_time: x1"))
    run(tmp_path, {"runs": entry(tracking_dir.root)}, node(count, "runs", "n"))
    (load,) = read(tmp_path)["runs"]["loads"]
    assert load["n_runs"] == 2
    assert load["digest"] is None
    assert load["runs"] == {"r000": None, "r001": None}
    assert load["problem"].startswith(f"{meta.parent}: expected start_time in milliseconds")


def test_the_pipeline_goes_on_if_its_loads_cannot_be_recorded(
    tmp_path: Path,
    tracking_dir: TrackingDir,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracking_dir.add_runs(1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    run(tmp_path, {"runs": entry(tracking_dir.root)}, node(count, "runs", "n"))
    (message,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert message.startswith(f"{RUN_ID}: it will not be recorded which runs are loaded: FileNotF")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("path", ["", None, 3])
def test_a_path_that_is_none(path: Any) -> None:
    with pytest.raises(OptionError, match=r"^path: expected a path or URL, found "):
        ProvenanceHook(path)


# Where it is written -----------------------------------------------------------------------


def test_a_folder_outside_the_project(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(1)
    hook = ProvenanceHook(tmp_path / "elsewhere")
    run(tmp_path / "p", {"runs": entry(tracking_dir.root)}, node(count, "runs", "n"), hook=hook)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == [f"{RUN_ID}.json"]


def test_what_is_loaded_after_the_pipeline_is_not_recorded(
    tmp_path: Path, tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_runs(1)
    catalog = DataCatalog.from_config({"runs": entry(tracking_dir.root)})
    run(tmp_path, catalog, node(count, "runs", "n"))
    tracking_dir.add_run(tracking_dir.root / "1", "later")
    assert len(catalog.load("runs")) == 2
    assert [list(load["runs"]) for load in read(tmp_path)["runs"]["loads"]] == [["r000"]]
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_a_url(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    import fsspec

    tracking_dir.add_runs(1)
    url = f"memory://provenance-{tmp_path.name}"
    hook = ProvenanceHook(url)
    run(tmp_path, {"runs": entry(tracking_dir.root)}, node(count, "runs", "n"), hook=hook)
    with fsspec.open(f"{url}/{RUN_ID}.json") as file:
        assert list(json.load(file)["entries"]) == ["runs"]
    assert not (tmp_path / "data").exists()


def test_a_repr_has_no_credentials() -> None:
    hook = ProvenanceHook(f"https://ann:{SECRET}@host/provenance")
    assert repr(hook) == "ProvenanceHook('https://host/provenance')"


def test_pipelines_at_the_same_time(tmp_path: Path, tracking_dir: TrackingDir) -> None:
    """One hook serves all sessions of a process, also one within another."""
    tracking_dir.add_runs(1)
    hook = ProvenanceHook()
    catalog = {"runs": entry(tracking_dir.root)}

    def run_another(runs: Any) -> int:
        run(tmp_path, catalog, node(count, "runs", "n"), hook=hook, run_id="another/one")
        return len(runs)

    run(tmp_path, catalog, node(run_another, "runs", "n"), hook=hook, runner=ThreadRunner())
    files = sorted((tmp_path / "data/provenance").iterdir())
    assert [file.name for file in files] == [f"{RUN_ID}.json", "another_one.json"]
    for file in files:
        (load,) = json.loads(file.read_text())["entries"]["runs"]["loads"]
        assert load["n_runs"] == 1


# MLflow, of which tests/integration has the real one ---------------------------------------


def test_nothing_is_logged_without_an_active_run_of_mlflow(
    tmp_path: Path,
    tracking_dir: TrackingDir,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mlflow = types.ModuleType("mlflow")
    mlflow.active_run = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    tracking_dir.add_runs(1)
    run(tmp_path, {"runs": entry(tracking_dir.root)}, node(count, "runs", "n"))
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


# Several at once -----------------------------------------------------------------------------


def read_n_runs(folder: Path) -> list[list[int]]:
    """Return the number of runs of each load of the entry ``runs``, by file."""
    contents = [json.loads(file.read_text("utf-8")) for file in sorted(folder.iterdir())]
    return [[load["n_runs"] for load in c["entries"]["runs"]["loads"]] for c in contents]


def test_two_hooks_write_the_same(tmp_path: Path) -> None:
    manager = _create_hook_manager()
    _register_hooks(manager, [ProvenanceHook(), ProvenanceHook(tmp_path / "copy")])
    pipe = pipeline([node(count, "runs", "n")])
    catalog = DataCatalog.from_config({"runs": entry(SWEEP)})
    arguments = {
        "run_params": {"run_id": RUN_ID, "project_path": tmp_path.as_posix()},
        "pipeline": pipe,
        "catalog": catalog,
    }
    manager.hook.before_pipeline_run(**arguments)
    result = SequentialRunner().run(pipe, catalog, manager, run_id=RUN_ID)
    manager.hook.after_pipeline_run(run_result=result, **arguments)
    assert read_n_runs(tmp_path / "data/provenance") == read_n_runs(tmp_path / "copy") == [[31]]


def test_pipelines_with_the_same_id(tmp_path: Path) -> None:
    hook = ProvenanceHook()
    parameters = {"run_id": RUN_ID, "project_path": tmp_path.as_posix()}
    pipe = pipeline([node(count, "runs", "n")])
    catalogs = [
        DataCatalog.from_config({"runs": entry(SWEEP, experiment_names=names)})
        for names in ("eval_*", "train_*")
    ]
    for catalog in catalogs:
        hook.before_pipeline_run(run_params=parameters, pipeline=pipe, catalog=catalog)
    for catalog in catalogs:
        catalog.load("runs")
        hook.after_pipeline_run(run_params=parameters, catalog=catalog)
    folder = tmp_path / "data/provenance"
    assert sorted(file.name for file in folder.iterdir()) == [
        f"{RUN_ID}-2.json",
        f"{RUN_ID}.json",
    ]
    assert read_n_runs(folder) == [[29], [2]]


def test_records_that_others_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def clean(runs: Any) -> int:
        for folder in (tmp_path / "temporary").iterdir():
            shutil.rmtree(folder)
        return len(runs)

    run(tmp_path, {"runs": entry(SWEEP)}, node(clean, "runs", "n"))
    assert "the records of which runs were loaded cannot be read" in caplog.text
    assert not (tmp_path / "data").exists()


def test_home_and_variables_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REPORTS", str(tmp_path / "reports"))
    for path in ("~/runs", "$REPORTS/runs"):
        run(tmp_path, {"runs": entry(SWEEP)}, node(count, "runs", "n"), hook=ProvenanceHook(path))
    for folder in ("home", "reports"):
        assert len(list((tmp_path / folder / "runs").iterdir())) == 1
