"""The messages in docs/empty-collection.md are those of loads that give no or fewer runs."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError

from kedro_hydraflow import HydraflowRunCollectionDataset, Run, iter_run_dirs
from tests.conftest import HYDRA_SWEEP, ROOT, SWEEP

PAGE = (ROOT / "docs/empty-collection.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
IN_THE_CATALOG, *IN_PYTHON = (block for language, block in BLOCKS if not language)
IN_THE_TABLE = re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)
FILTERS = ["status == FINISHED", "metrics.accuracy > 97"]
OPTIONS: list[dict[str, Any]] = [  # in the order of the page
    {"filters": FILTERS},
    {"path": "mlrun"},
    {"path": "other"},
    {"path": "empty"},
    {"experiment_names": "train_digit_v1"},
    {"experiment_names": "trian_*"},
    {"path": "default"},
    {"filters": "start_time > now - 1h"},
    {"filters": "learning_rate < 0.1"},
    {"filters": "seed == '1'"},
    {"path": "deleted"},
    {"checkpoint": "checkpoint.json"},
    {"lock": "lock.json"},
    {"path": "broken", "on_error": "warn"},
    {"path": "both"},
]


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directories of `OPTIONS` that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    for name in ("mlruns", "default", "deleted", "broken", "both/mlruns"):
        shutil.copytree(SWEEP, name)
    shutil.copytree(HYDRA_SWEEP / "multirun", "both/multirun")
    Path("other/data").mkdir(parents=True)
    Path("empty").mkdir()
    run_dirs = sorted(path.parent for path in Path("default").glob("*/*/meta.yaml"))
    shutil.copytree(run_dirs[0], Path("default/0", run_dirs[0].name))
    for run_dir in run_dirs[:3]:
        meta = Path("deleted", *run_dir.parts[1:], "meta.yaml")
        text = meta.read_text("utf-8")
        meta.write_text(text.replace("stage: active", "stage: deleted"), "utf-8")
    Path("broken", *run_dirs[0].parts[1:], "artifacts/.hydra/config.yaml").write_text("a: [")
    new = HydraflowRunCollectionDataset(path="mlruns", checkpoint="checkpoint.json")
    new.load()
    new.confirm()
    late = shutil.move(Path("mlruns", *run_dirs[0].parts[1:]), "late")
    HydraflowRunCollectionDataset(path="mlruns", lock="lock.json").load()
    shutil.move(late, Path("mlruns", *run_dirs[0].parts[1:]))


@pytest.mark.parametrize(
    ("shown", "options"), list(zip([IN_THE_CATALOG, *IN_THE_TABLE], OPTIONS, strict=True))
)
def test_a_message(shown: str, options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    dataset = HydraflowRunCollectionDataset(**{"path": "mlruns", **options})
    try:
        dataset.load()
    except DatasetError as exc:
        message = str(exc)
    else:
        message = caplog.text
    for part in shown.split("…"):
        assert part in message


@pytest.mark.parametrize(
    ("shown", "path", "filters"),
    list(zip(IN_PYTHON, ["mlruns", "empty"], [FILTERS, None], strict=True)),
)
def test_a_message_in_python(
    shown: str, path: str, filters: list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    assert not Run.load(iter_run_dirs(path, filters=filters))
    assert [record.getMessage() for record in caplog.records] == [shown]
