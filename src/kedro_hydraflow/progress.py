"""How far a call has come, on standard error: in terminals and notebooks alone, and after a second.

A step, such as finding runs, is shown as what was done in it: `step` names it, and whatever lists
and reads counts in it. Nothing is shown unless a caller asks for it with `showing_progress`.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BAR_DELAY = 1.0
"""The seconds after which something is shown."""


class _Step:
    """What is being done, since when, and how many runs or files were found in it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.start = time.monotonic()
        self.n_found = 0


_STEP: ContextVar[_Step | None] = ContextVar("step", default=None)
"""What is being done; None where nothing is to be shown. Other threads have their own."""


@contextmanager
def showing_progress(*, show: bool = True) -> Iterator[None]:
    """Show the steps of the block, for those who watch."""
    with _setting(_Step("reading") if show and is_watched() else None):
        yield


@contextmanager
def step(text: str) -> Iterator[None]:
    """Name what the block does. In a step that is being shown, it does not count."""
    with _setting(None if _STEP.get() is None else _Step(text)):
        yield


@contextmanager
def _setting(value: _Step | None) -> Iterator[None]:
    previous = _STEP.get()
    _STEP.set(value)
    try:
        yield
    finally:
        _STEP.set(previous)  # not `reset`: a generator may end in another context


@contextmanager
def counting(total: int, unit: str = "file") -> Iterator[Callable[[int], object]]:
    """Show how many of a number are done; yield the function that is called with those done."""
    current = _STEP.get()
    if current is None:
        yield _ignore
        return
    bar = _Bar(current.start, desc=current.text, total=total, unit=unit, leave=False)
    with _closing(bar):
        yield bar.advance


@contextmanager
def counting_found() -> Iterator[Callable[[int], object]]:
    """Show how many are found in the step so far; yield the function that counts them."""
    current = _STEP.get()
    if current is None:
        yield _ignore
        return
    bar = _Bar(
        current.start, desc=current.text, unit=" found", leave=False, initial=current.n_found
    )
    with _closing(bar):
        yield bar.advance
    current.n_found = bar.n


@contextmanager
def progress_bar(
    total: int | None, *, show: bool, n_done: int = 0
) -> Iterator[Callable[[int], object]]:
    """Show a bar of runs, instead of the steps of the block; yield the function that moves it on.

    It stays there. It is for those who watch, like the steps.
    """
    if not (show and is_watched()):
        yield _ignore
        return
    bar = _Bar(time.monotonic(), total=total, initial=n_done, unit="run")
    with _setting(None), _closing(bar):
        yield bar.advance


def is_watched() -> bool:
    """Whether standard error is that of a terminal or a notebook."""
    if is_terminal(sys.stderr):
        return True
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal. Python has None for one that was closed when it began."""
    return stream is not None and stream.isatty()


class _Bar:
    """A bar of tqdm, which is imported and shown after `BAR_DELAY`."""

    def __init__(self, start: float, *, initial: int = 0, **options: Any) -> None:
        self.n = initial
        self._shown_from = start + BAR_DELAY
        self._options = options
        self._bar: Any = None

    def advance(self, count: int) -> None:
        """Move on by a number."""
        if self._bar is None and time.monotonic() >= self._shown_from:
            from tqdm.auto import tqdm

            self._bar = tqdm(initial=self.n, **self._options)
        self.n += count
        if self._bar is not None:
            self._bar.update(count)

    def close(self) -> None:
        """End it."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def _closing(bar: _Bar) -> Iterator[None]:
    try:
        yield
    finally:
        bar.close()


def _ignore(_: int) -> None:
    pass
