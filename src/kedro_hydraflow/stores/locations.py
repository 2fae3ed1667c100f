"""Locating the run directories of a database or server.

The location that was recorded is wrong after the data has been copied or moved. So a directory
beside the tracking data takes precedence over it. The candidates are, in this order:

1. ``<artifact_root>/<experiment_id>/<run_id>`` or ``<artifact_root>/<run_id>``, if the user gives
   an artifact root; no other candidate is tried then;
2. the last parts of the recorded location, in a directory with tracking data, as many parts as
   exist: for ``/old/place/mlruns/1/<run_id>``, ``mlruns/1/<run_id>`` before ``1/<run_id>``;
3. ``mlruns/<experiment_id>/<run_id>`` and ``mlartifacts/<experiment_id>/<run_id>``, MLflow's
   defaults, in such a directory;
4. the recorded location.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from kedro_hydraflow.errors import NotFoundError
from kedro_hydraflow.storage import Place, is_url, locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kedro_hydraflow.source import Source

_DEFAULT_ROOTS = ("mlruns", "mlartifacts")

PROXIED = "mlflow-artifacts:"
"""The scheme of locations that only a tracking server can resolve."""


class _Folder(NamedTuple):
    """A local directory and the names of its entries."""

    place: Place
    names: frozenset[str]


class RunLocator:
    """Finds the directories of experiments and runs.

    Args:
        source: The source with the artifact root and the storage options.
        neighbors: Local directories with tracking data, to search for artifacts.
        open_proxied: Returns the place of a location with the scheme `PROXIED`.
    """

    def __init__(
        self,
        source: Source,
        neighbors: Sequence[str] = (),
        open_proxied: Callable[[str], Place] | None = None,
    ) -> None:
        self._source = source
        self._neighbors = neighbors
        self._open_proxied = open_proxied
        # Both by experiment ID and recorded location.
        self._folders: dict[tuple[str, str], list[_Folder]] = {}
        self._recorded: dict[tuple[str, str], Place] = {}

    def find_experiment(self, experiment_id: str, location: str) -> Place:
        """Return the directory of an experiment. It does not have to exist.

        Args:
            experiment_id: The ID.
            location: The recorded ``artifact_location``.

        Raises:
            StorageError: If a candidate cannot be listed.
        """
        for folder in self._get_folders(experiment_id, location):
            return folder.place
        return self._get_recorded(experiment_id, location)

    def find(self, experiment_id: str, run_id: str, uri: str) -> Place:
        """Return the directory of a run. It does not have to exist.

        Args:
            experiment_id: The ID of its experiment.
            run_id: The ID.
            uri: The recorded ``artifact_uri``.

        Raises:
            StorageError: If a candidate cannot be listed.
        """
        recorded = uri.removesuffix("/artifacts").removesuffix(f"/{run_id}")
        for folder in self._get_folders(experiment_id, recorded):
            if run_id in folder.names:
                return folder.place.join(run_id)
        return self._get_recorded(experiment_id, recorded).join(run_id)

    def _get_folders(self, experiment_id: str, recorded: str) -> list[_Folder]:
        """Return the candidates that exist beside the tracking data and are not empty."""
        key = (experiment_id, recorded)
        if key not in self._folders:
            folders = self._list_folders(experiment_id, recorded)
            self._folders[key] = [folder for folder in folders if folder.names]
        return self._folders[key]

    def _list_folders(self, experiment_id: str, recorded: str) -> Iterator[_Folder]:
        if self._source.artifact_root is None:
            for path in self._list_candidates(experiment_id, recorded):
                place = locate(path)
                yield _Folder(place, _list_names(place))

    def _get_recorded(self, experiment_id: str, recorded: str) -> Place:
        """Return the artifact root or the recorded directory. Opens the storage on first use."""
        key = (experiment_id, recorded)
        if key not in self._recorded:
            self._recorded[key] = self._locate(experiment_id, recorded)
        return self._recorded[key]

    def _locate(self, experiment_id: str, recorded: str) -> Place:
        if self._source.artifact_root is not None:
            root = self._source.locate_artifacts(self._source.artifact_root)
            inner = root.join(experiment_id)
            return inner if inner.is_dir() else root
        if recorded.startswith(PROXIED):
            if self._open_proxied is not None:
                return self._open_proxied(recorded)
            recorded = f"mlartifacts/{experiment_id}"  # the server's default, beside the database
        if self._neighbors and not is_url(recorded):
            # MLflow records './mlruns/1' relative to its working directory, where it also creates
            # the database.
            recorded = os.path.join(self._neighbors[0], recorded)
        return self._source.locate_artifacts(recorded)

    def _list_candidates(self, experiment_id: str, recorded: str) -> list[str]:
        parts = [part for part in _get_path(recorded).split("/") if part not in ("", ".")]
        ends = [parts[i:] for i in range(len(parts))] if ".." not in parts else []
        ends += [[root, experiment_id] for root in _DEFAULT_ROOTS]
        paths = [os.path.join(near, *end) for near in self._neighbors for end in ends]
        return [path for path in dict.fromkeys(paths) if os.path.isdir(path)]


def _get_path(uri: str) -> str:
    """Return the path in a recorded location, without scheme and host."""
    if not is_url(uri) and not uri.startswith(PROXIED):
        return uri.replace("\\", "/")
    scheme, _, rest = uri.partition(":")
    path = rest[2:].partition("/")[2] if rest.startswith("//") else rest
    return unquote(path) if scheme == "file" else path


def _list_names(place: Place) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in place.list())
    except NotFoundError:
        return frozenset()
