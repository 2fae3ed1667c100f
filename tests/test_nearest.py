from __future__ import annotations

import pytest

from kedro_hydraflow.nearest import find_nearest

KEYS = [
    "model.type", "model.hidden_size", "training.learning_rate", "seed", "run_name", "job_name",
    "status", "lifecycle_stage", "metrics.accuracy", "metrics.train/loss", "metrics.F1 score",
    "params.lr", "tags.stage",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("accuracy", ["metrics.accuracy"]),
        ("metric.accuracy", ["metrics.accuracy"]),
        ("metrics/accuracy", ["metrics.accuracy"]),
        ("Metrics.Accuracy", ["metrics.accuracy"]),
        ("metrics.acuracy", ["metrics.accuracy"]),
        ("acuracy", ["metrics.accuracy"]),
        ("loss", ["metrics.train/loss"]),
        ("train.loss", ["metrics.train/loss"]),
        ("train_loss", ["metrics.train/loss"]),
        ("metrics.loss", ["metrics.train/loss"]),
        ("f1_score", ["metrics.F1 score"]),
        ("param.lr", ["params.lr"]),
        ("parameters.lr", ["params.lr"]),
        ("tag.stage", ["tags.stage"]),
        ("stage", ["tags.stage"]),
        ("statuss", ["status"]),
        ("info.status", ["status"]),
        ("name", ["run_name", "job_name"]),
        ("modle.type", ["model.type"]),
        ("learningrate", ["training.learning_rate"]),
        ("metrics.seed", ["seed"]),  # not every other metric
        ("metrics.acc", ["metrics.accuracy"]),
        ("model.hid", ["model.hidden_size"]),
        ("zzz", []),
        ("x", []),
        ("", []),
        ("...", []),
    ],
)
def test_what_is_near(name: str, nearest: list[str]) -> None:
    assert find_nearest(name, KEYS, "./") == nearest


def test_the_nearest_comes_first() -> None:
    assert find_nearest("a", ["x/a", "A", "a/b"]) == ["A", "x/a"]
    assert find_nearest("train_v3", ["train_v1", "train_v10", "train_v2"])[:2] == [
        "train_v2",
        "train_v1",
    ]


def test_paths() -> None:
    known = ["model", "model/weights.npz", "confusion_matrix.json"]
    for name in (
        "weights.npz",
        "modle/weights.npz",
        "model/weights.pt",
        "weights.pt",
        "Model/W.npz",
    ):
        assert find_nearest(name, known)[:1] == ["model/weights.npz"]


def test_at_most_three() -> None:
    assert len(find_nearest("a", [f"{i}/a" for i in range(9)])) == 3
