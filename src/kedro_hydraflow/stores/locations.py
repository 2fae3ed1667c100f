"""Locating the run directories of a database or server, and artifacts that left a file store.

The location that was recorded is wrong after the data has been copied or moved. So a directory
beside the tracking data takes precedence over it. The candidates are, in this order:

1. ``<artifact_root>/<experiment_id>/<run_id>`` or ``<artifact_root>/<run_id>``, if the user gives
   an artifact root; no other candidate is tried then;
2. the last parts of the recorded location, in a directory with tracking data, as many parts as
   exist: for ``/old/place/mlruns/1/<run_id>``, ``mlruns/1/<run_id>`` before ``1/<run_id>``;
3. ``mlruns/<experiment_id>/<run_id>`` and ``mlartifacts/<experiment_id>/<run_id>``, MLflow's
   defaults, in such a directory;
4. the recorded location, unless it names a host that the user has not named.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from kedro_hydraflow.errors import NotFoundError, StorageError, UnreachableError
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.storage import LocalStorage, Place, is_url, list_places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_hydraflow.source import Source

_DEFAULT_ROOTS = ("mlruns", "mlartifacts")

PROXIED = "mlflow-artifacts:"
"""The scheme of locations that only a tracking server can resolve."""

_WITHOUT_HOST = frozenset(
    {"", "file", "local", "memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "wasbs"}
)
"""The schemes of URLs that name a bucket. Which host serves it follows from the user's settings."""


class _Folder(NamedTuple):
    """A directory and the names of its entries."""

    place: Place
    names: frozenset[str]


class RunLocator:
    """Finds the directories of experiments and runs.

    Args:
        source: The source with the artifact root and the storage options.
        neighbors: Directories with tracking data, to search for artifacts.
        open_proxied: Returns the place of a location with the scheme `PROXIED`.
    """

    def __init__(
        self,
        source: Source,
        neighbors: Sequence[Place] = (),
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

    def find(
        self, experiment_id: str, run_id: str, uri: str, *, outside: Place | None = None
    ) -> Place:
        """Return the directory of a run. It does not have to exist.

        Args:
            experiment_id: The ID of its experiment.
            run_id: The ID.
            uri: The recorded ``artifact_uri``.
            outside: A directory of the experiment that does not have the artifacts.

        Raises:
            StorageError: If a candidate cannot be listed.
        """
        recorded = uri.removesuffix("/artifacts").removesuffix(f"/{run_id}")
        for folder in self._get_folders(experiment_id, recorded):
            if run_id in folder.names and folder.place != outside:
                return folder.place.join(run_id)
        return self._get_recorded(experiment_id, recorded).join(run_id)

    def _get_folders(self, experiment_id: str, recorded: str) -> list[_Folder]:
        """Return the candidates that exist beside the tracking data and are not empty."""
        key = (experiment_id, recorded)
        if key not in self._folders:
            self._folders[key] = self._list_folders(experiment_id, recorded)
        return self._folders[key]

    def _list_folders(self, experiment_id: str, recorded: str) -> list[_Folder]:
        if self._source.artifact_root is not None:
            return []
        places = self._make_candidates(experiment_id, recorded)
        folders = []
        for place, entries in zip(places, list_places(places), strict=True):
            is_guess = place.storage.is_remote and not isinstance(entries, UnreachableError)
            if isinstance(entries, NotFoundError) or (
                isinstance(entries, StorageError) and is_guess
            ):
                continue  # a server may deny what it does not have
            if isinstance(entries, StorageError):
                raise entries
            folders.append(_Folder(place, frozenset(entry.name for entry in entries)))
        return [folder for folder in folders if folder.names]

    def _get_recorded(self, experiment_id: str, recorded: str) -> Place:
        """Return the artifact root or the recorded directory. Opens the storage on first use."""
        key = (experiment_id, recorded)
        if key not in self._recorded:
            self._recorded[key] = self._locate(experiment_id, recorded)
        return self._recorded[key]

    def _locate(self, experiment_id: str, recorded: str) -> Place:
        if self._source.artifact_root is not None:
            root = self._source.locate_artifact_root()
            inner = root.join(experiment_id)
            return inner if inner.is_dir() else root
        if recorded.startswith(PROXIED):
            if self._open_proxied is not None:
                return self._open_proxied(recorded)
            recorded = f"mlartifacts/{experiment_id}"  # the server's default, beside the database
        if is_url(recorded):
            self._check_host(recorded)
        elif self._neighbors and not os.path.isabs(recorded):
            # MLflow records './mlruns/1' relative to its working directory, where it also creates
            # the database.
            return self._neighbors[0].join(recorded)
        return self._source.locate_artifacts(recorded)

    def _check_host(self, recorded: str) -> None:
        """Raise StorageError if a recorded URL leads to a host that the user has not named."""
        scheme, host = _split(recorded)
        if "::" not in recorded and (scheme in _WITHOUT_HOST or host in self._source.list_hosts()):
            return
        raise StorageError(
            f"the artifacts were recorded at {redact_url(recorded)!r}, a host that only the "
            "tracking data names, so it is not asked; give artifact_root if they are there"
        )

    def _make_candidates(self, experiment_id: str, recorded: str) -> list[Place]:
        parts = [part for part in _get_path(recorded).split("/") if part not in ("", ".")]
        is_odd = ".." in parts or "\0" in recorded
        ends = [] if is_odd else ["/".join(parts[i:]) for i in range(len(parts))]
        ends += [f"{root}/{experiment_id}" for root in _DEFAULT_ROOTS]
        places = [near.join(end) for near in self._neighbors for end in ends]
        return [place for place in dict.fromkeys(places) if _may_exist(place)]


def _may_exist(place: Place) -> bool:
    """Whether a directory exists, as far as that takes no request."""
    if isinstance(place.storage, LocalStorage):
        return os.path.isdir(place.storage.get_identity(place.path))
    return True


def _split(url: str) -> tuple[str, str]:
    """Return the scheme and the host of a URL, in lower case."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition(":")[0].lower(), ""
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _get_path(uri: str) -> str:
    """Return the path in a recorded location, without scheme and host."""
    if not is_url(uri) and not uri.startswith(PROXIED):
        return uri.replace("\\", "/")
    scheme, _, rest = uri.partition(":")
    path = rest[2:].partition("/")[2] if rest.startswith("//") else rest
    return unquote(path) if scheme == "file" else path


def is_recorded_elsewhere(location: str, folder: Place) -> bool:
    """Whether a recorded location is not that of an experiment's directory, before any move.

    Args:
        location: The recorded ``artifact_location``; empty if it is unknown.
        folder: The directory of the experiment in a file store.
    """
    tail = _get_path(location).rstrip("/").split("/")[-2:]
    usual = [["mlruns", folder.name], [folder.parent.name, folder.name]]
    return bool(location) and (location.startswith(PROXIED) or tail not in usual)
