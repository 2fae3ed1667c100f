"""The ``meta.yaml`` of experiments and runs: unusual, malformed, or being written."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kedro_hydraflow import Run, get_experiment_names, iter_run_dirs
from kedro_hydraflow.errors import MetadataError, RunLoadError, StorageError
from kedro_hydraflow.finding import Search, find_runs
from kedro_hydraflow.source import Source
from kedro_hydraflow.storage import locate
from kedro_hydraflow.stores.meta_file import is_run_meta, parse_entries, parse_run_meta, read_metas
from tests.conftest import TrackingDir, write
from tests.stores.conftest import find_run_ids

BAD_METAS = {
    "not UTF-8": (b"name: \xff\n", "expected UTF-8 text"),
    "NUL": (b"name: a\0b\n", "characters are not allowed"),
    "duplicate keys": (b"name: a\nname: b\n", "the key 'name' occurs twice"),
    "tab": (b"name:\n\ta: b\n", "cannot start any token"),
    "list": (b"- a\n", "expected a YAML mapping, found a sequence"),
    "two documents": (b"name: a\n---\nname: b\n", "expected a single document"),
}


bad_metas = pytest.mark.parametrize(("content", "reason"), BAD_METAS.values(), ids=BAD_METAS.keys())


# Experiments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "1e3",
        "yes",
        "2024-01-01",
        "null",
        "~",
        "0x1F",
        "1:30",
        "${oc.env:HOME}",
        "train: a # b",
        "it's",
        " spaces ",
        "é…日本",
        "two\nlines",
        "a long name that YAML folds over several lines " * 3 + "end",
        "a" * 100,
    ],
)
def test_names_are_raw_text(tracking_dir: TrackingDir, name: str) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment(name), "a", run_name=name)
    assert get_experiment_names(tracking_dir.root) == [name]
    (run,) = Run.load(iter_run_dirs(tracking_dir.root, name))
    assert (run.info.job_name, run.info.run_name) == (name, name)
    assert Run(run_dir).info.job_name == name
    assert find_runs(Search(Source(tracking_dir.root))).runs[0].run_name == name


@pytest.mark.parametrize("null", ["null", "Null", "NULL", "~", "", "  null  "])
def test_null_is_no_name(tracking_dir: TrackingDir, null: str) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a", end_time=None)
    meta = run_dir / "meta.yaml"
    meta.write_text(meta.read_text().replace("run_name: upset-turtle-765", f"run_name: {null}"))
    (run,) = Run.load(iter_run_dirs(tracking_dir.root))
    assert (run.info.run_name, run.info.end_time, run.info.status) == (None, None, "FINISHED")
    assert parse_run_meta(meta.read_bytes()).keys() == {"lifecycle_stage", "start_time", "status"}


def test_experiment_without_a_name_is_reported(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("")
    with pytest.raises(
        RunLoadError,
        match=r"meta.yaml: expected the experiment's name in the entry 'name', found an empty name",
    ):
        get_experiment_names(tracking_dir.root)
    (experiment / "meta.yaml").write_text("")
    with pytest.raises(RunLoadError, match=r"found an empty file"):
        get_experiment_names(tracking_dir.root)
    (experiment / "meta.yaml").write_text("experiment_id: '1'\n")
    with pytest.raises(RunLoadError, match=r"found no such entry"):
        get_experiment_names(tracking_dir.root)


@bad_metas
def test_bad_experiment_is_reported_and_hides_no_other(
    tracking_dir: TrackingDir, content: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2, 3):
        tracking_dir.add_run(tracking_dir.add_experiment(f"train_{number}", f"{number}"), "a")
    bad = [tracking_dir.root / "1/meta.yaml", tracking_dir.root / "2/meta.yaml"]
    for path in bad:
        path.write_bytes(content)

    with pytest.raises(RunLoadError) as raised:
        find_run_ids(tracking_dir.root)
    assert str(raised.value).startswith(
        "2 of 3 runs and experiments could not be read; set on_error='warn'"
    )
    assert reason in str(raised.value)
    for path in bad:
        assert str(raised.value).count(str(path)) == 1
    assert len(raised.value.failures) == 2

    assert find_run_ids(tracking_dir.root, on_error="warn") == ["a"]
    assert get_experiment_names(tracking_dir.root, on_error="warn") == ["train_3"]
    logged = [record.getMessage() for record in caplog.records]
    assert str(bad[0]) in logged[0]
    assert reason in logged[0]
    assert str(bad[1]) in logged[1]
    assert logged[2] == "skipped 2 of 3 runs and experiments that could not be read"
    assert logged[5] == "skipped 2 of 3 experiments that could not be read"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


# A meta.yaml that is being written ------------------------------------------------------


@pytest.fixture
def complete_later(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Empty a file; its content is written back during the second wait of the reader."""

    def empty(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(b"")
        seconds: list[float] = []

        def sleep(duration: float) -> None:
            seconds.append(duration)
            if len(seconds) == 2:
                path.write_bytes(content)

        monkeypatch.setattr("kedro_hydraflow.stores.meta_file.time.sleep", sleep)

    return empty


def test_empty_experiment_meta_is_read_again(
    tracking_dir: TrackingDir, complete_later: Callable[[Path], None]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dir = tracking_dir.add_run(experiment, "a")
    complete_later(experiment / "meta.yaml")
    assert get_experiment_names(tracking_dir.root) == ["train"]
    complete_later(experiment / "meta.yaml")
    assert Run(run_dir).info.job_name == "train"


def test_empty_run_meta_is_read_again(
    tracking_dir: TrackingDir, complete_later: Callable[[Path], None]
) -> None:
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    complete_later(run_dir / "meta.yaml")
    assert Run(run_dir).info.status == "FINISHED"


def test_empty_meta_is_waited_for_a_quarter_of_a_second(
    tracking_dir: TrackingDir, waits: list[float]
) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dirs = [tracking_dir.add_run(experiment, name) for name in "abc"]
    (run_dirs[1] / "meta.yaml").write_bytes(b"")
    (run_dirs[2] / "meta.yaml").unlink()
    metas = read_metas([locate(run_dir) for run_dir in run_dirs])
    assert [meta and meta["run_id"] for meta in metas] == ["a", {}, None]
    assert sum(waits) == pytest.approx(0.26)
    waits.clear()
    assert read_metas([locate(run_dirs[0]), locate(run_dirs[2])])[1] is None
    assert waits == []


def test_empty_meta_is_not_cached(tracking_dir: TrackingDir, waits: list[float]) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dir = tracking_dir.add_run(experiment, "a")
    metas = {path: path.read_bytes() for path in (experiment / "meta.yaml", run_dir / "meta.yaml")}
    for path in metas:
        path.write_bytes(b"")
    (loaded,) = Run.load([run_dir])
    infos = [Run(run_dir).info, loaded.info]
    assert [(i.status, i.start_time, i.job_name) for i in infos] == [(None, None, "")] * 2

    (experiment / "meta.yaml").write_bytes(metas[experiment / "meta.yaml"])
    infos += find_runs(Search(Source(tracking_dir.root))).runs
    assert infos[-1].status is None

    (run_dir / "meta.yaml").write_bytes(metas[run_dir / "meta.yaml"])
    assert [(i.status, i.job_name) for i in infos] == [("FINISHED", "train")] * 3


def test_empty_run_meta_is_read_again_with_an_index(
    tracking_dir: TrackingDir,
    tmp_path: Path,
    later: Callable[[], None],
    complete_later: Callable[[Path], None],
) -> None:
    """Also one that seems to be old, as on a network disk whose clock differs."""
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    complete_later(run_dir / "meta.yaml")
    later()
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=tmp_path / "index")
    assert runs.to_list("status") == ["FINISHED"]


# Runs ----------------------------------------------------------------------------------


@bad_metas
def test_bad_run_is_reported_and_hides_no_other(
    tracking_dir: TrackingDir, content: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    good, *bad = [tracking_dir.add_run(experiment, name) for name in "abc"]
    for run_dir in bad:
        (run_dir / "meta.yaml").write_bytes(content)

    with pytest.raises(RunLoadError) as raised:
        find_run_ids(tracking_dir.root)
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("2 of 3 runs and experiments could not be read")
    for line, run_dir in zip(lines[1:], bad, strict=True):
        assert line.startswith(f"- {run_dir / 'meta.yaml'}: ")
        assert reason in line

    assert find_run_ids(tracking_dir.root, on_error="warn") == [good.name]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "skipped",
        "skipped",
        "skipped 2 of 3 runs and experiments that could not be read",
    ]
    with pytest.raises(MetadataError, match=r"meta\.yaml: "):
        _ = Run(bad[0]).info.status


def test_meta_that_is_cut_off_anywhere_is_reported(tracking_dir: TrackingDir) -> None:
    """What is left of an entry may be a wrong value, such as ``lifecycle_stage: del``."""
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a" * 32, run_uuid="a")
    content = (run_dir / "meta.yaml").read_bytes()
    n_complete = content.index(b"user_id:") + len(b"user_id:")
    facts = parse_run_meta(content)
    for n_bytes in range(1, len(content)):
        if n_bytes >= n_complete:
            assert parse_run_meta(content[:n_bytes]) == facts
        else:
            with pytest.raises(MetadataError):
                parse_run_meta(content[:n_bytes])


@pytest.mark.parametrize("end", ["end_time", "lifecycle_stage: act", "status", "user_id"])
@pytest.mark.parametrize("kind", ["artifacts", "params", "tags", "metrics", None])
def test_a_run_whose_meta_is_cut_off_is_reported(
    tracking_dir: TrackingDir, publish: Callable[[Path], str], end: str, kind: str | None
) -> None:
    """Whatever else is left of it."""
    experiment = tracking_dir.add_experiment("train")
    tracking_dir.add_run(experiment, "b" * 32, "lr: 1")
    run_dir = tracking_dir.add_run(experiment, "a" * 32)
    text = (run_dir / "meta.yaml").read_text()
    shutil.rmtree(run_dir)
    write(run_dir / "meta.yaml", text[: text.index(end)])
    if kind is not None:
        write(run_dir / kind / "x", "1")
    location = publish(tracking_dir.root)
    with pytest.raises(RunLoadError, match="1 of 2 runs") as raised:
        Run.load(iter_run_dirs(location))
    message = str(raised.value)
    assert "meta.yaml" in message
    assert "the file is cut off: expected the entries up to user_id, found artifact_uri" in message
    assert len(Run.load(iter_run_dirs(location, on_error="warn"))) == 1


def test_unreadable_metas_are_reported(tracking_dir: TrackingDir) -> None:
    """A directory in place of a file cannot be read, not even by root."""
    for number in (1, 2):
        tracking_dir.add_run(tracking_dir.add_experiment("train", f"{number}"), "a")
    for directory in ("1", "2/a"):
        (tracking_dir.root / directory / "meta.yaml").unlink()
        (tracking_dir.root / directory / "meta.yaml").mkdir()
    with pytest.raises(RunLoadError) as raised:
        find_run_ids(tracking_dir.root)
    assert [failure.path for failure in raised.value.failures] == [
        str(tracking_dir.root / "1"),
        str(tracking_dir.root / "2/a"),
    ]
    assert all(isinstance(failure.error, StorageError) for failure in raised.value.failures)
    assert "IsADirectoryError" in str(raised.value) or "PermissionError" in str(raised.value)


# Parsing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, True),
        ({"run_id": "a"}, True),
        ({"run_uuid": "a"}, True),
        ({"experiment_id": "1", "name": "train"}, False),
    ],
)
def test_is_run_meta(meta: dict[str, str], expected: bool) -> None:
    assert is_run_meta(meta) is expected


def test_facts_are_the_same_however_the_file_is_parsed(tracking_dir: TrackingDir) -> None:
    """The usual content is matched; a comment at its end makes the YAML parser read it."""
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "a")
    content = (run_dir / "meta.yaml").read_bytes()
    facts = parse_run_meta(content)
    assert facts == {
        "end_time": "1795394370023",
        "lifecycle_stage": "active",
        "run_name": "upset-turtle-765",
        "start_time": "1795394369957",
        "status": "3",
    }
    assert parse_run_meta(content + b"# unusual\n") == facts
    assert parse_run_meta(b"") == parse_entries(b"") == {}
    assert parse_run_meta(b"status: 4\nother: 1\n") == {"status": "4"}


@bad_metas
def test_bad_content_is_refused(content: bytes, reason: str) -> None:
    for parse in (parse_entries, parse_run_meta):
        with pytest.raises(MetadataError, match=reason):
            parse(content)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "line", ["user_id:" + " " * 500_000 + "x", "user_id: " + "a." * 250_000 + "!", "a" * 500_000]
)
def test_long_lines_are_read_in_linear_time(line: str) -> None:
    content = f"run_id: abc\nrun_name: null\n{line}\n".encode()
    with suppress(MetadataError):
        assert parse_run_meta(content) == {}
