"""What to write for what SQL, Python and pandas have and filters have not, for messages."""

from __future__ import annotations

import re

_METHOD = re.compile(r"(.+)\.(is|not)(?:na|null)\(\)")

_BETWEEN = re.compile(r"(not\s+)?between\b", re.IGNORECASE)
_IS = re.compile(r"is\s+(not\s+)?(?:(?P<null>none|nan|na)\b|\S)", re.IGNORECASE)
_REST_OF_KEY = re.compile(r"[^=!<>~()\"'`]{0,50}[^=!<>~()\"'`\s](?=\s?[=!<>~])")

_SYMBOLS = {"<>": "!=", "=>": ">=", "=<": "<=", "===": "==", "!==": "!="}
_SYMBOL = re.compile("|".join(_SYMBOLS))
_END_OF_SYMBOL = re.compile(r"[=!<>]+$")

_VALUES = {
    "none": "null",
    "nan": ".nan",
    **dict.fromkeys(("inf", "+inf", "infinity"), ".inf"),
    **dict.fromkeys(("-inf", "-infinity"), "-.inf"),
}


def advise_on_condition(rest: str) -> str:
    """Return what to write where no condition begins with the rest of a filter, or nothing."""
    return "; write 'not' for '!'" if rest[:1] == "!" else ""


def advise_on_operator(key: str, rest: str) -> str:
    """Return what to write where no operator follows a key, or nothing.

    Args:
        key: The key.
        rest: The rest of the filter.
    """
    if method := _METHOD.fullmatch(key):
        negation = "not " if method[2] == "not" else ""
        return f"; write '{method[1]} is {negation}null'"
    if between := _BETWEEN.match(rest):
        span = f"{key} >= 1 and {key} <= 3"
        return f"; write 'not ({span})'" if between[1] else f"; write '{span}'"
    if test := _IS.match(rest):
        if test["null"]:
            return f"; write '{key} is {'not ' if test[1] else ''}null'"
        return f"; write {'!=' if test[1] else '=='!r} for a value"
    if more := _REST_OF_KEY.match(rest):
        return f"; if the key has spaces, quote it: `{key} {more[0]}`"
    return ""


def advise_on_symbol(before: str, rest: str) -> str:
    """Return what to write where no value, but more of a symbol, follows an operator, or nothing.

    Args:
        before: The text before, which ends with the operator.
        rest: The rest of the filter.
    """
    operator = _END_OF_SYMBOL.search(before)
    found = _SYMBOL.match(operator[0] + rest[:2]) if operator else None
    return f"; write {_SYMBOLS[found[0]]!r} for {found[0]!r}" if found else ""


def explain_value(text: str) -> str | None:
    """Return why an unquoted text is hardly what was meant, None if it may be."""
    meant = _VALUES.get(text.lower())
    if meant is None:
        return None
    return f"{text!r} is text in YAML; write {meant}, or '{text}' in quotes for the text"
