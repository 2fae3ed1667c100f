"""What tracked the runs: one module for each kind of store.

A store finds experiments and runs, and knows what was recorded about them: `base.py` says what
it has to do. `find.py` finds out which one a directory or URI belongs to.
"""

from kedro_hydraflow.stores.base import ExperimentFilter, Point, Store, make_name_filter
from kedro_hydraflow.stores.find import find_store, open_store

__all__ = [
    "ExperimentFilter",
    "Point",
    "Store",
    "find_store",
    "make_name_filter",
    "open_store",
]
