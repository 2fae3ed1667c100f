"""Where the artifacts of runs may be now.

The location that was recorded is wrong after the data has been copied or moved. So a directory
beside the tracking data takes precedence over it. The candidates are, in this order:

1. if the user gives an artifact root, ``<artifact_root>/<experiment_id>/<run_id>``, the last parts
   of the recorded location below the root, and ``<artifact_root>/<run_id>``; no other candidate
   is tried then;
2. the last parts of the recorded location, in a directory with tracking data, as many parts as
   exist: for ``/old/place/mlruns/1/<run_id>``, ``mlruns/1/<run_id>`` before ``1/<run_id>``; and
   for ``mlflow-artifacts:/team/1``, ``mlartifacts/team/1`` first, where MLflow's server puts it;
3. ``mlruns/<experiment_id>/<run_id>`` and ``mlartifacts/<experiment_id>/<run_id>``, MLflow's
   defaults, in such a directory;
4. the recorded location, unless it names a host that the user has not named, see
   `storage.hosts`.

The first that exists is the directory of a run in a database or on a server. `tracked_store` looks
into the others for the artifacts that the directory of a run lacks.
"""

from __future__ import annotations

import ntpath
import os
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from kedro_hydraflow.errors import (
    ForeignHostError,
    KedroHydraflowError,
    NotFoundError,
    OptionError,
    StorageError,
    UnreachableError,
    prefix_error,
)
from kedro_hydraflow.redaction import redact_url, split_links
from kedro_hydraflow.source import show_location
from kedro_hydraflow.storage import LocalStorage, Place, get_local_path, is_url, list_places
from kedro_hydraflow.storage.hosts import advise_to_allow, get_host
from kedro_hydraflow.storage.local import is_file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kedro_hydraflow.source import Source
    from kedro_hydraflow.stores.record import ExperimentRecord

_SERVED = "mlartifacts"
"""The directory in which a tracking server keeps artifacts by default."""

_DEFAULT_ROOTS = ("mlruns", _SERVED)

PROXIED = "mlflow-artifacts:"
"""The scheme of locations that only a tracking server can resolve."""

_BUCKET_URL = re.compile(
    r"(?:file:|local:|memory:|(?:s3a?|gs|gcs|az|abfss?|adl|wasbs?)://[\w.$-]*(?:/|\Z))",
    re.ASCII | re.IGNORECASE,
)
"""Matches URLs of local files, and those with a bucket alone. Which host serves that follows from
the user's settings."""


_SCHEME = re.compile(r"[A-Za-z][\w+.-]+:/")
"""Matches the scheme of a location such as ``dbfs:/runs``, but not the drive in ``C:/runs``."""

_DRIVE = re.compile(r"\A(?://\?)?/*[A-Za-z]:(?=/|\Z)")
"""Matches the drive in a path such as ``C:/runs`` or ``//?/C:/runs``, with ``/`` throughout."""


class Candidate(NamedTuple):
    """A directory that may hold runs of an experiment. It exists, and is not empty."""

    place: Place
    names: frozenset[str]
    """The names of its entries."""

    is_recorded: bool
    """Whether it may be the recorded location, moved, rather than a default of MLflow."""


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
        self._candidates: dict[tuple[str, str], list[Candidate]] = {}
        self._recorded: dict[tuple[str, str], Place | KedroHydraflowError] = {}
        self._identities: dict[Place, str] = {}
        self._existing: dict[Place, bool] = {}
        self._settled: dict[tuple[str, str], frozenset[str]] = {}
        self._root: Candidate | None = None
        """The artifact root, without names if the storage does not list them."""

    def find_experiment(self, experiment_id: str, location: str) -> Place:
        """Return the directory of an experiment. It does not have to exist.

        Args:
            experiment_id: The ID.
            location: The recorded ``artifact_location``.

        Raises:
            StorageError: If a candidate cannot be listed.
        """
        for candidate in self._get_candidates(experiment_id, location):
            return candidate.place
        return self.get_recorded(experiment_id, location)

    def find(self, experiment_id: str, run_id: str, uri: str) -> Place:
        """Return the directory of a run. It does not have to exist.

        Args:
            experiment_id: The ID of its experiment.
            run_id: The ID.
            uri: The recorded ``artifact_uri``.

        Raises:
            StorageError: If a candidate cannot be listed.
        """
        location = get_location(uri, run_id)
        for candidate in self.list_candidates(experiment_id, run_id, location):
            return candidate.place.join(run_id)
        return self.get_recorded(experiment_id, location).join(run_id)

    def list_candidates(self, experiment_id: str, run_id: str, location: str) -> list[Candidate]:
        """Return the candidates that have a directory of a run, apart from `get_recorded`.

        Args:
            experiment_id: The ID of the experiment.
            run_id: The ID of the run.
            location: The recorded location of the experiment, empty if it is unknown.

        Raises:
            StorageError: If a candidate cannot be listed.
        """
        candidates = self._get_candidates(experiment_id, location)
        return [candidate for candidate in candidates if run_id in candidate.names]

    def get_recorded(self, experiment_id: str, location: str) -> Place:
        """Return the artifact root or the recorded directory. Opens the storage on first use.

        Raises:
            StorageError: If only the tracking data names the host.
            MissingPackageError: If the storage needs a package that is not installed.
        """
        key = (experiment_id, location)
        if key not in self._recorded:
            try:
                self._recorded[key] = self._locate(experiment_id, location)
            except KedroHydraflowError as exc:
                self._recorded[key] = exc
        recorded = self._recorded[key]
        if isinstance(recorded, Exception):
            raise recorded
        return recorded

    def is_same(self, one: Place, other: Place) -> bool:
        """Whether two places are the same directory, also if they are written differently."""
        if one.path == other.path and one.storage is other.storage:
            return True
        return self._identify(one) == self._identify(other)

    def list_settled(self, experiment: ExperimentRecord) -> frozenset[str]:
        """Return the names of runs in the directory of an experiment, if it has no alternative.

        It has none if it is as recorded, and the only candidate that exists.
        """
        key = (experiment.experiment_id, experiment.artifact_location)
        if key not in self._settled:
            self._settled[key] = self._find_settled(*key, experiment)
        return self._settled[key]

    def _find_settled(self, experiment_id: str, location: str, place: Place) -> frozenset[str]:
        candidates = self._get_candidates(experiment_id, location)
        if len(candidates) != 1 or not candidates[0].is_recorded or not location:
            return frozenset()
        with suppress(KedroHydraflowError):
            recorded = place if self.has_root else self.get_recorded(experiment_id, location)
            if self.is_same(recorded, place) or not self.may_exist(recorded):
                (only,) = candidates
                return only.names if self.is_same(only.place, place) else frozenset()
        return frozenset()

    def may_exist(self, folder: Place) -> bool:
        """Whether a directory exists, as far as that takes no request. It is cached."""
        if folder not in self._existing:
            self._existing[folder] = _may_exist(folder)
        return self._existing[folder]

    def is_elsewhere(self, location: str, folder: Place) -> bool:
        """Like `is_recorded_elsewhere`, but sees through symbolic links and dots in a path."""
        if not is_recorded_elsewhere(location, folder):
            return False
        real_root = os.path.basename(self._identify(folder.parent))
        return [real_root, folder.name] != _get_path(location).rstrip("/").split("/")[-2:]

    @property
    def has_root(self) -> bool:
        """Whether the user gives an artifact root, so that no recorded location counts."""
        return self._source.artifact_root is not None

    def check_root(self) -> None:
        """Raise an error if the artifact root is no directory, or cannot be reached.

        Raises:
            NotFoundError: If there is no such directory.
            OptionError: If it is a file.
            UnreachableError: If its storage does not respond.
        """
        if self._source.artifact_root is not None and self._root is None:
            self._root = _open_root(self._source.locate_artifact_root())

    def list_locations(self, experiment_id: str, uri: str, run_dir: Place) -> list[str]:
        """Return where a run is looked for outside its directory, for messages.

        Args:
            experiment_id: The ID of the experiment.
            uri: The recorded ``artifact_uri``, empty if it is unknown.
            run_dir: The run directory.
        """
        root = self._source.artifact_root
        if root is not None:
            return [f"below artifact_root {show_location(root)!r}"]
        locations = []
        if self._neighbors:
            folders = " and ".join(dict.fromkeys(place.url for place in self._neighbors))
            names = [f"{root}/{experiment_id}" for root in _DEFAULT_ROOTS]
            served = _get_served_path(get_location(uri, run_dir.name))
            shown = map(repr, dict.fromkeys([*names, *served]))
            as_recorded = ", or as recorded" if uri else ""
            locations.append(f"below {folders} (in {' and '.join(shown)}{as_recorded})")
        if uri and self._can_open(uri):
            with suppress(KedroHydraflowError):  # which is an error of the run
                recorded = self.get_recorded(experiment_id, get_location(uri, run_dir.name))
                if not self.is_same(recorded, run_dir.parent):
                    locations.append(f"at the recorded location {show_location(uri)!r}")
        return locations

    def _get_candidates(self, experiment_id: str, location: str) -> list[Candidate]:
        key = (experiment_id, location)
        if key not in self._candidates:
            self._candidates[key] = self._list_all(experiment_id, location)
        return self._candidates[key]

    def _list_all(self, experiment_id: str, location: str) -> list[Candidate]:
        """Return the candidates, listed anew, for runs of any name."""
        self.check_root()
        places = self._make_places(experiment_id, location)
        listed = []
        denied = None
        for (place, is_recorded), entries in zip(
            places.items(), list_places([*places]), strict=True
        ):
            if isinstance(entries, NotFoundError):
                continue
            if isinstance(entries, StorageError):
                if isinstance(entries, UnreachableError) or not place.storage.is_remote:
                    raise entries
                denied = entries  # a server may deny what it does not have
                continue
            listed.append(Candidate(place, frozenset(e.name for e in entries), is_recorded))
        if self._root is not None:
            if denied is not None and not listed:
                raise denied
            listed.append(self._root)
        return [candidate for candidate in listed if candidate.names]

    def _make_places(self, experiment_id: str, location: str) -> dict[Place, bool]:
        """Return the directories that may exist, and for each `Candidate.is_recorded`."""
        parts = _split_path(location)
        ends = ["/".join(parts[i:]) for i in range(len(parts))]
        if self._root is not None:
            names = self._root.names  # of a server that does not list them: none
            inner = [e for e in (experiment_id, *ends) if not names or e.split("/")[0] in names]
            return self._merge((self._root.place.join(end), True) for end in inner)
        ends = [*_get_served_path(location), *ends]
        defaults = [f"{root}/{experiment_id}" for root in _DEFAULT_ROOTS]
        # Every store has directories named by an ID: it is not enough to recognise the location.
        recorded = {*ends} - {experiment_id}
        return self._merge(
            (near.join(end), end in recorded)
            for near in self._neighbors
            for end in (*ends, *defaults)
        )

    def _merge(self, candidates: Iterable[tuple[Place, bool]]) -> dict[Place, bool]:
        """Return the candidates that may exist, each directory once."""
        merged: dict[Place, bool] = {}
        firsts: dict[str, Place] = {}
        for place, is_recorded in candidates:
            if self.may_exist(place):
                first = firsts.setdefault(self._identify(place), place)
                merged[first] = merged.get(first, False) or is_recorded
        return merged

    def _identify(self, place: Place) -> str:
        """Return text that is the same for the same directory. It is cached."""
        identity = self._identities.get(place)
        if identity is None:
            identity = self._identities[place] = _get_real_path(place)
        return identity

    def _locate(self, experiment_id: str, location: str) -> Place:
        if self._source.artifact_root is not None:
            for candidate in self._get_candidates(experiment_id, location):
                return candidate.place
            return self._source.locate_artifact_root().join(experiment_id)
        is_proxied = location.startswith(PROXIED)
        if is_proxied and self._open_proxied is not None:
            return self._open_proxied(location)
        if not self._can_open(location):  # but perhaps a copy beside the tracking data
            folders = [_SERVED] if is_proxied else []
            location = "/".join([*folders, *(_split_path(location) or [experiment_id])])
        if is_url(location) or get_host(location) is not None:
            self._check_host(location)
        elif self._neighbors and not (os.path.isabs(location) or ntpath.isabs(location)):
            # MLflow records './mlruns/1' relative to its working directory, where it also creates
            # the database.
            return self._neighbors[0].join(location)
        return self._source.locate_artifacts(location)

    def _can_open(self, location: str) -> bool:
        """Whether a recorded location is one that can be opened, rather than a copy of it."""
        if location.startswith(PROXIED):
            return self._open_proxied is not None
        return is_url(location) or not _SCHEME.match(location)

    def _check_host(self, location: str) -> None:
        """Raise ForeignHostError if a recorded URL leads to a host that the user has not named."""
        is_one_link = len(split_links(location)) == 1
        host = get_host(location) if is_one_link else None
        if host is None and is_one_link and _BUCKET_URL.match(location):
            return
        if host is None or host not in self._source.list_hosts():
            raise make_foreign_host_error(location, host)


def _open_root(place: Place) -> Candidate:
    """Return the artifact root, see `RunLocator.check_root`."""
    (entries,) = list_places([place])
    if isinstance(entries, NotFoundError):
        if isinstance(place.storage, LocalStorage) and os.path.isfile(_get_real_path(place)):
            raise OptionError(f"artifact_root: expected a directory, found the file {place.url}")
        raise NotFoundError(f"artifact_root: {entries}") from entries
    is_local = isinstance(place.storage, LocalStorage)  # other servers may list nothing
    if isinstance(entries, UnreachableError) or (is_local and isinstance(entries, StorageError)):
        raise prefix_error("artifact_root", entries)
    listed = [] if isinstance(entries, StorageError) else entries
    return Candidate(place, frozenset(entry.name for entry in listed), is_recorded=True)


def list_real_places(place: Place) -> list[Place]:
    """Return a local directory, and the one that it is if there are symbolic links in its path."""
    absolute = get_local_path(place)
    if absolute is None:
        return [place]
    written = place if os.pardir not in place.path.split(os.sep) else replace(place, path=absolute)
    real = _get_real_path(place)
    return [written] if real == absolute else [written, replace(place, path=real)]


def _get_real_path(place: Place) -> str:
    """Return text that is the same for the same directory, however its path is written."""
    identity = place.storage.get_identity(place.path)
    is_usable = isinstance(place.storage, LocalStorage) and "\0" not in identity
    return os.path.realpath(identity) if is_usable else identity


def _may_exist(place: Place) -> bool:
    """Whether a directory exists, as far as that takes no request."""
    local = get_local_path(place)
    return local is None or os.path.isdir(local)


def make_proxied_error(location: str) -> StorageError:
    """Return the error for a location with the scheme `PROXIED` where there is no server."""
    return StorageError(
        f"{location!r} can only be read through its tracking server: give the server's URL as "
        "tracking_uri, or set artifact_root to the location of the artifacts"
    )


def make_foreign_host_error(location: str, host: str | None) -> ForeignHostError:
    """Return the error for artifacts on a host that only the tracking data names.

    Args:
        location: The recorded location.
        host: The host in it, if it is a URL that names one.
    """
    allow = "" if host is None else f", or {advise_to_allow(host)}"
    return ForeignHostError(
        f"the artifacts were recorded at {redact_url(location)!r}, a host that only the "
        f"tracking data names, so it is not asked; give artifact_root if they are there{allow}"
    )


def get_location(uri: str, run_id: str) -> str:
    """Return the location of an experiment by the ``artifact_uri`` of a run."""
    return uri.removesuffix("/artifacts").removesuffix(f"/{run_id}")


def _split_path(location: str) -> list[str]:
    """Return the names in the path of a location, none if they cannot be names in a directory."""
    parts = [part for part in _get_path(location).split("/") if part not in ("", ".")]
    return parts if all(map(is_file_name, parts)) else []


def _get_served_path(location: str) -> list[str]:
    """Return where a server keeps a location by default, if it has the scheme `PROXIED`."""
    return ["/".join([_SERVED, *_split_path(location)])] if location.startswith(PROXIED) else []


def _get_path(uri: str) -> str:
    """Return the path in a recorded location, without scheme, host, and drive of Windows."""
    if not is_url(uri) and not _SCHEME.match(uri):
        return _DRIVE.sub("", uri.replace("\\", "/"))
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        rest = rest.replace("\\", "/")
    path = rest[2:].partition("/")[2] if rest.startswith("//") else rest
    return _DRIVE.sub("", unquote(path)) if scheme == "file" else path


def is_recorded_elsewhere(location: str, folder: Place) -> bool:
    """Whether a recorded location is not that of an experiment's directory, before any move.

    Args:
        location: The recorded ``artifact_location``; empty if it is unknown.
        folder: The directory of the experiment in a file store.
    """
    tail = _get_path(location).rstrip("/").split("/")[-2:]
    usual = [["mlruns", folder.name], [folder.parent.name, folder.name]]
    return bool(location) and (location.startswith(PROXIED) or tail not in usual)
