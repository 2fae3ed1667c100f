"""What tracked the runs: one module for each kind of store.

A store finds experiments and runs, and knows what was recorded about them: `base.py` says what
it has to do. `find.py` finds out which one a directory or URI belongs to.
"""

from kedro_hydraflow.stores.base import CONFIG_FILE, ExperimentFilter, Store, make_name_filter
from kedro_hydraflow.stores.find import find_layout, find_stores, open_store
from kedro_hydraflow.stores.record import Point, RunRecord

__all__ = [
    "CONFIG_FILE",
    "ExperimentFilter",
    "Point",
    "RunRecord",
    "Store",
    "find_layout",
    "find_stores",
    "make_name_filter",
    "open_store",
]
