"""Telling the files of metrics, params and tags from what other programs put beside them.

Operating systems, editors and synchronised or shared drives leave files of their own in every
directory. MLflow allows few characters in names (``mlflow/utils/validation.py``), and writes text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from kedro_hydraflow.errors import MetadataError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

T = TypeVar("T")

_ALLOWED_NAME = re.compile(r"[\w.\- :/]+")
"""Matches all names that MLflow allows. It also matches a few that MLflow could not store."""

_FOREIGN_NAME = re.compile(
    r"desktop\.ini|(?:eh)?thumbs(?:_vista)?\.db"  # Windows
    r"|\.ds_store|\.localized|__macosx|\.(?:spotlight-v100|trashes|fseventsd)"  # macOS
    r"|\.directory|\.goutputstream-\w+"  # KDE, GNOME
    r"|\.nfs[0-9a-f]{8,}|\.fuse_hidden\w+|\.smbdelete\w+"  # removed while open on a shared drive
    r"|\.dropbox(?:\.attr|\.cache)?|\.syncthing\..*\.tmp|\.st(?:folder|versions)"
    r"|\.git(?:ignore|keep|attributes)|\.keep|\.ipynb_checkpoints",
    re.IGNORECASE,
)
"""Matches names that other programs use, though MLflow allows them."""


class ForeignFileError(MetadataError):
    """A file is not text, so MLflow did not write it."""


def is_logged_name(name: str) -> bool:
    """Whether MLflow may have written a file or folder with this name, which may have slashes."""
    if _ALLOWED_NAME.fullmatch(name) is None:
        return False
    return all(
        part not in ("", ".", "..") and not is_foreign_name(part) for part in name.split("/")
    )


def is_foreign_name(name: str) -> bool:
    """Whether other programs leave files or folders with this name in every directory."""
    return _FOREIGN_NAME.fullmatch(name) is not None


def is_apple_double(name: str, names: Collection[str]) -> bool:
    """Whether macOS keeps the attributes of another file in this one.

    Args:
        name: The name of the file, such as ``._loss``.
        names: The names of all files in the folder.
    """
    return name.startswith("._") and name[2:] in names


def parse_text(content: bytes) -> str:
    """Return the content of the file of a param or tag.

    Raises:
        ForeignFileError: If it is not text.
        MetadataError: If it is text in another encoding than UTF-8.
    """
    if b"\0" in content:
        raise _make_foreign_error(content)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise MetadataError(f"expected UTF-8 text: {exc}") from exc


def refuse_binary(parse: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Return a parser of metric files that raises ForeignFileError for what is not text.

    A crash of the computer may leave NUL bytes at the end of a metric, which the parser ignores.
    """

    def parse_if_text(content: bytes) -> T:
        try:
            return parse(content)
        except MetadataError as exc:
            if b"\0" in content:
                raise _make_foreign_error(content) from exc
            raise

    return parse_if_text


def _make_foreign_error(content: bytes) -> ForeignFileError:
    return ForeignFileError(f"expected text, found binary data: {content[:20]!r}")
