from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import fsspec.config
import pytest
from fsspec.config import set_conf_env, set_conf_files

from kedro_hydraflow.escaping import escape
from kedro_hydraflow.redaction import get_safe_cause, redact, redact_text, redact_url

PASSWORD = "S3CRET/pass+word é'"


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
        ("zip://a::/local/b.zip", "zip://a::/local/b.zip"),
        ("memory://b/x", "memory://b/x"),
        ("sftp://user:SEC@RET@host/a", "sftp://host/a"),
        ("sftp://user:SECRET::x@host/a", "sftp://host/a"),
        ("webdav+https://SECRET@host/a", "webdav+https://host/a"),
    ],
)
def test_urls_are_redacted(url: str, shown: str | None) -> None:
    assert redact_url(url) == (shown or url)
    assert "SECRET" not in redact_text(f"GET '{url}' (see <{url}>, {url!r}): no")
    assert "SECRET" not in redact_text(f"1{url} -{url} {'x' * 100}{url}")


def test_secret_options_are_redacted() -> None:
    options = {"key": "SECRET1", "anon": "plain", "client_kwargs": {"api_token": "SECRET2"}}
    text = redact("SECRET1 and SECRET2 in s3://u:SECRET3@b/c with plain", options)
    assert text == "*** and *** in s3://b/c with plain"


class Login(NamedTuple):
    """As aiohttp's BasicAuth."""

    login: str
    password: str
    encoding: str = "latin1"


class Credential:
    """As the objects with which clients log in."""

    def __init__(self) -> None:
        self.account_key = PASSWORD
        self.host = "the-host"


OPTIONS: list[Any] = [
    {"username": "user", "password": PASSWORD},
    {"login": "user", "client_kwargs": {"secret": PASSWORD.encode()}},
    {"client_kwargs": {"auth": Login("user", PASSWORD)}},
    {"auth": ["user", PASSWORD]},
    {"headers": {"Authorization": f"Bearer {PASSWORD}"}},
    {
        "headers": {
            "Authorization": f"Basic {base64.b64encode(f'user:{PASSWORD}'.encode()).decode()}"
        }
    },
    {"base_url": f"https://user:{quote(PASSWORD, safe='')}@host/"},
    {"target_options": {"fo": f"sftp://user:{PASSWORD}@host/a.zip"}},
    {"connection_string": f"AccountName=user;AccountKey={PASSWORD};EndpointSuffix=x"},
    {"sas_token": f"sv=1&sig={quote_plus(PASSWORD)}&se=2"},
    {"credential": Credential()},
]

CLIENT_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "DATABRICKS_TOKEN",
    "FSSPEC_S3_SECRET",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)


@pytest.mark.parametrize("options", OPTIONS)
def test_secrets_are_found_wherever_they_are_in_the_options(options: Any) -> None:
    text = redact(f"sent {PASSWORD} to the-host", options)
    assert text == "sent *** to the-host"


@pytest.mark.parametrize("variable", CLIENT_VARIABLES)
def test_secrets_of_the_environment_are_redacted(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "user")
    monkeypatch.setenv(variable, PASSWORD)
    sent = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert redact(f"{PASSWORD} as {sent}", {}) == "*** as ***=="


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/ann/key.json"),
        ("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/home/ann/token"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("MLFLOW_TRACKING_AUTH", "kubernetes"),
        ("GNOME_KEYRING", "/run/keyring"),
    ],
)
def test_other_variables_are_shown(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert redact(f"cannot read {value}", {}) == f"cannot read {value}"


def test_logins_in_urls_of_the_environment_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:{quote(PASSWORD, safe='')}@proxy:3128")
    assert redact(f"the proxy does not like {PASSWORD}", {}) == "the proxy does not like ***"


def test_logins_in_files_are_redacted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    (tmp_path / ".netrc").write_text("machine host login ann password S3CRET/one\n")
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow/credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = bob\nmlflow_tracking_password = S3CRET%%two\n"
    )
    sent = base64.b64encode(b"ann:S3CRET/one").decode()
    assert redact(f"S3CRET/one S3CRET%two {sent}", {}) == "*** *** ***="
    (tmp_path / "other").write_text("default login ann password S3CRET-three\n")
    (tmp_path / "other").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "other"))
    assert redact("S3CRET-three", {}) == "***"
    for file in (".netrc", ".mlflow/credentials", "other"):
        (tmp_path / file).write_text("garbage [ S3CRET\n")
    assert redact("S3CRET", {}) == "S3CRET"


def test_secrets_in_files_of_aws_are_redacted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = S3CRET-id\naws_secret_access_key=S3CRET%/one\n"
        "[other]\nAWS_SESSION_TOKEN = S3CRET%%two=\n"
    )
    (tmp_path / ".aws/config").write_text(
        "[profile a]\nregion = eu-west-1\naws_session_token = S3CRET-three\n"
    )
    shown = redact("S3CRET-id S3CRET%/one S3CRET%%two= S3CRET-three eu-west-1", {})
    assert shown == "*** *** *** *** eu-west-1"
    (tmp_path / "other").write_text("[default]\naws_session_token = S3CRET-four\n")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        assert redact("S3CRET-four", {}) == "S3CRET-four"
        monkeypatch.setenv(name, str(tmp_path / "other"))
        assert redact("S3CRET-four", {}) == "***"
        monkeypatch.delenv(name)
    (tmp_path / ".aws/config").write_bytes(b"garbage \xff [")
    assert redact("S3CRET-id S3CRET-three", {}) == "*** S3CRET-three"


def test_secrets_in_the_configuration_of_fsspec_are_redacted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variables = {"FSSPEC_S3": '{"token": "S3CRET-one", "client_kwargs": {"region_name": "eu-1"}}'}
    headers = {"client_kwargs": {"headers": {"X-Thing": "S3CRET-two"}}}
    (tmp_path / "a.json").write_text(json.dumps({"http": headers}))
    (tmp_path / "b.ini").write_text("[ftp]\nusername = ann\npassword = S3CRET-three\n")
    monkeypatch.setattr(fsspec.config, "conf", {})
    set_conf_env(fsspec.config.conf, variables)
    set_conf_files(str(tmp_path), fsspec.config.conf)
    sent = base64.b64encode(b"ann:S3CRET-three").decode()
    shown = redact(f"S3CRET-one S3CRET-two S3CRET-three {sent} eu-1", {})
    assert shown == "*** *** *** ***== eu-1"


def test_headers_are_secret_whatever_their_names() -> None:
    options = {"client_kwargs": {"headers": {"X-Thing": "thing-7", "Accept": "text/html"}}}
    assert redact("sent thing-7 for text/html", options) == "sent *** for text/html"


def test_a_token_without_a_password_is_redacted() -> None:
    login = base64.b64encode(b"t0ken-of-ann:").decode()
    options = {"headers": {"Authorization": f"Basic {login}"}}
    assert redact("no such token: t0ken-of-ann", options) == "no such token: ***"


@pytest.mark.parametrize(
    "spell",
    [
        str,
        repr,
        json.dumps,
        quote,
        lambda text: quote(text, safe=""),
        lambda text: re.sub("%..", lambda m: m[0].lower(), quote(text, safe="")),
        quote_plus,
        lambda text: base64.b64encode(text.encode()).decode(),
        lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
        lambda text: base64.urlsafe_b64encode(f"user:{text}".encode()).decode(),
        lambda text: quote(base64.b64encode(f"user:{text}".encode()).decode(), safe=""),
    ],
)
def test_secrets_are_redacted_as_they_are_sent(spell: Any) -> None:
    options = {"username": "user", "password": PASSWORD}
    sent = spell(PASSWORD)
    text = redact(f"the answer is {sent} indeed", options)
    assert sent.strip("'\"") not in text
    assert "S3CRET" not in text
    assert text.startswith("the answer is ")
    assert text.endswith(" indeed")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Basic dXNlcjpTRUNSRVQ=\nHost: x", "Authorization: *** Host: x"),
        ("{'Authorization': 'AWS4 Credential=SECRET/x, Signature=SECRET'}", None),
        ("<CIMultiDict('authorization': 'Bearer SECRET')>", None),
        ("got Bearer eyJhbGciOiJIUzI1.SECRET.x-y_z here", "got Bearer *** here"),
        ("token eyJhbGciOiJIUzI1.SECRET.x-y_z here", "token *** here"),
        ('{"access_token": "SECRET", "x": 1}', '{"access_token": "***", "x": 1}'),
        ("/b/k?X-Amz-Signature=SECRET&x=1", "/b/k?X-Amz-Signature=***&x=1"),
        ("Set-Cookie: session=SECRET; Path=/", "Set-Cookie: ***"),
        ("proxy at http://u:SECRET@proxy:80", "proxy at http://proxy:80"),
        ("Bearer authentication required", "Bearer authentication required"),
        ("Basic realm, no token: expired", "Basic realm, no token: expired"),
    ],
)
def test_logins_that_nobody_gave_are_redacted(text: str, shown: str | None) -> None:
    redacted = redact(text, {})
    assert "SECRET" not in redacted
    assert shown is None or redacted == shown


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "-",
        "a.",
        "://",
        "::",
        "a://",
        "x://u:p",
        "x://u:p@",
        "::x://",
        "@",
        "/",
        "?",
        "Bearer ",
        "basic-",
        "authorization",
        "authorization: '",
        "password=",
        "eyJ",
        "eyJ-",
        "eyJaaaaaaaaaa.",
        "<Error>",
        "%41",
        "\x1b",
        " ",
    ],
)
def test_long_texts_are_redacted_in_linear_time(piece: str) -> None:
    text = piece * (500_000 // len(piece))
    assert isinstance(redact_text(text), str)
    assert isinstance(redact_url(f"http://{text}"), str)
    assert len(redact(text, {"password": "S3CRET"})) < 10_000
    assert get_safe_cause(OSError(text), {}) is None


@pytest.mark.parametrize("n", [*range(990, 1010), *range(99_950, 100_050)])
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(n: int) -> None:
    # The server decides where its text is cut: here in front of each letter of the secret.
    secret = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM"
    for text in (f"{'. ' * (n // 2)}{secret}", (secret * (n // len(secret) + 1))[-n:] + secret):
        shown = redact(text + " tail" * 3_000, {"token": secret})
        assert not any(secret[i : i + 8] in shown[60:] for i in range(len(secret) - 8))


def test_foreign_text_is_one_short_line() -> None:
    assert redact("a\r\n  b\tc\x1b[31m\x00\u202e", {}) == "a b c\\x1b[31m\\x00\\u202e"
    assert len(redact("word " * 10_000, {})) < 1_100
    assert escape("plain é 文") == "plain é 文"
    assert escape("a\nb\x07\ud800") == "a\\nb\\x07\\ud800"


def test_a_cause_that_may_show_a_secret_is_omitted() -> None:
    harmless = OSError("no route to host\nat all")
    assert get_safe_cause(harmless, {"key": "SECRET"}) is harmless
    assert get_safe_cause(OSError("denied for SECRET"), {"key": "SECRET"}) is None
    harmless.__cause__ = ValueError("https://host/?sig=SECRET")
    assert get_safe_cause(harmless, {}) is None


class ShyError(Exception):
    def __repr__(self) -> str:
        return "ShyError(headers={'Authorization': 'Basic dXNlcjpTRUNSRVQ='})"


class BrokenError(Exception):
    def __str__(self) -> str:
        raise KeyError("no such field")


def test_a_cause_is_omitted_for_what_its_repr_shows() -> None:
    assert get_safe_cause(ShyError("denied"), {}) is None


def test_a_cause_that_cannot_be_shown_is_omitted() -> None:
    assert get_safe_cause(BrokenError(), {}) is None
    assert get_safe_cause(OSError("\x1b[2J"), {}) is None
    assert get_safe_cause(OSError("x" * 200_000), {}) is None


def test_causes_in_a_circle_end() -> None:
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    assert get_safe_cause(first, {}) is first
