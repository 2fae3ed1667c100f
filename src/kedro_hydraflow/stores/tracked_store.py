"""The base class of stores that recorded where the artifacts of runs are."""

from __future__ import annotations

import os
from abc import abstractmethod
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import override

from kedro_hydraflow.errors import (
    KedroHydraflowError,
    MissingPackageError,
    NotFoundError,
    StorageError,
    UnreachableError,
    prefix_error,
)
from kedro_hydraflow.source import show_location
from kedro_hydraflow.storage import LocalStorage, Place
from kedro_hydraflow.stores.base import MODELS_FOLDER, Store
from kedro_hydraflow.stores.locations import get_location
from kedro_hydraflow.stores.record import LostArtifactsError
from kedro_hydraflow.stores.run_folder import inspect_artifacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.stores.locations import RunLocator
    from kedro_hydraflow.stores.record import ModelRecord, RunRecord


class TrackedStore(Store):
    """The base class of stores that recorded where the artifacts of runs are.

    The artifacts may be outside the directories that `read_runs` returns, in one of the other
    candidates of `locations`. `find_artifacts` looks there, for runs without a configuration.
    """

    @abstractmethod
    def _get_locator(self, record: RunRecord) -> RunLocator:
        """Return what lists the candidates for the artifacts of a run."""

    @abstractmethod
    def _read_uris(self, records: Sequence[RunRecord]) -> Sequence[str | KedroHydraflowError]:
        """Return the recorded ``artifact_uri`` of each run, empty if unknown, or the error."""

    def _get_uris(self, records: Sequence[RunRecord]) -> list[str | KedroHydraflowError]:
        """Return the results of `_read_uris`; what can be no path is unknown."""
        uris = self._read_uris(records)
        return ["" if isinstance(uri, str) and "\0" in uri else uri for uri in uris]

    @override
    def may_be_elsewhere(self, record: RunRecord) -> bool:
        if record.artifacts_dir is not None:
            return False
        experiment = record.experiment
        if not record.path.startswith(experiment.path):
            return True
        return record.run_id not in self._get_locator(record).list_settled(experiment)

    @override
    def find_artifacts(self, records: Sequence[RunRecord]) -> list[RunRecord | KedroHydraflowError]:
        found: list[RunRecord | KedroHydraflowError] = [*records]
        unsure = []
        contents = self._look_into_run_dirs(records)
        for i, content in enumerate(contents):
            if isinstance(content, UnreachableError):
                found[i] = content
            elif content is not True:
                unsure.append(i)
        searches = {}
        for i, uri in zip(unsure, self._get_uris([records[i] for i in unsure]), strict=True):
            if isinstance(uri, Exception):
                found[i] = uri
            else:
                searches[i] = _Search(
                    records[i],
                    uri,
                    self._get_locator(records[i]),
                    is_empty=contents[i] is False,
                    is_listed=self.finds_folders,
                )
        for list_run_dirs in (_Search.list_candidates, _Search.list_own, _Search.list_recorded):
            tries = [(s, run_dir) for s in searches.values() for run_dir in list_run_dirs(s)]
            folders = [self._get_artifacts_in(run_dir) for _, run_dir in tries]
            for (search, run_dir), found_in_it in zip(tries, _look_into(folders), strict=True):
                search.note(run_dir, found_in_it)
        for i, search in searches.items():
            found[i] = search.finish(self.artifacts_folder)
        return found

    def _look_into_run_dirs(
        self, records: Sequence[RunRecord]
    ) -> list[bool | UnreachableError | None]:
        """Return whether each run directory has artifacts, or the error.

        None if it is only to be looked into where there are other candidates: the run directory
        is one of them, unless it was found by listing a file store.
        """
        contents: list[bool | UnreachableError | None] = [None] * len(records)
        if not self.finds_folders:
            return contents
        unsure = []
        config = f"/{self.config_file}"
        for i, record in enumerate(records):
            if isinstance(record.storage, LocalStorage) and _exists(record, config):
                contents[i] = True  # cheaper than to list the artifacts
            else:
                unsure.append(i)
        folders = [self._get_artifacts_in(records[i]) for i in unsure]
        for i, content in zip(unsure, inspect_artifacts(folders), strict=True):
            if isinstance(content, UnreachableError):
                contents[i] = content
            elif isinstance(content, NotFoundError) or records[i].storage.is_remote:
                contents[i] = content is True  # some servers list nothing
            else:
                contents[i] = content is not False  # what a disk denies is there
        return contents

    @override
    def list_config_locations(self, record: RunRecord) -> list[str]:
        locations = super().list_config_locations(replace(record, artifacts_dir=None))
        (has_artifacts,) = self._look_into_run_dirs([record])
        (uri,) = self._get_uris([record])
        if has_artifacts is True or isinstance(uri, Exception):
            return locations  # nothing was looked for elsewhere
        locator = self._get_locator(record)
        return [*locations, *locator.list_locations(record.experiment.experiment_id, uri, record)]

    @override
    def _locate_model(self, record: RunRecord, model: ModelRecord) -> Place:
        # The folder with the models lies beside the runs.
        location, is_usual, _ = model.location.rpartition(f"/{MODELS_FOLDER}/{model.model_id}")
        if is_usual:
            names = [MODELS_FOLDER, model.model_id]
        else:
            names = [model.model_id]
            location = get_location(model.location, model.model_id)
        experiment_id, locator = record.experiment.experiment_id, self._get_locator(record)
        folders = [c.place for c in locator.list_candidates(experiment_id, names[0], location)]
        places = [folder.join(*names, self.artifacts_folder) for folder in folders]
        if self.finds_folders:
            places.insert(0, super()._locate_model(record, model))
        for place, content in zip(places, inspect_artifacts(places), strict=True):
            if content is True or not isinstance(content, (bool, NotFoundError)):
                return place
        if places and not location:
            return places[0]
        recorded = locator.get_recorded(experiment_id, location)
        place = recorded.join(*names, self.artifacts_folder)
        return place if not places or place.is_dir() else places[0]


def get_usual_uri(record: RunRecord) -> str:
    """Return the ``artifact_uri`` that MLflow records for a run, empty if it is unknown."""
    location = record.experiment.artifact_location
    return f"{location.rstrip('/')}/{record.run_id}/artifacts" if location else ""


class _Search:
    """The search for the artifacts of one run in the candidates.

    Args:
        record: The run.
        uri: The recorded ``artifact_uri``, empty if it is unknown.
        locator: Lists the candidates.
        is_empty: Whether the run directory is known to have no artifacts.
        is_listed: Whether the run directory was found by listing a file store.
    """

    def __init__(
        self,
        record: RunRecord,
        uri: str,
        locator: RunLocator,
        *,
        is_empty: bool,
        is_listed: bool,
    ) -> None:
        self._record = record
        self._uri = uri
        self._locator = locator
        self._is_own_done = is_empty
        """Whether the run directory has been looked into, or is about to be."""
        self._is_listed = is_listed
        self._location = get_location(uri, record.run_id)
        self._own = record.parent
        self._result: Place | KedroHydraflowError | None = None
        self._recorded: Place | None = None
        """The recorded run directory."""
        self._has_recorded = False
        """Whether a directory exists that may be the recorded one."""

    def list_candidates(self) -> list[Place]:
        """Return the run directories to look into before the recorded one."""
        record = self._record
        try:
            candidates = self._locator.list_candidates(
                record.experiment.experiment_id, record.run_id, self._location
            )
        except KedroHydraflowError as exc:
            self._result = self._explain(exc)
            return []
        self._has_recorded = any(candidate.is_recorded for candidate in candidates)
        others = [c.place for c in candidates if not self._locator.is_same(c.place, self._own)]
        if not others:
            return []
        places = others if self._is_own_done else [c.place for c in candidates]
        self._is_own_done = True
        return [place.join(record.run_id) for place in places]

    def list_own(self) -> list[Place]:
        """Return the run directory, unless it is the recorded one or the only one."""
        if self._result is not None or self._is_own_done or not self._has_recorded_location():
            return []
        with suppress(KedroHydraflowError):  # which counts only if this one has no artifacts
            folder = self._get_recorded_folder()
            is_only = self._has_recorded and not self._locator.may_exist(folder)
            if is_only or self._locator.is_same(folder, self._own):
                return []
        self._is_own_done = True
        return [self._record]

    def list_recorded(self) -> list[Place]:
        """Return the recorded run directory, if it has to be looked into as well."""
        if self._result is not None or not self._has_recorded_location():
            return []
        try:
            folder = self._get_recorded_folder()
        except KedroHydraflowError as exc:
            self._result = self._explain(exc)
            return []
        if self._locator.is_same(folder, self._own):
            self._recorded = self._record
            # On remote storage, to see whether it exists takes a request.
            self._has_recorded |= not self._is_own_done and self._record.storage.is_remote
            return []
        if not self._locator.may_exist(folder):
            return []
        self._recorded = folder.join(self._record.run_id)
        return [self._recorded]

    def _has_recorded_location(self) -> bool:
        return self._uri != "" and not self._locator.has_root

    def _get_recorded_folder(self) -> Place:
        return self._locator.get_recorded(self._record.experiment.experiment_id, self._location)

    def note(self, run_dir: Place, content: bool | KedroHydraflowError) -> None:
        """Take note of whether a directory has artifacts, or of the error of looking into it."""
        if self._result is not None:
            return  # an earlier one has
        if isinstance(content, (UnreachableError, MissingPackageError)):
            self._result = self._explain(content)
        elif content is False:
            self._has_recorded |= run_dir is self._recorded
        elif not isinstance(content, NotFoundError):
            # If it cannot be listed, reading files from it may work, or raises a clear error.
            self._result = run_dir

    def finish(self, folder: str) -> RunRecord | KedroHydraflowError:
        """Return the record with the artifacts directory, or the error.

        Args:
            folder: The name of the artifacts directory in a run directory.
        """
        result = self._result
        if isinstance(result, Exception):
            return result
        if result is None:
            return self._make_lost_error() if self._is_lost() else self._record
        if self._locator.is_same(result.parent, self._own):
            return self._record
        return replace(self._record, artifacts_dir=result.join(folder))

    def _is_lost(self) -> bool:
        """Whether no directory exists that the record may mean."""
        if not self._uri or self._has_recorded:
            return False
        if self._is_listed and not self._locator.is_elsewhere(self._location, self._own):
            return False
        recorded = self._recorded
        return recorded is None or recorded.storage.is_remote or not recorded.is_dir()

    def _make_lost_error(self) -> LostArtifactsError:
        error = LostArtifactsError(
            f"{self._record.url} has no artifacts; they were recorded at "
            f"{show_location(self._uri)!r}, and are not there either"
        )
        error.location = show_location(self._uri)
        return error

    def _explain(self, error: KedroHydraflowError) -> KedroHydraflowError:
        return prefix_error(f"{self._record.url} has no artifacts in it, and elsewhere", error)


def _exists(folder: Place, relative: str) -> bool:
    """Whether a path exists in a local directory."""
    path = f"{folder.path or os.curdir}{relative}"
    return os.path.exists(path if path[0] == os.sep else folder.storage.get_identity(path))


def _look_into(folders: Sequence[Place]) -> Sequence[bool | StorageError | MissingPackageError]:
    """Like `inspect_artifacts`, with the error for places whose storage needs a missing package."""
    try:
        return inspect_artifacts(folders)
    except MissingPackageError as exc:
        return [exc] if len(folders) == 1 else [_look_into([folder])[0] for folder in folders]
