"""What all commands have in common: exit codes, errors in one line, and a clean standard output."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any

import click

from kedro_hydraflow.errors import KedroHydraflowError, describe
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.progress import showing_progress
from kedro_hydraflow.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUND = 0
NOTHING_FOUND = 1
FAILED = 2
INTERRUPTED = 130
"""The exit codes. The first three are those of grep, the last is that of the shell for Ctrl-C."""


class CommandError(click.ClickException):
    """An error that ends a command."""

    exit_code = FAILED


class _Parser(click.Command):
    """What parses arguments, and ends as `_ending` says."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the arguments."""
        with _ending():
            return super().make_context(*args, **kwargs)


class Command(_Parser):
    """A command whose errors are shown without a traceback, and never end with the exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _ending():
            return super().invoke(ctx)


class Group(_Parser, click.Group):
    """Commands, with the same for what is done before one of them runs."""


@contextmanager
def _ending() -> Iterator[None]:
    """End with an exit code of ours, where click or Python would show a traceback or end with 1."""
    try:
        yield
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    except BrokenPipeError:  # as in `| head`, which has what it wants
        _drop_output()
        raise click.exceptions.Exit(FOUND) from None
    except Exception as exc:
        raise CommandError(show_error(exc)) from None


def show_error(exc: BaseException) -> str:
    """Return the text of an error for the terminal, without credentials."""
    error: BaseException | None = exc
    while error is not None:  # Kedro wraps errors of datasets in its own
        if isinstance(error, KedroHydraflowError):
            return str(error)
        error = error.__cause__
    return redact(describe(exc), {})


@contextmanager
def logs_on_stderr() -> Iterator[None]:
    """Send to standard error what is logged or printed meanwhile.

    Kedro and its plugins log to standard output, which is for the result alone.
    """
    stdout, root = sys.stdout, logging.root
    added = None
    if not root.handlers:
        added = logging.StreamHandler()
        added.setFormatter(_EscapingFormatter("%(levelname)s: %(message)s"))
        added.addFilter(_is_of_interest)
        root.addHandler(added)
    moved = [h for h in _list_handlers() if stdout is not None and h.stream is stdout]
    for handler in moved:
        handler.setStream(sys.stderr)
    try:
        with redirect_stdout(sys.stderr), showing_progress():
            yield
    finally:
        for handler in moved:
            handler.setStream(stdout)
        if added is not None:
            root.removeHandler(added)


def may_have_logged_to_stdout() -> bool:
    """Whether Kedro, which logs as soon as it is imported, does so to standard output."""
    kedro = logging.root.manager.loggerDict.get("kedro")
    if not isinstance(kedro, logging.Logger) or not kedro.isEnabledFor(logging.INFO):
        return False
    for handler in logging.root.handlers:
        console = getattr(handler, "console", None)  # of rich
        stream = getattr(handler, "stream", None) if console is None else console.file
        if stream is not None and stream is sys.stdout:
            return True
    return False


class _EscapingFormatter(logging.Formatter):
    """A formatter for loggers of others, too, whose messages may have any names in them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record without control characters."""
        return escape(super().format(record), keep="\n")


def _is_of_interest(record: logging.LogRecord) -> bool:
    """Whether a record is ours or Kedro's. Clients of storages log each attempt to connect."""
    return record.name.startswith("kedro") or record.levelno >= logging.ERROR


def _list_handlers() -> list[logging.StreamHandler[Any]]:
    known = (logging.root, *logging.root.manager.loggerDict.values())
    loggers = [each for each in known if isinstance(each, logging.Logger)]
    handlers = {handler for each in loggers for handler in each.handlers}
    return [handler for handler in handlers if isinstance(handler, logging.StreamHandler)]


def write(text: str) -> None:
    """Write to standard output. Characters that its encoding lacks are escaped."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        click.echo(shown, nl=False, color=True)
    except OSError:
        _drop_output()
        raise


def _drop_output() -> None:
    """Keep Python from writing the rest when it ends, which would fail again."""
    with suppress(OSError, ValueError, AttributeError):  # it is closed, or no file as in tests
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
