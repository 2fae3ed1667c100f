"""A client for zip and tar archives, whatever program packed them.

fsspec's own filesystems miss members whose names begin with ``./`` or have backslashes, and go by
the archive's name for the compression. Only the file itself is opened with fsspec.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from kedro_hydraflow.errors import FileSizeError, describe
from kedro_hydraflow.limits import (
    CACHE_SIZE_VARIABLE,
    FILE_SIZE_VARIABLE,
    NODES_VARIABLE,
    check_file_size,
    get_cache_size,
    get_max_file_size,
    get_max_nodes,
)
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.redaction import Options, redact_url
from kedro_hydraflow.storage.base import Entry, check_downloaded
from kedro_hydraflow.storage.fsspec_client import tune
from kedro_hydraflow.storage.redirects import refuse_redirects_of_azure
from kedro_hydraflow.storage.remote import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from upath import UPath

T = TypeVar("T")

logger = get_logger(__name__)

_MAX_DEPTH = 200
"""The maximum number of names in the path of a member."""

_MAX_LENGTH = 4_096
"""The maximum length of the name of a member, which is that of paths on Linux."""

_MEMBERS_OF_NODE = 3
"""The number of members, each of some 800 bytes, for each node that `get_max_nodes` allows."""

_CHARACTERS_OF_MEMBER = 100
"""How many characters of a path count as one more member."""

_USUAL_HEADERS = 2_048
"""How many bytes of a tar archive describe a member, if no more than usual is known of it."""

_COPIES_OF_HEADER = 4
"""How many times the memory of a longer header is needed to read it."""

_ZIP_MEMBER = b"PK\1\2"
"""Where the description of a member begins in a zip archive."""

_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
"""The first bytes of compressed files, and fsspec's names of the compressions."""

_MAX_SHOWN = 200
"""The maximum number of characters of a name shown in a warning."""

_ERRORS_OF_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error)


class ArchiveClient(Client):
    """A client for an archive, which is opened and indexed here."""

    concurrency = 1  # all members are read through one file

    def __init__(self, root: UPath, allowed_hosts: frozenset[str] = frozenset()) -> None:
        import fsspec

        options = Options(tune(root.protocol, root.storage_options, allowed_hosts))
        target_options = Options(options.get("target_options") or {})
        if stat.S_ISFIFO(_get_mode(options["fo"])):
            raise OSError("it is a FIFO, not a regular file")  # opening it would wait for a writer
        opened = fsspec.open(
            options["fo"], "rb", protocol=options.get("target_protocol"), **target_options
        )
        refuse_redirects_of_azure(opened.fs)
        self._threads = ThreadPoolExecutor(1)
        with ExitStack() as files:
            file: IO[bytes] = files.enter_context(opened)
            check_downloaded(file.read(100))
            file.seek(0)
            self._archive = (
                _ZipArchive(file) if root.protocol == "zip" else _TarArchive(file, files)
            )
            weakref.finalize(self, files.pop_all().close)
        if self._archive.left_out:
            logger.warning(
                "%s: skipped %d members with names that lead out of the archive or are too long, "
                "such as %r",
                redact_url(str(root)),
                len(self._archive.left_out),
                self._archive.left_out[0],
            )

    async def _call(self, function: Callable[..., T], *args: str | int) -> T:
        call = partial(function, *args)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    @override
    async def list_dir(self, path: str) -> list[Entry]:
        return self._archive.list_dir(path)

    @override
    async def read(self, path: str, limit: int) -> bytes:
        return await self._call(self._archive.read, path, limit)

    @override
    async def fetch(self, path: str, target: str) -> None:
        await self._call(self._archive.fetch, path, target)


class _Archive(ABC):
    """An archive, indexed by the paths of its members."""

    def __init__(self) -> None:
        self.left_out: list[str] = []
        """The beginnings of the names of members that no path can name."""
        self._max_members = _MEMBERS_OF_NODE * get_max_nodes()
        self._n_members = 0
        self._files: dict[str, Any] = {}
        self._folders: dict[str, dict[str, Entry]] = {"": {}}

    def add(self, name: str, member: Any, entry: Entry) -> None:
        """Add a member. Archives need not have members for folders."""
        path = _to_path(name)
        if path is None:
            self._count_path(name[:_MAX_SHOWN])
            self.left_out.append(name[:_MAX_SHOWN])
        elif entry.is_dir:
            self._add_folder(path)
        elif path and path not in self._folders:
            self._count_path(path)
            folder, _, name = path.rpartition("/")
            self._add_folder(folder)
            self._folders[folder][name] = entry._replace(name=name)
            self._files[path] = member

    def _add_folder(self, path: str) -> None:
        added = []
        while path not in self._folders:
            self._count_path(path)
            self._folders[path] = {}
            added.append(path)
            path = path.rpartition("/")[0]
        for folder in added:
            parent, _, name = folder.rpartition("/")
            self._folders[parent][name] = Entry(name, is_dir=True)
            self._files.pop(folder, None)

    def _count_path(self, path: str) -> None:
        self.count(1 + len(path) // _CHARACTERS_OF_MEMBER)

    def count(self, n: int) -> None:
        """Count members, or what takes as much memory.

        Raises:
            FileSizeError: As `check_number` does.
        """
        self._n_members += n
        self.check_number(self._n_members)

    def check_number(self, n_members: int) -> None:
        """Raise FileSizeError if there are too many members."""
        if n_members > self._max_members:
            raise FileSizeError(
                f"it has more than {self._max_members:,} members, {_MEMBERS_OF_NODE} times the "
                f"limit that the environment variable {NODES_VARIABLE} raises"
            )

    def list_dir(self, path: str) -> list[Entry]:
        """Return the entries of a folder."""
        entries = self._folders.get(_to_path(path) or "")
        if entries is None or _to_path(path) is None:
            raise FileNotFoundError(path)
        return list(entries.values())

    def read(self, path: str, limit: int) -> bytes:
        """Return the content of a file.

        Raises:
            FileSizeError: If it is larger than the limit, whatever the archive says.
        """
        with self._open(path) as file:
            content = file.read(limit + 1)
        check_file_size(len(content), limit)
        return content

    def fetch(self, path: str, target: str) -> None:
        """Copy a file to a local path."""
        with self._open(path) as file, open(target, "wb") as copy:
            shutil.copyfileobj(file, copy)

    @contextmanager
    def _open(self, path: str) -> Iterator[IO[bytes]]:
        member = self._files.get(_to_path(path) or "")
        if member is None:
            raise FileNotFoundError(path)
        with _explaining_damage("the member is damaged"), self._open_member(member) as file:
            yield file

    @abstractmethod
    def _open_member(self, member: Any) -> IO[bytes]:
        """Open a member for reading."""


class _IndexedFile:
    """The file of an archive, of which little may be read until it is indexed."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit: int | None = limit
        self._n_read = 0
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, or the rest.

        Raises:
            FileSizeError: If they exceed the limit. They are not read then.
        """
        if self._limit is not None:
            self._n_read += max(size, 0)
            if self._n_read > self._limit:
                raise FileSizeError(
                    f"what describes its members is larger than {self._limit:,} bytes; the "
                    f"environment variable {FILE_SIZE_VARIABLE} raises that limit"
                )
        return self._file.read(size)

    def forget(self, size: int) -> None:
        """Do not count so many of the bytes that have been read."""
        self._n_read = max(0, self._n_read - size)

    def end_index(self) -> None:
        """Allow everything to be read."""
        self._limit = None


class _IndexedZip(_IndexedFile):
    """The same of a zip archive, whose members ``zipfile`` describes all at once."""

    def __init__(self, file: IO[bytes], limit: int, check_number: Callable[[int], None]) -> None:
        super().__init__(file, limit)
        self._check_number = check_number

    @override
    def read(self, size: int = -1) -> bytes:
        data = super().read(size)
        if self._limit is not None:
            self._check_number(data.count(_ZIP_MEMBER))
        return data


class _ZipArchive(_Archive):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        indexed: Any = _IndexedZip(file, get_max_file_size(), self.check_number)
        try:
            self._zip = zipfile.ZipFile(indexed)
        except zipfile.BadZipFile as exc:
            hint = "; for a tar archive, give tar://" if _is_tar(file) else ""
            raise OSError(f"it is damaged or not a zip archive ({exc}){hint}") from None
        for info in self._zip.infolist():
            validator = f"{info.CRC} {info.date_time} {info.file_size}"
            is_dir = info.filename.endswith(("/", "\\"))
            self.add(
                info.filename, info, Entry("", is_dir, size=info.file_size, validator=validator)
            )
        indexed.end_index()

    @override
    def _open_member(self, member: zipfile.ZipInfo) -> IO[bytes]:
        return self._zip.open(member)


class _TarArchive(_Archive):
    """A tar archive, of which a compressed one is decompressed into a temporary file.

    Members are read in any order, and going back in a compressed file takes all of it anew.
    """

    def __init__(self, file: IO[bytes], files: ExitStack) -> None:
        super().__init__()
        if file.read(4) == b"PK\3\4":
            raise OSError("it is a zip archive, not a tar archive: give zip://")
        file.seek(0)
        with _explaining_damage("it is damaged or not a tar archive"):
            compression = _find_compression(file)
            if compression is None:
                plain = file
            else:
                plain = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed there
                _decompress(file, compression, plain)
            limit = get_max_file_size() // _COPIES_OF_HEADER
            indexed: Any = _IndexedFile(plain, limit)
            self._tar = tarfile.TarFile(fileobj=indexed)
            for info in self._tar:
                indexed.forget(_USUAL_HEADERS)
                self._forget_details(info)
                validator = f"{info.mtime} {info.size}"
                if info.isfile() or info.isdir() or info.issym() or info.islnk():
                    size = info.size if info.isfile() else None
                    entry = Entry("", info.isdir(), size=size, validator=validator)
                    self.add(info.name, info, entry)
            indexed.end_index()
            plain.seek(self._tar.offset)  # where tarfile stopped, at zeros or anything else
            if plain.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise EOFError("it does not end as tar archives do")

    def _forget_details(self, info: tarfile.TarInfo) -> None:
        """Keep no more of a member than is needed, and count what may be long."""
        info.pax_headers = {}
        info.uname = info.gname = ""
        parts: Any = getattr(info, "sparse", None)  # of a file with gaps
        self.count(len(info.linkname) // _CHARACTERS_OF_MEMBER + len(parts or ()))

    @override
    def _open_member(self, member: tarfile.TarInfo) -> IO[bytes]:
        try:
            file = self._tar.extractfile(member)
        except KeyError:
            file = None
        if file is None:  # a link to nothing, or to a folder
            raise FileNotFoundError(member.name)
        return file


def _get_mode(location: Any) -> int:
    """Return the mode of a local file, 0 for what is none."""
    try:
        return os.stat(location).st_mode
    except (OSError, TypeError, ValueError):
        return 0


def _to_path(name: str) -> str | None:
    """Return the path that the name of a member stands for, None if it has none."""
    names = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    is_long = len(names) > _MAX_DEPTH or len(name) > _MAX_LENGTH
    return None if ".." in names or is_long else "/".join(names)


def _find_compression(file: IO[bytes]) -> str | None:
    """Return fsspec's name of the compression of a file, None for none."""
    start = file.read(8)
    file.seek(0)
    return next((name for magic, name in _COMPRESSIONS.items() if start.startswith(magic)), None)


def _decompress(file: IO[bytes], compression: str, target: IO[bytes]) -> None:
    from fsspec.compression import compr

    if compression not in compr:
        raise OSError(
            f"it is compressed with {compression}, which this Python cannot read: decompress it"
        )
    limit = get_cache_size()
    size = 0
    with compr[compression](file, mode="rb") as stream:
        while piece := stream.read(2**20):
            size += len(piece)
            if size > limit:
                raise FileSizeError(
                    f"decompressed, it is larger than {limit:,} bytes, the limit that the "
                    f"environment variable {CACHE_SIZE_VARIABLE} raises"
                )
            target.write(piece)
    target.seek(0)


def _is_tar(file: IO[bytes]) -> bool:
    file.seek(0)
    start = file.read(265)
    return start[257:262] == b"ustar" or any(start.startswith(magic) for magic in _COMPRESSIONS)


@contextmanager
def _explaining_damage(message: str) -> Iterator[None]:
    """Raise OSError for damage. Its usual errors would be taken for those of a connection."""
    try:
        yield
    except Exception as exc:
        if isinstance(exc, _ERRORS_OF_DAMAGE) or type(exc).__name__ == "LZMAError":
            raise OSError(f"{message} ({describe(exc)})") from None
        raise
