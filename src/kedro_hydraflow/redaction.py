"""Foreign text in messages: without credentials, in one line, and of a bounded length.

Servers and filesystems decide what their errors say, so every regular expression here takes time
in proportion to the text: no two of its repetitions can match the same characters.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, cast
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from kedro_hydraflow.escaping import escape

_MAX_SHOWN = 1_000
"""The maximum length of foreign text in a message."""

_MAX_READ = 100_000
"""The length to which foreign text is cut before it is redacted."""

_CUT = 5_000
"""The minimum length dropped from the end of a text that was cut there, maybe in a secret."""

_PASSWORD = re.compile(r"[^/@:]*:(?!\d*/)[^@]*@(?:[^/]*@)?")
# A user or token. Kept in abfs, where it is the container, and in sftp, where it is the user.
_HTTP_USER = re.compile(r"[^/]*@")
_WITHOUT_USER = ("http", "https", "s3", "s3a", "gs", "gcs")
"""The ends of schemes after which a user is a token, or a mistake."""

_NEXT_LINK = re.compile(r"::(?=/|[\w+.-]{1,40}:[/:])")
"""The separator of chained URLs. A password may have the same characters."""

_REST_OF_URL = re.compile(r"://\S+")
_SCHEME = re.compile(r"[\w+.-]{0,40}\Z")

_SECRET_OPTION = re.compile(
    r"pass|pw|secret|token|key|cred|sas|auth|connection|cookie|signature", re.IGNORECASE
)
_USER_OPTION = re.compile(r"user|login|account_name|client_id", re.IGNORECASE)

_HARMLESS_HEADERS = frozenset({"accept", "accept-encoding", "content-type", "range", "user-agent"})
"""The headers that are no secrets, in lower case."""

_SECRET_VARIABLE = re.compile(
    r"(?!(?:AZURE_TOKEN|GOOGLE_APPLICATION)_CREDENTIALS\Z)"
    r"(?:AWS|AZURE|DATABRICKS|FSSPEC|GCP|GOOGLE|MLFLOW)_\w*"
    r"(?:CONNECTION_STRING|CREDENTIAL|KEY|PASSWORD|SAS|SECRET|TOKEN)\w*(?<!_FILE)(?<!_PATH)(?<!_URI)"
)
"""Matches the environment variables from which clients take credentials."""

_USER_VARIABLES = ("MLFLOW_TRACKING_USERNAME",)

_SECRET_SETTING = re.compile(r"aws_\w*(?:key|token)\w*|mlflow_tracking_password")
"""Matches the secrets in files of clients, in lower case."""

_HEADER = re.compile(
    r"""((?:authorization|cookie)['"]?\s{0,3}[:=]\s{0,3}['"]?)[^'"\r\n]+""", re.IGNORECASE
)
_FIELD = re.compile(
    r"""((?:password|passwd|secret|token|signature|\bsig|credential|api[_-]?key|access[_-]?key
        |account[_-]?key) (?: = | ['"]\s{0,3}:\s{0,3}['"] ) ) [^\s'"&,;<>)}\]]{4,}""",
    re.IGNORECASE | re.VERBOSE,
)
"""A field of a form, a query or a JSON object."""

_LOGIN = re.compile(r"\b((?:basic|bearer|negotiate)\s{1,3})([\w.~+/=-]{8,})", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]?[a-z-]+[.]?")
"""Matches what follows in prose, as in "Bearer authentication"."""

_JSON_WEB_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]{8,}(?:\.[\w-]*){1,2}")


def redact_url(url: str) -> str:
    """Return a URL, chained ones included, without passwords and queries."""
    return "::".join(map(_redact_link, split_links(url)))


def split_links(url: str) -> list[str]:
    """Return the links of a chained URL, such as ``zip://a::s3://b/c.zip``."""
    return _NEXT_LINK.split(url)


def redact_text(text: str) -> str:
    """Return text without passwords, queries of URLs, and tokens that look like ones."""
    text = _REST_OF_URL.sub(_redact_rest, text)
    text = _HEADER.sub(r"\1***", text)
    text = _FIELD.sub(r"\1***", text)
    text = _LOGIN.sub(lambda m: m[0] if _WORD.fullmatch(m[2]) else f"{m[1]}***", text)
    return _JSON_WEB_TOKEN.sub("***", text)


def _redact_rest(match: re.Match[str]) -> str:
    """Return the part of a URL after its scheme, redacted."""
    before = match.string[max(match.start() - 40, 0) : match.start()]
    found = _SCHEME.search(before)
    scheme = found[0] if found else ""
    return redact_url(scheme + match[0])[len(scheme) :]


def _redact_link(link: str) -> str:
    scheme, separator, rest = link.partition("://")
    if not separator:
        return link
    rest = _PASSWORD.sub("", rest, count=1) if _PASSWORD.match(rest) else rest
    rest = re.sub(r"[?#].*", "", rest, flags=re.DOTALL)
    if scheme.lower().endswith(_WITHOUT_USER) and _HTTP_USER.match(rest):
        rest = _HTTP_USER.sub("", rest, count=1)
    return f"{scheme}://{rest}"


def redact(text: str, options: Mapping[str, Any]) -> str:
    """Return foreign text for a message: one line without credentials, cut if it is long.

    Args:
        text: The text of an error, or of an answer.
        options: The options of the filesystem. The values of secret ones, and of the variables
            from which clients take credentials, are replaced in all the ways in which they are
            sent.
    """
    secrets = _list_secrets(options)
    shown = _hide(text[:_MAX_READ], secrets)
    if len(text) > _MAX_READ:
        longest = max(map(len, secrets), default=0)
        shown = shown[: max(len(shown) - max(_CUT, longest), 0)] + " …"
    shown = escape(" ".join(shown.split()))
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]} …"


def get_safe_cause(exc: Exception, options: Mapping[str, Any]) -> Exception | None:
    """Return an exception to raise from, None if it or one of its causes may show credentials.

    None too if one is very long or has control characters: a traceback shows it as it is.
    """
    secrets = _list_secrets(options)
    error: BaseException | None = exc
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        try:
            texts = (str(error), repr(error))
        except Exception:  # foreign code, which may expect other arguments
            return None
        for text in texts:
            if len(text) > _MAX_READ or _hide(text, secrets) != text:
                return None
            if not text.replace("\n", "").replace("\t", "").isprintable():
                return None
        error = error.__cause__ or error.__context__
    return exc


def _hide(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return redact_text(text)


# Objects that hold secrets -----------------------------------------------------------------


class Options(dict[str, Any]):
    """Options of a filesystem, of which a repr shows the names alone.

    Do not put it into the options of a filesystem: fsspec tells these apart by their repr.
    """

    def __repr__(self) -> str:
        return f"<options: {', '.join(map(str, self)) or 'none'}>"


class SafeRepr:
    """The base of dataclasses whose repr shows no credentials, give them ``repr=False``."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = [
            f"{f.name}={_show_safely(getattr(self, f.name))}"
            for f in fields(cast("Any", self))
            if f.repr
        ]
        return f"{type(self).__qualname__}({', '.join(shown)})"


def _show_safely(value: object) -> str:
    """Return a repr without credentials in URLs."""
    if isinstance(value, str):
        return repr(redact_url(value))
    return redact_text(repr(value))


# The secrets of a caller -------------------------------------------------------------------


def _list_secrets(options: Mapping[str, Any]) -> list[str]:
    """Return all spellings of the secrets in options and variables, the longest first."""
    from fsspec.config import conf  # from variables and files

    logins = [*_iter_file_logins()]
    users = {*(user for user, _ in logins), ""}
    users.update(os.environ[name] for name in _USER_VARIABLES if name in os.environ)
    secrets = {*_iter_variable_secrets()}
    for given in (options, *conf.values()):
        users.update(_iter_users(given))
        secrets.update(_iter_secrets(given, is_secret=False))
    secrets.update(password for _, password in logins)
    spellings = {s for secret in secrets for s in _spell(secret, frozenset(users))}
    return sorted((s for s in spellings if len(s) > 3), key=len, reverse=True)


def _iter_variable_secrets() -> Iterator[str]:
    """Yield the secrets in environment variables: those of clients, and in URLs."""
    for name, value in os.environ.items():
        if "://" in value or _SECRET_VARIABLE.fullmatch(name):
            yield from _iter_secrets(value, is_secret="://" not in value)


def _iter_file_logins() -> Iterator[tuple[str, str]]:
    """Yield the users and passwords in the files from which clients take them."""
    variables = os.environ
    for path, is_netrc in {
        variables.get("NETRC", ""): True,
        "~/.netrc": True,
        "~/_netrc": True,
        "~/.mlflow/credentials": False,
        variables.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"): False,
        variables.get("AWS_CONFIG_FILE", "~/.aws/config"): False,
    }.items():
        path = os.path.expanduser(path)
        with contextlib.suppress(OSError):
            status = os.stat(path)
            read = _read_netrc if is_netrc else _read_settings
            yield from read(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache
def _read_netrc(path: str, modified: int, size: int) -> list[tuple[str, str]]:  # noqa: ARG001
    """Return the users and passwords in a file, none if it cannot be read."""
    import netrc

    try:
        hosts = netrc.netrc(path).hosts.values()
    except (OSError, ValueError, netrc.NetrcParseError):
        return []
    return [(user, password or "") for user, _, password in hosts]


@functools.lru_cache
def _read_settings(path: str, modified: int, size: int) -> list[tuple[str, str]]:  # noqa: ARG001
    """Return the users and secrets in a file of MLflow or AWS, none if it cannot be read."""
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read(path)
    except (OSError, ValueError, configparser.Error):
        return []
    return [
        (section.get("mlflow_tracking_username", ""), spelled)
        for section in parser.values()
        for name, value in section.items()
        if _SECRET_SETTING.fullmatch(name)
        for spelled in (value, value.replace("%%", "%"))  # which MLflow interpolates, AWS not
    ]


def _iter_users(value: Any) -> Iterator[str]:
    """Yield the names of users in options, with which passwords are sent."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, str) and _USER_OPTION.search(str(name)):
                yield inner
            else:
                yield from _iter_users(inner)
    elif isinstance(value, (tuple, list)) and value and isinstance(value[0], str):
        yield value[0]
    elif isinstance(value, str) and "://" in value:
        yield from (unquote(user) for user, _ in _iter_logins(value))


def _iter_secrets(value: Any, *, is_secret: bool) -> Iterator[str]:
    """Yield the secrets in an option: all of it if it is secret, otherwise passwords in URLs."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            hidden = is_secret or _SECRET_OPTION.search(str(name)) is not None
            if str(name).lower() == "headers" and isinstance(inner, Mapping):
                inner = {k: v for k, v in inner.items() if str(k).lower() not in _HARMLESS_HEADERS}
                hidden = True
            yield from _iter_secrets(inner, is_secret=hidden)
    elif isinstance(value, str):
        if is_secret:
            yield from _iter_parts(value)
        for _, password in _iter_logins(value):
            yield unquote(password)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _iter_secrets(inner, is_secret=is_secret)
    elif is_secret and hasattr(value, "__dict__"):  # a client's object, such as a credential
        attributes = {k: v for k, v in vars(value).items() if isinstance(v, (str, bytes))}
        yield from _iter_secrets(attributes, is_secret=False)


def _iter_logins(text: str) -> Iterator[tuple[str, str]]:
    """Yield users and passwords of URLs."""
    for link in split_links(text) if "://" in text else ():
        rest = link.partition("://")[2]
        login = _PASSWORD.match(rest)
        if login is not None:
            user, _, password = login[0][:-1].partition(":")
            yield user, password


def _iter_parts(secret: str) -> Iterator[str]:
    """Yield a secret option and the secrets in it, which may be sent alone."""
    yield secret
    for part in re.split("[;&]", secret):  # of a connection string, or a signed query
        name, separator, value = part.partition("=")
        if separator and (name.lower() == "sig" or _SECRET_OPTION.search(name)):
            yield value
    scheme, _, login = secret.partition(" ")  # of a header
    if scheme.lower() in ("basic", "bearer", "token"):
        yield login
        if scheme.lower() == "basic":
            try:
                decoded = base64.b64decode(login).decode()
            except (binascii.Error, UnicodeDecodeError):
                return
            yield decoded.rstrip(":")  # a token may be alone
            yield decoded.partition(":")[2]


@functools.lru_cache(1024)
def _spell(secret: str, users: frozenset[str]) -> tuple[str, ...]:
    return tuple(_iter_spellings(secret, users))


def _iter_spellings(secret: str, users: Iterable[str]) -> Iterator[str]:
    """Yield a secret as clients send it and as servers echo it."""
    for text in {secret, unquote(secret), unquote_plus(secret)}:
        yield from (text, html.escape(text), json.dumps(text)[1:-1], repr(text)[1:-1])
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > 3:
            yield from _iter_quoted(data)
            for login in (data, *(f"{user}:".encode() + data for user in users)):
                encoded = base64.b64encode(login)
                yield from _iter_quoted(encoded)
                yield encoded.decode().rstrip("=")
                yield base64.urlsafe_b64encode(login).decode().rstrip("=")


def _iter_quoted(data: bytes) -> Iterator[str]:
    """Yield percent-encoded data, in upper and lower case."""
    for quoted in (quote(data), quote(data, safe=""), quote_plus(data)):
        yield quoted
        yield re.sub("%..", lambda match: match[0].lower(), quoted)
