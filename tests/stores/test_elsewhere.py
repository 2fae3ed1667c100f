"""Artifacts of a file store that are not in the run directories."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from upath import UPath

from kedro_hydraflow import (
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_run_dirs,
    iter_runs,
)
from kedro_hydraflow.errors import MissingPackageError, RunLoadError, StorageError, UnreachableError
from kedro_hydraflow.run_info import get_artifacts
from tests.conftest import TrackingDir, WebServer, replace_meta, write

A, B = "a" * 32, "b" * 32


class Project:
    """A directory with a file store in ``mlruns``, whose runs have their artifacts elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tracking = TrackingDir(folder / "mlruns")
        self.experiment = self.tracking.add_experiment("train", "5")

    def add_run(
        self, run_id: str, seed: int, artifacts: Path | None, uri: str, **meta: Any
    ) -> Path:
        """Write a run and, at a path, its artifacts; by default they are in place."""
        run_dir = self.tracking.add_run(
            self.experiment, run_id, config=None, artifact_uri=uri, **meta
        )
        artifacts = artifacts or run_dir / "artifacts"
        write(artifacts / ".hydra/config.yaml", f"seed: {seed}")
        write(artifacts / ".hydra/overrides.yaml", f"- seed={seed}")
        write(artifacts / "text.txt", f"text {seed}")
        return run_dir


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def check(location: Any, seed: int = 7, **options: Any) -> None:
    """Check all ways to read the one run of a tracking directory."""
    (run,) = Run.load(iter_run_dirs(location, **options))
    assert (run["seed"], run.path("text.txt").read_text()) == (seed, f"text {seed}")
    assert run.info.status == "FINISHED"
    copied = pickle.loads(pickle.dumps(run))
    assert (copied["seed"], copied.path("text.txt").read_text()) == (seed, f"text {seed}")
    assert run.overrides == [f"seed={seed}"]
    (run,) = Run.load(iter_run_dirs(location, **options), results=".hydra/config.yaml")
    assert (run["results.seed"], run["overrides"]) == (seed, [f"seed={seed}"])
    (batch,) = iter_runs(location, **options)
    assert batch.to_list("seed") == [seed]
    (path,) = iter_artifact_paths(location, "text.txt", **options)
    assert path.read_text() == f"text {seed}"
    (artifacts_dir,) = iter_artifacts_dirs(location, **options)
    assert sorted(path.name for path in artifacts_dir.iterdir()) == [".hydra", "text.txt"]
    dataset = HydraflowRunCollectionDataset(path=location, **options)
    assert dataset.load().to_list("seed") == [seed]
    if not options:
        run_dir = run.info.run_dir
        assert Run(run_dir).path("text.txt").read_text() == f"text {seed}"
        assert Run(run_dir)["seed"] == seed
        assert Run(run_dir).overrides == [f"seed={seed}"]
        assert Run(run_dir, results=".hydra/config.yaml").results == {"seed": seed}
        assert Run.load([run_dir])[0].path("text.txt").read_text() == f"text {seed}"
        loaded = HydraflowRunDataset(filepath=run_dir).load()
        assert (loaded["seed"], loaded.path("text.txt").read_text()) == (seed, f"text {seed}")


# Beside the tracking directory -----------------------------------------------------------

RECORDED = {
    "server": ("mlflow-artifacts:/5/{run_id}/artifacts", "mlartifacts/5"),
    "server, own path": (
        "mlflow-artifacts:/team/custom/{run_id}/artifacts",
        "mlartifacts/team/custom",
    ),
    "server, odd names": (
        "mlflow-artifacts:/team b/c%d/{run_id}/artifacts",
        "mlartifacts/team b/c%d",
    ),
    "workspace": (
        "mlflow-artifacts:/workspaces/w/5/{run_id}/artifacts",
        "mlartifacts/workspaces/w/5",
    ),
    "server with a host": ("mlflow-artifacts://host:5000/5/{run_id}/artifacts", "mlartifacts/5"),
    "moved": ("/gone/project/store/5/{run_id}/artifacts", "store/5"),
    "file URI": ("file:///gone/my%20project/all%20runs/5/{run_id}/artifacts", "all runs/5"),
    "bucket": ("s3://gone/team/store/5/{run_id}/artifacts", "team/store/5"),
    "no experiment ID": ("/gone/my-store/{run_id}/artifacts", "my-store"),
    "below the tracking directory": ("/gone/store/5/{run_id}/artifacts", "mlruns/store/5"),
    "Windows": ("file:///C:/Users/me/store/5/{run_id}/artifacts", "store/5"),
    "copied to the default": ("/gone/mlruns/5/{run_id}/artifacts", "mlartifacts/5"),
}


@pytest.mark.parametrize(("uri", "folder"), RECORDED.values(), ids=RECORDED)
@pytest.mark.parametrize("has_folder", [True, False])
def test_artifacts_beside_the_tracking_directory(
    project: Project, publish: Callable[[Path], str], uri: str, folder: str, has_folder: bool
) -> None:
    artifacts = project.folder / folder / A / "artifacts"
    run_dir = project.add_run(A, 7, artifacts, uri.format(run_id=A))
    if not has_folder:
        (run_dir / "artifacts").rmdir()
    check(UPath(publish(project.folder)) / "mlruns")


def test_in_jobs(project: Project) -> None:
    uri = f"mlflow-artifacts:/5/{A}/artifacts"
    project.add_run(A, 7, project.folder / f"mlartifacts/5/{A}/artifacts", uri)
    runs = Run.load(iter_run_dirs(project.tracking.root), lambda path: path, n_jobs=2)
    assert (runs.to_list("seed"), runs[0].impl) == (
        [7],
        project.folder / f"mlartifacts/5/{A}/artifacts",
    )


def test_a_relative_tracking_directory(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri = f"mlflow-artifacts:/5/{A}/artifacts"
    project.add_run(A, 7, project.folder / f"mlartifacts/5/{A}/artifacts", uri)
    monkeypatch.chdir(project.folder)
    check("mlruns")
    (run,) = Run.load(iter_run_dirs("mlruns"))
    (path,) = iter_artifact_paths("mlruns", "text.txt")
    monkeypatch.chdir(tmp_path)
    assert run["seed"] == 7
    monkeypatch.chdir(project.folder)
    assert path.read_text() == run.path("text.txt").read_text() == "text 7"


# The recorded location -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "uri", "memory"])
def test_recorded_location_is_followed(
    project: Project, publish: Callable[[Path], str], tmp_path: Path, kind: str
) -> None:
    store = tmp_path / "slow disk/5"
    bucket = f"bucket-of-{tmp_path.name}"
    location = {"path": str(store), "uri": store.as_uri(), "memory": f"memory://{bucket}/5"}[kind]
    project.add_run(A, 7, store / A / "artifacts", f"{location}/{A}/artifacts")
    if kind == "memory":
        fsspec.filesystem("memory").put(str(store), f"/{bucket}/5", recursive=True)
        shutil.rmtree(store)
    check(publish(project.tracking.root))


def test_recorded_location_that_is_the_run_directory(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is written, the path of a run without a configuration stays as it was given."""
    run_dir = project.tracking.add_run(project.experiment, A, config=None)
    replace_meta(run_dir, artifact_uri=f"{run_dir.as_uri()}/artifacts")
    monkeypatch.chdir(project.folder)
    (run,) = Run.load(iter_run_dirs("mlruns"))
    assert run.path() == Path(f"mlruns/5/{A}/artifacts")


@pytest.mark.parametrize("uri", ["", "/gone/5/{run_id}/artifacts", "\0", "../../x", "artifacts"])
def test_without_artifacts_anywhere_they_are_in_place(
    project: Project, publish: Callable[[Path], str], uri: str
) -> None:
    run_dir = project.tracking.add_run(
        project.experiment, A, config=None, artifact_uri=uri.format(run_id=A)
    )
    location = publish(project.tracking.root)
    (run,) = Run.load(iter_run_dirs(location))
    assert run.cfg == {}
    assert get_artifacts(run.info).path.endswith(f"mlruns/5/{A}/artifacts")
    assert Run(run.info.run_dir).cfg == {}
    assert run_dir.name == A


# The same directories under other names ----------------------------------------------------

SPELLINGS = {
    "relative": (".", "mlruns"),
    "here": ("mlruns", "."),
    "above": ("mlruns/5", ".."),
    "down and up": (".", "mlruns/5/.."),
    "link beside": (".", "link"),
    "link in another directory": ("project", "mlruns"),
    "link above": (".", "../linked/mlruns"),
}


@pytest.mark.parametrize(("working_dir", "location"), SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("folder", ["mlartifacts/5", "mlartifacts/team/5"])
def test_the_run_directory_itself_is_not_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, working_dir: str, location: str, folder: str
) -> None:
    project = Project(tmp_path / "data")
    uri = f"mlflow-artifacts:{folder.removeprefix('mlartifacts')}/{A}/artifacts"
    project.add_run(A, 7, project.folder / folder / A / "artifacts", uri)
    (project.folder / "link").symlink_to("mlruns")
    (tmp_path / "linked").symlink_to("data")
    (project.folder / "project").mkdir()
    (project.folder / "project/mlruns").symlink_to(project.tracking.root)
    monkeypatch.chdir(project.folder / working_dir)
    check(location)


@pytest.mark.parametrize(
    "uri", ["mlflow-artifacts:/5/{run_id}/artifacts", "/gone/5/{run_id}/artifacts"]
)
def test_a_copy_beside_the_tracking_directory(
    project: Project, publish: Callable[[Path], str], uri: str
) -> None:
    """The empty run directory of the original is not taken for the artifacts."""
    project.add_run(A, 7, project.folder / f"mlartifacts/5/{A}/artifacts", uri.format(run_id=A))
    shutil.copytree(project.tracking.root, project.folder / "mlruns-backup")
    check(UPath(publish(project.folder)) / "mlruns-backup")


# In place wins ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".hydra/config.yaml", "text.txt"])
def test_artifacts_in_place_win(
    project: Project, publish: Callable[[Path], str], tmp_path: Path, name: str
) -> None:
    """So do those of a run without a configuration."""
    store = tmp_path / "store"
    uri = f"{store}/5/{A}/artifacts"
    run_dir = project.add_run(A, 1, store / f"5/{A}/artifacts", uri)
    write(run_dir / "artifacts" / name, "seed: 7")
    location = publish(project.tracking.root)
    for options in ({}, {"artifact_root": store}):
        (run,) = Run.load(iter_run_dirs(location, **options))
        assert run.get("seed", None) == (7 if name == ".hydra/config.yaml" else None)
        (path,) = iter_artifact_paths(location, name, **options)
        assert path.read_text() == run.path(name).read_text() == "seed: 7"


NO_ARTIFACTS = {
    ".gitkeep": "",
    ".DS_Store": "x",
    "Thumbs.db": "x",
    "desktop.ini": "[x]",
    "sub/.gitkeep": "",
    ".hydra/": None,
    "sub/": None,
    "sub/deeper/": None,
}


@pytest.mark.parametrize("name", NO_ARTIFACTS)
@pytest.mark.parametrize("where", ["in place", "beside"])
def test_what_is_no_artifact_hides_none(
    project: Project, publish: Callable[[Path], str], name: str, where: str
) -> None:
    """Neither in the run directory, nor in a directory that is looked into before."""
    uri = f"/gone/store/5/{A}/artifacts"
    run_dir = project.add_run(A, 7, project.folder / f"mlartifacts/5/{A}/artifacts", uri)
    folder = run_dir if where == "in place" else project.folder / "store/5" / A
    path = folder / "artifacts" / name
    if NO_ARTIFACTS[name] is None:
        path.mkdir(parents=True)
    else:
        (folder / "artifacts" / Path(name).parent).mkdir(parents=True, exist_ok=True)
        write(path, NO_ARTIFACTS[name] or "")
    check(UPath(publish(project.folder)) / "mlruns")


@pytest.mark.parametrize("name", ["sub/text.txt", ".hydra/overrides.yaml", "a/b/c/text.txt"])
def test_artifacts_in_folders_are_in_place(
    project: Project, publish: Callable[[Path], str], name: str
) -> None:
    uri = f"mlflow-artifacts:/5/{A}/artifacts"
    run_dir = project.add_run(A, 7, project.folder / f"mlartifacts/5/{A}/artifacts", uri)
    write(run_dir / "artifacts" / name, "- in=place")
    location = UPath(publish(project.folder)) / "mlruns"
    (path,) = iter_artifact_paths(location, name)
    assert path.read_text() == "- in=place"
    (run,) = Run.load(iter_run_dirs(location))
    assert (run.cfg, run.path(name).read_text()) == ({}, "- in=place")


def test_a_link_to_artifacts_is_one(project: Project, tmp_path: Path) -> None:
    """A broken one is not."""
    uri = f"mlflow-artifacts:/5/{A}/artifacts"
    run_dir = project.add_run(A, 7, project.folder / f"mlartifacts/5/{A}/artifacts", uri)
    link = run_dir / "artifacts/model"
    link.symlink_to(tmp_path / "models")
    check(project.tracking.root)
    write(tmp_path / "models/weights", "in place")
    (path,) = iter_artifact_paths(project.tracking.root, "model/weights")
    assert path.read_text() == "in place"
    link.unlink()
    link.symlink_to(".")
    assert list(iter_artifacts_dirs(project.tracking.root)) == [run_dir / "artifacts"]


def test_each_run_has_its_own_place(project: Project, publish: Callable[[Path], str]) -> None:
    server = "mlflow-artifacts:/5/{}/artifacts"
    project.add_run(A, 1, None, server.format(A))
    project.add_run(B, 2, project.folder / f"mlartifacts/5/{B}/artifacts", server.format(B))
    location = UPath(publish(project.folder)) / "mlruns"
    runs = Run.load(iter_run_dirs(location), config_class=None)
    assert runs.to_list("seed") == [1, 2]
    assert [run.path("text.txt").read_text() for run in runs] == ["text 1", "text 2"]
    assert [p.read_text() for p in iter_artifact_paths(location, "text.txt")] == [
        "text 1",
        "text 2",
    ]


# artifact_root ---------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["5/", ""])
@pytest.mark.parametrize("is_published", [True, False])
def test_artifact_root(
    project: Project, publish: Callable[[Path], str], tmp_path: Path, level: str, is_published: bool
) -> None:
    """Where the artifacts were recorded does not matter then, nor what is there."""
    store = project.folder / "store"
    recorded = tmp_path / "old/5"
    write(recorded / A / "artifacts/.hydra/config.yaml", "seed: 1")
    project.add_run(A, 7, store / f"{level}{A}/artifacts", f"{recorded}/{A}/artifacts")
    location = UPath(publish(project.folder))
    root = location / "store" if is_published else store
    check(location / "mlruns", artifact_root=root)
    runs = Run.load(iter_run_dirs(tracking_uri=str(project.tracking.root), artifact_root=str(root)))
    assert runs.to_list("seed") == [7] or not isinstance(root, Path)


def test_an_artifact_root_that_cannot_be_listed_is_an_error(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    project.tracking.add_run(project.experiment, "a" * 32, None)
    with pytest.raises(
        StorageError, match=r"artifact_root: .* a symbolic link in the path is broken"
    ):
        Run.load(iter_run_dirs(project.tracking.root, artifact_root=tmp_path / "broken"))


def test_artifact_root_without_the_run(
    project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    project.add_run(A, 1, store / f"5/{A}/artifacts", f"{store}/5/{A}/artifacts")
    (tmp_path / "other").mkdir()
    runs = Run.load(iter_run_dirs(project.tracking.root, artifact_root=tmp_path / "other"))
    assert runs[0].cfg == {}
    assert caplog.messages == [
        f"run {A} has no artifacts, so its configuration is empty. They were recorded at "
        f"'{store}/5/{A}/artifacts'; looked for {project.experiment}/{A}/artifacts/.hydra/"
        f"config.yaml and below artifact_root '{tmp_path}/other'. If they are elsewhere, give "
        "artifact_root"
    ]


@pytest.mark.parametrize("folder", ["team/custom", "custom", "5", "mlartifacts/team/custom"])
def test_artifact_root_with_the_recorded_path(
    project: Project, publish: Callable[[Path], str], folder: str
) -> None:
    uri = f"mlflow-artifacts:/team/custom/{A}/artifacts"
    if folder.startswith("mlartifacts"):
        uri = f"/srv/mlartifacts/team/custom/{A}/artifacts"
    project.add_run(A, 7, project.folder / "store" / folder / A / "artifacts", uri)
    (project.folder / "store/5" / A / "artifacts").mkdir(parents=True, exist_ok=True)
    location = UPath(publish(project.folder))
    check(location / "mlruns", artifact_root=location / "store")


# Nowhere ------------------------------------------------------------------------------------

LOST = {
    "server": "mlflow-artifacts:/5/{run_id}/artifacts",
    "server, own path": "mlflow-artifacts:/team/custom/{run_id}/artifacts",
    "mounted disk": "/nas/gone/5/{run_id}/artifacts",
    "file URI": "file:///nas/gone/5/{run_id}/artifacts",
    "unknown scheme": "dbfs:/databricks/mlflow/5/{run_id}/artifacts",
    "bucket": "memory://gone/5/{run_id}/artifacts",
}


@pytest.mark.parametrize("uri", LOST.values(), ids=LOST)
def test_artifacts_that_are_nowhere_are_logged_once(
    project: Project, publish: Callable[[Path], str], uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if another run has a configuration. A run that recorded none there is not counted."""
    project.add_run("c" * 32, 7, None, uri.format(run_id="c" * 32))
    project.tracking.add_run(project.experiment, "d" * 32, None)
    for run_id in (A, B):
        project.tracking.add_run(
            project.experiment, run_id, None, artifact_uri=uri.format(run_id=run_id)
        )
    location = publish(project.tracking.root)
    loads: list[Callable[[], object]] = [
        lambda: Run.load(iter_run_dirs(location)),
        lambda: Run.load(list(iter_run_dirs(location))),
        lambda: list(iter_runs(location, batch_size=1)),
        lambda: list(iter_artifacts_dirs(location)),
        lambda: list(iter_artifact_paths(location, "text.txt")),
        lambda: Run.load(iter_run_dirs(location)).preload(),
    ]
    for load in loads:
        caplog.clear()
        load()
        (message,) = caplog.messages
        assert message.startswith(
            "2 runs have no artifacts, so their configurations are empty. Those of the first, "
            f"{A}, were recorded at {uri.format(run_id=A)!r}; looked for "
        )
        assert f"/5/{A}/artifacts/.hydra/config.yaml" in message
        served = " and 'mlartifacts/team/custom'" if "team" in uri else ""
        assert f" (in 'mlruns/5' and 'mlartifacts/5'{served}, or as recorded)" in message
        is_followed = not uri.startswith(("mlflow-artifacts:", "dbfs:"))
        assert ("at the recorded location" in message) is is_followed
        assert message.endswith("If they are elsewhere, give artifact_root")


def test_a_run_whose_artifacts_are_nowhere(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = project.tracking.add_run(
        project.experiment, A, None, artifact_uri=f"/nas/gone/5/{A}/artifacts"
    )
    message = (
        f"run {A} has no artifacts, so its configuration is empty. They were recorded at "
        f"'/nas/gone/5/{A}/artifacts'; looked for {run_dir}/artifacts/.hydra/config.yaml, below "
        f"{project.folder} and {project.tracking.root} (in 'mlruns/5' and 'mlartifacts/5', or as "
        f"recorded) and at the recorded location '/nas/gone/5/{A}/artifacts'. If they are "
        "elsewhere, give artifact_root"
    )
    reads: list[Callable[[], object]] = [
        lambda: Run(run_dir).cfg,
        lambda: Run(run_dir).path(),
        lambda: Run(run_dir).overrides,
        lambda: HydraflowRunDataset(filepath=run_dir).load().cfg,
    ]
    for read in reads:
        caplog.clear()
        read()
        assert caplog.messages == [message]
    caplog.clear()
    run = Run.load([run_dir])[0]
    assert caplog.messages == [message]
    assert run.path() == run_dir / "artifacts"
    assert pickle.loads(pickle.dumps(run)).path() == run_dir / "artifacts"
    assert caplog.messages == [message]


@pytest.mark.parametrize(
    "folder", ["mlartifacts/5", "nas/5", "elsewhere/mlruns/5"], ids=["server", "disk", "usual"]
)
def test_artifacts_directories_that_are_empty_are_not_lost(
    project: Project, tmp_path: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The run has logged none."""
    recorded = {
        "mlartifacts/5": "mlflow-artifacts:/5",
        "nas/5": str(tmp_path / "nas/5"),
        "elsewhere/mlruns/5": "/gone/mlruns/5",
    }[folder]
    base = tmp_path if folder == "nas/5" else project.folder
    (base / folder / A / "artifacts").mkdir(parents=True)
    project.tracking.add_run(project.experiment, A, None, artifact_uri=f"{recorded}/{A}/artifacts")
    project.add_run(B, 7, None, f"{recorded}/{B}/artifacts")
    assert [run.get("seed", None) for run in Run.load(iter_run_dirs(project.tracking.root))] == [
        None,
        7,
    ]
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["data", "link", "."])
def test_a_renamed_copy_in_which_runs_have_no_artifacts(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing says that they were elsewhere than in the directory of the same name."""
    for run_id in (A, B):
        project.tracking.add_run(
            project.experiment, run_id, None, artifact_uri=f"/old/data/5/{run_id}/artifacts"
        )
    project.tracking.root.rename(project.folder / "data")
    (project.folder / "link").symlink_to("data")
    write(project.folder / f"data/5/{A}/artifacts/.hydra/config.yaml", "seed: 7")
    monkeypatch.chdir(project.folder / ("data" if name == "." else "."))
    assert Run.load(iter_run_dirs(name)).to_list("run_id") == [A, B]
    assert caplog.messages == []


# No run has a configuration -----------------------------------------------------------------


def test_a_load_without_any_configuration_is_logged_once(
    project: Project, publish: Callable[[Path], str], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        uri = f"/gone/mlruns/5/{number:032}/artifacts"
        run_dir = project.tracking.add_run(
            project.experiment, f"{number:032}", None, artifact_uri=uri
        )
        (run_dir / "artifacts").rmdir()
    location = publish(project.tracking.root)
    loads: list[Callable[[], object]] = [
        lambda: Run.load(iter_run_dirs(location)),
        lambda: list(iter_runs(location, batch_size=2)),
        lambda: HydraflowRunCollectionDataset(path=location).load(),
    ]
    for load in loads:
        caplog.clear()
        load()
        (message,) = [text for text in caplog.messages if text.startswith("none of the 5 runs")]
        assert message.startswith("none of the 5 runs has a configuration: looked for ")
        assert f"/5/{0:032}/artifacts/.hydra/config.yaml" in message
        assert " (in 'mlruns/5' and 'mlartifacts/5', or as recorded)" in message
        assert (
            f" and at the recorded location '/gone/mlruns/5/{0:032}/artifacts' of {0:032}; give "
            "artifact_root" in message
        )


def test_places_that_were_not_looked_at_are_not_named(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = project.tracking.add_run(project.experiment, A, None)
    write(run_dir / "artifacts/text.txt", "")
    assert Run.load(iter_run_dirs(project.tracking.root))[0].cfg == {}
    assert caplog.messages == [
        f"the run does not have a configuration: looked for {run_dir}/artifacts/.hydra/config.yaml "
        f"of {A}; give artifact_root if the artifacts are elsewhere"
    ]


def test_one_configuration_is_enough(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        run_dir = project.tracking.add_run(project.experiment, f"r{number}", None)
    write(run_dir / "artifacts/.hydra/config.yaml", "seed: 7")
    assert len(Run.load(iter_run_dirs(project.tracking.root))) == 5
    assert [len(runs) for runs in iter_runs(project.tracking.root, batch_size=2)] == [2, 2, 1]
    assert caplog.messages == []


# Requests ---------------------------------------------------------------------------------


def test_artifacts_in_place_take_no_request_more(
    project: Project, serve: Callable[[Path], WebServer], tmp_path: Path
) -> None:
    for run_id in (A, B):
        project.add_run(run_id, 7, None, f"/somewhere/else/mlruns/5/{run_id}/artifacts")
    server = serve(project.folder)
    runs = Run.load(iter_run_dirs(f"{server.url}/mlruns"))
    assert runs.to_list("seed") == [7, 7]
    in_run = [f"/mlruns/5/{run_id}/artifacts/.hydra/config.yaml" for run_id in (A, B)]
    listed = {"/mlruns", "/mlruns/", "/mlruns/5", "/mlruns/5/"}  # the server adds the slash
    assert {*server.requests} == {*listed, "/mlruns/5/meta.yaml", *in_run}
    assert len(server.requests) == len({*server.requests})
    server.requests.clear()
    assert runs[0].path("text.txt").read_text() == "text 7"
    assert {path.partition("/artifacts")[2] for path in server.requests} == {"", "/", "/text.txt"}
    server.requests.clear()
    assert len(list(iter_artifacts_dirs(f"{server.url}/mlruns"))) == 2
    assert {*server.requests} == {*listed, "/mlruns/5/meta.yaml"}
    server.requests.clear()
    run = Run(f"{server.url}/mlruns/5/{A}")
    assert (run.path("text.txt").read_text(), run["seed"]) == ("text 7", 7)
    assert {path.rpartition(A)[2] for path in server.requests} == {
        "/artifacts",
        "/artifacts/",
        "/artifacts/text.txt",
        "/artifacts/.hydra/config.yaml",
    }


@pytest.mark.parametrize("index", [False, True])
def test_artifacts_elsewhere_are_found_over_http(
    project: Project, serve: Callable[[Path], WebServer], tmp_path: Path, index: bool
) -> None:
    location = "mlflow-artifacts:/5"
    write(project.experiment / "meta.yaml", f"name: train\nartifact_location: {location}\n")
    for run_id, seed in ((A, 1), (B, 2)):
        project.add_run(
            *(run_id, seed, project.folder / f"mlartifacts/5/{run_id}/artifacts"),
            f"{location}/{run_id}/artifacts",
        )
    server = serve(project.folder)
    url = f"{server.url}/mlruns"
    for _ in range(2):  # with an index, too
        runs = Run.load(iter_run_dirs(url), index=tmp_path / "index" if index else False)
        assert runs.to_list("seed") == [1, 2]
        assert [run.path("text.txt").read_text() for run in runs] == ["text 1", "text 2"]
    paths = iter_artifact_paths(url, "text.txt")
    assert [path.read_text() for path in paths] == ["text 1", "text 2"]


@pytest.mark.parametrize("kind", ["memory", "zip", "http"])
def test_a_run_at_the_top_of_a_storage(
    project: Project, serve: Callable[[Path], WebServer], tmp_path: Path, kind: str
) -> None:
    """There is nothing beside it, but the recorded location counts."""
    store = tmp_path / "store"
    run_dir = project.add_run(A, 7, store / A / "artifacts", f"{store}/{A}/artifacts")
    top = tmp_path / "top"
    top.mkdir()
    run_dir.rename(top / A)
    if kind == "memory":
        fsspec.filesystem("memory").put(str(top / A), f"/{A}", recursive=True)
    archive = shutil.make_archive(str(tmp_path / "archive"), "zip", top)
    urls = {"memory": f"memory://{A}", "zip": f"zip://{A}::{archive}"}
    location = urls.get(kind) or f"{serve(top).url}/{A}"
    try:
        for run in (Run(location), Run.load([location])[0]):
            assert (run["seed"], run.path("text.txt").read_text()) == (7, "text 7")
    finally:
        if kind == "memory":
            fsspec.filesystem("memory").rm(f"/{A}", recursive=True)


# Errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "http://files.example/5",
        "https://ann:s3cret@files.example:81/5",
        "sftp://files.example/5",
        "webdav+https://files.example/5",
        "simplecache::http://files.example/5",
        "zip://5::http://files.example/a.zip",
    ],
)
def test_a_host_that_only_the_data_names_is_not_asked(
    project: Project, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = project.tracking.add_run(
        project.experiment, A, None, artifact_uri=f"{location}/{A}/artifacts"
    )
    project.add_run(B, 2, None, f"{location}/{B}/artifacts")
    monkeypatch.setattr("socket.socket.connect", None)
    with pytest.raises(RunLoadError, match="1 of 2 runs could not be read") as raised:
        Run.load(iter_run_dirs(project.tracking.root))
    message = str(raised.value)
    assert (
        f"{run_dir} has no artifacts in it, and elsewhere: the artifacts were recorded" in message
    )
    assert (
        "a host that only the tracking data names, so it is not asked; give artifact_root"
        in message
    )
    assert "s3cret" not in message
    assert (
        len(Run.load(iter_run_dirs(project.tracking.root, on_error="warn"), on_error="warn")) == 1
    )
    for read in (lambda: Run(run_dir).cfg, lambda: Run(run_dir).path()):
        with pytest.raises(StorageError, match="only the tracking data names"):
            read()
    with pytest.raises(RunLoadError, match="only the tracking data names"):
        list(iter_artifacts_dirs(project.tracking.root))
    assert len(list(iter_artifacts_dirs(project.tracking.root, on_error="warn"))) == 1


def test_a_host_that_the_user_names_is_asked(
    project: Project, serve: Callable[[Path], WebServer], tmp_path: Path
) -> None:
    server = serve(tmp_path)
    uri = f"{server.url}/store/5/{A}/artifacts"
    project.add_run(A, 7, tmp_path / f"store/5/{A}/artifacts", uri)
    (run,) = Run.load(iter_run_dirs(f"{server.url}/project/mlruns"))
    assert (run["seed"], run.path("text.txt").read_text()) == (7, "text 7")


def test_a_bucket_without_its_package(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.tracking.add_run(
        project.experiment, A, None, artifact_uri=f"s3://bucket/5/{A}/artifacts"
    )
    for package in ("s3fs", "obstore"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RunLoadError, match=r"kedro-hydraflow\[s3\]") as raised:
        Run.load(iter_run_dirs(project.tracking.root))
    assert isinstance(raised.value.failures[0].error, MissingPackageError)


@pytest.mark.usefixtures("no_waiting")
def test_artifacts_that_cannot_be_looked_for(
    project: Project, serve: Callable[[Path], WebServer]
) -> None:
    """Whether they are in place is unknown while the storage is down."""
    project.tracking.add_run(project.experiment, A, None)
    server = serve(project.folder)
    server.answers = {"/artifacts/": [503] * 99}
    with pytest.raises(RunLoadError, match="503") as raised:
        Run.load(iter_run_dirs(f"{server.url}/mlruns"))
    assert isinstance(raised.value.failures[0].error, UnreachableError)
    with pytest.raises(UnreachableError, match="503"):
        _ = Run(f"{server.url}/mlruns/5/{A}").cfg


def test_a_meta_file_that_cannot_be_read(
    project: Project, serve: Callable[[Path], WebServer]
) -> None:
    project.tracking.add_run(project.experiment, A, None)
    write(project.experiment / A / "meta.yaml", "- 1")
    with pytest.raises(RunLoadError, match=rf"{A}/meta.yaml: expected"):
        Run.load(iter_run_dirs(f"{serve(project.folder).url}/mlruns"))


# What is lost ----------------------------------------------------------------------------


def test_a_given_run_that_lost_its_meta_has_the_location_of_its_experiment(
    project: Project,
) -> None:
    project.experiment = project.tracking.add_experiment(
        "other", "6", artifact_location="/gone/store/6"
    )
    uri = f"/gone/store/6/{A}/artifacts"
    run_dir = project.add_run(A, 7, project.folder / f"store/6/{A}/artifacts", uri)
    (run_dir / "meta.yaml").unlink()
    for runs in (Run.load(iter_run_dirs(project.tracking.root)), Run.load([run_dir])):
        assert runs.to_list("seed") == [7]
    assert Run(run_dir)["seed"] == 7
    assert Run(run_dir).path("text.txt").read_text() == "text 7"


def test_an_experiment_that_lost_its_meta_is_named_by_artifacts_elsewhere(
    project: Project,
) -> None:
    artifacts = project.folder / f"store/5/{A}/artifacts"
    project.add_run(A, 7, artifacts, f"/gone/store/5/{A}/artifacts")
    write(artifacts / ".hydra/hydra.yaml", "hydra:\n  job:\n    name: job\n")
    (project.experiment / "meta.yaml").unlink()
    assert [p.name for p in iter_run_dirs(project.tracking.root, "job")] == [A]


def test_a_given_run_names_the_host_of_its_artifacts(
    tmp_path: Path, serve: Callable[[Path], WebServer]
) -> None:
    server = serve(tmp_path)
    run_id = "a" * 32
    location = f"{server.url}/elsewhere/1"
    tracking_dir = TrackingDir(tmp_path / "project/mlruns")
    experiment = tracking_dir.add_experiment("train", artifact_location=location)
    tracking_dir.add_run(experiment, run_id, None, artifact_uri=f"{location}/{run_id}/artifacts")
    write(tmp_path / "elsewhere/1" / run_id / "artifacts/.hydra/config.yaml", "lr: 7")
    assert Run(f"{server.url}/project/mlruns/1/{run_id}").get("lr") == 7
