"""What works on CPython 3.14 in WebAssembly: ``make pyodide``.

Polars and NumPy cannot be had there from PyPI, and there are neither threads nor processes. So
frames, remote storage and jobs are not tried.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from pathlib import Path

os.chdir(tempfile.mkdtemp())
os.environ["KEDRO_HYDRAFLOW_CACHE_DIR"] = "cache"

from kedro.io import DataCatalog  # noqa: E402 - the cache is set

from kedro_hydraflow import Run, iter_run_dirs  # noqa: E402
from kedro_hydraflow.cli.main import main  # noqa: E402

DATA = "/project/examples/data"

assert sys.version_info >= (3, 14)
main(["example"], standalone_mode=False)

runs = Run.load(iter_run_dirs("mlruns"))
assert len(runs) == 31

for _ in range(2):  # the second time from the index, which takes in no files of the last seconds
    older = Run.load(iter_run_dirs(f"{DATA}/mlruns"), index="./index")
    assert older.to_list("model.type") == runs.to_list("model.type")
assert list(Path("index").glob("*.sqlite"))

chosen = runs.filter("status == FINISHED and model.type == mlp").sort("metrics.accuracy")
assert len(chosen) == 18
best = runs.best(by="metrics.accuracy", mode="max")
assert (best.info.run_id[:8], best.cfg.model.type, best.get("seed")) == ("13f42e95", "mlp", 1)
assert best.path("confusion_matrix.json").read_text().startswith("[")
assert {key: len(group) for key, group in runs.group_by("model.type").items()} == {
    "mlp": 19,
    "linear": 12,
}
again = pickle.loads(pickle.dumps(runs))
assert [run.metrics for run in again] == [run.metrics for run in runs]

assert len(Run.load(iter_run_dirs(f"{DATA}/sqlite"))) == 7
assert len(Run.load(iter_run_dirs(f"{DATA}/hydra/multirun"), results="result.json")) == 16

entry = {"path": "mlruns", "best_by": "metrics.accuracy", "mode": "max"}
catalog = DataCatalog.from_config(
    {"best_run": {"type": "kedro_hydraflow.HydraflowRunDataset", **entry}}
)
assert catalog.load("best_run").info.run_id == best.info.run_id

print(f"Python {sys.version.split()[0]} on {sys.platform}: runs, filters, artifacts, index, SQLite")
print("and datasets work; frames were not tried, as there is no Polars for it on PyPI")
