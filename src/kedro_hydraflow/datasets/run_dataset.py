"""One run, as a Kedro dataset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NewType

from kedro_hydraflow.config import ConfigReader
from kedro_hydraflow.datasets._base import ReadOnlyDataset, check_location, show_location, to_json
from kedro_hydraflow.errors import ConfigError, NotFoundError, TrackingDirectoryError
from kedro_hydraflow.run import CONFIG_FILE, Run, read_config
from kedro_hydraflow.run_info import META_FILE, RunInfo, read_metas
from kedro_hydraflow.storage import Storage, locate

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

JSONPreview = NewType("JSONPreview", str)
"""A document as kedro-viz shows it. It goes by the name."""


class HydraflowRunDataset(ReadOnlyDataset[Run[Any, Any]]):
    """One HydraFlow run, as a ``Run``.

    Args:
        filepath: The run directory (``mlruns/<experiment_id>/<run_id>``): a path, in a
            catalog relative to the project, or a URL that fsspec knows.
        impl: A class or function that makes ``run.impl``, in a catalog by its dotted path.
        config_class: A dataclass onto which the configuration is merged, in a catalog by
            its dotted path.
        engine: What reads from S3, Google Cloud Storage and Azure: ``fsspec`` or
            ``obstore``. By default obstore, where it is installed and the other options
            say all that it has to know.
        credentials: Passed on to the fsspec filesystem of a URL.
        fs_args: Passed on to the fsspec filesystem of a URL.
        metadata: Anything; Kedro and this package ignore it.

    Raises:
        OptionError: If an argument has a value that cannot be used.

    Examples:
        In a catalog::

            best_run:
              type: kedro_hydraflow.HydraflowRunDataset
              filepath: mlruns/935292330156410202/27d8a8d315344af5a5f844501f50c18b
              impl: my_project.analysis.ModelLoader

        In Python:

        >>> from kedro_hydraflow import HydraflowRunDataset
        >>> run_dir = "examples/data/mlruns/803221166256626715/5b59290f35f943c8863522a4cd371131"
        >>> HydraflowRunDataset(filepath=run_dir).load()
        Run('5b59290f35f943c8863522a4cd371131')
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        impl: str | Callable[..., Any] | None = None,
        config_class: str | type | None = None,
        engine: str | None = None,
        credentials: Mapping[str, Any] | None = None,
        fs_args: Mapping[str, Any] | None = None,
        metadata: Any = None,
    ) -> None:
        super().__init__(
            impl=impl,
            config_class=config_class,
            engine=engine,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )
        # Not named 'filepath': kedro-viz opens such an attribute without the credentials.
        self._location = check_location("filepath", filepath)

    def load(self) -> Run[Any, Any]:
        """Return the run, with its configuration freshly read.

        Raises:
            DatasetError: If there is no such run, or its configuration cannot be read.
        """
        return self._load_run(self._load_impl())

    def preview(self) -> JSONPreview:
        """Return the run's facts and configuration as JSON."""
        run = self._load_run(None)
        facts = {
            name: getattr(run.info, name)
            for name in ("run_id", "job_name", "status", "run_name", "start_time", "end_time")
        }
        shown = {"info": facts, "cfg": run.to_dict(flatten=False)}
        return JSONPreview(json.dumps(to_json(shown), allow_nan=False))

    def _load_run(self, impl: Callable[..., Any] | None) -> Run[Any, Any]:
        config_class = self._load_config_class()
        storage, path = locate(self._location, self._storage_options)
        config_path = storage.join(path, *CONFIG_FILE.split("/"))
        content = storage.read(config_path)
        if content is None:
            _check_run_dir(storage, path)
        try:
            config = read_config(content, ConfigReader(), config_class)
        except ConfigError as exc:
            raise ConfigError(f"{storage.url(config_path)}: {exc}") from exc
        return Run._make(RunInfo.make(storage, path), impl, config_class, config)

    def _exists(self) -> bool:
        storage, path = locate(self._location, self._storage_options)
        return storage.is_dir(path)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": show_location(self._location), **self._describe_common()}


def _check_run_dir(storage: Storage, path: str) -> None:
    """Refuse a directory that is not a run's, now that it has no configuration."""
    try:
        names = {entry.name for entry in storage.list_dir(path)}
    except NotFoundError as exc:
        raise NotFoundError(
            f"there is no run directory {storage.url(path)!r}; expected "
            "<tracking directory>/<experiment_id>/<run_id>"
        ) from exc
    (meta,) = read_metas(storage, [path])
    is_run = isinstance(meta, dict) and ("run_id" in meta or "run_uuid" in meta or not meta)
    if "artifacts" not in names and not is_run:
        raise TrackingDirectoryError(
            f"{storage.url(path)} is not a run directory: expected artifacts, or a {META_FILE} "
            f"with a run_id, found {', '.join(sorted(names)[:10]) or 'nothing'}. "
            "A tracking directory of many runs is read by HydraflowRunCollectionDataset"
        )
