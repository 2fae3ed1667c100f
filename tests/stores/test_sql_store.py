"""What needs no database; the others are in tests/integration/test_sql_databases.py."""

from __future__ import annotations

import pickle
import sys

import pytest

from kedro_hydraflow import get_experiment_names
from kedro_hydraflow.errors import MissingPackageError
from kedro_hydraflow.source import Source
from kedro_hydraflow.stores import open_store
from kedro_hydraflow.stores.sql_store import SqlStore

URL = "postgresql+psycopg://ann:s3cret@db.example/mlflow"


@pytest.mark.parametrize("scheme", ["postgresql", "mysql+pymysql", "mariadb+pymysql", "MSSQL+x"])
def test_databases_are_told_by_their_scheme(scheme: str) -> None:
    store = open_store(Source(tracking_uri=f"{scheme}://ann:s3cret@db.example/mlflow"))
    assert isinstance(store, SqlStore)
    assert store.where == f"{scheme}://db.example/mlflow"


def test_sqlalchemy_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.delitem(sys.modules, "kedro_hydraflow.stores.sql_queries", raising=False)
    with pytest.raises(MissingPackageError) as caught:
        get_experiment_names(tracking_uri=URL)
    assert str(caught.value).startswith(
        "tracking_uri: reading the database 'postgresql+psycopg://db.example/mlflow' needs "
        "SQLAlchemy, which cannot be imported ("
    )
    assert str(caught.value).endswith(
        "): pip install 'kedro-hydraflow[sql]', and the driver of the database"
    )


def test_stores_are_equal_and_pickle_by_their_source() -> None:
    store = open_store(Source(tracking_uri=URL, storage_options={"key": "k"}))
    assert pickle.loads(pickle.dumps(store)) == store
    assert store != open_store(Source(tracking_uri=URL))
    assert b"s3cret" not in pickle.dumps(store.without_credentials())
