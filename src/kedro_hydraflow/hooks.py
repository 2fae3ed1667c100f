"""The Kedro hook that writes which runs the catalog entries of a pipeline gave."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Literal

from kedro import __version__ as kedro_version
from kedro.framework.hooks import hook_impl

import kedro_hydraflow
from kedro_hydraflow.cache_dir import expand_home
from kedro_hydraflow.datasets import ReadOnlyDataset
from kedro_hydraflow.errors import describe
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.provenance import LoadRecorder, read_loads
from kedro_hydraflow.redaction import redact
from kedro_hydraflow.source import check_location, show_location
from kedro_hydraflow.state_files import make_state
from kedro_hydraflow.storage import is_url, locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline

    from kedro_hydraflow.storage import Place

logger = get_logger(f"kedro.{__name__}")
"""Below ``kedro``: by default, Kedro shows INFO of its own loggers and of the project alone."""

_PARAMETERS = (
    "env",
    "runner",
    "pipeline_name",  # of older versions of Kedro
    "pipeline_names",
    "tags",
    "node_names",
    "namespaces",
    "from_nodes",
    "to_nodes",
    "from_inputs",
    "to_outputs",
    "load_versions",
    "only_missing_outputs",
)
"""The parameters of a pipeline run that are written with their values."""

_NOT_IN_TAGS = re.compile(r"[^\w./ -]")
"""Matches what the keys of MLflow's tags may not have in every store."""


@dataclass(frozen=True)
class _PipelineRun:
    """A pipeline run that has started, and the records of what it loads."""

    started: str
    datasets: dict[str, ReadOnlyDataset[Any]]
    """Those that the pipeline loads from the catalog, by the names of their entries."""
    folder: str
    """Where the records are. A finalizer would remove it in forked processes, too."""

    def begin_records(self) -> None:
        """Have each load recorded."""
        for name, dataset in self.datasets.items():
            dataset.add_recorder(LoadRecorder(name, self.folder))

    def end_records(self) -> dict[str, list[dict[str, Any]]]:
        """Return what the loads gave, by entry. Later ones are not recorded.

        Raises:
            OSError: If the records were removed by others.
        """
        for name, dataset in self.datasets.items():
            dataset.remove_recorder(LoadRecorder(name, self.folder))
        loads = read_loads(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        return loads


class ProvenanceHook:
    """Writes which runs each catalog entry gave to a pipeline, as a JSON file.

    There is a file for each run of a pipeline with such entries, named by the ID that Kedro gives
    to it. If a run of MLflow is active when the pipeline ends, such as that of kedro-mlflow, it
    gets the file as an artifact, and the digests as tags. See
    https://kedro-hydraflow.github.io/kedro-hydraflow/provenance/.

    What cannot be written is logged as a warning: the pipeline goes on.

    Args:
        path: The folder of the files: a path relative to the project, or a URL that fsspec knows.

    Raises:
        OptionError: If the path is neither a path nor a URL.

    Examples:
        In ``settings.py`` of a Kedro project:

        >>> from kedro_hydraflow import ProvenanceHook
        >>> HOOKS = (ProvenanceHook(),)
    """

    def __init__(self, path: str | os.PathLike[str] = "data/provenance") -> None:
        self._path = str(check_location("path", path))
        self._running: dict[int, _PipelineRun] = {}
        """The pipeline runs by the ID of their catalog: several may have the same run ID."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({show_location(self._path)!r})"

    @hook_impl(trylast=True)  # others may change the catalog
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Have the loads of the entries recorded that the pipeline loads from the catalog."""
        run_id = _get_run_id(run_params)
        with _warning_of(f"{run_id}: it will not be recorded which runs are loaded"):
            datasets = _find_datasets(pipeline, catalog)
            if datasets:
                running = _PipelineRun(_now(), datasets, mkdtemp(prefix="kedro-hydraflow-"))
                running.begin_records()
                self._running[id(catalog)] = running

    @hook_impl(tryfirst=True)  # kedro-mlflow ends its run
    def after_pipeline_run(self, run_params: dict[str, Any], catalog: DataCatalog) -> None:
        """Write the file of a pipeline that succeeded."""
        self._finish(run_params, catalog, "succeeded")

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, run_params: dict[str, Any], catalog: DataCatalog) -> None:
        """Write the file of a pipeline that failed."""
        self._finish(run_params, catalog, "failed")

    def _finish(
        self,
        run_params: dict[str, Any],
        catalog: DataCatalog,
        outcome: Literal["succeeded", "failed"],
    ) -> None:
        run_id = _get_run_id(run_params)
        running = self._running.pop(id(catalog), None)
        if running is None:  # it loads no runs, or it was logged why they are not recorded
            return
        name = re.sub(r"[^\w.-]", "_", run_id)
        with _warning_of(f"{run_id}: the records of which runs were loaded cannot be read"):
            loads = running.end_records()
            content = {
                "run_id": run_id,
                "outcome": outcome,
                "started": running.started,
                "ended": _now(),
                "kedro": kedro_version,
                "kedro_hydraflow": kedro_hydraflow.__version__,
                "parameters": _select_parameters(run_params),
                "entries": {
                    entry: {**_describe(dataset), "loads": loads.get(entry, [])}
                    for entry, dataset in running.datasets.items()
                },
            }
            state = make_state("provenance", content)
            with _warning_of(f"{name}.json cannot be written"):
                place = _find_new(self._locate(run_params["project_path"]), name)
                place.storage.create(place.path, state)
                logger.info("%s: which runs %s gave", place.url, _count(loads))
            with _warning_of(f"{name}.json cannot be logged to the active run of MLflow"):
                _log_to_mlflow(f"{name}.json", state.decode("ascii"), loads)

    def _locate(self, project: str) -> Place:
        if is_url(self._path):
            return locate(self._path)
        path = os.path.expandvars(expand_home(self._path, "ProvenanceHook"))
        return locate(Path(project, path))


def _find_new(folder: Place, name: str) -> Place:
    """Return a JSON file that is not there yet, with a number if there is one of that name."""
    place = folder.join(f"{name}.json")
    for number in count(2):
        if place.read() is None:
            break
        place = folder.join(f"{name}-{number}.json")
    return place


def _count(loads: Mapping[str, object]) -> str:
    return "one entry" if len(loads) == 1 else f"{len(loads)} entries"


@contextmanager
def _warning_of(problem: str) -> Iterator[None]:
    """Log an error in the block as a warning: the results of a pipeline are worth more."""
    try:
        yield
    except Exception as exc:  # of MLflow or a storage: whatever it is
        logger.warning("%s: %s", problem, redact(describe(exc), {}))


def _find_datasets(pipeline: Pipeline, catalog: DataCatalog) -> dict[str, ReadOnlyDataset[Any]]:
    """Return the datasets of this package among the inputs of a pipeline, by name."""
    found = {name: _find_dataset(catalog.get(name)) for name in sorted(pipeline.inputs())}
    return {name: dataset for name, dataset in found.items() if dataset is not None}


def _find_dataset(dataset: object) -> ReadOnlyDataset[Any] | None:
    """Return the dataset of this package, also one that another wraps, as CachedDataset does."""
    while dataset is not None and not isinstance(dataset, ReadOnlyDataset):
        dataset = getattr(dataset, "_dataset", None)
    return dataset


def _describe(dataset: ReadOnlyDataset[Any]) -> dict[str, Any]:
    """Return the type and options of a dataset, and why there may be no records of it."""
    described = {
        "type": f"{type(dataset).__module__}.{type(dataset).__qualname__}",
        "options": dataset.describe(),
    }
    note = {"note": "runs are read when the frame is collected"} if dataset.is_lazy else {}
    return {**described, **note}


def _get_run_id(run_params: Mapping[str, Any]) -> str:
    """Return the ID of a pipeline run, which the oldest Kedro calls that of the session."""
    return str(run_params.get("run_id", run_params.get("session_id")))


def _select_parameters(run_params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a pipeline run that were given, of runtime ones the names alone.

    Their values may be credentials.
    """
    selected = {name: run_params.get(name) for name in _PARAMETERS}
    if selected["runner"] is not None:  # the repr of an object
        selected["runner"] = re.sub(r"^<([\w.]+) object at .*>$", r"\1", str(selected["runner"]))
    selected["runtime_params"] = sorted(map(str, run_params.get("runtime_params") or ()))
    return {
        name: value if isinstance(value, (str, bool, dict)) else [*map(str, value)]
        for name, value in selected.items()
        if value
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def _log_to_mlflow(name: str, text: str, loads: Mapping[str, list[dict[str, Any]]]) -> None:
    """Log the file and tags to the active run of MLflow, if it is imported and has one."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is None or mlflow.active_run() is None:
        return
    values = defaultdict(list)  # several loads may differ
    for entry, of_entry in loads.items():
        for load in of_entry:
            for fact in ("digest", "n_runs"):
                if load[fact] is not None:
                    key = f"kedro_hydraflow.{_NOT_IN_TAGS.sub('_', entry)}.{fact}"
                    values[key].append(str(load[fact]))
    mlflow.log_text(text, f"kedro_hydraflow/{name}")
    mlflow.set_tags({key: " ".join(texts) for key, texts in values.items()})
