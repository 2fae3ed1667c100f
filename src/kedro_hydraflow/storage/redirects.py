"""Refusing redirects to hosts that the caller has not named.

aiohttp would send a session's login and all headers but two to the new host, and httpx all
headers but one. curl and browsers send no login there.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.errors import ForeignHostError, StorageError
from kedro_hydraflow.redaction import redact_url
from kedro_hydraflow.storage.answers import make_size_trace
from kedro_hydraflow.storage.hosts import advise_to_allow, get_host

if TYPE_CHECKING:
    from types import SimpleNamespace

_HARMLESS = frozenset({"accept", "accept-encoding", "range", "user-agent"})
"""The headers that every host gets, in lower case."""


def check_redirect(url: str, target: str, allowed: frozenset[str] | None = frozenset()) -> bool:
    """Return whether a redirect stays on its host.

    Args:
        url: The URL that was asked for.
        target: The URL in the answer.
        allowed: The other hosts to which a redirect may lead. None for a client that cannot leave
            out its login there.

    Raises:
        ForeignHostError: If it leads to a host that is not allowed.
    """
    host = get_host(target)
    if host is not None and host == get_host(url):
        return True
    if host is None or allowed is None or host not in allowed:
        advice = f", or {advise_to_allow(host)} to have it asked, without the login"
        raise ForeignHostError(
            f"{redact_url(url)!r} redirects to {redact_url(target)!r}, another host, which is not "
            f"asked; give the URL on that host{'' if allowed is None else advice}"
        )
    return False


@functools.lru_cache
def make_trace(allowed: frozenset[str] = frozenset()) -> Any:
    """Return what checks the redirects of an aiohttp session, an entry of its ``trace_configs``.

    To an allowed host goes no header that may be a login. Do not give the session an ``auth``:
    it would be sent to all hosts.
    """
    from aiohttp import TraceConfig
    from yarl import URL

    async def check(session: Any, context: SimpleNamespace, params: Any) -> None:  # noqa: ARG001
        response = params.response
        location = response.headers.get("Location") or response.headers.get("URI")
        if location is None:
            return
        try:
            target = response.url.join(URL(location))
            is_same = check_redirect(str(response.url), str(target), allowed)
        except ValueError as exc:
            response.close()
            raise ForeignHostError(
                f"{redact_url(str(response.url))!r} redirects to no URL"
            ) from exc
        except ForeignHostError:
            response.close()
            raise
        if not is_same:
            for name in [*params.headers]:
                if name.lower() not in _HARMLESS:
                    params.headers.popall(name, None)

    trace = TraceConfig()
    trace.on_request_redirect.append(check)
    return trace


def check_httpx_response(response: Any) -> None:
    """Check a redirect, as an event hook of an httpx client for responses."""
    if response.has_redirect_location:
        target = response.url.join(response.headers["Location"])
        check_redirect(str(response.url), str(target), None)


@functools.lru_cache
def make_s3_session_class(allowed: frozenset[str] = frozenset()) -> type:
    """Return a class for the option ``http_session_cls`` of aiobotocore that checks answers.

    botocore answers the redirects of S3 to other regions itself: they have no ``Location``.
    """
    from aiobotocore.httpsession import AIOHTTPSession
    from botocore.exceptions import HTTPClientError

    traces = [make_trace(allowed), make_size_trace()]
    for trace in traces:
        trace.freeze()

    class Session(AIOHTTPSession):  # type: ignore[misc]
        async def _get_session(self, proxy_url: str | None) -> Any:
            session = await super()._get_session(proxy_url)
            session.trace_configs.extend(t for t in traces if t not in session.trace_configs)
            return session

        async def send(self, request: Any) -> Any:
            try:
                return await super().send(request)
            except HTTPClientError as exc:
                if isinstance(exc.kwargs.get("error"), StorageError):
                    raise exc.kwargs["error"] from None
                raise

    # fsspec tells filesystems apart by the repr of their options.
    Session.__qualname__ = f"Session for {sorted(allowed)}"
    return Session


def refuse_redirects_of_azure(fs: Any) -> None:
    """Have a filesystem follow no redirects if it is one of adlfs, which has no option for it.

    Azure's storage has none, and its SDK would sign the request for another host again.
    """
    client = getattr(fs, "service_client", None)
    if client is None or getattr(fs, "refuses_redirects", False):  # fsspec shares filesystems
        return
    fs.service_client = type(client)(
        client.primary_endpoint,
        credential=client.credential,
        secondary_hostname=client.secondary_hostname,
        permit_redirects=False,
    )
    fs.service_client.location_mode = client.location_mode
    fs.refuses_redirects = True
