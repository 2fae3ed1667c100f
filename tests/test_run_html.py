"""What notebooks show of runs, and what is read for it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from tests.conftest import HYDRA_SWEEP, FilesRead, TrackingDir, WebServer, write
from tests.datasets.conftest import TABLE, make_artifact_dataset

FOREIGN = "<img src=x onerror=alert(1)>"


def to_lines(html: str) -> list[str]:
    """Return the text of HTML, with a line for each element, and cells of a row in one line."""
    body = html.split("</style>")[1]
    text = re.sub(r"</t[dh]>", " | ", body)
    lines = unescape(re.sub(r"<[^>]+>", "\n", text.replace(" | <t", " | <t"))).split("\n")
    return [line.strip() for line in lines if line.strip()]


def get_rows(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [[unescape(c) for c in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows]


@pytest.fixture
def sweep_dir(tracking_dir: TrackingDir) -> Path:
    """Three finished runs and a failed one, of two experiments."""
    train = tracking_dir.add_experiment("train", "1")
    for i in range(3):
        config = f"lr: {10.0**-i}\nseed: 7\nmodel: {{type: {'ab'[i % 2]}}}\n"
        tracking_dir.add_run(train, f"t{i}", config, {"loss": f"1 0.{i} 0\n"})
    evaluate = tracking_dir.add_experiment("eval", "2")
    tracking_dir.add_run(evaluate, "e0", "lr: 1.0\nseed: 7\n", status=4)
    return tracking_dir.root


def load(root: Path | str) -> RunCollection[Run[Any, Any]]:
    return Run.load(iter_run_dirs(root), index=False)


# Collections ---------------------------------------------------------------------------------


def test_a_collection(sweep_dir: Path) -> None:
    html = load(sweep_dir)._repr_html_()
    assert to_lines(html)[:3] == [
        "RunCollection(Run, n=4)",
        "job_name: train 3, eval 1",
        "status: FINISHED 3, FAILED 1",
    ]
    rows = get_rows(html)
    assert rows[0] == [
        "run_id",
        "job_name",
        "status",
        "start_time",
        "lr",
        "model.type",
        "metrics.loss",
    ]
    assert rows[2] == ["t0", "train", "FINISHED", "2026-11-23 00:39:29Z", "1", "a", "0"]
    assert rows[5:] == [
        ["key", "values", "missing"],
        ["lr", "0.01, 0.1, 1.0", "0"],
        ["model.type", "a, b", "1"],
    ]


def test_a_text_says_what_is_known(sweep_dir: Path) -> None:
    runs = load(sweep_dir)
    facts = "job_name={'eval': 1, 'train': 3}, status={'FAILED': 1, 'FINISHED': 3}"
    assert repr(runs) == f"RunCollection(Run, n=4, {facts})"
    assert repr(runs[0]) == "Run('e0', job_name='eval', status='FAILED')"
    unread = RunCollection(Run(run.info.run_dir) for run in runs)
    assert repr(unread) == "RunCollection(Run, n=4)"
    assert repr(unread[0]) == "Run('e0')"
    assert repr(runs[:0]) == "RunCollection(empty)"


def test_a_text_has_bounds(tracking_dir: TrackingDir) -> None:
    for i in range(9):
        experiment = tracking_dir.add_experiment(f"{i}\n" + "x" * 100, str(i + 1))
        tracking_dir.add_run(experiment, f"r{i}")
    text = repr(load(tracking_dir.root))
    assert len(text) < 300
    assert text.count("xxx'") == 4
    assert ", ...}" in text
    assert "\n" not in text


def test_a_collection_has_bounds(tracking_dir: TrackingDir) -> None:
    def make_config(i: int) -> str:
        return "\n".join(f"key{k}: {'long' * 100}{i}" for k in range(60))

    tracking_dir.add_runs(40, make_config)
    runs = load(tracking_dir.root)
    html = runs._repr_html_()
    rows = get_rows(html)
    assert len(rows) == 1 + 10 + 1 + 50
    assert max(len(cell) for row in rows for cell in row) == 80
    assert "… 30 more" in to_lines(html)
    assert "… 11 more" in to_lines(html)
    assert len(html) < 60_000
    assert repr(runs.filter(i=0)[:0]) == "RunCollection(empty)"
    assert "RunCollection(empty)" in runs[:0]._repr_html_()


def test_facts_of_at_most_a_thousand_local_runs_are_read(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    tracking_dir.add_runs(12)
    run_dirs = [tracking_dir.root / f"1/r{i:03}" for i in range(12)]
    RunCollection(map(Run, run_dirs))._repr_html_()
    metas = [path for path in files_read.paths if path.endswith("meta.yaml")]
    assert len({path for path in metas if "/r" in path}) == 12
    files_read.clear()
    many = RunCollection(map(Run, run_dirs * 100))
    html = many._repr_html_()
    metas = {path for path in files_read.paths if path.endswith("meta.yaml") and "/r" in path}
    assert len(metas) == 10  # those that are shown
    assert "what differs among 10 runs (1)" in to_lines(html)


def test_nothing_remote_is_read(sweep_dir: Path, serve: Callable[[Path], WebServer]) -> None:
    server = serve(sweep_dir)
    runs = load(server.url)
    runs.to_list("metrics.loss", None)
    n_requests = len(server.requests)
    html = runs._repr_html_()
    group_html = runs.group_by("lr")._repr_html_()
    one = runs[3]._repr_html_()
    info = runs[0].info._repr_html_()
    keys = runs._ipython_key_completions_()
    unread = Run(f"{server.url}/1/t1")
    mixed = RunCollection([*runs, unread])._repr_html_()
    texts = [repr(runs), repr(unread), unread._repr_html_(), *unread._ipython_key_completions_()]
    assert len(server.requests) == n_requests
    assert ["lr", "0.01, 0.1, 1.0", "0"] in get_rows(html)
    assert "job_name: train 3, eval 1, not read 1" in to_lines(mixed)
    assert ["0.1", "1"] in get_rows(group_html)
    assert ["loss", "0.2"] in get_rows(one)
    assert ["run_id", "e0"] in get_rows(info)
    assert "metrics.loss" in keys
    assert "The configuration has not been read." in texts[2]


def test_a_server_that_is_gone_is_not_noticed(
    sweep_dir: Path, serve: Callable[[Path], WebServer]
) -> None:
    server = serve(sweep_dir)
    runs = load(server.url)
    server.server.shutdown()
    server.server.server_close()
    assert ["model.type", "a, b", "1"] in get_rows(runs._repr_html_())


def test_what_is_foreign_is_escaped(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment(FOREIGN)
    for i in range(2):
        config = f'"{FOREIGN}": "{FOREIGN}{i}"\n'
        run_dir = tracking_dir.add_run(experiment, f"r{i}", config, run_name=FOREIGN)
        write(run_dir / "tags/note", FOREIGN)
        write(run_dir / "params/note", FOREIGN)
    runs = load(tracking_dir.root)
    shown = [runs, runs[0], runs[0].info, runs.group_by("job_name")]
    for each in shown:
        html = each._repr_html_()
        assert "<img" not in html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_what_cannot_be_read_is_shown_as_such(sweep_dir: Path) -> None:
    runs = load(sweep_dir)
    write(sweep_dir / "1/t1/metrics/loss", "no metric\n")
    write(sweep_dir / "1/t2/meta.yaml", "\t")
    html = runs._repr_html_()
    assert "cannot be read: " in html
    assert "1/t1/metrics/loss" in html
    assert get_rows(html)[0][-2:] == ["lr", "model.type"]  # the rest is there
    assert ["model.type", "a, b", "1"] in get_rows(html)
    assert "cannot be read: " in runs.get(run_id="t1")._repr_html_()
    unread = Run(sweep_dir / "1/t2")
    assert "meta.yaml" in unread._repr_html_()
    assert repr(unread) == "Run('t2', job_name='train')"  # read for the HTML
    assert "unreadable 1" in RunCollection([unread, Run(sweep_dir / "1/t0")])._repr_html_()


def test_runs_without_configurations(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(2):
        run_dir = tracking_dir.add_run(experiment, f"r{i}", None)
        write(run_dir / "params/lr", f"0.{i}")
    html = load(tracking_dir.root)._repr_html_()
    assert get_rows(html)[0] == ["run_id", "job_name", "status", "start_time", "params.lr"]
    assert "what differs" not in html


def test_what_differs_by_little_is_told_apart(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    path = f"/mnt/{'x' * 80}"
    for i, (rate, seed) in enumerate([("0.12345671", "1"), ("0.12345672", "'1'")]):
        config = f"lr: {rate}\nseed: {seed}\npath: {path}{i}\n"
        tracking_dir.add_run(experiment, f"r{i}", config)
    html = Run.load(iter_run_dirs(tracking_dir.root), index=False)._repr_html_()
    rows = {row[0]: row[1] for row in get_rows(html)}
    assert rows["lr"] == "0.12345671, 0.12345672"
    assert rows["seed"] == "1, '1'"
    assert "xxx0, " in rows["path"]


# One run ---------------------------------------------------------------------------------------


def test_a_run(run: Run[Any, Any]) -> None:
    rows = get_rows(run._repr_html_())
    assert rows[:2] == [["fact", "value"], ["run_id", "abc"]]
    assert ["status", "FINISHED"] in rows
    assert ["loss", "0.25"] in rows
    assert ["params", "value"] in rows
    assert ["mlflow.user", "alice"] not in rows  # as in MLflow's interface
    assert ["model.layers", "[1, 2]"] in rows
    assert ["label", "${model.type}-${seed}"] in rows
    assert "configuration (11)" in to_lines(run._repr_html_())


def test_a_large_run_has_bounds(tracking_dir: TrackingDir) -> None:
    config = "\n".join(f"key{i}: [{', '.join(map(str, range(500)))}]" for i in range(200))
    run_dir = tracking_dir.add_run(tracking_dir.add_experiment("train"), "r", config)
    html = Run(run_dir)._repr_html_()
    assert ["key0", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …]"] in get_rows(html)
    assert len(html) < 10_000


def test_of_many_keys_the_first_are_looked_at(
    tracking_dir: TrackingDir, files_read: FilesRead
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(2):
        config = "".join(f"k{k}: {i}\n" for k in range(1001))
        metrics = {f"m{k:04}": "1 0.5 0\n" for k in range(1002)}
        tracking_dir.add_run(experiment, f"r{i}", config, metrics)
    runs = load(tracking_dir.root)
    files_read.clear()
    lines = to_lines(runs[0]._repr_html_())
    assert {"configuration (more than 1,000)", "metrics (more than 1,000)"} <= set(lines)
    assert lines.count("… at least 951 more") == 2
    assert sum("/metrics/" in path for path in files_read.paths) == 1001
    lines = to_lines(runs._repr_html_())
    assert "what differs among the first 1,000 keys of each (1000)" in lines
    (omission,) = [line for line in lines if line.startswith("not shown: ")]
    assert "999 more configuration keys" in omission
    assert "995 more metrics" in omission
    assert omission.endswith(", of the first 1,000 keys of each kind")
    assert "k1000" not in runs[0]._ipython_key_completions_()
    assert len(runs[0].metrics) == 1002  # nothing of it is taken for all there is


def test_as_many_runs_are_compared_as_bounds_allow(
    tracking_dir: TrackingDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_hydraflow.run_html._MAX_VALUES", 10)
    tracking_dir.add_runs(7, lambda i: f"a: {i}\nb: 1\n")
    lines = to_lines(load(tracking_dir.root)._repr_html_())
    assert "what differs among 3 runs (2)" in lines


def test_values_that_were_read_by_name_are_shown(
    sweep_dir: Path, serve: Callable[[Path], WebServer]
) -> None:
    server = serve(sweep_dir)
    run = Run(f"{server.url}/1/t1")
    assert run.get("metrics.loss") == 0.1
    html = run._repr_html_()
    assert ["loss", "0.1"] in get_rows(html)
    assert ["lr", "0.1"] in get_rows(html)  # `get` looked for the key in the configuration first


def test_credentials_are_not_shown() -> None:
    run = Run("https://user:secret@127.0.0.1:1/mlruns/1/abc")
    for text in (repr(run), run._repr_html_(), run.info._repr_html_()):
        assert "abc" in text
        assert "secret" not in text


def test_a_function_that_loads_an_artifact(sweep_dir: Path) -> None:
    write(sweep_dir / "1/t1/artifacts/metrics.csv", "epoch,loss\n1,0.5\n")
    loader = make_artifact_dataset(sweep_dir, missing="skip").load()["t1"]
    assert repr(loader) == (
        "ArtifactLoader('metrics.csv', Run('t1', job_name='train', status='FINISHED'))"
    )
    html = loader._repr_html_()
    assert f"Call it to load the artifact with {TABLE}." in to_lines(html)
    assert ["run_id", "t1"] in get_rows(html)
    assert ["start_time", "2026-11-23 00:39:29Z"] in get_rows(html)


# Groups and keys -------------------------------------------------------------------------------


def test_groups(sweep_dir: Path) -> None:
    groups = load(sweep_dir).group_by("seed", "lr")
    assert repr(groups) == (
        "GroupBy(by=seed, lr, n=3, sizes={(7, 1.0): 2, (7, 0.1): 1, (7, 0.01): 1})"
    )
    html = groups._repr_html_()
    assert get_rows(html) == [
        ["seed", "lr", "n"],
        ["7", "1", "2"],
        ["7", "0.1", "1"],
        ["7", "0.01", "1"],
    ]
    assert repr(load(sweep_dir)[:0].group_by("lr")) == "GroupBy(by=lr, n=0)"


def test_groups_by_a_list(tracking_dir: TrackingDir) -> None:
    tracking_dir.add_runs(2, lambda i: f"layers: [1, {i}]\n")
    groups = load(tracking_dir.root).group_by("layers")
    assert get_rows(groups._repr_html_())[1:] == [["[1, 0]", "1"], ["[1, 1]", "1"]]


def test_keys_that_are_completed(run: Run[Any, Any]) -> None:
    keys = run._ipython_key_completions_()
    assert {"status", "model.type", "metrics.loss", "params.model.type"} <= set(keys)
    for key in keys:
        run.get(key, None) if key != "broken" else None


def test_malformed_values_do_not_hide_other_keys(sweep_dir: Path) -> None:
    write(sweep_dir / "1/t0/metrics/loss", "no metric\n")
    assert {"status", "lr"} <= set(load(sweep_dir).get(run_id="t0")._ipython_key_completions_())


def test_results_of_a_run_are_shown() -> None:
    runs = Run.load(iter_run_dirs(HYDRA_SWEEP / "multirun"), results="result.json", index=False)
    html = runs[0]._repr_html_()
    assert "results (2)" in to_lines(html)
    assert ["n_weights", "4"] in get_rows(html)
    assert "results" not in runs[0].info._repr_html_()


def test_times_are_in_utc_everywhere(sweep_dir: Path) -> None:
    runs = load(sweep_dir)
    for html in (runs[0]._repr_html_(), runs[0].info._repr_html_()):
        assert ["start_time", "2026-11-23 00:39:29Z"] in get_rows(html)
