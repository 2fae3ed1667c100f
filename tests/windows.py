"""The module ``os`` as code finds it on Windows, for tests of what modules make of paths there."""

from __future__ import annotations

import ntpath
import os
from types import ModuleType
from typing import Any

import pytest


class WindowsOs:
    """``os`` with the names and paths of Windows. Its calls are those of this system."""

    name = "nt"
    sep = "\\"
    altsep = "/"
    path = ntpath

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def use_windows(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Let modules, and no others, take this system for Windows."""
    for module in modules:
        monkeypatch.setattr(module, "os", WindowsOs())
