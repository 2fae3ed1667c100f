"""JSON that gives back exactly what it was made of."""

from __future__ import annotations

import gc
import json
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.limits import get_max_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

Facts = dict[str, Any]
"""What an index remembers of a run: a configuration, or what ``meta.yaml`` says."""

_TEXT = frozenset({str})
CONTAINERS = (dict, list)
KINDS = frozenset({str, int, float, bool, type(None), *CONTAINERS})
"""The types that JSON gives back."""

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
"""Return data as JSON. NaN and infinities are written as Python's parser reads them."""


def is_exact(containers: list[Any]) -> bool:
    """Whether JSON gives back mappings and lists; checked level by level, which is fast."""
    while containers:
        mappings = [value for value in containers if type(value) is dict]
        lists = [value for value in containers if type(value) is list]
        values = [*chain.from_iterable(map(dict.values, mappings)), *chain.from_iterable(lists)]
        if not _TEXT.issuperset(map(type, chain.from_iterable(mappings))):
            return False
        if not KINDS.issuperset(map(type, values)):
            return False
        containers = [value for value in values if type(value) in CONTAINERS]
    return True


def has_few_nodes(text: str | bytes) -> bool:
    """Whether JSON has few mappings and lists: the 3 bytes of each take some 100 in memory."""
    opening: tuple[Any, Any] = ("[", "{") if isinstance(text, str) else (b"[", b"{")
    return sum(map(text.count, opening)) <= get_max_nodes()


@contextmanager
def no_garbage() -> Iterator[None]:
    """Suspend the search for unreachable objects in a block that makes many, all of them reachable.

    It takes half of the time of the block otherwise. Afterwards it takes the objects for old ones,
    or it would soon go through all of them twice.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if gc.get_freeze_count() == 0:  # else the program has frozen objects that stay so
                gc.freeze()
                gc.unfreeze()  # into the oldest generation
            gc.enable()
