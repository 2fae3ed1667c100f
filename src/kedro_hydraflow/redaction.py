"""Removing credentials from messages: passwords, tokens and queries in URLs, secret options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PASSWORD = re.compile(r"[^/@:]*:(?!\d*/)[^@]*@(?:[^/]*@)?")
# A user or token. Kept in abfs, where it is the container, and in sftp, where it is the user.
_HTTP_USER = re.compile(r"[^/]*@")
_SECRET_OPTION = re.compile(r"pass|pw|secret|token|key|cred|sas|auth|connection", re.IGNORECASE)


def redact_url(url: str) -> str:
    """Return a URL, chained ones included, without passwords and queries."""
    return "::".join(_redact_link(link) for link in url.split("::"))


def redact_text(text: str) -> str:
    """Return text with its URLs redacted."""
    return re.sub(r"[A-Za-z][\w+.-]*://\S+", lambda match: redact_url(match[0]), text)


def _redact_link(link: str) -> str:
    scheme, separator, rest = link.partition("://")
    if not separator:
        return link
    rest = _PASSWORD.sub("", rest, count=1) if _PASSWORD.match(rest) else rest
    rest = re.sub(r"[?#].*", "", rest, flags=re.DOTALL)
    if scheme.rpartition("+")[2] in ("http", "https") and _HTTP_USER.match(rest):
        rest = _HTTP_USER.sub("", rest, count=1)
    return f"{scheme}://{rest}"


def _redact_options(text: str, options: Mapping[str, Any], is_secret: bool = False) -> str:
    """Return text with the values of secret options replaced."""
    for name, value in options.items():
        hidden = is_secret or _SECRET_OPTION.search(str(name)) is not None
        if isinstance(value, Mapping):
            text = _redact_options(text, value, hidden)
        elif isinstance(value, str) and len(value) > 3 and hidden:
            text = text.replace(value, "***")
    return text


def redact(text: str, options: Mapping[str, Any]) -> str:
    """Return text without credentials from URLs or from the options of a filesystem."""
    return _redact_options(redact_text(text), options)


def get_safe_cause(exc: Exception, options: Mapping[str, Any]) -> Exception | None:
    """Return an exception to raise from, None if it or one of its causes may show credentials."""
    error: BaseException | None = exc
    while error is not None:
        for text in (str(error), repr(error)):
            if redact(text, options) != text:
                return None
        error = error.__cause__ or error.__context__
    return exc
