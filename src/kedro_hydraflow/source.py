"""The location of runs, as given by the caller."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, get_args

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.redaction import Options, SafeRepr, redact_url
from kedro_hydraflow.storage import LocalStorage, check_engine, is_url, locate
from kedro_hydraflow.storage.hosts import (
    HOSTS_OPTION,
    WITHHELD_OPTION,
    check_hosts,
    get_host,
    iter_hosts,
    iter_option_hosts,
    iter_variable_hosts,
)

if TYPE_CHECKING:
    from kedro_hydraflow.storage import Location, Place

Layout = Literal["hydra", "mlflow"]
"""What a directory of runs is read as."""


_FOR_ALL = (HOSTS_OPTION, WITHHELD_OPTION)
"""The storage options that are for every storage."""


@dataclass(frozen=True, repr=False)
class Source(SafeRepr):
    """Where runs are. The options are checked here, once; nothing is read.

    Args:
        tracking_dir: A directory, or the file of an SQLite database: a path, a URL that fsspec
            knows, or a ``UPath``. The store is found by looking into it. ``~`` and environment
            variables in a path are expanded.
        tracking_uri: Instead of a directory, as for ``mlflow.set_tracking_uri``. Without either,
            the source is MLflow's default.
        artifact_root: Where artifacts are now, if they are neither where they were recorded nor
            beside the tracking data.
        storage_options: As for `locate`.
        layout: What the directory is read as: ``"mlflow"`` for what MLflow wrote, ``"hydra"``
            for the output directories of Hydra, None for what is found there.

    Raises:
        OptionError: If both ``tracking_dir`` and ``tracking_uri`` are given, or a value has
            another type.
    """

    tracking_dir: Location | None = None
    tracking_uri: str | None = None
    artifact_root: Location | None = None
    storage_options: Mapping[str, Any] | None = field(default=None, hash=False)
    layout: Layout | None = None

    def __post_init__(self) -> None:
        if self.tracking_dir is not None and self.tracking_uri is not None:
            raise OptionError("give tracking_dir or tracking_uri, not both")
        if self.tracking_dir is not None:
            check_location("tracking_dir", self.tracking_dir)
        elif self.tracking_uri is not None:
            _check_uri(self.tracking_uri)
        if self.artifact_root is not None:
            check_location("artifact_root", self.artifact_root)
        if self.layout not in (None, *get_args(Layout)):
            raise OptionError(f"layout: expected 'hydra' or 'mlflow', found {self.layout!r}")
        if self.layout == "hydra" and self.uri is not None:
            raise OptionError("layout: 'hydra' is for directories, not for a tracking URI")
        if self.layout == "hydra" and self.is_default:
            raise OptionError("layout: 'hydra' needs a directory, give tracking_dir")
        check_storage_options(self.storage_options)
        if self.storage_options is not None:  # the caller's own may change
            object.__setattr__(self, "storage_options", Options(self.storage_options))
            check_engine(self.storage_options.get("engine"))
            check_hosts(self.storage_options.get(HOSTS_OPTION))

    def __str__(self) -> str:
        """The directory or URI for messages, without credentials."""
        return show_location(self.tracking_uri or self.tracking_dir or "MLflow's default")

    @property
    def is_default(self) -> bool:
        """Whether neither ``tracking_dir`` nor ``tracking_uri`` is given."""
        return self.tracking_dir is None and self.tracking_uri is None

    @property
    def uri(self) -> str | None:
        """The tracking URI, None for a directory. ``sqlite:`` is a URI in both options."""
        if self.tracking_uri is not None:
            return self.tracking_uri
        given = str(self.tracking_dir)
        return given if get_uri_scheme(given) == "sqlite" else None

    @property
    def secrets(self) -> Options:
        """What may hold credentials: the storage options, and the tracking URI."""
        return Options(self.storage_options or {}, tracking_uri=self.uri or "")

    def locate(self) -> Place:
        """Return the place of the tracking directory.

        Raises:
            OptionError: If it names an environment variable that is not set.
        """
        if self.tracking_dir is None:
            raise OptionError(f"expected a tracking directory, found the tracking URI {self}")
        return locate_option("tracking_dir", self.tracking_dir, self.storage_options)

    def locate_uri(self) -> Place:
        """Return the place of a tracking URI that is a directory."""
        return locate_option("tracking_uri", self.tracking_uri)

    def locate_artifact_root(self) -> Place:
        """Return the place of the artifact root."""
        if self.artifact_root is None:
            raise OptionError("expected an artifact root, found none")
        return self.locate_artifacts(_expand("artifact_root", self.artifact_root))

    def locate_artifacts(self, location: Location) -> Place:
        """Return the place of artifacts.

        The storage options are for it as well, unless the tracking directory is on a remote
        storage of another kind, or the host is only one of `allowed_hosts`.
        """
        tracking = _get_protocol(self.tracking_dir) if self.uri is None else ""
        host = get_host(str(location))
        is_named = host is None or host in self._iter_named_hosts()
        is_same_kind = tracking in ("", _get_protocol(location))
        options = self.storage_options
        if options is not None and not (is_named and is_same_kind):
            options = {name: options[name] for name in _FOR_ALL if name in options}
        return locate(location, options)

    def locate_beside(self, option: str, location: Location) -> Place:
        """Return the place of a file beside the runs, such as a checkpoint, as a user gave it.

        The storage options are for it as for artifacts. A local path is absolute, for messages.

        Raises:
            OptionError: If it names an environment variable that is not set.
        """
        place = self.locate_artifacts(_expand(option, location))
        if isinstance(place.storage, LocalStorage):
            return replace(place, path=place.storage.get_identity(place.path))
        return place

    def without_credentials(self) -> Source:
        """Return the same source without credentials. Remote storages and servers are not read."""
        return replace(
            self,
            tracking_dir=_leave_out_credentials(self.tracking_dir),
            tracking_uri=None if self.tracking_uri is None else redact_url(self.tracking_uri),
            artifact_root=_leave_out_credentials(self.artifact_root),
            storage_options={WITHHELD_OPTION: True},
        )

    @property
    def is_without_credentials(self) -> bool:
        """Whether `without_credentials` made it."""
        return WITHHELD_OPTION in (self.storage_options or {})

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The hosts that the storage option of this name lists."""
        return check_hosts((self.storage_options or {}).get(HOSTS_OPTION))

    def list_hosts(self) -> frozenset[str]:
        """Return the hosts that may be asked: those that the options name, and allowed ones."""
        return frozenset(self._iter_named_hosts()) | self.allowed_hosts

    def _iter_named_hosts(self) -> Iterator[str]:
        for location in (self.tracking_dir, self.tracking_uri, self.artifact_root):
            yield from iter_hosts(location)
        yield from iter_option_hosts(self.storage_options or {})
        yield from iter_variable_hosts()

    def suggest(self) -> str:
        """Return the end of a message about a directory that does not exist, or an empty text."""
        given = str(self.tracking_dir)
        if _is_host_and_port(given):
            return f"; did you mean tracking_uri='http://{given}'?"
        if _get_protocol(given) in ("http", "https"):
            return "; if it is the URL of a tracking server, give it as tracking_uri"
        return ""


@dataclass(frozen=True, repr=False)
class DirectoryOrNames(Source):
    """A source whose ``tracking_dir`` is text that may mean experiment names instead.

    Args:
        artifact: The artifact in this directory, if the text may mean an artifact, and this the
            experiment names.
    """

    artifact: str | None = None

    def is_directory(self) -> bool:
        """Whether the text can only be a directory: it is a URL, or the path exists."""
        text = str(self.tracking_dir)
        is_stated = self.uri is not None or self.layout == "hydra" or _is_url(text)
        return is_stated or os.path.lexists(_expand_path(text))

    def without_directory(self) -> Source:
        """Return MLflow's default, with the other options."""
        return Source(None, None, self.artifact_root, self.storage_options, self.layout)

    def suggest_names(self) -> str:
        """Return the end of a message about a directory that is no tracking directory."""
        text = str(self.tracking_dir)
        if self.artifact is None:
            return f"if {text!r} is the name of an experiment, give it as experiment_names"
        return (
            f"if {text!r} is the artifact, and {self.artifact!r} the name of an experiment, give "
            "that as experiment_names"
        )


def _leave_out_credentials(location: Location | None) -> Location | None:
    """Return a URL, also that of a ``UPath``, without credentials; a path as it is."""
    if hasattr(location, "storage_options") or is_url(str(location)):
        return redact_url(str(location))
    return location


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


def locate_option(
    option: str, value: object, storage_options: Mapping[str, Any] | None = None
) -> Place:
    """Return the place of a path or URL that a user gave.

    ``~`` and environment variables in a path are expanded, unless it exists as it is.

    Raises:
        OptionError: If it is not a path or URL, or names an environment variable that is not set.
    """
    return locate(_expand(option, check_location(option, value)), storage_options)


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


def _check_uri(uri: object) -> None:
    """Raise OptionError unless the value can be a tracking URI."""
    if not isinstance(uri, str) or not uri:
        raise OptionError(f"tracking_uri: expected text, found {uri!r}")
    if _is_host_and_port(uri):
        raise OptionError(f"tracking_uri: {uri!r} has no scheme; did you mean 'http://{uri}'?")


def _is_host_and_port(text: str) -> bool:
    return re.fullmatch(r"[\w.-]+:\d{1,5}(/\S*)?", text) is not None


def _is_url(text: str) -> bool:
    return is_url(text) or re.match(r"(?i)file:", text) is not None


def _get_protocol(location: Location | None) -> str:
    """Return the protocol of a URL, that of the first link if it is chained, empty for a path."""
    protocol = getattr(location, "protocol", None)
    if not isinstance(protocol, str):
        match = re.match(r"(?i)([a-z][\w+.-]*):(?:/|:)", str(location))
        protocol = match[1].lower() if match and len(match[1]) > 1 else ""
    return "" if protocol in ("file", "local") else protocol


def _expand(option: str, location: Location) -> Location:
    """Return a location with ``~`` and variables expanded, and schemes in lower case."""
    if not isinstance(location, (str, PurePath)) or hasattr(location, "storage_options"):
        return location
    text = str(location)
    if _is_url(text):
        return re.sub(r"(^|::)([A-Za-z][\w+.-]*)(?=:)", lambda m: m[0].lower(), text)
    expanded = _expand_path(text)
    unset = re.search(r"\$(\w+|\{\w+\})", expanded)
    if unset is not None and not os.path.lexists(expanded):
        raise OptionError(
            f"{option}: the environment variable {unset[1].strip('{}')} in {text!r} is not set"
        )
    return expanded if expanded != text else location


def _expand_path(text: str) -> str:
    if (text[:1] != "~" and "$" not in text) or os.path.lexists(text):
        return text
    return os.path.expandvars(os.path.expanduser(text))
