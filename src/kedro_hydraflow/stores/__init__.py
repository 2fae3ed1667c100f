"""Stores of tracking data, one module for each kind.

`base.py` defines the interface. `find.py` chooses the store for a directory or URI, `given_runs.py`
for the directories of single runs.
"""

from kedro_hydraflow.stores.base import CONFIG_FILE, ExperimentFilter, Store, make_name_filter
from kedro_hydraflow.stores.default import ADVICE_WITHOUT_DEFAULT, naming_variable
from kedro_hydraflow.stores.find import open_store
from kedro_hydraflow.stores.given_runs import find_layouts, find_stores
from kedro_hydraflow.stores.record import Point, RunRecord

__all__ = [
    "ADVICE_WITHOUT_DEFAULT",
    "CONFIG_FILE",
    "ExperimentFilter",
    "Point",
    "RunRecord",
    "Store",
    "find_layouts",
    "find_stores",
    "make_name_filter",
    "naming_variable",
    "open_store",
]
