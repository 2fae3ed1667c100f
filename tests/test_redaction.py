from __future__ import annotations

import pytest

from kedro_hydraflow.redaction import get_safe_cause, redact, redact_text, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a", "s3://bucket/a"),
        ("s3://bucket/a@v1", "s3://bucket/a@v1"),
        ("abfs://container@account.dfs.core.windows.net/a", None),
        ("sftp://user@host:22/a", "sftp://user@host:22/a"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("sftp://user:SECRET@host:22/a", "sftp://host:22/a"),
        ("sftp://user:SEC/RET@host/a", "sftp://host/a"),
        ("ftp://user:SE?C#RET@host/a", "ftp://host/a"),
        ("https://SECRET@host/a", "https://host/a"),
        ("https://host/a?sig=SECRET&x=1", "https://host/a"),
        ("https://host/a#SECRET", "https://host/a"),
        ("zip://a::https://u:SECRET@host/b.zip?t=SECRET", "zip://a::https://host/b.zip"),
        ("zip://a?t=SECRET::s3://b/c", "zip://a::s3://b/c"),
        ("memory://b/x", "memory://b/x"),
        ("sftp://user:SEC@RET@host/a", "sftp://host/a"),
        ("webdav+https://SECRET@host/a", "webdav+https://host/a"),
    ],
)
def test_urls_are_redacted(url: str, shown: str | None) -> None:
    assert redact_url(url) == (shown or url)
    assert "SECRET" not in redact_text(f"GET '{url}' (see <{url}>, {url!r}): no")


def test_secret_options_are_redacted() -> None:
    options = {"key": "SECRET1", "anon": "plain", "client_kwargs": {"api_token": "SECRET2"}}
    text = redact("SECRET1 and SECRET2 in s3://u:SECRET3@b/c with plain", options)
    assert text == "*** and *** in s3://b/c with plain"


def test_a_cause_that_may_show_a_secret_is_omitted() -> None:
    harmless = OSError("no route to host")
    assert get_safe_cause(harmless, {"key": "SECRET"}) is harmless
    assert get_safe_cause(OSError("denied for SECRET"), {"key": "SECRET"}) is None
    harmless.__cause__ = ValueError("https://host/?sig=SECRET")
    assert get_safe_cause(harmless, {}) is None
