"""What is loaded from random trees on an S3 server is what a slow reader finds on the disk."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.integration.places import is_server_required
from tests.model.changes import REMOTE_CHANGES
from tests.model.compare import (
    Load,
    can_be_published,
    compare,
    compare_filters,
    remove_empty_folders,
)
from tests.model.trees import Tree, make_tree

pytestmark = [
    pytest.mark.integration,
    # Clients that live as long as the process do not close their connections at its end.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]

N_TREES = 60
N_EACH = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    try:
        with servers.rclone_s3(tmp_path_factory.mktemp("buckets")) as server:
            yield server
    except servers.MissingServerError as exc:
        if is_server_required():
            raise
        pytest.skip(str(exc))


class Mirror:
    """A copy of a tree in a bucket, which follows its changes.

    Args:
        tree: The tree.
        server: The server.
        name: The name of the copy.
    """

    def __init__(self, tree: Tree, server: servers.Server, name: str) -> None:
        import s3fs

        self._tree = tree
        self._server = server
        self._name = name
        self._files: dict[str, bytes] = {}
        self._client = s3fs.S3FileSystem(**server.options, use_listings_cache=False)
        self.url = f"{server.url}/{name}"

    def update(self) -> None:
        """Write and remove what has changed."""
        root = self._tree.given
        remove_empty_folders(root)
        paths = [path for path in root.rglob("*") if path.is_file()]
        files = {f"{self._name}/{p.relative_to(root).as_posix()}": p.read_bytes() for p in paths}
        for name, content in files.items():
            if self._files.get(name) != content:
                self._server.write(name, content)
        for name in self._files.keys() - files.keys():
            self._client.rm_file(f"{servers.BUCKET}/{name}")
        self._files = files


@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
@pytest.mark.parametrize("first", range(0, N_TREES, N_EACH))
def test_loads_give_what_the_reference_reads(
    server: servers.Server, engine: str, first: int, tmp_path: Path
) -> None:
    compared = [
        check_tree(server, engine, seed, tmp_path / str(seed))
        for seed in range(first, first + N_EACH)
    ]
    assert sum(compared) >= N_EACH


def check_tree(server: servers.Server, engine: str, seed: int, folder: Path) -> int:
    """Load the tree of a seed, change it and load it again; return the number of runs.

    Nothing is done with a tree that a bucket cannot hold.
    """
    base = folder / "tree"
    base.mkdir(parents=True)
    tree = make_tree(seed, base)
    if not can_be_published(tree):
        return 0
    rng = random.Random(seed)
    tree.options["include_deleted"] = bool(tree.options.get("include_deleted"))
    mirror = Mirror(tree, server, f"{engine}-{seed}/{tree.given.name}")
    options: Any = {"location": mirror.url, "options": {**server.options, "engine": engine}}
    mirror.update()
    index = folder / "index"
    n_runs = compare(tree, Load("without an index", **options), rng)
    n_runs += compare(tree, Load("index cold", index, **options), rng)
    n_runs += compare(tree, Load("index warm", index, how="iter_runs", **options), rng)
    for _ in range(2):
        compare_filters(tree, Load("filters", rng.choice([False, index]), **options), rng)
    for change in rng.choices(REMOTE_CHANGES, k=3):
        tree.changes.append(change(rng, tree) or "")
    mirror.update()
    for name in ("index half stale", "index warm again"):
        n_runs += compare(tree, Load(name, index, **options), rng)
    return n_runs
