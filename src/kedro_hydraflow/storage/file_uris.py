"""Paths in ``file:`` URIs."""

from __future__ import annotations

import os
import re
import sys
from urllib.parse import unquote

_LOCAL_HOSTS = ("", "localhost")

_DRIVE = re.compile(r"/*(?P<drive>[A-Za-z])[:|](?=/|\Z)")


def get_uri_path(uri: str) -> str:
    r"""Return the path in a ``file:`` URI, with percent escapes decoded.

    On Windows, ``file:///C:/runs`` and other spellings of it are ``C:\runs``, and a host is that of
    a share, ``\\host\share``.
    """
    path = uri[len("file:") :]
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        path = slash + rest if host in _LOCAL_HOSTS else path
    path = unquote(path, errors=sys.getfilesystemencodeerrors())
    if os.name != "nt":
        return path
    path = path.replace("\\", "/")
    return _DRIVE.sub(r"\g<drive>:", path, count=1).replace("/", "\\")
