"""Credentials that the Python packages of S3, Google Cloud Storage and Azure find, for obstore.

They look where obstore does not: into profiles of ``~/.aws``, SSO, the roles of instances and
containers, the logins of ``gcloud`` and ``az``. fsspec's filesystems use the same packages, so that
these have the same credentials, and the same server, whichever engine reads.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LIFETIME = timedelta(minutes=1)
"""For how long obstore keeps credentials. botocore, which is then asked again, keeps those that
are valid for ten more minutes."""

_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")

_GCS_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)

_AZURE_SCOPE = "https://storage.azure.com/.default"


class Found(NamedTuple):
    """What was found."""

    config: dict[str, Any]
    """Options of obstore's store."""

    provider: Callable[[], dict[str, Any]] | None
    """Returns credentials, new ones once they are about to expire. None if none are needed."""


def find_for_s3(config: Mapping[str, Any], profile: str | None = None) -> Found | None:
    """Return the credentials, region and endpoint that botocore uses; None if it finds none.

    Args:
        config: The options of obstore's store that are known, which take precedence.
        profile: The name of the profile.
    """
    try:
        from botocore.session import Session
    except ImportError:
        return None
    session = Session(profile=profile)
    client = session.create_client(
        "s3", region_name=config.get("region"), endpoint_url=config.get("endpoint")
    )
    found: dict[str, Any] = {}
    url = client.meta.endpoint_url
    if "endpoint" not in config and not (urlsplit(url).hostname or "").endswith(_AWS_HOSTS):
        found["endpoint"] = url
    region = config.get("region") or session.get_config_variable("region")
    if region is not None:
        found["region"] = region
    elif "endpoint" not in config and "endpoint" not in found:
        return None  # botocore asks AWS where a bucket is
    if "access_key_id" in config or config.get("skip_signature"):
        return Found(found, None)
    credentials = session.get_credentials()
    if credentials is None:
        return None

    def provide() -> dict[str, Any]:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token or None,
            "expires_at": datetime.now(timezone.utc) + _LIFETIME,
        }

    return Found(found, provide)


def find_for_gcs() -> Found | None:
    """Return Google's application default credentials, None if there are none."""
    if "STORAGE_EMULATOR_HOST" in os.environ:
        return None  # which gcsfs asks, without credentials
    try:
        import google.auth
        from google.auth.transport.requests import Request
    except ImportError:
        return None
    try:
        credentials, _ = google.auth.default(scopes=_GCS_SCOPES)
    except google.auth.exceptions.DefaultCredentialsError:
        return None
    request = Request()

    def provide() -> dict[str, Any]:
        if not credentials.valid:
            credentials.refresh(request)
        return {"token": credentials.token, "expires_at": datetime.now(timezone.utc) + _LIFETIME}

    return Found({}, provide)


def find_for_azure(options: Mapping[str, Any]) -> Found | None:
    """Return the account and the login that adlfs uses; None if it uses a key, or no login.

    Which login that is without an option depends on the version of adlfs: azure-identity's default
    login, or none.

    Args:
        options: The options of adlfs.
    """
    try:
        from adlfs import AzureBlobFileSystem
    except ImportError:
        return None
    fs = AzureBlobFileSystem(**options)
    credential = fs.sync_credential
    if credential is None:
        return None

    def provide() -> dict[str, Any]:
        token = credential.get_token(_AZURE_SCOPE)
        expires_at = datetime.fromtimestamp(token.expires_on, timezone.utc)
        return {"token": token.token, "expires_at": expires_at}

    return Found({"account_name": fs.account_name, "endpoint": fs.account_url}, provide)
