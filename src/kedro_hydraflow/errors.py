"""The exceptions that kedro-hydraflow raises on purpose.

Each one descends from `KedroHydraflowError` and from the builtin that fits, so that both
``except KedroHydraflowError`` and, say, ``except FileNotFoundError`` work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from kedro_hydraflow.escaping import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


__all__ = [
    "ArtifactError",
    "ConfigError",
    "Failure",
    "FileSizeError",
    "FilterError",
    "ForeignHostError",
    "ForkError",
    "GitLfsError",
    "ImplError",
    "IncompleteCopyError",
    "KedroHydraflowError",
    "LockError",
    "MetadataError",
    "MissingKeyError",
    "MissingPackageError",
    "NotARunError",
    "NotFoundError",
    "OptionError",
    "RunLoadError",
    "RunNotFoundError",
    "SchemaError",
    "StateFileError",
    "StorageError",
    "TrackingDirectoryError",
    "UnreachableError",
    "WithheldError",
]


class Lines(str):
    """The text of an error whose line breaks are meant. The names in it are escaped."""

    __slots__ = ()


class KedroHydraflowError(Exception):
    """The base class of every deliberate error of this package.

    Its text is one line without control characters, whatever names are in it.
    """

    def __str__(self) -> str:
        is_list = bool(self.args) and isinstance(self.args[0], Lines)
        return escape(super().__str__(), keep="\n" if is_list else "")


class OptionError(KedroHydraflowError, ValueError):
    """An option has an invalid value."""


class StorageError(KedroHydraflowError, OSError):
    """A storage denied access, could not be reached, or failed.

    Such a storage is never treated as empty.
    """


class UnreachableError(StorageError):
    """A storage did not answer, even after retries."""


class ForeignHostError(StorageError):
    """A host was not asked, because only a record or the answer of a server names it."""


class WithheldError(StorageError):
    """A copy from ``without_credentials`` would have to read more than it holds."""


class FileSizeError(StorageError):
    """A file is too large to be read into memory."""


class IncompleteCopyError(StorageError):
    """A file that was fetched is shorter than the storage lists it, even after retries."""


class NotFoundError(StorageError, FileNotFoundError):
    """A tracking directory, run directory or artifact does not exist."""


class TrackingDirectoryError(KedroHydraflowError, ValueError):
    """A directory exists, but cannot be read as a tracking directory."""


class NotARunError(TrackingDirectoryError):
    """A folder is not a run directory, or no longer exists."""


class RunNotFoundError(NotARunError, NotFoundError):
    """A run directory does not exist."""


class MetadataError(KedroHydraflowError, ValueError):
    """A ``meta.yaml``, metric, param or tag file does not have the documented format."""


class ConfigError(KedroHydraflowError, ValueError):
    """A stored configuration or result cannot be read, or a value in it cannot be resolved."""


class GitLfsError(ConfigError, MetadataError):
    """A file is a pointer of Git LFS: its content has not been downloaded."""


class MissingKeyError(KedroHydraflowError, AttributeError):
    """``Run.get`` finds no value for a key."""


class ImplError(KedroHydraflowError, RuntimeError):
    """An ``impl_factory``, or an attribute of the implementation, raised an exception."""


class ArtifactError(KedroHydraflowError, RuntimeError):
    """A Kedro dataset could not load a run's artifact, or the artifacts cannot be concatenated."""


class ForkError(KedroHydraflowError, RuntimeError):
    """A library would never return in this process, which was forked from one that had used it."""


class FilterError(KedroHydraflowError, ValueError):
    """A filter expression cannot be parsed, or cannot be applied to a run."""


class SchemaError(KedroHydraflowError, ValueError):
    """A value of a run does not fit the type that is declared for its column."""


class StateFileError(KedroHydraflowError, ValueError):
    """A checkpoint or lock is damaged, or is another file."""


class LockError(KedroHydraflowError, ValueError):
    """Runs that a lock pins are missing or were changed, or it is the lock of another search."""


class MissingPackageError(KedroHydraflowError, ImportError):
    """An optional package is required but not installed."""


@dataclass(frozen=True)
class Failure:
    """An experiment or run that could not be read, and why."""

    path: str
    """The directory or file, as a path or URL without credentials."""

    error: Exception

    def __str__(self) -> str:
        text, path = describe(self.error), escape(self.path)
        return text if path in text else f"{path}: {text}"


class RunLoadError(KedroHydraflowError, RuntimeError):
    """Some experiments or runs could not be read, and ``on_error`` is ``"raise"``.

    Attributes:
        failures: One for each experiment or run that could not be read, in scan order.
    """

    def __init__(self, message: str, failures: Iterable[Failure] = ()) -> None:
        self.failures = tuple(failures)
        super().__init__(message, self.failures)

    def __str__(self) -> str:
        return escape(str(self.args[0]), keep="\n")  # one line for each failure


OnError = Literal["raise", "warn"]
"""What to do about experiments and runs that cannot be read."""


def check_on_error(on_error: object) -> None:
    """Raise OptionError unless the value is one of `OnError`."""
    if on_error not in get_args(OnError):
        raise OptionError(f"on_error: expected 'raise' or 'warn', found {on_error!r}")


def check_flag(option: str, value: object) -> bool:
    """Return the value of a flag. Raise OptionError unless it is a boolean."""
    if not isinstance(value, bool):
        raise OptionError(f"{option}: expected true or false, found {value!r}")
    return value


E = TypeVar("E", bound=KedroHydraflowError)


def raise_first(values: Iterable[object]) -> None:
    """Raise the first of the values that is an error, if there is one."""
    for value in values:
        if isinstance(value, Exception):
            raise value


def prefix_error(prefix: str, error: E) -> E:
    """Return an error of the same class with a prefix, such as a path, in front of its text."""
    text = f"{prefix}: {error}"
    is_list = bool(error.args) and isinstance(error.args[0], Lines)
    prefixed = type(error)(Lines(text) if is_list else text)
    prefixed.__cause__ = error
    return prefixed


def is_denied(error: BaseException | None) -> bool:
    """Whether a storage denied access or could not be reached, by an error or its causes."""
    while error is not None:
        if isinstance(error, StorageError) and not isinstance(error, NotFoundError):
            return True
        error = error.__cause__
    return False


def show_names(names: Sequence[str], limit: int = 5) -> str:
    """Return the first names for a message."""
    more = " and others" if len(names) > limit else ""
    return f"{', '.join(map(repr, names[:limit]))}{more}"


def show_lines(texts: Iterable[str], n_more: int, where: str = "") -> str:
    """Return a line for each text, for `Lines`, and one for those that are left out.

    Args:
        texts: The texts that are shown, whose names are escaped.
        n_more: The number of the others.
        where: Where the others are.
    """
    more = f"\n- and {n_more} more{where}" if n_more > 0 else ""
    return "".join(f"\n- {text}" for text in texts) + more


def show_count(count: int, noun: str) -> str:
    """Return a number of things for a message: ``1 run``, ``31 runs``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def show_none_has(count: int, noun: str = "run") -> str:
    """Return subject and verb of a message that things lack something, such as a key."""
    return f"the {noun} does not have" if count == 1 else f"none of the {count} {noun}s has"


def describe(error: BaseException) -> str:
    """Return an error's type and text in one line, or only the text of an error of ours."""
    text = str(error).strip()
    if isinstance(error, KedroHydraflowError):
        return text
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror  # without the path, which our messages name already
    text = " ".join(text.split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
