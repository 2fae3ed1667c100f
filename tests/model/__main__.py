"""Compare what is loaded from random trees with a slow, obvious reader.

    python -m tests.model --trees 3000

The exit status is 1 at a difference. It names the seed, what differs, and the command that loads
that tree again and leaves it for a look.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.model.compare import Tally, check_seed

WITH_PROCESSES = 50
"""In every so-manieth tree, two processes read, too: they take a second to start."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trees", type=int, default=3000, help="how many")
    parser.add_argument("--seed", type=int, help="the first of their seeds, by default any")
    parser.add_argument("--keep", type=Path, help="a directory in which to leave the trees")
    options = parser.parse_args()
    first = random.randrange(10**6) if options.seed is None else options.seed
    seeds = range(first, first + options.trees)
    print(f"{options.trees:,} random trees, --seed {first}", flush=True)
    total = Tally()
    for result in check_all(seeds, options.keep):
        if isinstance(result, str):
            sys.exit(result)
        total.update(result)
        if total["trees"] % 500 == 0:
            print(f"{total['trees']:,} trees", flush=True)
    trees, loads, runs = (total.pop(name) for name in ("trees", "loads", "runs"))
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(total.items()))
    print(f"{trees:,} trees ({kinds}), {loads:,} loads, {runs:,} runs: 0 differences")


def check_all(seeds: range, keep: Path | None) -> Iterator[Tally | str]:
    """Yield what was compared for each seed, or the message of a difference."""
    here = [seed for seed in seeds if seed % WITH_PROCESSES == 0]
    there = [seed for seed in seeds if seed % WITH_PROCESSES]
    check = partial(check_seed, keep=keep)
    check_here = partial(check, processes=True)  # a child of a pool starts none
    if len(there) < WITH_PROCESSES // 2:
        yield from map(check_here, here)
        yield from map(check, there)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        try:
            checked = pool.map(check, there, chunksize=10)
            yield from map(check_here, here)
            yield from checked
        finally:
            pool.shutdown(cancel_futures=True)  # after a difference


if __name__ == "__main__":
    main()
