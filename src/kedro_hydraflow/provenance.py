"""Recording which runs the entries of a catalog give to a pipeline.

The file that comes of it: https://kedro-hydraflow.github.io/kedro-hydraflow/provenance/.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.digests import combine_digests, make_digests
from kedro_hydraflow.errors import describe
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.redaction import redact
from kedro_hydraflow.storage import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.run_base import RunBase

logger = get_logger(__name__)


@dataclass(frozen=True)
class LoadRecorder:
    """Records what each load of a catalog entry gives, in whichever process of this machine.

    A record that cannot be written is logged as a warning: a pipeline goes on without it.
    """

    entry: str
    folder: str
    """Where the records are collected, a file for each load."""

    def record(self, runs: Sequence[RunBase]) -> None:
        """Record the runs of a load, as they are now."""
        name = f"{time.time_ns()}-{secrets.token_hex(4)}.json"
        try:
            folder = Path(self.folder).resolve(strict=True)  # it may be that of another machine
            text = json.dumps({"entry": self.entry, "load": describe_load(runs)})
            LocalStorage().write(str(folder / name), text.encode("ascii"))
        except Exception as exc:
            problem = redact(describe(exc), {})
            logger.warning(
                "%s: it is not recorded which runs were given, %d of them: %s",
                self.entry,
                len(runs),
                problem,
            )


def read_loads(folder: str) -> dict[str, list[dict[str, Any]]]:
    """Return what the loads of each entry gave, in the order of the first ones, by entry.

    Loads that gave the same are one.

    Raises:
        OSError: If there is no such folder.
    """
    Path(folder).resolve(strict=True)
    loads: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(Path(folder).glob("[!.]*.json")):
        record = json.loads(path.read_bytes())
        if record["load"] not in loads[record["entry"]]:
            loads[record["entry"]].append(record["load"])
    return loads


def describe_load(runs: Sequence[RunBase]) -> dict[str, Any]:
    """Return the number of runs, the digest of all, and the digest of each by its ID, as JSON.

    Copies of a run have one ID. If they differ, it has the digests of all, separated by spaces.
    If a digest cannot be made, they are null, and ``problem`` says why.
    """
    ids = sorted(run.info.run_id for run in runs)
    try:
        digests = make_digests(runs)
    except Exception as exc:  # the runs can be used all the same
        problem = redact(describe(exc), {})
        runs_of_load: dict[str, Any] = dict.fromkeys(ids)
        return {"n_runs": len(ids), "digest": None, "problem": problem, "runs": runs_of_load}
    by_id: dict[str, set[str]] = {run_id: set() for run_id in ids}
    for run, digest in zip(runs, digests, strict=True):
        by_id[run.info.run_id].add(digest)
    return {
        "n_runs": len(ids),
        "digest": combine_digests(digests),
        "runs": {run_id: " ".join(sorted(of_copies)) for run_id, of_copies in by_id.items()},
    }
