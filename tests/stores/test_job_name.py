"""Experiment names from Hydra's job name."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedro_hydraflow import get_experiment_names
from kedro_hydraflow.errors import StorageError
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores import open_store
from kedro_hydraflow.stores.artifacts_store import ArtifactsStore
from kedro_hydraflow.stores.job_name import read_job_name, read_job_names
from tests.conftest import write
from tests.stores.conftest import find_run_ids, put, run_id

# Names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("train_v2", "train_v2"),
        ("'1e3'", "1e3"),
        ("1e3", "1e3"),
        ('"a\\tb"', "a\tb"),
        ("'it''s'", "it's"),
        ("'two words'", "two words"),
        ("日本 é", "日本 é"),
        ("'a: b # c'", "a: b # c"),
    ],
)
def test_odd_names(bucket: Path, text: str, name: str) -> None:
    put(bucket / "1", 1, text)
    assert get_experiment_names(bucket) == [name]
    assert find_run_ids(bucket, name) == [run_id(1)]


def test_interpolated_name_is_that_of_the_log(bucket: Path) -> None:
    put(bucket / "1", 1, "train_${model.type}", log="train_mlp.log")
    put(bucket / "2", 2, "${hydra.job.other}", log=None)
    assert get_experiment_names(bucket) == ["", "train_mlp"]
    assert find_run_ids(bucket, "train_mlp") == [run_id(1)]


# Requests ------------------------------------------------------------------------------


def test_unreadable_hydra_file_is_reported(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = put(bucket / "1", 1)
    path = run_dir / "artifacts/.hydra/hydra.yaml"
    path.unlink()
    path.mkdir()
    with pytest.raises(Exception, match=r"1 of 2 runs and experiments could not be read"):
        find_run_ids(bucket)
    assert find_run_ids(bucket, on_error="warn") == [run_id(1)]
    assert isinstance(open_store(Source(bucket)), ArtifactsStore)


# Alone -----------------------------------------------------------------------------------


def make_hydra_file(name: str) -> str:
    return f"hydra:\n  run:\n    dir: x\n  job:\n    chdir: null\n    name: {name}\n    id: 1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (make_hydra_file("train"), "train"),
        (make_hydra_file("train").replace("\n", "\r\n"), "train"),
        (make_hydra_file("a\n      folded name"), "a folded name"),
        (make_hydra_file("null"), ""),
        (make_hydra_file("[a]"), ""),
        (make_hydra_file("'unclosed"), ""),
        (make_hydra_file("${hydra.job.other}"), ""),
        ("hydra:\n  run:\n    name: not of the job\n", ""),
        ("a:\n  job:\n    x: 1\n" + make_hydra_file("train"), "train"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_name_of_one_run(tmp_path: Path, text: str | None, expected: str) -> None:
    if text is not None:
        write(tmp_path / ".hydra/hydra.yaml", text)
    assert read_job_name(locate(tmp_path)) == expected


@pytest.mark.parametrize(
    ("logs", "expected"),
    [(["train_mlp.log"], "train_mlp"), (["a.log", "b.log"], ""), (["notes.txt"], ""), ([], "")],
)
def test_an_interpolated_name_is_that_of_the_only_log(
    tmp_path: Path, logs: list[str], expected: str
) -> None:
    write(tmp_path / ".hydra/hydra.yaml", make_hydra_file("train_${model}"))
    (tmp_path / "folder.log").mkdir()
    for log in logs:
        write(tmp_path / log, "")
    assert read_job_name(locate(tmp_path)) == expected


@pytest.mark.parametrize(
    ("name", "logs", "expected"),
    [
        ("train_${model.type}", ["debug", "train_mlp"], "train_mlp"),
        ("train_${model.type}", ["train_cnn", "train_mlp"], ""),
        ("train_${model.type}", ["debug", "other"], ""),
        ("${a}_${b}.x", ["1_2.x", "1_2_x", "1.x"], "1_2.x"),
        ("${a}${b}", ["anything"], "anything"),
        ("a${x}a", ["a", "aa"], "aa"),
        ("a_${oc.env:HOME,${b}}_c", ["a__c", "a_c"], "a__c"),
        ("'a: ${b}'", ["a: b", "a"], "a: b"),
        (f"a{'${x}' * 200}b", ["a" * 200, "ab"], ""),  # longer than any file name
    ],
)
def test_an_interpolated_name_is_that_of_the_log_that_fits(
    tmp_path: Path, name: str, logs: list[str], expected: str
) -> None:
    write(tmp_path / ".hydra/hydra.yaml", make_hydra_file(name))
    for log in logs:
        write(tmp_path / f"{log}.log", "")
    assert read_job_name(locate(tmp_path)) == expected


def test_names_of_many_runs_with_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a/.hydra/hydra.yaml", make_hydra_file("train"))
    (tmp_path / "b/.hydra/hydra.yaml").mkdir(parents=True)
    write(tmp_path / "c/.hydra/hydra.yaml", make_hydra_file("${x}"))
    write(tmp_path / "c/eval.log", "")
    places = [locate(tmp_path / name) for name in "abc"]
    first, error, last = read_job_names(places)
    assert (first, last) == ("train", "eval")
    assert isinstance(error, StorageError)
    assert str(error).startswith(f"cannot read '{tmp_path}/b/.hydra/hydra.yaml': ")
    with pytest.raises(StorageError) as raised:
        read_job_name(places[1])
    assert str(raised.value) == str(error)
    assert read_job_names([]) == []
