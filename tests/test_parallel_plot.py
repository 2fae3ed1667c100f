from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import Run, RunCollection, iter_run_dirs
from kedro_hydraflow.errors import MissingKeyError, OptionError
from tests.conftest import TrackingDir, write

Runs = RunCollection[Run[Any, Any]]


def load(tracking_dir: TrackingDir, *configs: str, **options: Any) -> Runs:
    experiment = tracking_dir.add_experiment("train")
    for i, config in enumerate(configs):
        tracking_dir.add_run(experiment, f"r{i:02}", config, **options)
    return Run.load(iter_run_dirs(tracking_dir.root), index=False)


def get_axis(runs: Runs, key: str) -> tuple[list[float], dict[float, str]]:
    """Return the positions of runs, rounded, and the ticks."""
    axis = runs.plot_parallel(key).data[0].dimensions[0]
    ticks = zip(axis.tickvals, axis.ticktext, strict=True)
    low, high = axis.range
    assert all(low <= value <= high for value in axis.values)
    assert low < high
    return [round(v, 3) for v in axis.values], {round(at, 3): text for at, text in ticks}


def test_by_default_what_differs_and_the_first_metric(sweep: Path) -> None:
    runs = Run.load(iter_run_dirs(sweep, "train_digits_v1"), index=False)
    (trace,) = runs.plot_parallel().data
    labels = ["model.type", "model.hidden_size", "training.learning_rate", "seed"]
    assert [axis.label for axis in trace.dimensions] == [*labels, "metrics.accuracy"]
    assert all(len(axis.values) == len(runs) for axis in trace.dimensions)
    assert trace.line.color == trace.dimensions[-1].values
    assert list(trace.line.color) == runs.to_list("metrics.accuracy")
    assert trace.line.colorbar.title.text == "metrics.accuracy"


def test_it_is_good_on_any_background(sweep: Path) -> None:
    figure = Run.load(iter_run_dirs(sweep), index=False).plot_parallel()
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.data[0].tickfont.color == figure.data[0].labelfont.color == "#888888"


def test_it_can_be_saved(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "a: 1\nb: x\n", "a: .nan\nb: true\n", "a: .inf\n")
    text = runs.plot_parallel().to_json()
    assert "NaN" not in text
    assert json.loads(text)["data"][0]["type"] == "parcoords"


def test_a_range_of_decades_is_logarithmic(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "lr: 0.001", "lr: 0.03", "lr: 1")
    assert get_axis(runs, "lr") == ([-3, -1.523, 0], {-3: "0.001", -1.523: "0.03", 0: "1"})


def test_a_smaller_range_is_linear(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, *(f"n: {n}\nm: {-n}" for n in (16, 32, 64)))
    assert get_axis(runs, "n") == ([16, 32, 64], {16: "16", 32: "32", 64: "64"})
    assert get_axis(runs, "m")[1] == {-64: "-64", -32: "-32", -16: "-16"}


def test_zero_has_no_logarithm(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "l2: 0.0", "l2: 0.0001", "l2: 1.0")
    assert get_axis(runs, "l2") == ([0, 0, 1], {0: "0", 1: "1"})  # ticks keep a distance


def test_many_numbers_have_round_ticks(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, *(f"n: {n}\nlr: {10.0**-n * 3}\n" for n in range(1, 21)))
    assert list(get_axis(runs, "n")[1].values()) == ["1", "5", "10", "15", "20"]
    ticks = list(get_axis(runs, "lr")[1].values())
    assert (ticks[0], ticks[-1]) == ("3e-20", "0.3")
    assert set(ticks[1:-1]) <= {f"{10.0**-n:.6g}" for n in range(21)}
    assert 5 < len(ticks) < 12


def test_categories_are_sorted(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "k: b", "k: a", "k: 10", "k: 9", "k: true", "k: [2, 1]")
    positions, ticks = get_axis(runs, "k")
    assert list(ticks.values()) == ["9", "10", "[2, 1]", "a", "b", "true"]
    assert [ticks[at] for at in positions] == ["b", "a", "10", "9", "true", "[2, 1]"]


def test_runs_without_a_value_have_a_tick(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "a: 1.0\nk: x", "a: 2.0\nk: null", "a: null", "a: 3.0\nk: y")
    assert get_axis(runs, "a") == (
        [1, 2, 0.76, 3],
        {0.76: "missing", 1: "1", 2: "2", 3: "3"},
    )
    assert get_axis(runs, "k") == ([0, -1, -1, 1], {-1: "missing", 0: "x", 1: "y"})


def test_a_key_of_one_value_that_a_run_lacks(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "a: 1\nk: x", "b: 1")
    assert get_axis(runs, "a")[1] == {0.88: "missing", 1: "1"}
    assert get_axis(runs, "k")[1] == {-1: "missing", 0: "x"}


def test_what_is_no_number_has_a_tick(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "a: 1.0", "a: 2.0", "a: .nan", "a: .inf", "b: 1")
    positions, ticks = get_axis(runs, "a")
    assert [ticks[at] for at in positions] == ["1", "2", ".nan", ".inf", "missing"]
    assert max(positions[2:]) < 1


def test_without_configurations_params_have_axes(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(2):
        run_dir = tracking_dir.add_run(experiment, f"r{i}", None, {"acc": f"1 0.{i} 0\n"})
        write(run_dir / "params/lr", f"{i}")
        write(run_dir / "params/same", "x")
        write(run_dir / "artifacts/model.txt", "")
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    caplog.clear()
    (trace,) = runs.plot_parallel().data
    assert [axis.label for axis in trace.dimensions] == ["params.lr", "metrics.acc"]
    assert list(trace.dimensions[0]["values"]) == [0, 1]
    assert caplog.text == ""


def test_params_are_numbers(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "", "")
    for run, text in zip(runs, ("0.5", "10"), strict=True):
        write(run.info.run_dir / "params/lr", text)
    assert get_axis(runs, "params.lr") == ([0.5, 10], {0.5: "0.5", 10: "10"})


def test_times(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(3):
        tracking_dir.add_run(experiment, f"r{i}", start_time=1795394369000 + i * 60_000)
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    assert list(get_axis(runs, "start_time")[1].values()) == TIMES[60_000][1]


TIMES = {  # ticks by their distance in milliseconds, and what they have in common
    10: ("2026-11-23", ["00:39:29.000", "00:39:29.010", "00:39:29.020"]),
    1000: ("2026-11-23", ["00:39:29", "00:39:30", "00:39:31"]),
    60_000: ("2026", ["11-23 00:39", "11-23 00:40", "11-23 00:41"]),
    86_400_000: ("", ["2026-11-23", "2026-11-24", "2026-11-25"]),
    0: ("", ["2026-11-23 00:39:29"]),
}


@pytest.mark.parametrize("distance", TIMES)
def test_ticks_of_times_differ_and_the_label_has_the_rest(
    tracking_dir: TrackingDir, distance: int
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(3):
        start = 1795394369000 + i * distance
        tracking_dir.add_run(experiment, f"r{i}", f"seed: {i}", start_time=start)
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    axis = runs.plot_parallel("seed", color="start_time").data[0].dimensions[1]
    common, ticks = TIMES[distance]
    assert axis.label == f"start_time {common}".strip()
    assert list(axis.ticktext) == ticks


def test_times_of_two_years(tracking_dir: TrackingDir) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(2):  # the hour before the new year, and the one after it
        tracking_dir.add_run(experiment, f"r{i}", start_time=1767222000000 + i * 7_200_000)
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    assert list(get_axis(runs, "start_time")[1].values()) == ["2025-12-31", "2026-01-01"]


def test_times_of_one_day_in_two_years(
    tracking_dir: TrackingDir,
) -> None:
    experiment = tracking_dir.add_experiment("train")
    for i in range(3):
        tracking_dir.add_run(experiment, f"r{i}", start_time=1767222000000 + i * 7_200_000)
    runs = Run.load(iter_run_dirs(tracking_dir.root), index=False)
    assert list(get_axis(runs, "start_time")[1].values()) == [
        "2025-12-31 23:00:00",
        "2026-01-01 01:00:00",
        "2026-01-01 03:00:00",
    ]


def test_a_colour_that_runs_lack_is_grey(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "a: 1\nscore: 1.0", "a: 2\nscore: 2.0", "a: 3")
    line = runs.plot_parallel("a", color="score").data[0].line
    assert list(line.color) == [1, 2, 0.88]
    (first, grey), (end, still_grey), (start, blue), *_ = line.colorscale
    assert (first, grey, still_grey, blue) == (0, "#888888", "#888888", "#3b7dd8")
    assert end < start == pytest.approx((1 - 0.88) / (2 - 0.88))
    assert (line.cmin, line.cmax) == (0.88, 2)
    assert list(line.colorbar.ticktext) == ["missing", "1", "2"]


def test_a_category_as_colour(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "a: 1\nk: x", "a: 2\nk: y")
    (trace,) = runs.plot_parallel(color="k").data
    assert [axis.label for axis in trace.dimensions] == ["a", "k"]
    assert list(trace.line.color) == [0, 1]
    assert list(trace.line.colorbar.ticktext) == ["x", "y"]


def test_without_metrics_there_is_one_colour(tracking_dir: TrackingDir) -> None:
    (trace,) = load(tracking_dir, "a: 1", "a: 2").plot_parallel().data
    assert trace.line.color == "#3b7dd8"
    assert [axis.label for axis in trace.dimensions] == ["a"]


def test_constant_keys_have_no_axis(
    tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture
) -> None:
    runs = load(tracking_dir, "a: 1\nb: 1", "a: 2\nb: 1")
    (trace,) = runs.plot_parallel("a", "b").data
    assert [axis.label for axis in trace.dimensions] == ["a"]
    assert "no axis for 'b': all runs have the same value" in caplog.text
    with pytest.raises(OptionError, match="nothing differs among 2 runs in 'b'"):
        runs.plot_parallel("b")


@pytest.mark.parametrize(
    ("keys", "expected"), [(("seed",), ["seed"]), ((), ["model", "seed"]), (("s*",), ["seed"])]
)
def test_one_run_has_an_axis_for_each_key(
    tracking_dir: TrackingDir, keys: tuple[str, ...], expected: list[str]
) -> None:
    runs = load(tracking_dir, "model: cnn\nseed: 1", metrics={"acc": "1 0.5 0\n"})
    (trace,) = runs.plot_parallel(*keys).data
    assert [axis.label for axis in trace.dimensions] == [*expected, "metrics.acc"]
    assert list(trace.dimensions[-2]["values"]) == [1]
    assert trace.dimensions[-2].ticktext == ("1",)


def test_many_categories(tracking_dir: TrackingDir, caplog: pytest.LogCaptureFixture) -> None:
    configs = [f"a: {i % 2}\npath: p{i:02}\n" for i in range(40)]
    runs = load(tracking_dir, *configs, "a: 0\npath: p39\n")
    (trace,) = runs.plot_parallel().data
    assert [axis.label for axis in trace.dimensions] == ["a"]
    assert "no axis for 'path': more than 30 distinct texts" in caplog.text
    positions, ticks = get_axis(runs, "path")
    assert len(ticks) == 30
    assert ticks[positions[0]] == "p00"
    assert ticks[positions[38]] == "11 others"
    assert ticks[positions[39]] == "p39"  # two runs have it
    assert "'path' has 40 distinct values: the rarest have one tick, '11 others'" in caplog.text


@pytest.mark.parametrize(("keys", "n_axes", "last"), [((), 11, "k09"), (("*",), 20, "k18")])
def test_many_axes(
    tracking_dir: TrackingDir,
    caplog: pytest.LogCaptureFixture,
    keys: tuple[str, ...],
    n_axes: int,
    last: str,
) -> None:
    runs = load(tracking_dir, *("\n".join(f"k{k:02}: {i}" for k in range(30)) for i in range(2)))
    (trace,) = runs.plot_parallel(*keys, color="k29").data
    assert [axis.label for axis in trace.dimensions][-2:] == [last, "k29"]
    assert len(trace.dimensions) == n_axes
    assert f"the first {n_axes - 1} of 29 keys have an axis" in caplog.text


@pytest.mark.parametrize(
    ("n_keys", "tick"), [(2, "a_long_name_of_a_model_0"), (8, "a_lon…del_0"), (19, "a_…l_0")]
)
def test_ticks_of_categories_have_room(tracking_dir: TrackingDir, n_keys: int, tick: str) -> None:
    configs = (
        "".join(f"k{k:02}: a_long_name_of_a_model_{i}\n" for k in range(n_keys)) for i in range(2)
    )
    runs = load(tracking_dir, *configs)
    figure = runs.plot_parallel("*", color="k00")
    assert figure.data[0].dimensions[0].ticktext[0] == tick
    assert figure.layout.margin.l >= 6 * len(tick)


def test_ticks_are_cut_no_further_than_they_differ(tracking_dir: TrackingDir) -> None:
    rest = "".join(f"k{k:02}: VALUE\n" for k in range(12))
    configs = (f"k: name_{name}_of_a_model\n{rest.replace('VALUE', name)}" for name in "ab")
    (trace,) = load(tracking_dir, *configs).plot_parallel("*", color="k00").data
    assert trace.dimensions[0].ticktext == ("name_a…_model", "name_b…_model")


def test_labels_are_at_an_angle(sweep: Path) -> None:
    figure = Run.load(iter_run_dirs(sweep), index=False).plot_parallel()
    assert figure.data[0].labelangle == -30


def test_foreign_text(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, '"<b>k</b>": "<i>x</i>\\e"', '"<b>k</b>": "y & z"')
    (trace,) = runs.plot_parallel(color="<b>k</b>").data
    assert trace.dimensions[0].label == "&lt;b&gt;k&lt;/b&gt;"
    assert list(trace.dimensions[0].ticktext) == ['"<i>x</i>\\x1b"', "y & z"]  # never marked up
    assert list(trace.line.colorbar.ticktext) == ['"&lt;i&gt;x&lt;/i&gt;\\x1b"', "y &amp; z"]


def test_errors(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "a: 1", "a: 2")
    with pytest.raises(OptionError, match="there are no runs"):
        runs[:0].plot_parallel()
    with pytest.raises(OptionError, match="nothing differs among 2 runs in their configurations"):
        RunCollection([runs[0], runs[0]]).plot_parallel()
    with pytest.raises(MissingKeyError, match="'nope'"):
        runs.plot_parallel("nope")
    with pytest.raises(MissingKeyError, match="'nope'"):
        runs.plot_parallel(color="nope")
    with pytest.raises(OptionError, match=r"color: expected the key of one value, found 'a\*'"):
        runs.plot_parallel(color="a*")


def test_without_plotly_the_error_names_the_extra(sweep: Path) -> None:
    code = f"""
import sys
sys.modules["plotly"] = None
from kedro_hydraflow import Run, iter_run_dirs
from kedro_hydraflow.errors import MissingPackageError
try:
    Run.load(iter_run_dirs({str(sweep)!r})).plot_parallel()
except MissingPackageError as exc:
    print(exc)
"""
    output = subprocess.run(
        [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, check=True
    ).stdout
    assert "pip install 'kedro-hydraflow[plotly]'" in output


def test_a_missing_value_is_apart_from_large_numbers(tracking_dir: TrackingDir) -> None:
    seed = 1732662000000000000
    runs = load(tracking_dir, f"seed: {seed}\nb: 1\n", "b: 2\n", "b: 3\n")
    positions, ticks = get_axis(runs, "seed")
    assert positions[0] == seed
    assert positions[1] == positions[2] < seed
    assert "missing" in ticks.values()


def test_integers_that_are_no_floats_are_categories(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, f"x: {10**400}\n", "x: 5\n")
    assert len(get_axis(runs, "x")[1]) == 2


def test_the_text_missing_is_not_a_missing_value(tracking_dir: TrackingDir) -> None:
    runs = load(tracking_dir, "x: missing\n", "x: other\n", "y: 1\n")
    (trace,) = runs.plot_parallel("x").data
    (axis,) = [each for each in trace.dimensions if each.label == "x"]
    assert list(axis.ticktext) == ["missing", "'missing'", "other"]
    assert list(axis["values"]) == [0.0, 1.0, -1.0]
