"""The metric files of MLflow's file store."""

from __future__ import annotations

import contextlib
import math
import tracemalloc

import pytest

from kedro_hydraflow import Run
from kedro_hydraflow.errors import MetadataError
from kedro_hydraflow.stores.metric_file import parse_latest, parse_points, sort_key
from tests.conftest import TrackingDir

# Metrics, params and tags ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1795394370000 0.5 0\n", 0.5),
        ("1 0.1 0\n2 0.2 1\n3 0.3 2\n", 0.3),
        ("1 0.1 9\n2 0.2 10\n3 0.3 1\n", 0.2),
        ("1 0.1 1\n3 0.3 1\n2 0.2 1\n", 0.3),
        ("1 0.1 1\n1 0.3 1\n1 0.2 1\n", 0.3),
        ("1 nan 1\n1 0.3 1\n1 nan 1\n", 0.3),
        ("1 0.1 -1\n1 0.2 -2\n", 0.1),
        ("1 0.3 0\n2 nan 1\n", float("nan")),
        ("1 inf 0\n", float("inf")),
        ("1 -inf 0\n", float("-inf")),
        ("1 1e-3 0\n", 1e-3),
        ("1 0.1\n2 0.2\n", 0.2),
        ("1 0.1 1 data digest\n2 0.2 2 data digest\n", 0.2),
        ("1 0.1 1 a name with spaces digest\n", 0.1),
        ("1 0.1 1\n\n2 0.2 2\n", 0.2),
        ("1 0.1 1\r\n2 0.2 2\r\n", 0.2),
        ("1 0.1 1\n2 0.2 2", 0.2),
        ("1 0.1 1\n2 0.2", 0.1),
        ("1 0.1 1\n2", 0.1),
        ("1 0.1 1\n2 0.2 -", 0.1),
        ("1 0.1 1\n\0\0\0", 0.1),
    ],
)
def test_metric_is_that_of_the_last_step_time_and_value(
    tracking_dir: TrackingDir, text: str, value: float
) -> None:
    experiment = tracking_dir.add_experiment("train")
    run_dir = tracking_dir.add_run(experiment, "a", metrics={"loss": text})
    assert Run(run_dir).metrics == pytest.approx({"loss": value}, nan_ok=True)


@pytest.mark.parametrize("line", ["x 0.1 1", "1 x 1", "1 0.1 x", "1"])
def test_bad_metric_names_file_and_line(tracking_dir: TrackingDir, line: str) -> None:
    run_dir = tracking_dir.add_run(
        tracking_dir.add_experiment("train"), "a", metrics={"val/loss": f"1 0.1 1\n{line}\n"}
    )
    with pytest.raises(MetadataError) as raised:
        _ = Run(run_dir).metrics
    assert str(raised.value) == (
        f"{run_dir / 'metrics/val/loss'}: line 2: expected 'timestamp value step', found {line!r}"
    )


def test_points_are_in_the_order_of_the_file() -> None:
    content = b"3 0.3 2\n1 nan 0\n1 0.1 0\n2 inf\n4 0.4"
    points = parse_points(content)
    assert [tuple(map(str, point)) for point in points] == [
        ("2", "3", "0.3"),
        ("0", "1", "nan"),
        ("0", "1", "0.1"),
        ("0", "2", "inf"),
    ]
    assert parse_latest(content) == 0.3
    in_order = sorted(points, key=sort_key)
    assert [point.value for point in in_order[1:]] == [0.1, math.inf, 0.3]
    assert math.isnan(in_order[0].value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"1 0.1", b"1"])
def test_nothing_is_logged_before_the_first_whole_line(content: bytes) -> None:
    assert parse_points(content) == []
    assert parse_latest(content) is None


def test_a_long_bad_line_is_cut() -> None:
    line = "x" * 100
    with pytest.raises(MetadataError) as raised:
        parse_latest(f"1 0.1 1\n\n{line}\n".encode())
    expected = f"line 3: expected 'timestamp value step', found {line[:80]!r}"
    assert str(raised.value) == expected


# What others may have written ---------------------------------------------------------------


@pytest.mark.parametrize("line", [f"1 0.1 {2**63}", f"-{2**63} 0.1 1", f"1 0.1 {'9' * 5_000}"])
def test_steps_and_times_that_are_no_integers_of_64_bits(line: str) -> None:
    with pytest.raises(MetadataError, match="line 1: expected 'timestamp value step'"):
        parse_latest(f"{line}\n".encode())
    assert parse_latest(f"{2**63 - 1} 0.1 -{2**63 - 1}\n".encode()) == 0.1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["1 0.1 1" + " x" * 2_000_000, "1 " * 2_000_000, " " * 4_000_000])
def test_long_lines_take_memory_in_proportion(text: str) -> None:
    tracemalloc.start()
    try:
        with contextlib.suppress(MetadataError):
            assert parse_latest(f"{text}\n".encode()) in (0.1, 1.0, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(text)
