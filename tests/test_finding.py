from __future__ import annotations

import copy
import os
import pickle
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from kedro_hydraflow import (
    Run,
    get_experiment_names,
    iter_artifact_paths,
    iter_artifacts_dirs,
    iter_experiment_dirs,
    iter_run_dirs,
    iter_runs,
)
from kedro_hydraflow.errors import NotFoundError, OptionError, RunLoadError, TrackingDirectoryError
from kedro_hydraflow.finding import Search, find_runs, report
from kedro_hydraflow.source import Source
from tests.conftest import SWEEP_NAMES, Database, TrackingDir, WebServer, find_first_runs, write

# The same on every kind of storage ------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment_names", "expected"),
    [
        (None, SWEEP_NAMES),
        ("train_*", SWEEP_NAMES[1:]),
        (["eval_*", "train_digits_v1"], SWEEP_NAMES[:2]),
        (lambda name: name.endswith("v2"), SWEEP_NAMES[2:]),
        ("nothing*", []),
    ],
)
def test_filters_and_iterators_agree(
    sweep: Path, publish: Callable[[Path], str], experiment_names: Any, expected: list[str]
) -> None:
    location = publish(sweep)
    experiments = list(iter_experiment_dirs(location, experiment_names))
    run_dirs = list(iter_run_dirs(location, experiment_names))
    artifacts_dirs = list(iter_artifacts_dirs(location, experiment_names))
    paths = list(iter_artifact_paths(location, ".hydra/config.yaml", experiment_names))

    assert get_experiment_names(location) == SWEEP_NAMES
    assert [Run(run_dir).info.job_name for run_dir in run_dirs] == sorted(
        Run(run_dir).info.job_name for run_dir in run_dirs
    )
    assert list(dict.fromkeys(Run(run_dir).info.job_name for run_dir in run_dirs)) == expected
    assert list(dict.fromkeys(run_dir.parent for run_dir in run_dirs)) == experiments
    assert [path.parent.name for path in artifacts_dirs] == [path.name for path in run_dirs]
    assert all(isinstance(path, Path) and path.name == "artifacts" for path in artifacts_dirs)
    assert paths == [directory / ".hydra/config.yaml" for directory in artifacts_dirs]
    assert all(path.read_bytes() for path in paths)


def test_missing_directory_is_an_error_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    location = publish(tracking_dir.root).replace("mlruns", "nowhere", 1)
    with pytest.raises(NotFoundError, match=r"there is no .*nowhere"):
        list(iter_run_dirs(location))


@pytest.mark.parametrize("folder", ["1", "1/a"])
def test_wrong_directory_is_refused_everywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], folder: str
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    location = UPath(publish(tracking_dir.root)) / folder
    with pytest.raises(TrackingDirectoryError, match="give the tracking directory above it"):
        list(iter_run_dirs(location))


def test_replaced_archive_is_seen_by_the_next_load(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    archive = tracking_dir.root.parent / "runs"
    for names in ("a", "ab"):
        tracking_dir.add_run(experiment, names[-1])
        shutil.make_archive(str(archive), "zip", tracking_dir.root)
        assert [path.name for path in iter_run_dirs(f"zip://::{archive}.zip")] == list(names)


# Order ---------------------------------------------------------------------------------


def test_order_is_by_experiment_name_then_run_dir(tracking_dir: TrackingDir) -> None:
    for name, experiment_id in {"b": "1", "a": "20", "c": "3"}.items():
        experiment = tracking_dir.add_experiment(name, experiment_id)
        for run_id in ("r2", "r1"):
            tracking_dir.add_run(experiment, run_id)
    tracking_dir.add_run(tracking_dir.add_experiment("a", "10"), "r3")
    relative = [
        run_dir.relative_to(tracking_dir.root).as_posix()
        for run_dir in iter_run_dirs(tracking_dir.root)
    ]
    assert relative == ["10/r3", "20/r1", "20/r2", "1/r1", "1/r2", "3/r1", "3/r2"]
    assert get_experiment_names(tracking_dir.root) == ["a", "a", "b", "c"]


# Errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("on_error", ["ignore", None, True, []])
@pytest.mark.parametrize(
    "function",
    [
        lambda root, **kwargs: list(iter_run_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_experiment_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_artifacts_dirs(root, **kwargs)),
        lambda root, **kwargs: list(iter_artifact_paths(root, "x", **kwargs)),
        lambda root, **kwargs: get_experiment_names(root, **kwargs),
        lambda root, **kwargs: Run.load([root], **kwargs),
    ],
)
def test_bad_on_error(tracking_dir: TrackingDir, function: Any, on_error: Any) -> None:
    with pytest.raises(OptionError) as raised:
        function(tracking_dir.root, on_error=on_error)
    assert str(raised.value) == f"on_error: expected 'raise' or 'warn', found {on_error!r}"


# HTTP ----------------------------------------------------------------------------------


def test_tracking_directory_by_url(sweep: Path, serve: Callable[[Path], WebServer]) -> None:
    runs = Run.load(iter_run_dirs(serve(sweep).url, "train_*"), n_jobs=2)
    assert runs.to_list("run_id") == [path.name for path in iter_run_dirs(sweep, "train_*")]


# What is found, and what cannot be read --------------------------------------------------


def test_findings_name_the_experiments(sweep: Path) -> None:
    found = find_runs(Search(Source(sweep), "train_*"))
    assert found.experiments == SWEEP_NAMES[1:]
    assert len(found.runs) == 29
    assert found.failures == []


# Nothing is found ------------------------------------------------------------------------

SEARCHES = [
    lambda *args, **kwargs: list(iter_run_dirs(*args, **kwargs)),
    lambda *args, **kwargs: list(Run.load(iter_run_dirs(*args, **kwargs))),
    lambda *args, **kwargs: list(iter_runs(*args, **kwargs)),
    lambda *args, **kwargs: list(iter_artifacts_dirs(*args, **kwargs)),
    lambda *args, **kwargs: list(iter_artifact_paths(args[0], "x", *args[1:], **kwargs)),
]


@pytest.fixture(params=SEARCHES, ids=["dirs", "load", "iter_runs", "artifacts", "paths"])
def find(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    function: Callable[..., list[Any]] = request.param
    return function


def test_a_search_without_experiments_says_so_once(
    tmp_path: Path, find: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    assert find(tmp_path) == []
    assert caplog.messages == [f"no runs in {tmp_path}: there are no experiments"]
    assert [(r.levelname, r.name.partition(".")[0]) for r in caplog.records] == [
        ("WARNING", "kedro_hydraflow")
    ]


def test_a_search_of_experiments_without_runs_says_so_once(
    tracking_dir: TrackingDir, find: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    for i, name in enumerate(["train_a", "train_b", "other"], 1):
        tracking_dir.add_experiment(name, str(i))
    assert find(tracking_dir.root) == []
    assert find(tracking_dir.root, "train_*") == []
    assert find(tracking_dir.root, "other") == []
    where, others = f"no runs in {tracking_dir.root}", "more that experiment_names leaves out"
    assert caplog.messages == [
        f"{where}: 3 experiments ('other', 'train_a', 'train_b'), without runs",
        f"{where}: 2 experiments ('train_a', 'train_b'), without runs; 1 {others}",
        f"{where}: one experiment ('other'), without runs; 2 {others}",
    ]


def check_deleted(
    find: Callable[..., list[Any]], where: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Check what a search says about six deleted runs in two experiments."""
    assert find(where, include_deleted=False) == []
    assert caplog.messages == [
        f"no runs in {where}: 6 runs of 2 experiments ('a', 'b'), all deleted; set "
        "include_deleted=True to include them"
    ]
    caplog.clear()
    assert len(find(where, include_deleted=True)) > 0
    assert not [message for message in caplog.messages if "no runs" in message]


def test_a_search_of_deleted_runs_says_so_once(
    tracking_dir: TrackingDir,
    publish: Callable[[Path], str],
    find: Callable[..., list[Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for i, name in enumerate(["a", "b"], 1):
        experiment = tracking_dir.add_experiment(name, str(i))
        for number in range(3):
            tracking_dir.add_run(experiment, f"r{number}", lifecycle_stage="deleted")
    check_deleted(find, publish(tracking_dir.root), caplog)


def test_a_search_of_deleted_runs_in_a_database_says_so_once(
    database: Database, find: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    for i, name in enumerate(["a", "b"], 1):
        database.add_experiment(name, i)
        for number in range(3):
            database.add_run(i, f"r{i}{number}", lifecycle_stage="deleted")
    check_deleted(find, database.path, caplog)


@pytest.mark.parametrize("names", ["zz*", lambda name: False, []])
def test_a_search_that_matches_no_experiment_says_so_once(
    sweep: Path, names: Any, find: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    assert find(sweep, names) == []
    (message,) = caplog.messages
    assert "no experiment matches experiment_names=" in message


def test_a_search_that_leaves_out_default_says_so_once(
    tracking_dir: TrackingDir, find: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_run(tracking_dir.add_experiment("Default", "0"), "a")
    tracking_dir.add_experiment("train")
    assert find(tracking_dir.root) == []
    (message,) = caplog.messages
    assert "the runs of the experiment 'Default' are left out" in message


def test_a_search_whose_runs_cannot_be_read_says_that(
    tracking_dir: TrackingDir, find: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    write(tracking_dir.add_run(experiment, "a") / "meta.yaml", "- 1")
    assert find(tracking_dir.root, on_error="warn") == []
    assert any("skipped 1 of 1" in message for message in caplog.messages)
    assert not any("no runs in" in message for message in caplog.messages)


def test_a_search_with_runs_says_nothing(
    sweep: Path, find: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    assert len(find(sweep, "train_*")) > 0
    assert caplog.messages == []


def test_a_directory_that_is_taken_for_a_name_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir = TrackingDir(tmp_path / "mlruns")
    tracking_dir.add_experiment("train")
    monkeypatch.chdir(tmp_path)
    assert list(iter_run_dirs("train")) == []
    assert caplog.messages == [
        f"no runs in {tracking_dir.root}: one experiment ('train'), without runs"
    ]


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_a_few_runs_are_the_first_ones(
    sweep: Path, publish: Callable[[Path], str], count: int
) -> None:
    search = Search(Source(publish(sweep)))
    some = find_first_runs(search, count)
    everything = find_runs(search).runs
    assert [info.run_id for info in some] == [info.run_id for info in everything[:count]]


def test_a_few_runs_are_found_among_bad_ones(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(20)
    for number in range(5):
        write(tracking_dir.root / f"1/r{number:03}/meta.yaml", "- 1")
    some = find_first_runs(Search(Source(tracking_dir.root)), 2)
    assert [info.run_id for info in some] == ["r005", "r006"]


def test_directories_are_found_when_the_first_is_taken(tracking_dir: TrackingDir) -> None:
    run_dirs = iter_run_dirs(tracking_dir.root / "nowhere")
    for _ in range(2):  # it is not empty after an error
        with pytest.raises(NotFoundError, match="nowhere"):
            next(run_dirs)
    run_dirs = iter_run_dirs(tracking_dir.root)
    tracking_dir.add_runs(3)
    assert next(run_dirs).name == "r000"
    assert Run.load(run_dirs).to_list("run_id") == ["r001", "r002"]
    assert list(run_dirs) == []


def test_an_iterator_that_has_been_used_is_logged(
    sweep: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dirs = iter_run_dirs(sweep, "eval_*")
    assert len(list(run_dirs)) == 2
    assert len(Run.load(run_dirs)) == 0
    assert caplog.messages == [
        "no runs are loaded: the iterator of run directories has been used before; call "
        "iter_run_dirs again, or pass a list"
    ]


def test_each_run_comes_once_to_threads_that_share_an_iterator(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[Search] = []
    start = threading.Barrier(4, timeout=60)

    def find(search: Search, *arguments: Any) -> Any:
        searches.append(search)
        time.sleep(0.05)  # so that the others come, too
        return find_runs(search, *arguments)

    monkeypatch.setattr("kedro_hydraflow.run_dirs.find_runs", find)
    run_dirs = iter_run_dirs(sweep)

    def take(_: int) -> list[Any]:
        start.wait()
        return list(run_dirs)

    with ThreadPoolExecutor(4) as threads:
        taken = [run_dir for some in threads.map(take, range(4)) for run_dir in some]
    assert sorted(taken) == sorted(iter_run_dirs(sweep))
    assert len(taken) == len(set(taken)) == 31
    assert len(searches) == 2


def test_an_iterator_is_copied_and_pickled(sweep: Path) -> None:
    run_dirs = iter_run_dirs(sweep, "eval_*")
    first = next(run_dirs)
    for copied in (copy.deepcopy(run_dirs), pickle.loads(pickle.dumps(run_dirs))):
        assert len(list(copied)) == 1
    assert first != next(run_dirs)


def test_an_error_shows_a_hundred_failures_and_has_all(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(102)
    for number in range(101):
        write(tracking_dir.root / f"1/r{number:03}/meta.yaml", "- 1")
    with pytest.raises(RunLoadError) as raised:
        list(iter_run_dirs(tracking_dir.root))
    first, *lines = str(raised.value).splitlines()
    assert first == (
        "101 of 102 runs and experiments could not be read; set on_error='warn' in "
        "iter_run_dirs to skip them:"
    )
    assert len(lines) == 101
    assert lines[0].startswith(f"- {tracking_dir.root}/1/r000/meta.yaml: ")
    assert lines[-1] == "- and 1 more, in `failures` of this error"
    assert len(raised.value.failures) == 101


def test_nothing_is_reported_where_nothing_failed(caplog: pytest.LogCaptureFixture) -> None:
    report([], 3, "raise")
    report([], 3, "warn")
    assert caplog.messages == []


# Experiment names --------------------------------------------------------------------------

READERS: dict[str, Callable[..., Any]] = {
    "run dirs": lambda *args, **options: list(iter_run_dirs(*args, **options)),
    "experiment dirs": lambda *args, **options: list(iter_experiment_dirs(*args, **options)),
    "artifacts dirs": lambda *args, **options: list(iter_artifacts_dirs(*args, **options)),
    "artifact paths": lambda location, names, **options: list(
        iter_artifact_paths(location, "x", names, **options)
    ),
    "runs": lambda *args, **options: list(iter_runs(*args, **options)),
    "load": lambda *args, **options: Run.load(iter_run_dirs(*args, **options)),
    "a few": lambda location, names, **options: find_first_runs(
        Search(Source(location), names, **options), 3
    ),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("on_error", ["raise", "warn"])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("train_digits_v3", "'train_digits_v3' .*; the nearest are 'train_digits_v2'"),
        ("Eval_Digits", "'Eval_Digits' .*; the nearest are 'eval_digits'"),
        (["train_*", "zzz"], "'zzz' .*; found 'eval_digits', 'train_digits_v1', 'train_digits_v2'"),
        (("x", "eval_digits", "y"), "'x' in .*; there is no experiment 'y' in"),
        ("", "''"),
    ],
)
def test_a_name_that_does_not_exist_is_an_error(
    sweep: Path, read: Callable[..., Any], on_error: Any, names: Any, message: str
) -> None:
    expected = rf"^experiment_names: there is no experiment {message}"
    with pytest.raises(NotFoundError, match=expected):
        read(sweep, names, on_error=on_error)


def test_a_name_that_does_not_exist_anywhere(
    tracking_dir: TrackingDir, publish: Callable[[Path], str]
) -> None:
    (tracking_dir.root / ".trash").mkdir()
    write(tracking_dir.root / "readme.txt", "")
    location = publish(tracking_dir.root)
    with pytest.raises(NotFoundError, match=r"no experiment 'train' in .*; found no experiments$"):
        list(iter_run_dirs(location, "train"))
    assert list(iter_run_dirs(location)) == []


def test_the_name_may_be_that_of_an_experiment_that_cannot_be_read(
    tracking_dir: TrackingDir,
) -> None:
    tracking_dir.add_runs(1)
    write(tracking_dir.root / "2/meta.yaml", "- 1")
    for on_error in ("raise", "warn"):
        with pytest.raises(NotFoundError, match=r"found 'train'; 1 could not be read: .*/2"):
            list(iter_run_dirs(tracking_dir.root, "eval", on_error=on_error))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ("test_*", "'test_*'"),
        (["test_*", "train_*", "z?"], "'test_*', 'z?'"),
        ("train_digits_v[3-9]", "'train_digits_v[3-9]'"),
        ([], "[]"),
        (str.isdigit, "str.isdigit"),
    ],
)
def test_a_glob_or_callable_without_a_match_is_logged(
    sweep: Path,
    publish: Callable[[Path], str],
    names: Any,
    shown: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    location = publish(sweep)
    n_runs = 29 if "train_*" in shown or (isinstance(names, list) and names) else 0
    assert len(list(iter_run_dirs(location, names))) == n_runs
    (message,) = caplog.messages
    assert f": no experiment matches experiment_names={shown}; found " in message


def test_many_names_are_not_all_shown(tracking_dir: TrackingDir) -> None:
    for number in range(1, 13):
        tracking_dir.add_experiment(f"train_{number:02}", str(number))
    with pytest.raises(NotFoundError, match=r"'train_10' and others$"):
        list(iter_run_dirs(tracking_dir.root, "x"))


# As in HydraFlow 0.21 and later ---------------------------------------------------------------


@pytest.fixture(params=["mlruns", "mlflow.db", "variable"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MLflow's default place with the experiments a, a2 and b, of one run each."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "elsewhere/mlruns" if request.param == "variable" else folder / "mlruns"
    names = {"1": "a", "2": "a2", "3": "b"}
    if request.param == "mlflow.db":
        database = Database(folder / "mlflow.db")
        for number, name in names.items():
            database.add_run(database.add_experiment(name, int(number)), f"run-{name}")
            write(root / f"{number}/run-{name}/artifacts/text.txt", name)
        return root
    tracking = TrackingDir(root)
    for number, name in names.items():
        run_dir = tracking.add_run(tracking.add_experiment(name, number), f"run-{name}")
        write(run_dir / "artifacts/text.txt", name)
    if request.param == "variable":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", root.as_uri())
    return root


FIRST: list[tuple[Any, list[str]]] = [
    (None, ["a", "a2", "b"]),
    ("a", ["a"]),
    ("a*", ["a", "a2"]),
    ("*2", ["a2"]),
    (["a", "b"], ["a", "b"]),
    (("a",), ["a"]),
    (lambda name: name != "a", ["a2", "b"]),
]


@pytest.mark.parametrize(("first", "expected"), FIRST)
def test_experiment_names_come_first(place: Path, first: Any, expected: list[str]) -> None:
    arguments = () if first is None else (first,)
    run_ids = [f"run-{name}" for name in expected]
    assert get_experiment_names() == ["a", "a2", "b"]
    assert [path.name for path in iter_run_dirs(*arguments)] == run_ids
    assert [path.name for path in iter_run_dirs(experiment_names=first)] == run_ids
    assert [path.parent.name for path in iter_artifacts_dirs(*arguments)] == run_ids
    names = dict(zip(["a", "a2", "b"], "123", strict=True))
    assert list(iter_experiment_dirs(*arguments)) == [place / names[name] for name in expected]
    assert Run.load(iter_run_dirs(*arguments)).to_list("job_name") == expected
    assert [runs[0].info.job_name for runs in iter_runs(*arguments, batch_size=1)] == expected


@pytest.mark.parametrize(("names", "expected"), FIRST)
def test_an_artifact_comes_first(place: Path, names: Any, expected: list[str]) -> None:
    arguments = () if names is None else (names,)
    for paths in (
        iter_artifact_paths("text.txt", *arguments),
        iter_artifact_paths(
            Path("text.txt"), *([names] if not isinstance(names, str) else [[names]])
        ),
        iter_artifact_paths("text.txt", experiment_names=names),
        iter_artifact_paths(artifact_path="text.txt", experiment_names=names),
        iter_artifact_paths(None, "text.txt", names),
        iter_artifact_paths(place, "text.txt", names),
        iter_artifact_paths(str(place), "text.txt", names),
        iter_artifact_paths(place, artifact_path=Path("text.txt"), experiment_names=names),
    ):
        assert [path.read_text() for path in paths] == expected


def test_a_directory_that_exists_comes_before_a_name(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tracking_dir.root.parent)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking_dir.add_run(tracking_dir.add_experiment("a"), "run-a")
    inner = TrackingDir(Path("a"))
    inner.add_run(inner.add_experiment("inner"), "run-inner")
    assert [path.name for path in iter_run_dirs("a")] == ["run-inner"]
    assert [path.name for path in iter_run_dirs(["a"])] == ["run-a"]
    assert [path.name for path in iter_run_dirs(experiment_names="a")] == ["run-a"]
    Path("b/c").mkdir(parents=True)
    with pytest.raises(TrackingDirectoryError) as raised:
        list(iter_run_dirs("b"))
    assert str(raised.value).endswith(
        "; if 'b' is the name of an experiment, give it as experiment_names"
    )
    assert [path.parts[-4:] for path in iter_artifact_paths("b")] == [
        ("1", "run-a", "artifacts", "b")
    ]
    assert [path.parts[-4:] for path in iter_artifact_paths("a", "b")] == [
        ("1", "run-inner", "artifacts", "b")
    ]


def test_what_is_neither_names_both_readings(place: Path) -> None:
    for function in (iter_run_dirs, iter_experiment_dirs, iter_artifacts_dirs, iter_runs):
        for text, advice in (("a23", "the nearest are 'a2'"), ("zz*", "found 'a', 'a2', 'b'")):
            with pytest.raises(NotFoundError) as raised:
                list(function(text))
            message = str(raised.value)
            assert message.startswith(
                f"there is no directory {text!r}; taken as the name of an experiment: there is no "
                f"experiment {text!r} in "
            )
            assert message.endswith(advice)
    with pytest.raises(NotFoundError) as raised:
        list(iter_artifact_paths("text.txt", "a3"))
    assert str(raised.value).startswith(
        "there is no directory 'text.txt'; taken as an artifact of an experiment: there is no "
        "experiment 'a3' in "
    )


def test_with_experiment_names_the_first_is_a_directory(place: Path) -> None:
    with pytest.raises(NotFoundError, match=r"^there is no directory 'a'$"):
        list(iter_run_dirs("a", "b"))
    with pytest.raises(NotFoundError, match=r"^there is no directory 'a'$"):
        list(iter_artifact_paths("a", "text.txt", "b"))
    with pytest.raises(NotFoundError, match=r"^there is no directory 'a'$"):
        list(iter_run_dirs(Path("a")))
    with pytest.raises(NotFoundError, match=r"^there is no directory 'text\.txt'$"):
        list(iter_artifact_paths(Path("text.txt"), "a"))


@pytest.mark.parametrize("first", [["a"], ("a",), str.isdigit, []])
def test_experiment_names_given_twice(first: Any) -> None:
    for call in (
        lambda: iter_run_dirs(first, "b"),
        lambda: iter_experiment_dirs(first, "b"),
        lambda: iter_artifacts_dirs(first, experiment_names=["b"]),
        lambda: iter_artifact_paths("x", first, "b"),
        lambda: iter_runs(first, "b"),
    ):
        with pytest.raises(OptionError, match="experiment_names: given twice, as"):
            call()


def test_names_first_with_a_tracking_uri(place: Path) -> None:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or str(place)
    if not (place / "1/meta.yaml").exists():
        uri = f"sqlite:///{place.parent}/mlflow.db"
    assert [path.name for path in iter_run_dirs(["a*"], tracking_uri=uri)] == ["run-a", "run-a2"]
    assert len(list(iter_artifact_paths("text.txt", tracking_uri=uri))) == 3
    assert len(list(iter_artifact_paths("text.txt", ["b"], tracking_uri=uri))) == 1
    with pytest.raises(OptionError, match="give tracking_dir or tracking_uri, not both"):
        iter_run_dirs("a*", tracking_uri=uri)


@pytest.mark.parametrize("path", [3, None, b"x"])
def test_bad_artifact_path(tmp_path: Path, path: Any) -> None:
    with pytest.raises(
        OptionError, match=rf"artifact_path: expected a relative path, found {path}"
    ):
        iter_artifact_paths(tmp_path, artifact_path=path, experiment_names=[]) if path else (
            iter_artifact_paths()  # type: ignore[call-overload]
        )


@pytest.mark.parametrize("first", [3, {"a"}, b"a"])
def test_bad_first_argument(first: Any) -> None:
    for function in (iter_run_dirs, iter_experiment_dirs, iter_artifacts_dirs, iter_runs):
        with pytest.raises(OptionError, match=r"tracking_dir: expected a path or URL, found "):
            function(first)
    with pytest.raises(OptionError, match="experiment_names: expected a name or glob"):
        iter_run_dirs([Path("a")])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="tracking_dir: expected a path or URL, found "):
        get_experiment_names(["a"])  # type: ignore[arg-type]
