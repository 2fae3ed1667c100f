"""Python's cyclic garbage collector, out of the way of bulk reads."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def paused_collector() -> Iterator[None]:
    """Run a block without the cyclic garbage collector.

    It would go through the configurations of thousands of runs again and again, though plain
    data has no cycles. Do not wait for a network in the block: the clients' responses have.

    Where the collector is off already, by the user or by another thread in such a block, it
    is left alone. So each thread that turns it off also turns it on again, and it is on when
    all are done.
    """
    if not gc.isenabled():
        yield
        return
    try:
        gc.disable()
        yield
    finally:
        gc.enable()
