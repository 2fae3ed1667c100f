"""Read many YAML documents, and compare each with what OmegaConf reads.

    python -m tests.fuzz --documents 100000 --seed 0

The exit status is 1 at a difference, with the smallest such document.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import omegaconf
from hypothesis import HealthCheck, Phase, given, seed, settings

from kedro_hydraflow import yaml_reader
from kedro_hydraflow.yaml_reader import ConfigReader
from tests.fuzz.documents import DOCUMENTS, find_difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis import strategies as st

BATCH = 300
"""Documents that one reader reads. Hypothesis slows down when it has drawn many more."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--documents", type=int, default=100_000, help="at least so many")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    print(f"Python {sys.version.split()[0]}, omegaconf {omegaconf.__version__}", flush=True)
    calls = count_calls_of_complete_loader()
    total: Counter[str] = Counter()
    seed = options.seed
    while total["documents"] < options.documents:
        for documents in DOCUMENTS.values():
            total += compare_batch(documents, seed, calls)
        seed += 1
        print(f"{total['documents']:,} documents", flush=True)
    print(
        f"{len(DOCUMENTS)} kinds, seeds {options.seed} to {seed - 1}: "
        f"{total['short']:,} took the short way, {total['in part']:,} in part; 0 differences"
    )


def compare_batch(
    documents: st.SearchStrategy[bytes], number: int, calls: Counter[str]
) -> Counter[str]:
    """Compare some documents, and count which way they took; exit at a difference."""
    used = ConfigReader()
    counts: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(documents)
    def check(data: bytes) -> None:
        calls.clear()
        difference = find_difference(data, ConfigReader(), used)
        counts["documents"] += 1
        counts["short"] += not calls
        counts["in part"] += set(calls) == {"_load_piece"}
        assert difference is None, difference

    try:
        check()
    except AssertionError as exc:
        sys.exit(f"DIFFERENCE at seed {number}: {exc}")
    return counts


def count_calls_of_complete_loader() -> Counter[str]:
    """Return the counter that from now on counts them, by the function's name."""
    calls: Counter[str] = Counter()

    def count(name: str) -> Callable[[str], Any]:
        function = getattr(yaml_reader, name)

        def call(text: str) -> Any:
            calls[name] += 1
            return function(text)

        return call

    for name in ("_load_completely", "_load_piece"):
        setattr(yaml_reader, name, count(name))
    return calls


if __name__ == "__main__":
    main()
