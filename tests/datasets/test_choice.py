"""One artifact of one run: the best one, or one by its ID."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError
from polars.testing import assert_frame_equal

from kedro_hydraflow import HydraflowArtifactDataset
from kedro_hydraflow.datasets._choice import RunChoice
from kedro_hydraflow.errors import ArtifactError, NotFoundError, OptionError
from tests.conftest import TrackingDir, write
from tests.datasets.conftest import EXPECTED, TEXT, make_again, make_artifact_dataset

BEST: dict[str, Any] = {"best_by": "lr", "mode": "max"}


def test_the_artifact_of_the_best_run(publish: Callable[[Path], str], root: Path) -> None:
    location = publish(root)
    assert_frame_equal(make_artifact_dataset(location, **BEST).load(), EXPECTED[3:, 2:])
    worst = make_artifact_dataset(location, best_by="lr", mode="min")
    assert_frame_equal(worst.load(), EXPECTED[:1, 2:])
    note = make_artifact_dataset(
        location, artifact="notes/short.txt", dataset=TEXT, filepath_arg="where", **BEST
    )
    assert note.load() == "note of c"


def test_the_artifact_of_a_run_by_its_id(
    publish: Callable[[Path], str], root: Path, tracking_dir: TrackingDir
) -> None:
    for run_id in ("abcd", "abcde"):
        run_dir = tracking_dir.add_run(root / "1", run_id, "lr: 9\n")
        write(run_dir / "artifacts/metrics.csv", f"epoch\n{len(run_id)}\n")
    location = publish(root)
    assert make_artifact_dataset(location, run_id="abcd").load().item() == 4
    assert make_artifact_dataset(location, run_id="abcde").load().item() == 5
    assert_frame_equal(make_artifact_dataset(location, run_id="b").load(), EXPECTED[1:3, 2:])


def test_filters_and_results_count(root: Path) -> None:
    dataset = make_artifact_dataset(root, filters=["lr < 3"], **BEST)
    assert_frame_equal(dataset.load(), EXPECTED[1:3, 2:])
    for run_id, score in (("a", 7), ("b", 1), ("c", 3)):
        write(root / f"1/{run_id}/artifacts/result.json", f'{{"score": {score}}}')
    dataset = make_artifact_dataset(
        root, results="result.json", best_by="results.score", mode="max"
    )
    assert_frame_equal(dataset.load(), EXPECTED[:1, 2:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run_id": "abcd"}, r"there is no run in .*with .*run_id: 'abcd'"),
        ({**BEST, "filters": ["lr > 9"]}, r"there is no run in .* with .*filters: \['lr > 9'\]"),
        (
            {**BEST, "best_by": "lrr"},
            "none of the 3 runs has a value for 'lrr'; similar keys: 'lr'",
        ),
        ({**BEST, "best_by": "name"}, "cannot rank runs by 'name'"),
        ({**BEST, "min_runs": 4}, "expected min_runs=4 or more, found .* 3 runs"),
    ],
)
def test_no_such_run(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make_artifact_dataset(root, **options).load()


def test_the_run_has_to_have_the_artifact(publish: Callable[[Path], str], root: Path) -> None:
    (root / "1/c/artifacts/metrics.csv").unlink()
    location = publish(root)
    for use in ("load", "preview"):
        with pytest.raises((DatasetError, NotFoundError)) as caught:
            getattr(make_artifact_dataset(location, **BEST), use)()
        text = str(caught.value)
        assert "run c has no artifact 'metrics.csv': there is no " in text
        assert "1/c/artifacts/metrics.csv" in text
        assert text.endswith("; the artifacts are '.hydra', 'notes'")


def test_an_artifact_that_cannot_be_loaded_is_an_error(root: Path) -> None:
    write(root / "1/c/artifacts/metrics.csv", "")
    with pytest.raises(
        DatasetError, match=r"run c: .*TableDataset cannot load 'metrics\.csv'"
    ) as c:
        make_artifact_dataset(root, on_error="warn", **BEST).load()
    assert isinstance(c.value.__cause__, ArtifactError)


def test_a_wrong_dataset_shows_before_the_search(tmp_path: Path) -> None:
    dataset = make_artifact_dataset(tmp_path / "nowhere", dataset="nobody.NoDataset", **BEST)
    with pytest.raises(DatasetError, match="No module named 'nobody'"):
        dataset.load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best_by": "a"}, "give best_by and mode together: mode is 'max' if the largest"),
        ({"mode": "max"}, "give best_by and mode together"),
        ({**BEST, "run_id": "a"}, "give best_by or run_id, not both"),
        ({**BEST, "concat": True}, "concat: cannot be used with best_by, which chooses one run"),
        ({"run_id": "a", "concat": True}, "concat: cannot be used with run_id, which chooses one"),
        ({**BEST, "missing": "skip"}, "missing: skip: cannot be used with best_by, which chooses"),
        ({"run_id": "a", "min_runs": 1}, "min_runs: cannot be used with run_id, which chooses one"),
        ({**BEST, "keys": ["lr"]}, "keys: only valid with concat: true"),
        ({"run_id": ""}, "run_id: expected text, found ''; quote the value in YAML"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    given = {"path": "mlruns", "artifact": "a", "dataset": "json.JSONDataset", **options}
    with pytest.raises(OptionError) as caught:
        HydraflowArtifactDataset(**given)
    assert message in str(caught.value)


def test_preview_names_the_run_and_why(root: Path) -> None:
    url = f"{root}/1/c/artifacts/metrics.csv"
    assert make_artifact_dataset(root, **BEST).preview() == {
        "index": [0],
        "columns": ["run_id", "lr", "artifact"],
        "data": [["c", 3, url]],
    }
    preview = make_artifact_dataset(root, run_id="c").preview()
    assert preview["data"] == [["c", url]]
    assert preview["columns"] == ["run_id", "artifact"]


def test_exists(publish: Callable[[Path], str], root: Path) -> None:
    location = publish(root)
    assert make_artifact_dataset(location, run_id="a").exists()
    assert not make_artifact_dataset(location, run_id="abcd").exists()
    assert make_artifact_dataset(location, **BEST).exists()
    assert not make_artifact_dataset(root / "nowhere", **BEST).exists()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_copy_loads_the_same(root: Path, duplicate: Callable[[Any], Any]) -> None:
    original = make_artifact_dataset(root, **BEST)
    copied = duplicate(original)
    assert "best_by='lr', mode='max'" in repr(original)
    assert repr(copied) == repr(original)
    assert_frame_equal(copied.load(), original.load())


def test_config_round_trip(root: Path) -> None:
    config, again = make_again(make_artifact_dataset(root, **BEST))
    assert BEST.items() <= config.items()
    assert make_again(again)[0] == config
    assert_frame_equal(again.load(), EXPECTED[3:, 2:])


def test_without_an_option_nothing_is_chosen() -> None:
    assert not RunChoice()
    assert RunChoice(run_id="a")
    assert RunChoice(best_by="a", mode="min")
