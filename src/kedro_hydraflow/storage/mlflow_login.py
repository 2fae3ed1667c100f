"""Logging in at an MLflow server as MLflow's own client does.

MLflow's client makes its requests in ``http_request`` of ``mlflow/utils/rest_utils.py``. The same
functions of MLflow supply the credentials, headers, plugins and certificates here. MLflow depends
on ``requests``, so that is installed with it.
"""

from __future__ import annotations

import base64
import os
import ssl
import time
from typing import Any, NamedTuple

from typing_extensions import override

from kedro_hydraflow.errors import MissingPackageError
from kedro_hydraflow.redaction import Options, redact_url

_SAME_HEADERS = 10.0
"""Seconds for which the headers of MLflow's providers are reused. Resolving them takes longer
than a request."""

_KUBERNETES = ("kubernetes", "kubernetes-namespaced")


class SignedRequest(NamedTuple):
    """A GET request with its credentials."""

    url: str
    """The URL as it was signed, already quoted."""

    headers: dict[str, str]

    proxy: str | None
    """The proxy that the environment names for the server."""


class MlflowLogin:
    """The login at an MLflow server.

    Args:
        base_url: The server.
        username: The user, instead of the login from MLflow's variables, files and plugins.
        password: The user's password.

    Raises:
        MissingPackageError: If MLflow is not installed.
    """

    def __init__(
        self, base_url: str, username: str | None = None, password: str | None = None
    ) -> None:
        try:
            from mlflow.utils.credentials import get_default_host_creds
        except ImportError as exc:
            raise MissingPackageError(
                f"reading artifacts from the MLflow server {redact_url(base_url)!r} needs MLflow, "
                f"which is not installed ({exc}): pip install 'kedro-hydraflow[mlflow]'"
            ) from exc
        self._get_host_creds = get_default_host_creds
        self._base_url = base_url
        self._own_login = (username, password or "") if username else None
        self._resolved: tuple[float, dict[str, str]] | None = None

    def sign(self, url: str) -> SignedRequest:
        """Return a GET request for a URL of the server.

        The environment is read each time, and a plugin may request a token from a service.
        """
        from requests import Request
        from requests.utils import get_environ_proxies, select_proxy

        headers, auth = self._make_login(url)
        request = Request("GET", url, headers=headers, auth=auth).prepare()
        signed = Options(
            (name, value if isinstance(value, str) else value.decode("latin-1"))
            for name, value in request.headers.items()
        )
        proxy = select_proxy(url, get_environ_proxies(url)) or ""
        return SignedRequest(str(request.url), signed, proxy if "://" in proxy else None)

    def _make_login(self, url: str) -> tuple[dict[str, str], Any]:
        """Return the headers, and the ``auth`` argument for ``requests``."""
        creds = self._get_host_creds(self._base_url)
        headers = {**_get_workspace_header(), **self._resolve_headers()}
        authorization = self._make_authorization(creds)
        if authorization is not None:
            headers["Authorization"] = authorization
        return headers, self._get_auth(creds, url)

    def _resolve_headers(self) -> dict[str, str]:
        from mlflow.tracking.request_header.registry import resolve_request_headers

        now = time.monotonic()
        if self._resolved is None or now - self._resolved[0] > _SAME_HEADERS:
            self._resolved = now, resolve_request_headers()
        return self._resolved[1]

    def _make_authorization(self, creds: Any) -> str | None:
        if self._own_login is not None:
            return _make_basic(*self._own_login)
        if creds.username and creds.password and creds.auth not in _KUBERNETES:
            return _make_basic(creds.username, creds.password)
        return f"Bearer {creds.token}" if creds.token else None

    def _get_auth(self, creds: Any, url: str) -> Any:
        """Return the ``auth`` argument for ``requests``, None if there is none."""
        from requests.utils import get_netrc_auth

        if self._own_login is not None:
            return None
        if creds.aws_sigv4:
            from requests_auth_aws_sigv4 import AWSSigV4

            return AWSSigV4("execute-api")
        if creds.auth:
            from mlflow.tracking.request_auth.registry import fetch_auth

            return fetch_auth(creds.auth)
        return get_netrc_auth(url)  # which counts before a token, in requests

    def make_ssl_context(self) -> ssl.SSLContext:
        """Return the SSL context: how to verify the server, and the client's certificate."""
        from requests import Session
        from requests.utils import DEFAULT_CA_BUNDLE_PATH

        creds = self._get_host_creds(self._base_url)
        with Session() as session:  # it reads REQUESTS_CA_BUNDLE
            settings = session.merge_environment_settings(
                self._base_url, {}, None, creds.verify, self._get_certificate(creds)
            )
        verify, certificate = settings["verify"], settings["cert"]
        authorities = verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH
        if os.path.isdir(authorities):
            context = ssl.create_default_context(capath=authorities)
        else:
            context = ssl.create_default_context(cafile=authorities)
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(certificate)
        return context

    def _get_certificate(self, creds: Any) -> str | None:
        """Return the path of the client's certificate."""
        path: str | None = creds.client_cert_path
        return path

    @property
    def advice(self) -> str:
        """The advice for users when the server denies access."""
        creds = self._get_host_creds(self._base_url)
        if self._own_login is None and creds.auth and not creds.aws_sigv4:
            return (
                f"it rejects the authentication by the plugin MLFLOW_TRACKING_AUTH={creds.auth}. "
                "Plugins that answer a challenge of the server (Kerberos, Digest) are not "
                "supported for artifacts: set artifact_root to the location of the artifacts"
            )
        if self._own_login is None and creds.aws_sigv4:
            return "check the AWS credentials and region that MLFLOW_TRACKING_AWS_SIGV4 signs with"
        return (
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, as for MLflow itself"
        )


class NoLogin(MlflowLogin):
    """Requests to a server that only a record names: without any login, nor MLflow's headers."""

    @override
    def _make_login(self, url: str) -> tuple[dict[str, str], Any]:
        return {}, None

    @override
    def _get_certificate(self, creds: Any) -> str | None:
        return None

    @property
    @override
    def advice(self) -> str:
        return (
            "it is asked without your login, because only the tracking data names it; set "
            "artifact_root to the location of the artifacts"
        )


def _make_basic(username: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def _get_workspace_header() -> dict[str, str]:
    try:
        from mlflow.utils.workspace_context import get_request_workspace
        from mlflow.utils.workspace_utils import WORKSPACE_HEADER_NAME
    except ImportError:  # an MLflow without workspaces
        return {}
    workspace = get_request_workspace()
    return {WORKSPACE_HEADER_NAME: workspace} if workspace else {}
