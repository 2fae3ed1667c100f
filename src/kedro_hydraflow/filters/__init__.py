"""Conditions on runs, written as text: ``status == FINISHED and metrics.accuracy > 0.9``.

`parser` reads them into `expressions`, `comparison` says whether a value meets one, `evaluation`
applies them to runs. `writing` writes some, for messages.
"""

from __future__ import annotations

from kedro_hydraflow.filters.evaluation import NO_CONDITIONS, Conditions
from kedro_hydraflow.filters.parser import Filters, parse_filters
from kedro_hydraflow.filters.writing import advise_filter

__all__ = ["NO_CONDITIONS", "Conditions", "Filters", "advise_filter", "parse_filters"]
