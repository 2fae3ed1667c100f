"""Classifying errors of filesystems and their clients as absent, denied or transient.

No two clients agree. s3fs raises builtin errors with botocore's ClientError as the cause, and a
plain OSError for 401; gcsfs raises a plain OSError for 403 and an HttpError for 401; adlfs the
HttpResponseError of the Azure SDK; fsspec's HTTP filesystem the ClientResponseError of aiohttp;
obstore its own errors, with the status in their text. None of these packages is imported here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from kedro_hydraflow.errors import MissingPackageError, describe
from kedro_hydraflow.redaction import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E", bound=BaseException)

_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

_TRANSIENT_ERRORS = frozenset(
    {
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ConnectionError",  # botocore, requests
        "ConnectionLost",  # asyncssh
        "EOFError",
        "FSTimeoutError",  # fsspec
        "HTTPClientError",  # botocore: connections and timeouts
        "IncompleteCopyError",  # ours
        "IncompleteRead",  # http.client
        "IncompleteReadError",  # asyncio, botocore
        "NetworkError",  # httpx
        "ProtocolError",  # urllib3
        "ProxyError",  # gcsfs: a 502
        "RemoteProtocolError",  # httpx
        "ResponseStreamingError",  # botocore
        "SFTPConnectionLost",  # asyncssh
        "SFTPNoConnection",
        "SSHException",  # paramiko
        "ServiceRequestError",  # Azure
        "ServiceResponseError",
        "TimeoutError",
        "TimeoutException",  # httpx
    }
)
"""The names of classes of connection errors; their subclasses count too."""

_DISCONNECTION_ERRORS = frozenset(
    {
        "ConnectionError",
        "ConnectionLost",  # asyncssh
        "EOFError",
        "SFTPConnectionLost",
        "SFTPNoConnection",
        "SSHException",  # paramiko
        "TimeoutError",
    }
)
"""The names of classes of errors after which a connection of SSH may be dead."""

_DISCONNECTION_TEXTS = ("Socket is closed", "Can't create any SFTP connections!")
"""The texts of errors without a class of their own, of paramiko and sshfs."""

_DENIED_ERRORS = frozenset(
    {
        "AuthenticationException",  # paramiko
        "ClientAuthenticationError",  # Azure
        "CredentialRetrievalError",  # botocore
        "DefaultCredentialsError",  # Google
        "HostKeyNotVerifiable",  # asyncssh
        "NoCredentialsError",  # botocore
        "PartialCredentialsError",
        "PermissionDenied",  # asyncssh
        "PermissionDeniedError",  # obstore
        "PermissionError",
        "RefreshError",  # Google
        "SFTPPermissionDenied",  # asyncssh
        "UnauthenticatedError",  # obstore
    }
)


def is_absence(exc: BaseException, *, in_archive: bool = False) -> bool:
    """Whether an error means that there is no such file or folder."""
    if in_archive and isinstance(exc, KeyError):  # some archives raise it
        return True
    return isinstance(exc, (FileNotFoundError, NotADirectoryError)) or get_status(exc) == 404


def is_denial(exc: BaseException) -> bool:
    """Whether an error means that credentials are missing, wrong or insufficient."""
    if get_status(exc) in (401, 403) or _get_names(exc) & _DENIED_ERRORS:
        return True
    return str(exc).startswith("Forbidden: ")  # gcsfs


def is_transient(exc: BaseException) -> bool:
    """Whether a request that failed with an error may succeed when it is retried."""
    if is_denial(exc) or isinstance(exc, (FileNotFoundError, NotADirectoryError)):
        return False
    names = _get_names(exc)
    if names & _TRANSIENT_ERRORS:  # some have a `code` that is not an HTTP status
        return True
    status = get_status(exc)
    if status is not None:
        return status in _TRANSIENT_STATUSES
    if str(exc) in _DISCONNECTION_TEXTS:
        return True
    # obstore raises GenericError without a status if a connection fails.
    return "GenericError" in names and "obstore" in type(exc).__module__


def is_disconnection(exc: BaseException) -> bool:
    """Whether an error of SFTP means that the connection was lost, or may have been."""
    if is_denial(exc):
        return False
    return bool(_get_names(exc) & _DISCONNECTION_ERRORS) or str(exc) in _DISCONNECTION_TEXTS


def get_status(exc: BaseException) -> int | None:
    """Return the HTTP status of an error or its causes, None if they have none."""
    for link in _iter_chain(exc):
        response = getattr(link, "response", None)
        if isinstance(response, dict):  # of botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if isinstance(status, int):
                return status
        for owner in (link, response):
            for name in ("status", "status_code", "code"):
                status = getattr(owner, name, None)
                if isinstance(status, int) and 100 <= status < 600:
                    return status
        if "obstore" in type(link).__module__:
            found = re.search(r"\bstatus(?: code)?:? (\d{3})\b", str(link))
            if found is not None:
                return int(found[1])
    return None


def describe_foreign(exc: BaseException) -> str:
    """Return an error's type and text, without the XML and Rust dumps that obstore adds.

    If it is about single sign-on, the text ends with how to log in.
    """
    text = describe(exc).partition(" Debug source")[0]
    if _NO_LOGIN.search(text):
        return f"{text}; log in with 'aws sso login'"
    answer = re.search(r"<Error>.*", text, re.DOTALL)
    if answer is None:
        return text
    said = re.findall(r"<(?:Code|Message)>([^<]*)<", answer[0])
    return f"{type(exc).__name__}: {': '.join(said)}"


_NO_LOGIN = re.compile("SSOTokenLoadError|UnauthorizedSSOTokenError|TokenRetrievalError")
"""Matches the errors of botocore without a valid login of single sign-on."""


def make_missing_package_error(url: str, exc: ImportError) -> MissingPackageError:
    """Return the error for a URL whose filesystem is not installed; it names the extra."""
    protocols = [link.partition(":")[0] for link in url.split("::")]
    extras = [_EXTRAS[p] for p in (p.partition("+")[0] for p in protocols) if p in _EXTRAS]
    advice = f"pip install 'kedro-hydraflow[{','.join(extras)}]'" if extras else "install it"
    return MissingPackageError(
        f"reading {redact_url(url)!r} needs a package that is not installed ({exc}): {advice}"
    )


_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
    "sftp": "sftp",
    "ssh": "sftp",
    "http": "http",
    "https": "http",
    "webdav": "webdav",
    "mlflow": "mlflow",
}


def find_cause(exc: BaseException, kind: type[E]) -> E | None:
    """Return an error, or the first of its causes, that is of a kind; None if none is."""
    return next((link for link in _iter_chain(exc) if isinstance(link, kind)), None)


def _iter_chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield an error and its explicit causes."""
    link: BaseException | None = exc
    while link is not None:
        yield link
        link = link.__cause__


def _get_names(exc: BaseException) -> set[str]:
    return {cls.__name__ for link in _iter_chain(exc) for cls in type(link).__mro__}
