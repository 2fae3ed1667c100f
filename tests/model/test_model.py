"""What is loaded from random trees is what a slow, obvious reader finds in them.

`make prove` does the same with thousands of trees.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from kedro_hydraflow import RunInfo
from kedro_hydraflow.filters.comparison import Comparer
from tests.conftest import FilesRead
from tests.model.changes import LOCAL_CHANGES, Change
from tests.model.compare import Load, check_seed, check_tree, compare, settled_clock
from tests.model.trees import make_tree

N_TREES = 100
N_EACH = 10


@pytest.mark.parametrize("first", range(0, N_TREES, N_EACH))
def test_loads_give_what_the_reference_reads(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + N_EACH):
        folder = tmp_path / str(seed)
        folder.mkdir()
        tally = check_tree(seed, folder, changes=1, processes=seed % 50 == 0)
        assert tally["loads"] >= 4
        assert sum(count for kind, count in tally.items() if kind.startswith("filters")) >= 2


def test_an_index_that_is_warm_is_used(tmp_path: Path, files_read: FilesRead) -> None:
    """Otherwise the loads above would not show much."""
    (tmp_path / "tree").mkdir()
    tree = make_tree(0, tmp_path / "tree")
    rng = random.Random(0)
    counts = []
    with settled_clock():
        for name in ("cold", "warm"):
            files_read.clear()
            compare(tree, Load(name, tmp_path / "index"), rng)
            counts.append(sum(path.endswith("config.yaml") for path in files_read.paths))
    assert counts[0] > counts[1]


@pytest.mark.parametrize("kind", LOCAL_CHANGES)
def test_changes_are_real(kind: Change, tmp_path: Path) -> None:
    """Each kind changes what the reference reads, of one of some trees."""

    def has_effect(seed: int) -> bool:
        base = tmp_path / str(seed)
        base.mkdir()
        tree = make_tree(seed, base)
        before = tree.read()
        return kind(random.Random(seed), tree) is not None and tree.read() != before

    assert any(map(has_effect, range(30)))


def test_a_difference_says_what_differs_and_how_to_repeat_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RunInfo, "parent_run_id", "wrong")
    message = check_seed(1)
    assert isinstance(message, str)
    assert "python -m tests.model --trees 1 --seed 1 " in message
    assert "parent is 'wrong', expected None" in message


def test_a_difference_in_what_a_filter_selects_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def meets_always(comparer: Comparer, actual: Any) -> bool:
        return True

    monkeypatch.setattr(Comparer, "meets", meets_always)
    messages = [message for message in map(check_seed, range(10)) if isinstance(message, str)]
    assert messages
    assert "filters: " in messages[0]
    assert ", expected " in messages[0]
