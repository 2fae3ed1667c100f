"""Looking for planted secrets in everything that the package gives away."""

from __future__ import annotations

import base64
import functools
import gc
import html
import json
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import pytest
from fsspec.config import conf
from upath import UPath

MARK = "Zq7"
"""How each planted secret begins."""

_PACKAGE = "kedro_hydraflow"


def make_secret(name: str) -> str:
    """Return a secret with characters that each encoding writes in another way."""
    return f"{MARK}{name}+/=%@: x"


@functools.cache
def spell(secret: str) -> frozenset[str]:
    """Return a secret in all encodings, apart from how the package itself spells it."""
    spellings = {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        html.escape(secret),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        quote(secret.encode("unicode_escape").decode()),
    }
    spellings |= {re.sub("%..", lambda m: m[0].lower(), text) for text in spellings}
    for before in ("", "a", "aa"):  # the beginnings of a group of three letters in base64
        data = f"{before}{secret}".encode()
        start = -(-len(before) * 4 // 3)  # without the digits that depend on what is before
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            digits = encode(data[: len(data) // 3 * 3]).decode()[start:]
            spellings |= {digits, quote(digits, safe="")}
    return frozenset(text for text in spellings if len(text) > 5)


def find_leaks(text: str, secrets: Iterable[str]) -> list[str]:
    """Return the secrets that a text shows, and any trace of one."""
    leaks = [f"{s} as {spelling}" for s in secrets for spelling in spell(s) if spelling in text]
    if not leaks and (MARK in text or MARK in unquote(text)):
        position = unquote(text).index(MARK)
        leaks.append(f"{unquote(text)[max(position - 40, 0) : position + 40]!r}")
    return leaks


class Outputs:
    """Texts that were given away, by where they were."""

    def __init__(self, secrets: Iterable[str], index: Path) -> None:
        self._secrets = [*secrets]
        self.index = index
        """Where the index is to be."""
        self.texts: list[tuple[str, str]] = []

    def watch(self, secrets: Iterable[str]) -> None:
        """Look for other secrets too."""
        self._secrets += secrets

    def add(self, where: str, text: str) -> None:
        self.texts.append((where, text))

    def check(self) -> None:
        """Fail if one of them shows a secret."""
        leaks = [
            f"{where}: {leak}"
            for where, text in self.texts
            for leak in find_leaks(text, self._secrets)
        ]
        assert not leaks, "\n".join(leaks[:20])

    def add_error(self, error: BaseException) -> None:
        """Add an error, its causes and notes, as tracebacks show them, with our variables."""
        self.add("traceback", "".join(traceback.format_exception(error)))
        for link in iter_errors(error):
            name = type(link).__name__
            self.add(f"str of {name}", str(link))
            self.add(f"repr of {name}", repr(link))
            self.add(f"notes of {name}", repr(getattr(link, "__notes__", None)))
            if _is_ours(link):
                self.add(f"attributes of {name}", repr(vars(link)) + repr(link.args))
            for frame in iter_frames(link.__traceback__):
                for variable, value in frame.f_locals.items():
                    if _is_ours(value) or isinstance(value, UPath):  # others are the caller's
                        where = f"{variable} in {frame.f_code.co_name}"
                        self.add(where, _try_repr(value))

    def add_objects(self, top: Any) -> None:
        """Add the reprs of our objects that can be reached from an object."""
        for value in iter_objects(top):
            self.add(f"repr of {type(value).__name__}", _try_repr(value))

    def add_files(self, folder: Path) -> None:
        """Add the names and contents of all files in a folder, apart from copies of artifacts."""
        for path in folder.rglob("*"):
            relative = path.relative_to(folder)
            self.add("name in a cache", str(relative))
            if path.is_file() and "files" not in relative.parts:
                self.add(f"content of {path.name}", path.read_bytes().decode("latin-1"))


def iter_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, the failures in it, and the causes that a traceback shows."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [failure.error for failure in getattr(link, "failures", ())]
        waiting.append(link.__cause__)
        if not link.__suppress_context__:
            waiting.append(link.__context__)


def iter_frames(trace: TracebackType | None) -> Iterator[FrameType]:
    """Yield the frames of our own code in a traceback."""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.startswith(_PACKAGE):
            yield trace.tb_frame
        trace = trace.tb_next


def iter_objects(top: Any) -> Iterator[Any]:
    """Yield our objects, and paths, that can be reached from an object."""
    seen = {id(top)}
    waiting = [top]
    while waiting:
        value = waiting.pop()
        is_ours = _is_ours(value) or isinstance(value, UPath)
        if is_ours:
            yield value
        if is_ours or isinstance(value, (list, tuple, set, frozenset, Mapping)):
            for inner in gc.get_referents(value):
                if not isinstance(inner, (type, ModuleType)) and id(inner) not in seen:
                    seen.add(id(inner))
                    waiting.append(inner)


def _is_ours(value: object) -> bool:
    return type(value).__module__.startswith(_PACKAGE)


def _try_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return ""


def run_and_collect(use: Callable[[], Any], outputs: Outputs) -> Any:
    """Return what a function returns, None after an error; add either to the outputs."""
    try:
        result = use()
    except Exception as exc:
        outputs.add_error(exc)
        return None
    outputs.add_objects(result)
    return result


CLIENT_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "DATABRICKS_TOKEN",
    "FSSPEC_S3_SECRET",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
"""The variables from which clients take secrets."""


def plant_in_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> list[str]:
    """Put secrets into all variables, files and settings of clients; return them."""
    secrets = []
    for number, name in enumerate(CLIENT_VARIABLES):
        secrets.append(make_secret(f"env{number}"))
        monkeypatch.setenv(name, secrets[-1])
    names = ("netrc", "mlflow", "proxy", "aws", "fsspec")
    in_files = {name: make_secret(name).replace(" ", "_") for name in names}
    netrc = home / ".netrc"
    netrc.write_text(f"default login ann password {in_files['netrc']}\n")
    netrc.chmod(0o600)
    (home / ".mlflow").mkdir()
    text = in_files["mlflow"].replace("%", "%%")
    (home / ".mlflow/credentials").write_text(f"[mlflow]\nmlflow_tracking_password = {text}\n")
    (home / ".aws").mkdir()
    settings = ("aws_access_key_id = ours", "aws_secret_access_key = theirs")
    text = "\n".join(["[default]", *settings, f"aws_session_token = {in_files['aws']}"])
    (home / ".aws/credentials").write_text(text)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    # fsspec reads its variables and files when it is imported.
    monkeypatch.setitem(conf, "http", {"headers": {"X-Conf": in_files["fsspec"]}})
    monkeypatch.setenv("HOME", str(home))
    quoted = quote(in_files["proxy"], safe="")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"https://ann:{quoted}@registry.example")
    assert os.environ["HOME"] == str(home)
    return [*secrets, *in_files.values()]
