from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kedro_hydraflow.storage.foreign_errors import (
    describe_foreign,
    get_status,
    is_absence,
    is_denial,
    is_transient,
)


def make_error(name: str, text: str = "", module: str = "client", **attributes: Any) -> Exception:
    """Return an error of a client, without the client."""
    error: Exception = type(name, (Exception,), {"__module__": module})(text)
    for attribute, value in attributes.items():
        setattr(error, attribute, value)
    return error


def make_boto_error(status: int) -> Exception:
    """Return an error that s3fs raises from botocore's."""
    response = {"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = OSError(5, "An error occurred")
    error.__cause__ = make_error("ClientError", response=response)
    return error


def make_obstore_error(name: str, text: str) -> Exception:
    return make_error(name, f"{text}\n\nDebug source:\nGeneric {{", "obstore.exceptions")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (make_error("ClientResponseError", status=503), 503),
        (make_error("HttpError", code=401), 401),
        (make_error("HttpResponseError", status_code=404), 404),
        (make_error("HTTPError", response=SimpleNamespace(status_code=403)), 403),
        (make_boto_error(503), 503),
        (make_obstore_error("GenericError", "returned non-2xx status code: 429 Slow"), 429),
        (make_obstore_error("GenericError", "error sending request"), None),
        (make_error("WebSocketError", code=1006), None),
        (OSError(5, "Input/output error"), None),
    ],
)
def test_status(error: Exception, status: int | None) -> None:
    assert get_status(error) == status


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("Access Denied"),
        OSError("Forbidden: https://storage.googleapis.com/b/o"),
        make_boto_error(401),
        make_error("HttpError", code=401),
        make_error("ClientAuthenticationError"),
        make_error("NoCredentialsError"),
        make_error("AuthenticationException"),
        make_obstore_error("PermissionDeniedError", "denied"),
    ],
)
def test_denied(error: Exception) -> None:
    assert is_denial(error)
    assert not is_transient(error)
    assert not is_absence(error)


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), NotADirectoryError("x"), make_error("E", status=404)]
)
def test_absent(error: Exception) -> None:
    assert is_absence(error)
    assert not is_transient(error)
    assert not is_denial(error)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        make_error("ClientPayloadError"),
        make_error("SFTPNoConnection"),
        make_error("SFTPConnectionLost"),
        make_error("ConnectionLost"),
        OSError("Socket is closed"),
        ValueError("Can't create any SFTP connections!"),
        make_error("ServiceRequestError"),
        make_error("E", status=500),
        make_boto_error(503),
        make_obstore_error("GenericError", "error sending request"),
        make_obstore_error("GenericError", "Server error: status code: 503 Service Unavailable"),
    ],
)
def test_transient(error: Exception) -> None:
    assert is_transient(error)
    assert not is_denial(error)
    assert not is_absence(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        OSError(5, "Access Denied"),
        ValueError(),
        make_error("E", status=400),
        make_error("HttpError", status=416),
        make_obstore_error("InvalidPathError", "a//b"),
    ],
)
def test_neither(error: Exception) -> None:
    assert not any(tells(error) for tells in (is_transient, is_denial, is_absence))


def test_a_key_error_of_an_archive_means_absent() -> None:
    assert is_absence(KeyError("x"), in_archive=True)
    assert not is_absence(KeyError("x"))


def test_descriptions_are_short() -> None:
    answer = "403 Forbidden: <?xml?>\n<Error><Code>Denied</Code><Message>No.</Message></Error>"
    assert describe_foreign(make_obstore_error("GenericError", "a\nb")) == "GenericError: a b"
    assert (
        describe_foreign(make_obstore_error("GenericError", answer)) == "GenericError: Denied: No."
    )
    assert describe_foreign(OSError(5, "Broken")) == "OSError: Broken"
