"""The local filesystem, read with the calls of the operating system."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from heapq import nsmallest
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from kedro_hydraflow.errors import (
    FileSizeError,
    KedroHydraflowError,
    NotFoundError,
    StorageError,
    describe,
)
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.file_locks import hold_lock
from kedro_hydraflow.limits import check_file_size, get_max_file_size
from kedro_hydraflow.progress import counting, counting_found
from kedro_hydraflow.storage.base import Download, Entry, Parsed, Storage, check_folder
from kedro_hydraflow.storage.waiting import map_waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

T = TypeVar("T")

CLOCK_STEP_NS = 2 * 10**9
"""The coarsest step of a filesystem's clock. Two changes within a step have the same time."""

_ARCHIVE_NAME = re.compile(r"\.(?:zip|tar|tar\.\w+|tgz|tbz2?|txz)$", re.IGNORECASE)

_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)
"""With it, a FIFO without a writer can be opened, to see that it is one."""

_READ_FLAGS = (
    os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0) | _WITHOUT_WAITING
)

_FILE_MODE = 0o666
"""The permissions of new files, less the umask."""

_LOCK_MODE = 0o664
"""The permissions of the files with which processes take turns."""

_FORMAT = 0o170000
"""The bits of a mode that say what kind of file it is."""


class LocalStorage(Storage):
    """The local filesystem.

    Args:
        base: The directory of relative paths. The working directory may be a different one by
            the time a file is read: after ``chdir``, or in another process.
    """

    sep = os.sep
    has_validators = True

    def __init__(self, base: str = "") -> None:
        self._base = base

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalStorage) and other._base == self._base

    def __hash__(self) -> int:
        return hash(self._base)

    def _resolve(self, path: str) -> str:
        return os.path.join(self._base, path) if self._base else path

    @property
    @override
    def key(self) -> Hashable:
        return "local", self._base

    @override
    def list_dir(self, path: str, limit: int | None = None) -> list[Entry]:
        try:
            with os.scandir(self._resolve(path) or ".") as entries:
                if limit is None:
                    return sorted(map(_make_entry, entries))
                first = nsmallest(limit, entries, key=attrgetter("name"))  # not just any
                return list(map(_make_entry, first))
        except (FileNotFoundError, NotADirectoryError) as exc:
            if _is_below_broken_link(self._resolve(path)):
                raise StorageError(_describe_broken_link("list the directory", path)) from exc
            is_file = "; it is a file" if os.path.isfile(self._resolve(path)) else ""
            hint = _hint_at_archive(path, self._resolve(path)) or is_file
            raise NotFoundError(f"there is no directory {path!r}{hint}") from exc
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot list the directory {path!r}: {describe(exc)}") from exc

    @override
    def list_many(
        self, paths: Sequence[str], limit: int | None = None
    ) -> list[list[Entry] | StorageError]:
        listings = []
        with counting_found() as advance:
            for listing in map_waiting(partial(self._try_list_dir, limit=limit), paths):
                listings.append(listing)
                if isinstance(listing, list):
                    advance(len(listing))
        return listings

    @override
    def read_parsed(self, paths: Sequence[str], parse: Callable[[bytes], T]) -> Parsed[T]:
        latest = time.time_ns() - CLOCK_STEP_NS
        limit = get_max_file_size()
        values: list[T | KedroHydraflowError | None] = []
        validators: list[str | None] = []
        reads = map_waiting(partial(self._read, limit=limit), paths)
        with counting(len(paths)) as advance:
            for path, read in zip(paths, reads, strict=True):
                if isinstance(read, tuple):
                    content, status = read
                    values.append(self.parse_content(path, content, parse))
                    validators.append(_make_validator(status, latest))
                else:
                    values.append(read)
                    validators.append(None)
                advance(1)
        return Parsed(values, validators)

    def _read(self, path: str, limit: int) -> tuple[bytes, os.stat_result] | StorageError | None:
        """Return a file's content and status, None if there is no such file, or the error."""
        try:
            return _read_file(self._resolve(path), limit)
        except (FileNotFoundError, NotADirectoryError) as exc:
            if _is_below_broken_link(self._resolve(path)):
                return _with_cause(StorageError(_describe_broken_link("read", path)), exc)
            return None
        except FileSizeError as exc:
            return _with_cause(FileSizeError(f"cannot read {path!r}: {exc}"), exc)
        except (OSError, ValueError, MemoryError) as exc:
            return _with_cause(StorageError(f"cannot read {path!r}: {describe(exc)}"), exc)

    @override
    def get_validators(self, paths: Sequence[str]) -> list[str | None]:
        latest = time.time_ns() - CLOCK_STEP_NS
        validators = []
        with counting(len(paths)) as advance:
            for validator in map_waiting(partial(self._get_validator, latest=latest), paths):
                validators.append(validator)
                advance(1)
        return validators

    def _get_validator(self, path: str, latest: int) -> str | None:
        try:
            return _make_validator(os.stat(self._resolve(path)), latest)
        except (OSError, ValueError):
            return None  # the error is reported when the file is read

    @override
    def fetch_many(self, files: Sequence[Download]) -> list[StorageError | None]:
        return list(map_waiting(self._fetch, files))

    def _fetch(self, file: Download) -> StorageError | None:
        path, target = file.path, file.target
        try:
            with (
                open(_open_regular(self._resolve(path)), "rb") as source,
                open(target, "wb") as copy,
            ):
                shutil.copyfileobj(source, copy)
        except FileNotFoundError as exc:
            try:
                check_folder(file)
            except StorageError as error:
                return error
            return _with_cause(NotFoundError(f"there is no file {path!r}"), exc)
        except (OSError, ValueError) as exc:
            return _with_cause(StorageError(f"cannot copy {path!r}: {describe(exc)}"), exc)
        return None

    @override
    def write(self, path: str, content: bytes) -> None:
        try:
            _replace_file(self._make_folder_of(path), content)
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot write {path!r}: {describe(exc)}") from exc

    @override
    def create(self, path: str, content: bytes) -> None:
        try:
            _replace_file(self._make_folder_of(path), content, may_exist=False)
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot write {path!r}: {describe(exc)}") from exc

    @override
    @contextmanager
    def taking_turns(self, path: str) -> Iterator[None]:
        with ExitStack() as turn:
            try:
                file = self._make_folder_of(path)
                lock = file.with_name(f".{file.name}.lock")
                turn.enter_context(hold_lock(str(lock), _LOCK_MODE))
            except (OSError, ValueError, NotImplementedError) as exc:
                raise StorageError(f"cannot lock {path!r}: {describe(exc)}") from exc
            yield

    def _make_folder_of(self, path: str) -> Path:
        """Return where a file is or will be, behind symbolic links; make its folder."""
        file = Path(os.path.realpath(self._resolve(path)))
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    @override
    def remove(self, path: str) -> None:
        try:
            Path(self._resolve(path)).unlink(missing_ok=True)
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot remove {path!r}: {describe(exc)}") from exc

    @override
    def is_dir(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.stat(self._resolve(path) or ".").st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError) as exc:
            raise StorageError(f"cannot access {path!r}: {describe(exc)}") from exc

    @override
    def are_dirs(self, paths: Sequence[str]) -> list[bool | StorageError]:
        return list(map_waiting(self._try_is_dir, paths))

    @override
    def to_path(self, path: str) -> Path:
        return Path(path)

    @override
    def join(self, path: str, *names: str) -> str:
        return os.path.join(path, *names)

    @override
    def split(self, path: str) -> tuple[str, str]:
        if path in ("", os.curdir, os.pardir):
            path = os.path.abspath(self._resolve(path))
        return os.path.split(path)

    @override
    def get_url(self, path: str) -> str:
        return escape(path) or "."

    @override
    def get_identity(self, path: str) -> str:
        return os.path.abspath(self._resolve(path))


def is_file_name(name: str) -> bool:
    """Whether a name can be that of a local file or folder in a given folder, and nowhere else."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    return os.name != "nt" or not set(name) & set('\\:*?"<>|')  # C:x is on another drive


def _replace_file(file: Path, content: bytes, *, may_exist: bool = True) -> None:
    """Write a file as a whole: whoever reads it finds the old content or the new one.

    Args:
        file: The file.
        content: The new content.
        may_exist: Whether to replace a file. Otherwise, it is left as it is.

    Raises:
        OSError: If it cannot be written. The old one is left.
    """
    written = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "wb") as new:
            if file.exists():
                os.chmod(written, stat.S_IMODE(file.stat().st_mode))
            new.write(content)
            new.flush()
            os.fsync(new.fileno())  # else a power failure may leave an empty file
        if may_exist:
            written.replace(file)
        else:
            _move_unless_exists(written, file)
    except BaseException:
        written.unlink(missing_ok=True)
        raise


def _move_unless_exists(written: Path, file: Path) -> None:
    """Give a file another name, or remove it if there is a file with that name."""
    try:
        os.link(written, file)
    except FileExistsError:
        pass
    except OSError:  # a filesystem without hard links
        if not file.exists():
            written.replace(file)
    written.unlink(missing_ok=True)


def _read_file(path: str, limit: int) -> tuple[bytes, os.stat_result]:
    """Return a file's content, and its status from before the read, with few system calls.

    Raises:
        OSError: If it is not a regular file, or cannot be read.
        FileSizeError: If it is larger than the limit, in bytes.
    """
    file = _open(path)
    try:
        status = os.fstat(file)
        if status.st_mode & _FORMAT != stat.S_IFREG:  # a call for each file would be measurable
            raise _make_kind_error(status)
        size = status.st_size
        if size > limit:
            check_file_size(size, limit)
        content = os.read(file, size + 1)
        if len(content) != size:  # it has grown, or its size is not known, as in /proc
            pieces = [content]
            size = len(content)
            while piece := os.read(file, 2**20):
                pieces.append(piece)
                size += len(piece)
                check_file_size(size, limit)
            content = b"".join(pieces)
        return content, status
    finally:
        os.close(file)


def _open(path: str) -> int:
    """Open a file, without waiting for what may be at the other end of one that is not regular."""
    try:
        return os.open(path, _READ_FLAGS)
    except BlockingIOError:  # it is leased by another program, such as a server of SMB
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise
        return os.open(path, _READ_FLAGS & ~_WITHOUT_WAITING)


def _open_regular(path: str) -> int:
    """Open a regular file, and return its descriptor.

    Raises:
        OSError: If it is not a regular file, or cannot be opened.
    """
    file = _open(path)
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode):
        return file
    os.close(file)
    raise _make_kind_error(status)


def _make_kind_error(status: os.stat_result) -> OSError:
    """Return the error for what is not a regular file."""
    if stat.S_ISDIR(status.st_mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    kind = "FIFO" if stat.S_ISFIFO(status.st_mode) else "device"  # a socket cannot be opened
    return OSError(f"expected a regular file, found a {kind}")


def _make_validator(status: os.stat_result, latest: int) -> str | None:
    modified, changed = status.st_mtime_ns, status.st_ctime_ns
    if modified > latest or changed > latest:
        return None
    return f"{modified} {changed} {status.st_size} {status.st_ino}"


def _make_entry(entry: os.DirEntry[str]) -> Entry:
    try:
        is_dir = entry.is_dir()
    except OSError:  # a symbolic link to itself
        is_dir = False
    is_link = entry.is_symlink()
    is_broken = is_link and not is_dir and not os.path.exists(entry.path)
    return Entry(entry.name, is_dir, is_broken, is_link=is_link)


def _hint_at_archive(path: str, resolved: str) -> str:
    """Return the advice to give the URL of an archive, empty if the path is none."""
    match = _ARCHIVE_NAME.search(path)
    if match is None or not os.path.isfile(resolved):
        return ""
    protocol = "zip" if match[0].lower() == ".zip" else "tar"
    return f"; for the content of the archive, give '{protocol}://::{path}'"


def _is_below_broken_link(path: str) -> bool:
    """Whether a path does not exist because of a broken symbolic link in it."""
    while path and not os.path.lexists(path):
        parent = os.path.dirname(path)
        if parent == path:  # a drive that there is not, on Windows
            return False
        path = parent
    return os.path.islink(path) and not os.path.exists(path)


def _describe_broken_link(action: str, path: str) -> str:
    return f"cannot {action} {path!r}: a symbolic link in the path is broken"


def _with_cause(error: StorageError, cause: BaseException) -> StorageError:
    error.__cause__ = cause
    return error
