"""Hosts that may be asked: those that the caller names.

A host is a scheme, a name and a port, as for browsers and curl: ``http://a``, ``https://a`` and
``https://a:8443`` are three. Credentials are for one host, and what is recorded or answered by
others names none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kedro_hydraflow.errors import OptionError, WithheldError
from kedro_hydraflow.redaction import redact_text, split_links
from kedro_hydraflow.storage.file_uris import get_uri_path

HOSTS_OPTION = "allowed_hosts"
"""The storage option that names further hosts, as URLs such as ``https://files.example``."""

WITHHELD_OPTION = "without_credentials"
"""The storage option that makes storages as `Storage.without_credentials` does."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "sftp": 22}

_AUTHORITY = re.compile(r"([A-Za-z][\w+.-]+)://([^/?#]*)")

_WITHOUT_HOST = frozenset({"gcs", "gs", "libarchive", "local", "memory", "s3", "s3a", "tar", "zip"})
"""The schemes of URLs without a host: of buckets, it follows from the options."""

_AZURE = frozenset({"az", "abfs", "abfss", "adl", "wasb", "wasbs"})
_AZURE_ACCOUNT = re.compile(r"([\w-]+)\.(?:blob|dfs)\.core\.windows\.net")

_SHARE = re.compile(
    r"[\\/]{2,}(?!\?[\\/]+[A-Z]:[\\/])(?:\?[\\/]+UNC[\\/]+)?([^\\/]+)", re.IGNORECASE
)
r"""Matches the path of a network share on Windows, such as ``\\host\share``, or of a device.

``\\?\UNC\host\share`` is the same share, and ``\\?\C:\runs`` a local path.
"""

_URL_OPTIONS = frozenset({"base_url", "endpoint", "endpoint_url", "fo"})
"""The options of filesystems that are the URL of a server."""

_AZURE_VARIABLES = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_CONNECTION_STRING")


def make_withheld_error(where: str) -> WithheldError:
    """Return the error for a storage or server, given for the message, without credentials."""
    return WithheldError(
        f"{where!r} is not read for a copy that `without_credentials` made: it has only what had "
        "been read before; read more before that, or load the runs again"
    )


def get_host(url: str) -> str | None:
    """Return the host of a URL, such as ``https://files.example``, without a default port.

    For an account of Azure, it is that of its blobs. None if the URL has no host, or one that
    programs may read in different ways.
    """
    if os.name == "nt":
        is_file = url[:5].lower() == "file:"
        share = _SHARE.match(get_uri_path(url) if is_file else url)
        if is_file or share is not None:
            return None if share is None else f"file://{share[1].lower()}"
    match = _AUTHORITY.match(url)
    if match is None or not match[2].isprintable() or set(match[2]) & set(" \\"):
        return None
    scheme = match[1].lower().rpartition("+")[2]
    try:
        parts = urlsplit(f"//{match[2]}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or scheme in _WITHOUT_HOST or (scheme == "file" and name == "localhost"):
        return None
    if scheme in _AZURE:
        account = _AZURE_ACCOUNT.fullmatch(name)
        return _get_account_host(account[1]) if account else None
    scheme = "sftp" if scheme == "ssh" else scheme
    shown = f"[{name}]" if ":" in name else name
    is_default = port is None or port == _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{shown}" if is_default else f"{scheme}://{shown}:{port}"


def iter_hosts(location: object) -> Iterator[str]:
    """Yield the hosts that a URL, chained ones included, or a ``UPath`` names."""
    for link in split_links(str(location)):
        host = get_host(link)
        if host is not None:
            yield host
    options = getattr(location, "storage_options", None)
    if isinstance(options, Mapping):
        yield from iter_option_hosts(options)


def iter_option_hosts(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the hosts that the options of a filesystem name."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from iter_option_hosts(value)
        elif not isinstance(value, str):
            continue
        elif name in _URL_OPTIONS:
            yield from iter_hosts(value)
        elif name in ("host", "account_host"):
            port = options.get("port")
            for scheme in _DEFAULT_PORTS:
                yield from iter_hosts(f"{scheme}://{value}{'' if port is None else f':{port}'}")
        else:
            yield from _iter_azure_hosts(name, value)


def iter_variable_hosts() -> Iterator[str]:
    """Yield the hosts that the variables of clients name, where a URL may name another one."""
    for variable in _AZURE_VARIABLES:
        name = variable.removeprefix("AZURE_STORAGE_").lower()
        yield from _iter_azure_hosts(name, os.environ.get(variable, ""))


def _iter_azure_hosts(option: str, value: str) -> Iterator[str]:
    if option == "account_name" and value:
        yield _get_account_host(value)
    elif option == "connection_string":
        parts = dict(part.split("=", 1) for part in value.split(";") if "=" in part)
        yield from iter_hosts(parts.get("BlobEndpoint", ""))
        yield from _iter_azure_hosts("account_name", parts.get("AccountName", ""))


def _get_account_host(account: str) -> str:
    return f"https://{account.lower()}.blob.core.windows.net"


def check_hosts(value: object) -> frozenset[str]:
    """Return the hosts that the option `HOSTS_OPTION` names; none for None.

    Raises:
        OptionError: If it is not a list of URLs.
    """
    if value is None:
        return frozenset()
    if isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping)):
        hosts = [get_host(url) if isinstance(url, str) else None for url in value]
        if None not in hosts:
            return frozenset(filter(None, hosts))
    raise OptionError(
        f"{HOSTS_OPTION}: expected a list of URLs such as https://files.example, found "
        f"{redact_text(repr(value))}"
    )


def advise_to_allow(host: str | None) -> str:
    """Return the part of a message that says how to allow a host."""
    shown = "its URL" if host is None else repr(host)
    return f"add {shown} to `{HOSTS_OPTION}` in `fs_args` or `storage_options`"
