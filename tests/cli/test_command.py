from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import pytest
from kedro.io import DatasetError
from rich.console import Console
from rich.logging import RichHandler

from kedro_hydraflow.cli.command import (
    logs_on_stderr,
    may_have_logged_to_stdout,
    show_error,
    write,
)
from kedro_hydraflow.errors import Lines, OptionError

KEDRO = logging.getLogger("kedro")


def set_handlers(patch: pytest.MonkeyPatch, *handlers: logging.Handler) -> None:
    """Replace the handlers of the root logger, those of pytest included."""
    patch.setattr(logging.getLogger(), "handlers", list(handlers))
    patch.setattr(KEDRO, "handlers", [])
    KEDRO.setLevel(logging.INFO)


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    level = KEDRO.level
    yield
    KEDRO.setLevel(level)


def test_what_is_logged_or_printed_goes_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_handlers(monkeypatch, RichHandler(console=Console(width=200)))
    KEDRO.addHandler(logging.StreamHandler(sys.stdout))
    with logs_on_stderr():
        print("printed")
        KEDRO.info("logged")
    print("result")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert "printed" in captured.err
    assert captured.err.count("logged") == 2
    KEDRO.info("later")  # as before
    assert capsys.readouterr().out.count("later") == 2


def test_without_a_handler_warnings_are_shown_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_handlers(monkeypatch)
    with logs_on_stderr():
        logging.getLogger("kedro_hydraflow.finding").warning("skipped: %s", "a")
        logging.getLogger("urllib3.connectionpool").warning("Retrying")
        logging.getLogger("urllib3.connectionpool").error("failed \x1b[2J")
        logging.getLogger("kedro_hydraflow.finding").info("found")
    assert capsys.readouterr() == ("", "WARNING: skipped: a\nERROR: failed \\x1b[2J\n")
    assert logging.getLogger().handlers == []


def test_whether_kedro_logs_to_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    set_handlers(monkeypatch)
    assert not may_have_logged_to_stdout()
    to_stderr = RichHandler(console=Console(stderr=True))
    set_handlers(monkeypatch, logging.StreamHandler(sys.stderr), to_stderr)
    assert not may_have_logged_to_stdout()
    for handler in (logging.StreamHandler(sys.stdout), RichHandler(console=Console())):
        set_handlers(monkeypatch, handler)
        assert may_have_logged_to_stdout()
    KEDRO.setLevel(logging.WARNING)
    assert not may_have_logged_to_stdout()


def test_errors_of_datasets_are_ours() -> None:
    error = DatasetError("Failed while loading data from dataset X(path=...)")
    error.__cause__ = OptionError("seed: expected an integer")
    assert show_error(error) == "seed: expected an integer"
    assert show_error(OptionError(Lines("several:\n- one"))) == "several:\n- one"
    shown = show_error(DatasetError("Failed:\n  token=abcdef12345 is wrong"))
    assert shown == "DatasetError: Failed: token=*** is wrong"


def test_characters_that_the_encoding_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding="ascii", newline="\n"))
    write("実…\n")
    assert buffer.getvalue() == b"\\u5b9f\\u2026\n"
