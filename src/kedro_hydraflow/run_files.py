"""The artifacts of a run as files."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_hydraflow.errors import KedroHydraflowError, NotFoundError
from kedro_hydraflow.run_base import RunBase
from kedro_hydraflow.run_info import get_artifacts, get_models
from kedro_hydraflow.storage import LocalStorage
from kedro_hydraflow.stores.job_name import LOG_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from kedro_hydraflow.storage import Place


class RunFiles(RunBase):
    """The artifacts of a run as local paths, on remote storage too."""

    __slots__ = ("_artifacts_dir", "_models")

    _artifacts_dir: Path | None
    _models: dict[str, Path] | None

    @property
    def models(self) -> dict[str, Path]:
        """The directories of the models that the run logged, by name.

        MLflow 3 keeps what ``log_model`` logs apart from the artifacts of the run. If a name was
        logged several times, it is the newest model. The paths are like those of `path`.

        The models of all runs of an experiment are read at once, on first use.

        Examples:
            >>> run.models  # this run was written by an older version
            {}
        """
        if self._models is None:
            places = get_models(self.info)
            self._models = {name: make_artifacts_dir(place) for name, place in places.items()}
        return dict(self._models)

    @contextmanager
    def chdir(self, relative_dir: str = "") -> Generator[Path, None, None]:
        """Change the working directory to the artifacts directory, and back at the end.

        On remote storage all that it holds is fetched first, and what is written there does
        not reach the storage, see `path`.

        Args:
            relative_dir: A folder in the artifacts directory, to change to that.

        Yields:
            The directory, as an absolute path.

        Raises:
            NotFoundError: If there is no such folder.

        Examples:
            >>> from pathlib import Path
            >>> with run.chdir("model"):
            ...     Path("weights.npz").exists()
            True
        """
        current = Path.cwd()
        path = self.fetch(relative_dir).absolute()  # a relative path would be wrong after chdir
        try:
            os.chdir(path)
            yield path
        finally:
            os.chdir(current)

    def path(self, relative_path: str = "") -> Path:
        """Return the path of an artifact, or of the artifacts directory.

        On remote storage it is a local path, too: a file is fetched into a cache when it is
        opened. For code that needs text, use ``str(run.fetch(relative_path))``.

        Artifacts of remote runs are read-only copies: write elsewhere. The methods of the path
        raise `StorageError` when they would write. Root can still write to a copy with the
        builtin ``open``. The next access moves what was written aside and logs a warning. Then
        it raises `StorageError` if this run handed out the copy, or else fetches the artifact
        again. See `ArtifactPath`.

        Examples:
            >>> import json
            >>> matrix = json.loads(run.path("confusion_matrix.json").read_text())
            >>> sum(matrix[digit][digit] for digit in range(10))
            421
        """
        if self._artifacts_dir is None:
            self._artifacts_dir = make_artifacts_dir(get_artifacts(self.info))
        return self._artifacts_dir / relative_path if relative_path else self._artifacts_dir

    def fetch(self, relative_path: str = "") -> Path:
        """Fetch an artifact, a folder or all artifacts, and return the local path.

        Args:
            relative_path: The artifact or folder, by default the artifacts directory.

        Raises:
            NotFoundError: If there is no such artifact. The message names those, and the `models`,
                that may be meant.
            StorageError: If it cannot be fetched.

        Examples:
            >>> str(run.fetch("model/weights.npz"))  # for a library that wants text
            'examples/data/mlruns/.../artifacts/model/weights.npz'
        """
        from kedro_hydraflow.artifacts import fetch

        with explaining_absence(self, relative_path):
            return fetch(self.path(relative_path))

    def read_log(self) -> str:
        """Return the log that Hydra wrote for the job, the text of ``<job name>.log``.

        If there is no such file, it is that of the only ``*.log`` beside the artifacts.

        Raises:
            NotFoundError: If there is no such file, or there are several.
            StorageError: If it cannot be read.

        Examples:
            >>> from kedro_hydraflow import Run
            >>> job = Run("examples/data/hydra/multirun/2026-11-25/23-01-50/3")
            >>> print(job.read_log())
            [2026-11-25 23:01:51,...][__main__][INFO] - loss 0...
        """
        from kedro_hydraflow.storage.local import is_file_name

        place = get_artifacts(self.info)
        name = self.info.job_name or ""
        content = place.join(f"{name}{LOG_SUFFIX}").read() if is_file_name(name) else None
        if content is None:
            logs = [e.name for e in place.list() if e.name.endswith(LOG_SUFFIX) and not e.is_dir]
            if len(logs) == 1:
                content = place.join(logs[0]).read()
            if content is None:
                expected = f"{name or '<job name>'}{LOG_SUFFIX} or one other file *{LOG_SUFFIX}"
                found = ", ".join(logs) or "none"
                raise NotFoundError(f"{place.url} has no log: expected {expected}, found {found}")
        return content.decode("utf-8", errors="replace")

    def iterdir(self, relative_dir: str = "") -> Iterator[Path]:
        """Yield the paths in the artifacts directory, or in a folder of it.

        Args:
            relative_dir: The folder, by default the artifacts directory itself.

        Examples:
            >>> sorted(path.name for path in run.iterdir())
            ['.hydra', 'confusion_matrix.json', 'model', 'train_digits_v2.log']
        """
        with explaining_absence(self, relative_dir):
            yield from self.path(relative_dir).iterdir()

    def glob(self, pattern: str, relative_dir: str = "") -> Iterator[Path]:
        """Yield the artifacts that match a pattern.

        Args:
            pattern: A pattern of ``pathlib.Path.glob``.
            relative_dir: The folder to look in, by default the artifacts directory.

        Examples:
            >>> [path.name for path in run.glob("**/*.npz")]
            ['weights.npz']
        """
        yield from self.path(relative_dir).glob(pattern)


@contextmanager
def explaining_absence(run: RunFiles, relative_path: str) -> Generator[None, None, None]:
    """Add to the error for an absent artifact which ones may be meant, see `describe_others`."""
    try:
        yield
    except FileNotFoundError as exc:
        hint = describe_others(run, relative_path)
        if not hint:
            raise
        url = get_artifacts(run.info).join(relative_path).url
        raise NotFoundError(f"there is no {url!r}; {hint}") from exc


def describe_others(run: RunFiles, relative_path: str) -> str:
    """Return which artifacts or models of a run may be meant by an absent artifact.

    Empty if there are none, or they cannot be listed: the absence of the artifact is the error.
    """
    from kedro_hydraflow.artifacts.listings import FolderListings, describe_nearest

    if not relative_path:
        return ""
    models: dict[str, Place] = {}
    names: list[str] = []
    with suppress(KedroHydraflowError):
        models = get_models(run.info)
    name = relative_path.split("/")[0]
    if name in models:
        return f"MLflow 3 keeps the model {name!r} in {models[name].url}: use run.models[{name!r}]"
    with suppress(KedroHydraflowError):
        names = FolderListings(get_artifacts(run.info)).list_some()
    hints = [describe_nearest(relative_path, names)]
    if models:
        hints.append(f"run.models has the models that it logged: {', '.join(map(repr, models))}")
    return "; ".join(filter(None, hints))


def make_artifacts_dir(place: Place) -> Path:
    """Return the path of an artifacts directory, a plain ``pathlib.Path`` if it is local."""
    if isinstance(place.storage, LocalStorage):
        return Path(place.path)
    from kedro_hydraflow.artifacts import make_artifact_path

    return make_artifact_path(place)
