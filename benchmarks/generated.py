"""A filesystem of fsspec that makes up the runs of a sweep: listings and files are made on demand.

``generated://1000000`` is a tracking directory of a million runs that takes no space.
"""

from __future__ import annotations

import random
import warnings
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem
from generate import START_MS, make_config

PER_EXPERIMENT = 10_000
FIRST_ID = 10**17
RNG = random.Random(0)

EXPERIMENT_META = """\
artifact_location: generated://{root}/{id}
creation_time: {start}
experiment_id: '{id}'
last_update_time: {start}
lifecycle_stage: active
name: train
"""
RUN_META = """\
artifact_uri: generated://{root}/{id}/{run_id}/artifacts
end_time: {end}
entry_point_name: ''
experiment_id: '{id}'
lifecycle_stage: active
run_id: {run_id}
run_name: upset-turtle-{number}
source_name: ''
source_type: 4
source_version: ''
start_time: {start}
status: 3
tags: []
user_id: alice
"""


class GeneratedRuns(AsyncFileSystem):  # type: ignore[misc] # fsspec has no types
    """The runs of a sweep, 10,000 in each experiment."""

    protocol = "generated"

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        root, *inner = path.strip("/").split("/")
        n_runs = int(root)
        if not inner:
            n_experiments = -(-n_runs // PER_EXPERIMENT)
            names = [f"{root}/{FIRST_ID + i}" for i in range(n_experiments)]
        elif len(inner) == 1:
            first = (int(inner[0]) - FIRST_ID) * PER_EXPERIMENT
            numbers = range(first, min(first + PER_EXPERIMENT, n_runs))
            names = [f"{root}/{inner[0]}/{number:032x}" for number in numbers]
        else:
            raise FileNotFoundError(path)
        if not detail:
            return names
        return [{"name": name, "type": "directory", "size": 0} for name in names]

    async def _cat_file(self, path: str, **_: Any) -> bytes:
        root, *inner = path.strip("/").split("/")
        if len(inner) == 2 and inner[1] == "meta.yaml":
            return EXPERIMENT_META.format(root=root, id=inner[0], start=START_MS).encode()
        if len(inner) > 2:
            experiment_id, run_id, *file = inner
            number = int(run_id, 16)
            if file == ["meta.yaml"]:
                start = START_MS + 60_000 * number
                return RUN_META.format(
                    root=root,
                    id=experiment_id,
                    run_id=run_id,
                    number=number,
                    start=start,
                    end=start + 45_000,
                ).encode()
            if file == ["artifacts", ".hydra", "config.yaml"]:
                return make_config("sweep", number, RNG)[1].encode()
        raise FileNotFoundError(path)


warnings.filterwarnings("ignore", message="UPath 'generated' filesystem not explicitly implemented")
fsspec.register_implementation("generated", GeneratedRuns)
