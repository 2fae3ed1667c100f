"""Times as users write them."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from typing import Any, TypeVar

T = TypeVar("T")

EXPECTED = "a time such as 2026-01-25, '2026-01-25 22:15:10', or 'now - 7d'"
"""What `to_time` takes, for messages."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_MIN_MILLISECONDS = 10**11
"""A time in 1973. Smaller numbers, such as the date 20260101, are not taken for milliseconds."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FRACTION = re.compile(r"(?<=:\d\d)\.(\d{1,6})\d*")
_RELATIVE = re.compile(r"now(?:\s*([-+])\s*(\d+(?:\.\d+)?)\s*([smhdw]))?", re.IGNORECASE)


def to_time(value: Any, now: datetime | None = None) -> datetime:
    """Return the time that a value means. Without a time zone it is in UTC.

    Args:
        value: A datetime, a date (its midnight), text in ISO 8601, ``now``, ``now - 7d`` (with
            ``s``, ``m``, ``h``, ``d`` or ``w``), or milliseconds since 1970.
        now: The time that ``now`` stands for, by default that of the call.

    Raises:
        ValueError: If it means no time.
    """
    try:
        if isinstance(value, datetime):
            return to_utc(value)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
        if isinstance(value, int) and value >= _MIN_MILLISECONDS:
            return from_milliseconds(value)
        if isinstance(value, str):
            return _parse(value.strip(), now)
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError(f"expected {EXPECTED}, found {value!r}")


def from_milliseconds(value: int) -> datetime:
    """Return the time that is so many milliseconds after the beginning of 1970.

    Raises:
        OverflowError: If it is not in the years 1 to 9999.
    """
    return _EPOCH + timedelta(milliseconds=value)  # exact, other than a float of seconds


def show_time(value: datetime) -> str:
    """Return a time to the second, in UTC with ``Z`` if it has a time zone."""
    if value.tzinfo is None:
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}Z"


def to_utc(value: T) -> T:
    """Return a datetime without a time zone as one in UTC, and anything else unchanged."""
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value


def parse_iso(text: str) -> datetime:
    """Return the time that text in ISO 8601 means, with a time zone if the text has one.

    Raises:
        ValueError: If it is not in ISO 8601.
    """
    # Python 3.10 reads neither Z nor fractions of other than 3 or 6 digits.
    text = _FRACTION.sub(lambda match: f".{match[1]:0<6}", text.replace("Z", "+00:00"))
    return datetime.fromisoformat(text)


def _parse(text: str, now: datetime | None) -> datetime:
    relative = _RELATIVE.fullmatch(text)
    if relative is None:
        return to_utc(parse_iso(text))
    sign, number, unit = relative.groups()
    now = now or datetime.now(timezone.utc)
    if sign is None:
        return now
    distance = timedelta(**{_UNITS[unit.lower()]: float(number)})
    return now - distance if sign == "-" else now + distance
