from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kedro_hydraflow import (
    HydraflowArtifactDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    RunCollection,
    RunInfo,
    iter_run_dirs,
)
from kedro_hydraflow.errors import (
    ConfigError,
    FilterError,
    ImplError,
    MissingKeyError,
    OptionError,
    StorageError,
)
from kedro_hydraflow.keys import parse_key
from kedro_hydraflow.lookup import (
    are_objects,
    get_data,
    get_value,
    get_values,
    read_values,
)
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.run import make_run
from kedro_hydraflow.run_base import get_configuration
from tests.conftest import (
    HYDRA_SWEEP,
    FilesRead,
    TrackingDir,
    WebServer,
    apply_filters,
    write,
    write_job,
)

AnyRun = Run[Any, Any]


def make_runs(*configs: dict[str, Any], impl_factory: Any = None) -> list[AnyRun]:
    """Return runs that are not on disk, with these configurations."""
    infos = [RunInfo(Path(f"nowhere/1/run{i}")) for i in range(len(configs))]
    return [
        make_run(Run, info, impl_factory, None, config)
        for info, config in zip(infos, configs, strict=True)
    ]


class Impl:
    def __init__(self, artifacts_dir: Path) -> None:
        self.score = 0.5
        self.status = "of the implementation"


def fail(artifacts_dir: Path) -> None:
    raise AssertionError("built")


def test_get_data_is_plain_and_resolved() -> None:
    (run,) = runs = make_runs({"a": 1, "b": {"c": "${a}", "d": [1, "${a}"]}, "e": {"f": [2]}})
    assert get_data(runs, "b") == [{"c": 1, "d": [1, 1]}]
    assert type(get_data(runs, "b")[0]["d"]) is list
    assert type(get_data(runs, "e")[0]) is dict
    assert not get_configuration(run).has_dictconfig()
    assert get_data(runs, "cfg")[0] is run.cfg
    assert get_data(runs, "x", None) == [None]


def test_values_are_those_of_one_run() -> None:
    runs = make_runs({"a": {"b": 1}}, {"a": {"b": "${c}"}, "c": 2}, {}, impl_factory=Impl)
    for key in ("a.b", "a__b", "a", "score", "status", "run_id", "absent", "run"):
        expected = [run.get(key, "default") for run in runs]
        assert get_values(runs, key, "default") == expected
        assert [get_value(run, key, "default") for run in runs] == expected
    assert get_values(runs[:1], "a")[0] is runs[0].cfg.a


def test_errors_are_raised_in_the_order_of_the_runs() -> None:
    broken, lacking = {"a": "${nowhere}"}, {"b": 1}
    for look_up in (get_data, get_values):
        with pytest.raises(MissingKeyError, match="run run0: no such key: 'a'"):
            look_up(make_runs(lacking, broken), "a")
        with pytest.raises(ConfigError, match="run run0: cannot resolve the key 'a'"):
            look_up(make_runs(broken, lacking), "a")


def test_a_callable_default_is_called_with_each_run_that_lacks_the_key() -> None:
    runs = make_runs({"a": 1}, {"b": 5}, {"b": 6})
    assert get_data(runs, "a", lambda run: run.get("b")) == [1, 5, 6]


def test_values_by_spelling_tell_what_happened_to_each_run() -> None:
    runs = make_runs({"a": 1}, {"a": "${nowhere}"}, {}, {"a": [2]})
    one, error, absent, many = read_values(runs, parse_key("a"))
    assert (one, absent, many) == (1, MISSING, [2])
    assert type(error) is ConfigError
    assert str(error).startswith("run run1: cannot resolve the key 'a': ")


def test_values_by_spelling_build_no_implementation_in_vain(tracking_dir: TrackingDir) -> None:
    run = Run(tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", "x: 1\n"), fail)
    assert read_values([run], parse_key("x")) == [1]
    assert read_values([run], parse_key("cfg.other")) == [MISSING]
    run.update("status", "mine")
    for key in ("status", "attributes.status", "info.status"):
        assert read_values([run], parse_key(key)) == ["FINISHED"]
    assert read_values([run], parse_key("cfg.status")) == ["mine"]
    for key in ("other", "impl.other"):
        (error,) = read_values([run], parse_key(key))
        assert type(error) is ImplError


def test_one_unreadable_run_does_not_hide_the_metrics_of_others(
    tracking_dir: TrackingDir,
) -> None:
    experiment = tracking_dir.add_experiment("e")
    metrics = {"loss": "1 0.5 0\n"}
    run_dirs = [tracking_dir.add_run(experiment, name, "{}", metrics) for name in "ab"]
    write(run_dirs[1] / "metrics/loss", "not a metric\n")
    runs = [Run(run_dir) for run_dir in run_dirs]
    good, bad = read_values(runs, parse_key("metrics.loss"))
    assert good == 0.5
    assert isinstance(bad, Exception)
    with pytest.raises(type(bad)):
        get_data(runs, "metrics.loss")


def test_a_metric_whose_name_is_a_folder_is_missing(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(
        tracking_dir.add_experiment("e"), "a", "{}", {"val/loss": "1 0.5 0\n"}
    )
    runs = [Run(run_dir)]
    assert get_data(runs, "metrics.val", None) == [None]
    assert get_data(runs, "metrics.val/loss") == [0.5]


def test_both_meanings_of_two_underscores(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    runs = [
        Run(tracking_dir.add_run(experiment, "a", "{}", {"x__y": "1 1 0\n", "x.y": "1 2 0\n"})),
        Run(tracking_dir.add_run(experiment, "b", "{}", {"x.y": "1 3 0\n"})),
    ]
    assert get_data(runs, "metrics.x__y") == [1.0, 3.0]
    assert get_data(runs, "metrics__x.y") == [2.0, 3.0]


@dataclass
class Config:
    layers: Any = (1, 2)


def test_an_index_in_a_configuration_with_a_class(tmp_path: Path) -> None:
    write(tmp_path / "artifacts/.hydra/config.yaml", "layers: [3, 4]\n")
    run: AnyRun = Run(tmp_path, config_class=Config)
    assert run.get("layers[1]") == 4
    assert get_data([run], "layers[1]") == get_values([run], "layers.1") == [4]


def test_objects_are_those_that_no_configuration_has() -> None:
    assert are_objects(make_runs({}, {}), "cfg")
    assert not are_objects(make_runs({}, {"cfg": 1}), "cfg")
    assert not are_objects(make_runs({}), "run_id")
    assert are_objects([], "impl")


def test_how_many_runs_lack_a_key(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    for i in range(5):
        metrics = {"loss": "1 0.5 0\n"} if i < 2 else {"val/loss": "1 0.5 0\n"}
        tracking_dir.add_run(experiment, f"r{i}", "a: 1\n" if i else "b: 1\n", metrics)
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    for key, count in (("a", "1 of 5 runs lack it"), ("c", "all 5 runs lack it")):
        with pytest.raises(
            MissingKeyError, match=rf"run r0: no such key: '{key}' .*; {count}; a d"
        ):
            runs.to_list(key)
    left_out = "runs.filter('metrics.loss is not null') leaves those runs out"
    for look_up, advice in (
        (runs.sort, left_out),
        (runs.group_by, left_out),
        (runs.to_data, "a default, where one can be given, allows for it"),
    ):
        with pytest.raises(MissingKeyError) as caught:
            look_up("metrics.loss")
        assert str(caught.value) == (
            "run r2: no such key: 'metrics.loss' in cfg or the logged metrics (similar keys: "
            f"'metrics.val/loss'); 3 of 5 runs lack it; {advice}"
        )
    with pytest.raises(MissingKeyError, match=r"'metrics\.val/loss'\); all 2 runs lack it; a d"):
        runs[2:4].to_frame("run_id", "metrics.loss")


def test_runs_are_not_counted_if_that_builds_implementations(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(3)
    built: list[Path] = []
    runs = Run.load(iter_run_dirs(tracking_dir.root), lambda path: built.append(path) or Impl(path))
    with pytest.raises(MissingKeyError, match=r"run r000: .* \(similar keys: 'score'\); a default"):
        runs.to_list("scores")
    assert len(built) == 1


def test_a_run_that_cannot_be_read_is_not_counted(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(3)
    write(tracking_dir.root / "1/r001/metrics/loss", "not a metric\n")
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    with pytest.raises(MissingKeyError, match=r"run r000: .*; 2 of 3 runs lack it"):
        runs.to_list("metrics.loss")


# Prefixes that say where a key is --------------------------------------------------------

HIDING = """\
status: own
run_id: mine
score: 1.5
metrics: {loss: 9}
params: {n: 8}
tags: {t: 7}
hydra: {job: {num: 6}}
"""

OUTRIGHT: dict[str, tuple[Any, Any]] = {
    "cfg.status": ("own", "FINISHED"),
    "info.status": ("FINISHED", "own"),
    "info__status": ("FINISHED", "own"),
    "attributes.status": ("FINISHED", "own"),
    "info.run_id": ("a", "mine"),
    "cfg.run_id": ("mine", "a"),
    "impl.score": (0.5, 1.5),
    "cfg.score": (1.5, 0.5),
    "cfg.metrics.loss": (9, 0.25),
    "logged.metrics.loss": (0.25, 9),
    "logged.params.n": ("3", 8),
    "cfg.params.n": (8, "3"),
    "logged.tags.t": ("text", 7),
    "cfg.hydra.job.num": (6, None),
}
"""For each key its value, and the one that another place has."""


@pytest.mark.parametrize("key", OUTRIGHT)
def test_prefixes_that_say_where_a_key_is(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    experiment = tracking_dir.add_experiment("e")
    run_dir = tracking_dir.add_run(experiment, "a", HIDING, {"loss": "1 0.25 0\n"})
    write(run_dir / "params/n", "3")
    write(run_dir / "tags/t", "text")
    runs = Run.load(iter_run_dirs(tracking_dir.root), Impl)
    run = runs[0]
    value, other = OUTRIGHT[key]
    assert run.get(key) == run[key] == value
    assert run.get(key, "default") == value
    assert runs.to_list(key) == runs.to_data(key) == runs.unique(key).tolist() == [value]
    assert runs.to_series(key).to_list() == runs.to_frame(key)[key].to_list() == [value]
    assert runs.to_frame((key, "default"))[key].to_list() == [value]
    assert len(runs.filter((key, value))) == len(runs.filter((key, [value]))) == 1
    assert len(runs.filter((key, lambda found: found == value))) == 1
    if "status" not in key:  # one that there is not is an error
        assert len(runs.filter((key, other))) == 0
    assert list(runs.group_by(key).keys()) == [value]
    assert runs.sort(key)[0] is run
    assert runs.n_unique(key) == 1
    assert run.to_frame(lambda _: pl.DataFrame({"n": [1]}), key)[key].to_list() == [value]
    assert runs.concat(lambda _: pl.DataFrame({"n": [1]}), key)[key].to_list() == [value]
    if not isinstance(value, str):
        assert runs.best(key, mode="max") is run
        assert len(runs.filter(runs.eq(key, value))) == 1
    assert not [message for message in caplog.messages if message.startswith("the key ")]


def test_what_is_hidden_is_said(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("e")
    tracking_dir.add_run(experiment, "a", HIDING, {"loss": "1 0.25 0\n"})
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    assert runs.to_frame("metrics.loss", "status").row(0) == (9, "own")
    assert [message.partition(",")[0] for message in caplog.messages] == [
        "the key 'metrics.loss' is taken from the configuration",
        "the key 'status' is taken from the configuration",
    ]
    assert "write 'logged.metrics.loss' for that" in caplog.messages[0]


def test_what_is_hidden_of_hydra_is_said(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    config = "hydra: {job: {num: 7}}\n"
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    write(run_dir / "artifacts/.hydra/hydra.yaml", "hydra: {job: {num: 1}}\n")
    assert Run(run_dir).get("hydra.job.num") == 7
    (message,) = caplog.messages
    assert message.endswith(
        ": see run.hydra for that, or 'cfg.hydra.job.num' for the configuration"
    )


def test_logged_values_are_read_at_once(tracking_dir: TrackingDir, files_read: FilesRead) -> None:
    experiment = tracking_dir.add_experiment("e")
    for run_id in "abc":
        tracking_dir.add_run(experiment, run_id, metrics={"loss": "1 0.5 0\n"})
    runs = Run.load(iter_run_dirs(tracking_dir.root))
    runs.preload()
    files_read.clear()
    assert runs.to_list("metrics") == [{"loss": 0.5}] * 3
    assert files_read.counts[-1] == 3


def test_private_attributes_are_no_keys(run: Run[Any, Any]) -> None:
    assert (hasattr(run, "_configuration"), hasattr(run.info, "_record")) == (True, True)
    for key in ("_configuration", "_record"):
        assert run.get(key, None) is None


# Hydra's files -------------------------------------------------------------------------

SWEPT = "multirun/2026-11-25/23-01-50"


def load_jobs(location: str = str(HYDRA_SWEEP)) -> RunCollection[AnyRun]:
    return Run.load(iter_run_dirs(location))


def test_keys_of_hydra_on_every_storage(publish: Callable[[Path], str]) -> None:
    runs = load_jobs(publish(HYDRA_SWEEP / "multirun"))
    numbers = [int(run.hydra["job"]["num"]) for run in runs]
    assert runs.to_list("hydra.job.num") == runs.to_list("hydra__job__num") == numbers
    assert [run.get("hydra.job.num") for run in runs] == numbers
    assert runs.to_frame("hydra.runtime.choices.model").rows() == [
        (run.hydra["runtime"]["choices"]["model"],) for run in runs
    ]
    assert runs.to_list("overrides") == [run.overrides for run in runs]


def test_what_takes_keys_takes_those_of_hydra() -> None:
    runs = load_jobs(str(HYDRA_SWEEP / SWEPT))
    assert runs.filter(("hydra.job.num", (3, 5))).to_list("hydra.job.num") == [3, 4, 5]
    assert runs.filter(hydra__job__num=[11])[0].info.run_id == f"{SWEPT}/11"
    assert runs.sort("hydra.job.num", reverse=True)[0].info.run_id == f"{SWEPT}/11"
    assert runs.best("hydra.job.num", mode="max").info.run_id == f"{SWEPT}/11"
    groups = runs.group_by("hydra.runtime.choices.model")
    assert {key: len(group) for key, group in groups.items()} == {"cubic": 4, "line": 4, "high": 4}
    conditions = ["hydra.job.num >= 3", "hydra.runtime.choices.model == line", "hydra.verbose != 1"]
    dataset = HydraflowRunCollectionDataset(path=str(HYDRA_SWEEP / SWEPT), filters=conditions)
    assert dataset.load().to_list("hydra.job.num") == [4, 5, 6, 7]
    best = HydraflowRunDataset(path=str(HYDRA_SWEEP), best_by="hydra.job.num", mode="max").load()
    assert best.info.run_id == f"{SWEPT}/11"
    columns = HydraflowArtifactDataset(
        path=str(HYDRA_SWEEP / SWEPT),
        artifact="metrics.csv",
        dataset={"type": "polars.EagerPolarsDataset", "file_format": "csv"},
        concat=True,
        keys=["hydra.job.num"],
    ).load()
    assert columns["hydra.job.num"].unique().to_list() == list(range(12))


def test_the_files_of_hydra_are_read_at_once(files_read: FilesRead) -> None:
    runs = load_jobs()
    files_read.clear()
    for key in ("hydra.job.num", "hydra.job.name", "overrides", "hydra.runtime.cwd", "overrides"):
        runs.to_list(key, None)
    assert files_read.counts == [len(runs), len(runs)]
    files_read.clear()
    assert len(apply_filters(load_jobs(), "hydra.job.num >= 0").runs) == 16
    assert [paths for paths in files_read.calls if "hydra.yaml" in paths[0]][-1:] == [
        [str(run.info.run_dir / ".hydra/hydra.yaml") for run in runs]
    ]


def test_what_hydra_recorded_takes_one_request(
    tracking_dir: TrackingDir, serve: Callable[[Path], WebServer]
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a" * 32)
    write(run_dir / "artifacts/.hydra/hydra.yaml", "hydra: {job: {num: 1}}\n")
    server = serve(tracking_dir.root.parent)
    path = f"/mlruns/1/{run_dir.name}"
    assert Run(f"{server.url}{path}").hydra == {"job": {"num": 1}}
    assert server.requests == [f"{path}/artifacts/.hydra/hydra.yaml"]


def test_filters_of_hydra_come_before_those_of_configurations(files_read: FilesRead) -> None:
    path = HYDRA_SWEEP / "multirun"
    filters = ["seed >= 0", "hydra.job.num == 1"]
    n_runs = len(list(iter_run_dirs(path, filters=filters)))
    assert n_runs == len([path for path in files_read.paths if path.endswith("config.yaml")]) > 0


def test_what_hydra_has_not_set_is_missing() -> None:
    run = load_jobs(str(HYDRA_SWEEP / "outputs"))[0]
    assert run.hydra["job"]["num"] == "???"  # of a single run
    assert run.get("hydra.job.num", None) is None
    with pytest.raises(MissingKeyError, match=r"no such key: 'hydra\.job\.num' in cfg"):
        run.get("hydra.job.num")
    assert run.get("hydra.sweep.subdir") == "${hydra.job.num}"  # as it is stored
    assert load_jobs().to_frame("hydra.job.num")["hydra.job.num"].null_count() == 3


def test_the_configuration_and_the_implementation_come_before_the_files_of_hydra(
    tmp_path: Path,
) -> None:
    class Own:
        def __init__(self, artifacts_dir: Path) -> None:
            self.overrides = ["of the implementation"]

    run_dir = write_job(tmp_path / "outputs/a", "hydra:\n  job: {num: 7}\n", overrides="- a=1\n")
    runs = Run.load([run_dir], Own)
    assert runs.to_list("hydra.job.num") == [7]
    assert runs.to_list("hydra.job.name") == ["train"]
    assert runs.to_list("overrides") == [["of the implementation"]]
    assert Run(run_dir).get("overrides") == ["a=1"]


def test_a_job_without_the_files_of_hydra(tmp_path: Path) -> None:
    dirs = [write_job(tmp_path / "outputs/a"), write_job(tmp_path / "outputs/b", name=None)]
    (dirs[1] / ".hydra/overrides.yaml").unlink()
    runs = Run.load(dirs)
    assert runs.to_list("hydra.job.name", None) == ["train", None]
    assert runs.to_list("overrides") == [[], []]
    with pytest.raises(MissingKeyError, match=r"run outputs/b: no such key: 'hydra\.job\.name'"):
        runs.to_list("hydra.job.name")
    with pytest.raises(FilterError, match=r"the run does not have the key 'hydra\.job\.nam'"):
        apply_filters(runs[:1], "hydra.job.nam == x")


def test_malformed_files_of_hydra(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dirs = [write_job(tmp_path / f"outputs/{name}", overrides="- a=1\n") for name in "abc"]
    write(dirs[1] / ".hydra/hydra.yaml", "hydra: 3\n")
    write(dirs[1] / ".hydra/overrides.yaml", "version https://git-lfs.github.com/spec/v1\n")
    runs = Run.load(dirs)
    for key, message in (("hydra.job.name", "expected a mapping"), ("overrides", "git lfs pull")):
        with pytest.raises(ConfigError, match=rf"outputs/b/\.hydra/.*{message}"):
            runs.to_frame(key)
    outcomes = read_values(runs, parse_key("hydra.job.name"))
    assert [isinstance(outcome, ConfigError) for outcome in outcomes] == [False, True, False]

    runs = Run.load(dirs, on_error="warn")
    for _ in range(2):
        assert runs.to_list("hydra.job.name", None) == ["train", None, "train"]
        assert runs.to_list("overrides") == [["a=1"], [], ["a=1"]]
        assert runs[1].hydra == {}
    assert [m.partition(": ")[0] for m in caplog.messages] == [
        "taken for missing",
        "hydra",
        "taken for missing",
        "overrides",
    ]
    assert caplog.messages[1] == "hydra: 1 malformed in 3 runs"


def test_files_of_hydra_that_cannot_be_reached_are_an_error(
    tmp_path: Path, serve: Callable[[Path], WebServer], no_waiting: None
) -> None:
    write_job(tmp_path / "outputs/a")
    for status in (403, 500):
        server = serve(tmp_path)
        runs = Run.load([f"{server.url}/outputs/a"], on_error="warn")
        server.answers = {"hydra.yaml": [status] * 99, "overrides.yaml": [status] * 99}
        for key in ("hydra.job.name", "overrides"):
            with pytest.raises(StorageError, match=str(status)):
                runs.to_list(key, None)


def test_names_of_groups_and_packages(tmp_path: Path) -> None:
    run_dir = write_job(tmp_path / "outputs/a")
    choices = (
        "a/b: 1\n      c@d.e: 2\n      f.g: 3\n      f: {g: 4}\n      h__i: 5\n      h: {i: 6}"
    )
    write(run_dir / ".hydra/hydra.yaml", f"hydra:\n  runtime:\n    choices:\n      {choices}\n")
    runs = Run.load([run_dir])
    expected = {".a/b": 1, ".c@d.e": 2, '["c@d.e"]': 2, "[c@d.e]": 2, ".f.g": 4, "['f.g']": 3}
    for end, value in {**expected, ".h__i": 5, "__h__i": 6, "[h][i]": 6}.items():
        assert runs.to_list(f"hydra.runtime.choices{end}") == [value]
    with pytest.raises(OptionError, match=r"cannot read the key 'runtime\.choices\[a': expected"):
        runs.to_list("hydra.runtime.choices[a", None)


def test_what_keys_of_hydra_give_is_ones_own(tmp_path: Path) -> None:
    run = Run(write_job(tmp_path / "outputs/a"))
    for get in (run.get, lambda key: Run.load([run.info.run_dir]).to_list(key)[0]):
        get("hydra.job")["name"] = "changed"
        assert run.get("hydra.job.name") == "train"


# Results -------------------------------------------------------------------------------


def load_results(**options: Any) -> RunCollection[AnyRun]:
    return Run.load(iter_run_dirs(HYDRA_SWEEP / "multirun"), results="result.json", **options)


def test_what_takes_keys_takes_those_of_results() -> None:
    runs = load_results()
    losses = [run.results.get("loss") for run in runs]
    found = [loss for loss in losses if loss is not None]
    assert len(found) == len(runs) - 1  # one job failed
    assert runs.to_list("results.loss", None) == losses
    assert runs.to_frame("results.loss")["results.loss"].to_list() == losses
    assert runs.best("results.loss", mode="min").results["loss"] == min(found)
    assert runs.top(2, by="results.loss", mode="max").to_list("results.loss")[0] == max(found)
    having = runs.filter(lambda run: run.results)
    assert having.sort("results.loss").to_list("results__loss") == sorted(found)
    assert having.filter(("results.loss", (0, 0.1))).n_unique("results.loss") == 3
    assert {*having.group_by("results.n_weights")} == {2, 4, 10}
    with pytest.raises(MissingKeyError, match=r"'results\.loss' in .*no similar keys\)"):
        runs.to_list("results.loss")
    with pytest.raises(MissingKeyError, match=r"similar keys: 'results\.n_weights'"):
        runs[0].get("results.n_weight")
    with pytest.raises(MissingKeyError, match=r"similar keys: 'results\.loss'"):
        runs[0].get("loss")


def test_all_values_of_results(tmp_path: Path) -> None:
    run_dir = write_job(tmp_path / "outputs/a", "name: x\n")
    write(
        run_dir / "out.yaml",
        "none: null\ntext: ${name}\nbad: ${\nlater: ???\nlist: [1, {b: 2}]\nval.loss: 3\n"
        "val: {acc: 4}\na__b: 5\na: {b: 6}\nok: true\nnan: .nan\n1: 7\n",
    )
    runs = Run.load([run_dir], results="out.yaml")
    expected = {
        "none": None,
        "text": "${name}",
        "bad": "${",
        "later": "???",
        "list": [1, {"b": 2}],
        "list.1.b": 2,
        "list[0]": 1,
        "val.loss": 3,
        "val.acc": 4,
        "a__b": 5,
        "a.b": 6,
        "ok": True,
        "1": 7,
    }
    for key, value in expected.items():
        assert runs.to_list(f"results.{key}", "default") == [value]
        assert get_data(runs, f"results.{key}") == [value]
        assert runs[0].get(f"results.{key}") == value
    assert runs.to_frame("results.none", "results.text").rows() == [(None, "${name}")]
    assert runs.filter(results__none=None)
    assert repr(runs[0].get("results.nan")) == "nan"
    assert runs[0].results["val.loss"] == 3
    assert apply_filters(runs, "results.none == null").runs
    assert apply_filters(runs, "results.text == '${name}'").runs


def test_results_come_after_the_configuration_and_the_implementation(tmp_path: Path) -> None:
    class Own:
        def __init__(self, artifacts_dir: Path) -> None:
            self.results = "of the implementation"

    run_dir = write_job(tmp_path / "outputs/a", "results: {loss: 1}\n")
    write(run_dir / "result.json", '{"loss": 2, "other": 3}')
    runs = Run.load([run_dir], Own, results="result.json")
    assert runs.to_list("results.loss") == [1]
    assert runs.to_list("results.other") == [3]
    assert runs.to_list("results") == [{"loss": 1}]
    assert runs[0].results == {"loss": 2, "other": 3}
    write(run_dir / ".hydra/config.yaml", "{}\n")
    assert Run.load([run_dir], Own, results="result.json").to_list("results") == [
        "of the implementation"
    ]
    assert Run(run_dir, results="result.json").get("results") == {"loss": 2, "other": 3}


HINT = (
    "load the runs with the option results, the path of a JSON or YAML file in each run's "
    "artifacts directory, such as results='result.json'"
)


def test_without_the_option_the_messages_name_it() -> None:
    runs = load_jobs()
    run = runs[0]
    with pytest.raises(OptionError) as raised:
        _ = run.results
    assert str(raised.value) == f"run {run.info.run_id} has no results: {HINT}"
    for key, places in (("results.loss", "cfg or the results"), ("results", "cfg, impl or info")):
        with pytest.raises(MissingKeyError) as missing:
            run.get(key)
        assert str(missing.value) == (
            f"run {run.info.run_id}: no such key: {key!r} in {places} (no similar keys; "
            f"for the results of the application, {HINT}); a default, where one can be given, "
            "allows for it"
        )
        assert run.get(key, None) is None
    for error, use in (
        (MissingKeyError, lambda: runs.to_frame("results.loss")),
        (OptionError, lambda: runs.best("results.loss", mode="min")),
        (FilterError, lambda: apply_filters(runs, "results.loss < 1")),
    ):
        with pytest.raises(error, match=re.escape(HINT)):
            use()


class RunWithOwnResults(Run[Any, None]):
    """A subclass from before there were results."""

    @property
    def results(self) -> Any:
        return "its own"


def test_a_subclass_may_have_results_of_its_own() -> None:
    run = RunWithOwnResults(HYDRA_SWEEP / SWEPT / "0")
    assert run.get("results") == run.results == "its own"


def test_keys_of_hydra_and_results_that_may_be_meant() -> None:
    runs = load_results()
    for key, nearest in (
        ("hydra.job.nam", "hydra.job.name"),
        ("hydra.choices.model", "hydra.runtime"),
    ):
        with pytest.raises(MissingKeyError, match=rf"similar keys: '{nearest}"):
            runs[0].get(key)
    for key in ("result.loss", "results.los", "Results.loss", "results/loss", "loss"):
        with pytest.raises(FilterError, match=r"similar keys: 'results\.loss'"):
            apply_filters(runs, f"{key} > 0")
    for key in ("override_dirnam", "sweep.subdi"):  # of Hydra, if nothing else is like it
        with pytest.raises(MissingKeyError, match=r"similar keys: 'hydra\."):
            runs[0].get(key)
