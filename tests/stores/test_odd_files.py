"""File stores whose files are cut off, overwritten or from other programs.

A load ends in values of the documented types, or in errors that name the file.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, get_experiment_names, iter_run_dirs
from kedro_hydraflow.errors import KedroHydraflowError
from tests.conftest import TrackingDir, write

RUN_ID = f"{5:032x}"

PIECES = [
    *(b"\xff", b"\0", b"\r\n", b"\r", b"\n", b"\xef\xbb\xbf", b" ", b"\t", b":", b"'", b'"', b"["),
    *(b"}", b"&a", b"*a", b"!!null", b"!!python/object:os.system", b"null", b"~", b"nan", b"-inf"),
    *(b"1e400", b"9" * 30, b"9" * 5000, b"-1", b"0x10", b"1_000", b"-99999999999999999", b"1:30"),
    *(b"\xed\xa0\x80", b'"\\ud800"', b"${oc.env:HOME}", b"${", b"???", b"<<: *a", b"---\n", b"|"),
    *(b"- ", b"? ", b"#", b"2024-01-01", b"yes", b"\xc2\x85", "٣".encode(), b"x" * 3000, b"{}"),
]
"""What is inserted."""

FILES = {
    "meta.yaml": "experiment",
    f"{RUN_ID}/meta.yaml": "run",
    f"{RUN_ID}/metrics/acc": "metric",
    f"{RUN_ID}/params/p": "param",
    f"{RUN_ID}/tags/t": "tag",
    f"{RUN_ID}/artifacts/.hydra/config.yaml": "configuration",
    f"{RUN_ID}/artifacts/.hydra/hydra.yaml": "job",
}


@pytest.fixture
def experiment(tracking_dir: TrackingDir) -> Path:
    """An experiment with two runs, of which the first is complete."""
    experiment = tracking_dir.add_experiment("train")
    metrics = {"acc": "1795394369957 0.5 0\n1795394369958 0.6 1\n"}
    run_dir = tracking_dir.add_run(experiment, RUN_ID, "seed: 1\nmodel: {a: '${seed}'}\n", metrics)
    write(run_dir / "params/p", "v")
    write(run_dir / "tags/t", "v")
    write(run_dir / "artifacts/.hydra/hydra.yaml", "hydra:\n  job:\n    name: train\n")
    write(run_dir / "artifacts/.hydra/overrides.yaml", "- seed=1\n")
    tracking_dir.add_run(experiment, f"{6:032x}", "seed: 2\n", metrics)
    return experiment


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Return a file's content with a few changes."""
    for _ in range(rng.choice([1, 1, 2, 5])):
        start = rng.randrange(len(content) + 1)
        end = start + rng.choice([0, 0, 1, 20, len(content)])
        piece = rng.choice([*PIECES, b"", bytes([rng.randrange(256)])])
        content = content[:start] + piece + content[end:]
    return content


class Reader:
    """Reads everything of a tracking directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.errors: list[KedroHydraflowError] = []

    @contextmanager
    def noting(self) -> Iterator[None]:
        try:
            yield
        except KedroHydraflowError as exc:
            self.errors.append(exc)

    def read(self, on_error: Any) -> None:
        with self.noting():
            get_experiment_names(self.root, on_error=on_error)
        with self.noting():
            runs = Run.load(iter_run_dirs(self.root, on_error=on_error), on_error=on_error)
            for run in runs:
                self.check(run)
            with self.noting():
                assert runs.to_frame().height == len(runs)
            with self.noting():
                types = runs.metric_histories("acc").dtypes
                assert [f"{dtype}" for dtype in types[1:3]] == ["String", "Int64"]
        with self.noting():
            self.check(Run.load(self.root / "1" / RUN_ID))

    def check(self, run: Run) -> None:
        types: dict[str, Any] = {
            "status": str,
            "run_name": str,
            "job_name": str,
            "lifecycle_stage": str,
            "parent_run_id": str,
            "start_time": datetime,
            "end_time": datetime,
        }
        for name, of_fact in types.items():
            with self.noting():
                assert isinstance(getattr(run.info, name), (of_fact, type(None))), name
        for kind, of_kind in (("metrics", float), ("params", str), ("tags", str)):
            with self.noting():
                assert all(type(value) is of_kind for value in getattr(run, kind).values())
        for name in ("cfg", "hydra", "overrides", "models"):
            with self.noting():
                assert getattr(run, name) is not None


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file(name: str, experiment: Path) -> None:
    path = experiment / name
    content = path.read_bytes()
    rng = random.Random(name)
    errors = []
    for case in range(20):
        path.write_bytes(mutate(rng, content) or b"\0")  # an empty file is waited for
        reader = Reader(experiment.parent)
        reader.read("raise" if case % 2 else "warn")
        errors += reader.errors
    for error in errors:
        assert str(experiment) in str(error) or RUN_ID in str(error)
    assert errors


@pytest.mark.parametrize("field", ["status", "start_time", "end_time", "run_name", "artifact_uri"])
@pytest.mark.parametrize(
    "value",
    ["null", "~", "''", "[]", "{a: 1}", "soon", "1e400", "'9'", "-1", "0.5", "yes", "9" * 99],
)
def test_a_field_of_another_type(field: str, value: str, experiment: Path) -> None:
    meta = experiment / RUN_ID / "meta.yaml"
    lines = meta.read_text().splitlines(keepends=True)
    meta.write_text("".join(f"{field}: {value}\n" if field in line else line for line in lines))
    reader = Reader(experiment.parent)
    reader.read("raise")
    is_time = field in ("start_time", "end_time")
    is_known = value in ("null", "~", "''", "[]", "{a: 1}", "'9'", "-1")
    assert bool(reader.errors) == (is_time and not is_known)
    for error in reader.errors:
        assert str(error).startswith(f"{meta.parent}: expected {field} in milliseconds, found ")
    reader = Reader(experiment.parent)
    reader.read("warn")
    assert len(reader.errors) == (is_time and not is_known)  # of the run given by its directory


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are UTF-8")
def test_names_that_are_not_utf8(experiment: Path) -> None:
    odd = os.fsdecode(b"a\xff")
    for folder in ("metrics", "params", "tags"):
        write(experiment / RUN_ID / folder / odd, "1 0.5 0\n")
    shutil.copytree(experiment / RUN_ID, experiment / odd)
    shutil.copytree(experiment, experiment.parent / odd)
    reader = Reader(experiment.parent)
    assert get_experiment_names(experiment.parent) == ["train", "train"]
    runs = Run.load(iter_run_dirs(experiment.parent))
    assert [run.info.run_id for run in runs] == [RUN_ID, f"{6:032x}", odd] * 2
    for run in runs:
        reader.check(run)
        assert (*run.metrics, *run.params, *run.tags)[:1] == ("acc",)
    assert reader.errors == []
    assert runs.to_frame("run_id")["run_id"].to_list() == [run.info.run_id for run in runs]
    assert odd in runs.metric_histories("acc")["run_id"].to_list()
    assert (runs[2].get(f"metrics.{odd}", None), runs[2].get("metrics.acc")) == (None, 0.6)
