from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog, DatasetError

from kedro_hydraflow import HydraflowRunCollectionDataset, HydraflowRunDataset, Run
from tests.conftest import HYDRA_SWEEP, SWEEP, TrackingDir, write
from tests.datasets.conftest import make_again

TYPE = "kedro_hydraflow.HydraflowRunDataset"
RUN = "803221166256626715/5b59290f35f943c8863522a4cd371131"


def from_catalog(**config: Any) -> HydraflowRunDataset:
    dataset = DataCatalog.from_config({"run": {"type": TYPE, **config}})["run"]
    assert isinstance(dataset, HydraflowRunDataset)
    return dataset


def count_artifacts(artifacts_dir: Path, cfg: Any) -> dict[str, int]:
    return {str(cfg.model.type): len(list(artifacts_dir.iterdir()))}


def inside(location: str, path: str) -> str:
    first, *rest = location.split("::")
    return "::".join([f"{first}/{path}", *rest])


def test_load(publish: Callable[[Path], str], sweep: Path) -> None:
    run = from_catalog(
        filepath=inside(publish(sweep), RUN), impl=f"{__name__}.count_artifacts"
    ).load()
    assert isinstance(run, Run)
    assert run.get("model.type") == "mlp"
    assert run.info.job_name == "train_digits_v2"
    assert run.impl == {"mlp": 4}
    assert run.metrics["accuracy"] == 0.9355555555555556


def test_relative_path_is_kept_relative(monkeypatch: pytest.MonkeyPatch, sweep: Path) -> None:
    monkeypatch.chdir(sweep)
    assert from_catalog(filepath=RUN).load().info.run_dir == Path(RUN)


def test_without_configuration(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", None)
    assert from_catalog(filepath=str(run_dir)).load().to_dict() == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("803221166256626715/nobody", "there is no run directory '.*nobody.*'; expected <tracking"),
        ("803221166256626715", "is not a run directory: .*HydraflowRunCollectionDataset"),
        ("", "is not a run directory: .*HydraflowRunCollectionDataset"),
    ],
)
def test_what_is_no_run(
    publish: Callable[[Path], str], sweep: Path, path: str, message: str
) -> None:
    location = publish(sweep)
    with pytest.raises(DatasetError, match=f"(?s){message}"):
        from_catalog(filepath=inside(location, path) if path else location).load()


def test_broken_configuration_names_the_file(tracking_dir: TrackingDir) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", "a: [1\n")
    with pytest.raises(DatasetError, match=r"a/artifacts/\.hydra/config\.yaml: while parsing"):
        from_catalog(filepath=str(run_dir)).load()


def test_exists(publish: Callable[[Path], str], sweep: Path) -> None:
    location = publish(sweep)
    assert from_catalog(filepath=inside(location, RUN)).exists()
    assert not from_catalog(filepath=inside(location, "1/2")).exists()


def test_survives_pickling(sweep: Path) -> None:
    dataset = from_catalog(filepath=str(sweep / RUN))
    assert pickle.loads(pickle.dumps(dataset)).load().get("seed") == 42


def test_preview(sweep: Path) -> None:
    preview = json.loads(from_catalog(filepath=str(sweep / RUN)).preview())
    assert preview["info"]["status"] == "FINISHED"
    assert preview["cfg"]["model"]["type"] == "mlp"
    assert preview["metrics"].keys() == {"accuracy", "train/loss", "val/accuracy"}
    assert "best_by" not in preview
    assert "params" not in preview


def test_preview_of_a_run_without_configuration_has_its_params(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("e")
    run_dir = tracking_dir.add_run(experiment, "a", None, {"acc": "1 half 0\n"})
    write(run_dir / "params/lr", "0.1")
    preview = json.loads(from_catalog(filepath=str(run_dir)).preview())
    assert (preview["params"], preview["cfg"]) == ({"lr": "0.1"}, {})
    assert preview["note"].startswith("metrics could not be read: ")
    assert f"{run_dir}/metrics/acc" in preview["note"]


def test_preview_resolves_interpolations(tracking_dir: TrackingDir) -> None:
    config = """\
model: {name: cnn, sizes: [1, "${seed}"], label: "${model.name}-${seed}"}
again: ${model}
broken: ${nowhere}
unset: ???
seed: 3
"""
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    preview = json.loads(from_catalog(filepath=str(run_dir)).preview())
    model = {"name": "cnn", "sizes": [1, 3], "label": "cnn-3"}
    expected = {"model": model, "again": model, "broken": "${nowhere}", "unset": None, "seed": 3}
    assert preview["cfg"] == expected


def test_preview_of_a_job_of_hydra_has_its_results() -> None:
    run_dir = str(HYDRA_SWEEP / "multirun/2026-11-25/23-01-50/0")
    preview = json.loads(from_catalog(filepath=run_dir, results="result.json").preview())
    assert preview["results"].keys() == {"loss", "n_weights"}


def test_preview_is_strict_json(tracking_dir: TrackingDir) -> None:
    config = "lr: .nan\nnames: {!!binary YQ==: {1: a}}\n"
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    preview = json.loads(from_catalog(filepath=str(run_dir)).preview(), parse_constant=pytest.fail)
    assert preview["cfg"] == {"lr": "nan", "names": {"b'a'": {"1": "a"}}}


def test_a_remote_location_is_not_shown_to_plugins_that_open_it() -> None:
    dataset = from_catalog(filepath="s3://bucket/mlruns/1/a", credentials={"key": "hush"})
    assert not hasattr(dataset, "_filepath")
    assert not hasattr(dataset, "filepath")
    assert "hush" not in repr(dataset)


def test_filepath_is_checked() -> None:
    with pytest.raises(DatasetError, match="filepath: expected a path or URL, found 3"):
        from_catalog(filepath=3)


# One of the runs below a tracking directory ----------------------------------------------

BEST = "13f42e9535654d01a4143ddd9be02cb7"


def load_id(**config: Any) -> str:
    return from_catalog(**config).load().info.run_id


def test_the_best_run(publish: Callable[[Path], str], sweep: Path) -> None:
    run = from_catalog(
        path=publish(sweep),
        best_by="metrics.accuracy",
        mode="max",
        impl=f"{__name__}.count_artifacts",
    ).load()
    assert run.info.run_id == BEST
    assert run.impl == {"mlp": 4}


def test_the_worst_of_some(sweep: Path) -> None:
    options: dict[str, Any] = {
        "experiment_names": "train_*",
        "filters": ["status == FINISHED", "model.type == mlp"],
    }
    runs = HydraflowRunCollectionDataset(path=sweep, **options).load()
    expected = runs.best(by="metrics.accuracy", mode="min").info.run_id
    found = load_id(path=str(sweep), best_by="metrics.accuracy", mode="min", **options)
    assert found == expected != BEST


def test_the_best_run_by_its_results(publish: Callable[[Path], str]) -> None:
    location = publish(HYDRA_SWEEP)
    dataset = from_catalog(path=location, results="result.json", best_by="results.loss", mode="min")
    for same in (dataset, pickle.loads(pickle.dumps(dataset)), make_again(dataset)[1]):
        best = same.load()
        assert best.results == {"loss": 0.06100679333241336, "n_weights": 10}
        assert same._describe()["results"] == "result.json"
    run_dir = inside(location, "multirun/2026-11-25/23-01-50/10")
    alone = from_catalog(filepath=run_dir, results="./result.json")
    assert alone.load().results == best.results
    assert make_again(alone)[1].load().get("results.loss") == best.get("results.loss")
    assert alone._describe()["results"] == "./result.json"
    assert "results" not in from_catalog(filepath=run_dir)._describe()
    assert json.loads(alone.preview())["cfg"]["model"]["name"] == "high"


@pytest.mark.parametrize("run_id", [BEST, BEST[:4], BEST[:31]])
def test_by_the_id_or_its_beginning(
    publish: Callable[[Path], str], sweep: Path, run_id: str
) -> None:
    assert load_id(path=publish(sweep), run_id=run_id) == BEST


def test_by_the_only_one_that_meets_the_filters(sweep: Path) -> None:
    run_id = load_id(path=str(sweep), filters=["status == FAILED"])
    assert Run.load(next(sweep.glob(f"*/{run_id}"))).info.status == "FAILED"


@pytest.fixture
def six(tracking_dir: TrackingDir) -> TrackingDir:
    experiment = tracking_dir.add_experiment("train")
    for number, run_id in enumerate(["abcd", "abcde", "abcdf", "b", "c", "d"]):
        metrics = {"loss": f"1 {number} 0\n"}
        config = f"lr: {number}\nseed: 1\nnote: {{a: {number}}}\n"
        tracking_dir.add_run(experiment, run_id, config, metrics)
    return tracking_dir


def test_a_whole_id_counts_more_than_a_beginning(six: TrackingDir) -> None:
    assert load_id(path=str(six.root), run_id="abcd") == "abcd"
    assert load_id(path=str(six.root), run_id="b") == "b"


def test_other_runs_are_not_read_for_an_id(six: TrackingDir) -> None:
    (six.root / "1/d/artifacts/.hydra/config.yaml").write_text("a: [1\n")
    assert load_id(path=str(six.root), run_id="c") == "c"
    with pytest.raises(DatasetError, match=r"1 of 6 runs .*set on_error='warn' to skip them"):
        load_id(path=str(six.root), best_by="lr", mode="max")
    assert load_id(path=str(six.root), best_by="lr", mode="max", on_error="warn") == "c"


def test_several_runs_are_counted_and_told_apart(six: TrackingDir) -> None:
    with pytest.raises(DatasetError) as caught:
        load_id(path=str(six.root), experiment_names=["train"], filters=["seed == 1"])
    text = str(caught.value)
    assert (
        f"expected one run, found 6 in {six.root} with experiment_names: ['train'], "
        "filters: ['seed == 1']; give filters, best_by or run_id to choose one:\n"
        "- abcd: lr=0, note.a=0\n- abcde: lr=1, note.a=1\n"
    ) in text
    assert text.endswith("\n- and 1 more")


def test_several_runs_with_an_id_that_begins_so(six: TrackingDir) -> None:
    for run_id in ("xyz12", "xyz13"):
        six.add_run(six.root / "1", run_id)
    with pytest.raises(DatasetError, match=r"expected one run, found 2 .* give a longer run_id"):
        load_id(path=str(six.root), run_id="xyz1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": ["lr > 9"]}, r"there is no run in .* with filters: \['lr > 9'\]"),
        ({"run_id": "abce"}, "there is no run in .* with run_id: 'abce'$"),
        ({"run_id": "abc"}, r"run_id: 'abc' \(a prefix needs at least 4 characters\)"),
        (
            {"best_by": "accuracy", "mode": "max"},
            "none of the 6 runs has a value for 'accuracy'; no similar keys",
        ),
        (
            {"best_by": "lrr", "mode": "max"},
            "none of the 6 runs has a value for 'lrr'; similar keys: 'lr'",
        ),
        (
            {"experiment_names": "eval*", "best_by": "lr", "mode": "max"},
            r"no run in .* experiment_names: 'eval\*'",
        ),
    ],
)
def test_no_run(six: TrackingDir, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_id(path=str(six.root), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give exactly one of filepath .*; found none of them"),
        (
            {"filepath": "a", "path": "b"},
            "give exactly one of filepath .*; found 2 of them",
        ),
        ({"path": 3}, "path: expected a path or URL, found 3"),
        (
            {"path": "b", "run_id": 12345678},
            "run_id: expected text, found 12345678; quote the value in YAML, or give more of the "
            "ID where that does not help, as in kedro run --params",
        ),
        ({"path": "b", "run_id": ""}, "run_id: expected text, found ''"),
        ({"path": "b", "best_by": ["a"]}, r"best_by: expected text, found \['a'\]"),
        ({"path": "b", "best_by": "a", "mode": "top"}, "mode: expected 'max' or 'min'"),
        ({"path": "b", "best_by": "a"}, "give best_by and mode together: mode is 'max' if the"),
        ({"path": "b", "mode": "max"}, "give best_by and mode together"),
        ({"path": "b", "best_by": "a", "run_id": "c"}, "give best_by or run_id, not both"),
        ({"path": "b", "filters": 1}, "filters: expected text"),
        ({"path": "b", "on_error": "skip"}, "on_error: expected 'raise' or 'warn'"),
        *(
            ({"filepath": "a", **option}, rf"{next(iter(option))}: cannot be used with filepath")
            for option in (
                {"experiment_names": "e"},
                {"filters": ["a == 1"]},
                {"run_id": "a"},
                {"best_by": "a"},
                {"mode": "min"},
                {"n_jobs": 2},
                {"progress": True},
                {"on_error": "warn"},
                {"include_deleted": False},
            )
        ),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        from_catalog(**options)


def test_deleted_runs_are_not_the_best(six: TrackingDir) -> None:
    six.add_run(six.root / "1", "deleted", "lr: 9\n", lifecycle_stage="deleted")
    path = str(six.root)
    assert load_id(path=path, best_by="lr", mode="max") == "d"
    assert load_id(path=path, best_by="lr", mode="max", include_deleted=True) == "deleted"


def test_exists_where_a_run_is_to_be_found(publish: Callable[[Path], str], sweep: Path) -> None:
    location = publish(sweep)
    assert from_catalog(path=location, best_by="metrics.accuracy", mode="max").exists()
    assert from_catalog(path=location, run_id=BEST).exists()
    assert not from_catalog(path=location, run_id="abcdef").exists()
    assert not from_catalog(path=inside(location, "nowhere"), run_id=BEST).exists()


def test_preview_of_the_best_run(sweep: Path) -> None:
    preview = from_catalog(path=str(sweep), best_by="metrics.accuracy", mode="max").preview()
    shown = json.loads(preview)
    assert shown["info"]["run_id"] == BEST
    assert shown["best_by"] == {"metrics.accuracy": shown["metrics"]["accuracy"]}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_copy_finds_the_same_run(sweep: Path, duplicate: Callable[[Any], Any]) -> None:
    dataset = from_catalog(
        path=str(sweep), experiment_names=["train_*"], best_by="metrics.accuracy", mode="max"
    )
    copied = duplicate(dataset)
    assert repr(copied) == repr(dataset)
    assert "best_by='metrics.accuracy', mode='max'" in repr(dataset)
    assert copied.load().info.run_id == BEST


def test_config_round_trip(sweep: Path) -> None:
    options = {"path": str(sweep), "filters": ["status == FAILED"], "on_error": "warn"}
    config, again = make_again(from_catalog(**options))
    assert options.items() <= config.items()
    assert make_again(again)[0] == config
    assert again.load().info.status == "FAILED"


@pytest.mark.parametrize("root", [SWEEP, HYDRA_SWEEP / "outputs"])
def test_a_run_directory_as_path_is_an_error_that_names_filepath(root: Path) -> None:
    run_dir = next(root.rglob(".hydra")).parent
    run_dir = run_dir.parent if run_dir.name == "artifacts" else run_dir
    with pytest.raises(DatasetError, match="give filepath instead of path"):
        HydraflowRunDataset(path=str(run_dir), run_id="abcd").load()


def test_preview_has_the_first_thousand_keys(tracking_dir: TrackingDir) -> None:
    config = "".join(f"k{i}: ${{seed}}\n" for i in range(1001))
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("e"), "a", config)
    preview = json.loads(from_catalog(filepath=str(run_dir)).preview())
    assert len(preview["cfg"]) == 1000
    assert preview["cfg"]["k999"] == "${seed}"  # there is no such key
    assert preview["note"] == "… of the first 1,000 keys alone: a preview looks at no more"
    config = "".join(f"k{i}: ${{model}}\n" for i in range(600)) + "model: {a: 1, b: 2}\n"
    write(run_dir / "artifacts/.hydra/config.yaml", config)
    again = json.loads(from_catalog(filepath=str(run_dir)).preview())
    assert list(again["cfg"]) == [f"k{i}" for i in range(500)]
    assert again["note"] == preview["note"]
