"""What is loaded of random runs from MLflow's server is what a slow reader finds in a database."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.integration.places import is_server_required
from tests.model.changes import DATABASE_CHANGES
from tests.model.compare import Load, compare, compare_filters
from tests.model.trees import make_database

pytestmark = pytest.mark.integration

N_TREES = 30
N_FILTERS = 6
TABLES = ("experiments", "runs", "tags", "params", "latest_metrics", "metrics")


@dataclass(frozen=True)
class Site:
    """MLflow's server, and its database."""

    url: str
    database: Path

    def put(self, tree: Path) -> None:
        """Replace all rows by those of the database of a tree."""
        with closing(sqlite3.connect(self.database, timeout=60)) as connection:
            connection.execute("ATTACH ? AS tree", (str(tree),))
            with connection:
                for table in reversed(TABLES):
                    connection.execute(f"DELETE FROM main.{table}")
                for table in TABLES:
                    select = f"SELECT name FROM pragma_table_info('{table}', 'tree')"
                    columns = ", ".join(name for (name,) in connection.execute(select))
                    connection.execute(
                        f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM tree.{table}"
                    )
                connection.execute(
                    "UPDATE main.runs SET user_id = 'root'"
                )  # MLflow cannot do without


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("mlflow")
    database = folder / "mlflow.db"
    flags = ["--no-serve-artifacts", "--default-artifact-root", str(folder / "artifacts")]
    try:
        servers.find_hydraflow()
        with servers.moto() as s3, servers.mlflow_server(database, s3, *flags) as url:
            yield Site(url, database)
    except servers.MissingServerError as exc:
        if is_server_required():
            raise
        pytest.skip(str(exc))


@pytest.mark.parametrize("first", range(0, N_TREES, 10))
def test_loads_give_what_the_reference_reads(site: Site, first: int, tmp_path: Path) -> None:
    compared = [check_tree(site, seed, tmp_path / str(seed)) for seed in range(first, first + 10)]
    assert sum(compared) >= 10


def check_tree(site: Site, seed: int, folder: Path) -> int:
    """Load the tree of a seed, change it and load it again; return the number of runs."""
    base = folder / "tree"
    base.mkdir(parents=True)
    rng = random.Random(seed)
    tree = make_database(rng, base, share_moved=1)
    assert tree.database is not None
    tree.options["include_deleted"] = bool(tree.options.get("include_deleted"))
    options: Any = {"index": folder / "index", "uri": site.url}
    site.put(tree.database)
    n_runs = compare(tree, Load("index cold", **options), rng)
    for change in rng.choices(DATABASE_CHANGES, k=3):
        tree.changes.append(change(rng, tree) or "")
    site.put(tree.database)
    n_runs += compare(tree, Load("index warm", how="iter_runs", **options), rng)
    for _ in range(N_FILTERS):
        how = rng.choice(["load", "iter_runs"])
        compare_filters(tree, Load("filters", how=how, **options), rng)
    return n_runs
