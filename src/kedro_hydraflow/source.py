"""The location of runs, as given by the caller."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, get_args

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.storage import check_engine, is_url, locate

if TYPE_CHECKING:
    from kedro_hydraflow.storage import Location, Place

Layout = Literal["hydra", "mlflow"]
"""What a directory of runs is read as."""


@dataclass(frozen=True)
class Source:
    """Where runs are. It is checked here, once; nothing is read.

    Args:
        tracking_dir: A directory, or the file of an SQLite database: a path, a URL that fsspec
            knows, or a ``UPath``. The store is found by looking into it.
        tracking_uri: Instead of a directory, as for ``mlflow.set_tracking_uri``.
        artifact_root: Where a database's or server's artifacts are now, if they are neither
            where they were recorded nor beside the database.
        storage_options: As for `locate`.
        layout: What the directory is read as: ``"mlflow"`` for what MLflow wrote, ``"hydra"``
            for the output directories of Hydra, None for what is found there.

    Raises:
        OptionError: If neither or both of ``tracking_dir`` and ``tracking_uri`` are given, or
            a value has another type.
    """

    tracking_dir: Location | None = None
    tracking_uri: str | None = None
    artifact_root: Location | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    layout: Layout | None = None

    def __post_init__(self) -> None:
        if self.tracking_dir is None and self.tracking_uri is None:
            raise OptionError("give tracking_dir, a path or URL, or tracking_uri; found neither")
        if self.tracking_dir is not None and self.tracking_uri is not None:
            raise OptionError("give tracking_dir or tracking_uri, not both")
        if self.tracking_dir is not None:
            check_location("tracking_dir", self.tracking_dir)
        elif not isinstance(self.tracking_uri, str) or not self.tracking_uri:
            raise OptionError(f"tracking_uri: expected text, found {self.tracking_uri!r}")
        if self.artifact_root is not None:
            check_location("artifact_root", self.artifact_root)
        if self.layout not in (None, *get_args(Layout)):
            raise OptionError(f"layout: expected 'hydra' or 'mlflow', found {self.layout!r}")
        if self.layout == "hydra" and self.uri is not None:
            raise OptionError("layout: 'hydra' is for directories, not for a tracking URI")
        check_storage_options(self.storage_options)
        if self.storage_options is not None:  # the caller's own may change
            object.__setattr__(self, "storage_options", dict(self.storage_options))
            check_engine(self.storage_options.get("engine"))

    def __str__(self) -> str:
        """The directory or URI for messages, without credentials."""
        return show_location(self.tracking_uri or self.tracking_dir or "")

    @property
    def uri(self) -> str | None:
        """The tracking URI, or a ``sqlite:`` URI given as ``tracking_dir``, else None."""
        given = self.tracking_uri or str(self.tracking_dir)
        is_uri = self.tracking_uri is not None or get_uri_scheme(given) == "sqlite"
        return given if is_uri else None

    def locate(self) -> Place:
        """Return the place of the tracking directory."""
        if self.tracking_dir is None:
            raise OptionError(f"expected a tracking directory, found the tracking URI {self}")
        return locate(self.tracking_dir, self.storage_options)

    def locate_artifacts(self, location: Location) -> Place:
        """Return the place of artifacts, with the storage options that the caller gave."""
        return locate(location, self.storage_options)


def get_uri_scheme(uri: str) -> str:
    """Return the scheme of a tracking URI in lower case, empty for a path."""
    match = re.match(r"([A-Za-z][\w+.-]+):", uri)  # of two letters or more: C:\ is a drive
    return match[1].lower().removesuffix("+pysqlite") if match else ""


def is_location(value: object) -> TypeGuard[Location]:
    """Whether a value is one path or URL rather than several."""
    return isinstance(value, (str, os.PathLike)) or hasattr(value, "storage_options")


def check_location(option: str, value: object) -> Location:
    """Return a location. Raise OptionError unless it is a path or URL that is not empty."""
    if is_location(value) and str(value):
        return value
    raise OptionError(f"{option}: expected a path or URL, found {value!r}")


def check_storage_options(value: object) -> None:
    """Raise OptionError unless the value is a mapping or None. It is not shown: it is secret."""
    if value is not None and not isinstance(value, Mapping):
        raise OptionError(
            f"storage_options: expected a mapping, found a value of type {type(value).__name__}"
        )


def show_location(location: Location) -> str:
    """Return a path or URL for messages, without credentials."""
    shown = str(location)
    return redact_url(shown) if is_url(shown) else shown
