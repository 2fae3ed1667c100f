"""Loggers whose messages show no control characters."""

from __future__ import annotations

import logging
from typing import Any

from kedro_hydraflow.errors import KedroHydraflowError
from kedro_hydraflow.escaping import escape


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, which escapes the names that it logs."""
    logger = logging.getLogger(name)
    logger.addFilter(_escape_record)
    return logger


def _escape_record(record: logging.LogRecord) -> bool:
    if isinstance(record.msg, str):
        record.msg = escape(record.msg)
    if isinstance(record.args, tuple):
        record.args = tuple(map(_escape_argument, record.args))
    return True


def _escape_argument(argument: Any) -> Any:
    """Return an argument as it is if its text can be shown, otherwise the text with escapes."""
    if isinstance(argument, (int, float, KedroHydraflowError)):
        return argument
    text = str(argument)
    return argument if text.isprintable() else escape(text)
