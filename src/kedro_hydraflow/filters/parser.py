"""The language of filters: from text to `expressions`.

The grammar, in which words may be in upper or lower case::

    filter    = and {"or" and}
    and       = not {"and" not}
    not       = "not" not | "(" filter ")" | condition
    condition = KEY "is" ["not"] "null"
              | KEY ("==" | "=" | "!=" | "<" | "<=" | ">" | ">=") VALUE
              | KEY ["not"] ("in" LIST | ("like" | "ilike" | "contains") VALUE)
              | KEY "~" VALUE

A key is text without spaces, operators, quotes and unbalanced parentheses. What has them is quoted:
``metrics.`val loss` ``. It is read by `parse_key`. A value is YAML. Without quotes and brackets it
ends at ``and``, ``or``, the ``)`` of a group, or the end, so that it may have spaces. What follows
``~`` and the like is text, whatever it looks like in YAML.

It is read by recursive descent: a function for each rule. A parser generator would need the same
rules, and could not say where an unquoted value ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from kedro_hydraflow.config import is_plain_scalar, parse_scalar, parse_texts
from kedro_hydraflow.errors import ConfigError, FilterError, OptionError
from kedro_hydraflow.fact_checks import check_fact_value
from kedro_hydraflow.filters.expressions import (
    And,
    Comparison,
    Expression,
    IsNull,
    Level,
    Not,
    Or,
    get_level,
    iter_keys,
    split_conjunction,
)
from kedro_hydraflow.filters.other_languages import (
    advise_on_condition,
    advise_on_operator,
    advise_on_symbol,
    explain_value,
)
from kedro_hydraflow.keys import parse_key

_SPACE = re.compile(r"\s*")
_KEY = re.compile(
    r"""(?:
        [^\s=!<>~"'`()]
        | (?<! [^\s.(["'`] ) (?: "[^"]*" | '[^']*' | `[^`]*` )
        | (?<= [^\s(] ) \( [^\s()]* \)
    )+""",
    re.VERBOSE,
)
_QUOTED_PART = re.compile(r"""(["'`])(.*?)\1 | (\([^\s()]*\))""", re.DOTALL | re.VERBOSE)
_TO_BE_QUOTED = re.compile(r"""[\s=!<>~()"'`]|^(?:and|or|not)$""", re.IGNORECASE)
_SYMBOL = re.compile(r"(?:==|!=|<=|>=|=|<|>)(?!~)|~")
_WORD = re.compile(r"(not\s+)?(in|like|ilike|contains)(?![\w.])", re.IGNORECASE)
_NULL_TEST = re.compile(r"is\s+(not\s+)?null(?![\w.])", re.IGNORECASE)
_NOT = re.compile(r"not(?=[\s(])", re.IGNORECASE)
_AND = re.compile(r"and(?=[\s(]|$)", re.IGNORECASE)
_OR = re.compile(r"or(?=[\s(]|$)", re.IGNORECASE)
_END_OF_PLAIN = re.compile(r"\s+(?:and|or)(?=[\s(]|$)|[()]", re.IGNORECASE)
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_BRACKETS = {"[": "]", "{": "}", "(": ")"}
_OF_OTHER_LANGUAGES = re.compile(r"\s(&&|\|\|)\s")
_OF_NEXT_CONDITION = re.compile(
    r"[=!<>]=\s*[^\s=]|(?<!\S)(?:[=<>~]\s|is\s+(?:not\s+)?null$|(?:not\s+)?in\s*\[)", re.IGNORECASE
)

_PATTERNS = ("~", "like", "ilike")
_OPERATORS = "==, !=, <, <=, >, >=, in, not in, ~, is null, like, ilike, contains"


Filters = str | Sequence[str] | None
"""One filter, or several of which all have to hold."""


@dataclass(frozen=True)
class Condition:
    """A condition on runs: one of those that all have to be met."""

    filter: str
    """The filter that it is from, for messages."""

    expression: Expression

    @property
    def text(self) -> str:
        """The condition as it was written."""
        return self.expression.text

    @property
    def level(self) -> Level:
        """What has to be read of a run to say whether it meets the condition."""
        return max(map(get_level, iter_keys(self.expression)))


def parse_filters(filters: Filters) -> tuple[Condition, ...]:
    """Return the conditions of one filter or several, all of which have to be met.

    Raises:
        FilterError: If a filter has another form than `kedro_hydraflow.filters.parser` says, or
            compares a fact with a value that it never has.
        OptionError: If it is neither text nor a list.
    """
    if filters is None:
        return ()
    if not isinstance(filters, (str, Sequence)):
        raise OptionError(
            "filters: expected text such as 'status == FINISHED and seed > 1', or a list of such "
            f"texts, found {filters!r}"
        )
    texts = [filters] if isinstance(filters, str) else filters
    return tuple(
        Condition(text, expression)
        for text in texts
        for expression in split_conjunction(_Parser(text).parse())
    )


def quote_key(key: str) -> str:
    """Return a key as it has to be written in a filter."""
    if not _TO_BE_QUOTED.search(key):
        return key
    parts = filter(None, re.split("(`+)", key))
    return "".join(f'"{part}"' if part[0] == "`" else f"`{part}`" for part in parts)


class _Parser:
    """Reads one filter. Each method reads from the current position on, and moves it."""

    def __init__(self, text: Any) -> None:
        if not isinstance(text, str):
            raise FilterError(f"filter {text!r}: expected text such as 'seed > 1'")
        self._text = text
        self._position = 0
        self._depth = 0
        """How many groups and ``not`` are around the current position."""

    def parse(self) -> Expression:
        expression = self._parse_or()
        if not self._at_end():
            hint = "; quote a value with a bracket in it" if self._peek() in ")]}" else ""
            self._fail(f"expected 'and', 'or' or the end{hint}")
        return expression

    def _parse_or(self) -> Expression:
        start = self._skip_space()
        parts = [self._parse_and()]
        while self._take(_OR):
            parts.append(self._parse_and())
        return parts[0] if len(parts) == 1 else Or(self._get_text(start), parts)

    def _parse_and(self) -> Expression:
        start = self._skip_space()
        parts = [self._parse_not()]
        while self._take(_AND):
            parts.append(self._parse_not())
        return parts[0] if len(parts) == 1 else And(self._get_text(start), parts)

    def _parse_not(self) -> Expression:
        start = self._skip_space()
        if self._depth > _MAX_DEPTH:
            self._fail(f"'not' and groups are deeper than {_MAX_DEPTH} levels")
        if self._take(_NOT):
            self._depth += 1
            part = self._parse_not()
            self._depth -= 1
            return Not(self._get_text(start), part)
        if self._peek() != "(":
            return self._parse_condition()
        self._position += 1
        self._depth += 1
        expression = self._parse_or()
        self._depth -= 1
        if self._peek() != ")":
            self._fail(f"expected 'and', 'or' or the ')' of the group at column {start + 1}")
        self._position += 1
        return expression

    def _parse_condition(self) -> Expression:
        start = self._skip_space()
        match = self._take(_KEY)
        if match is None or _AND.fullmatch(match[0]) or _OR.fullmatch(match[0]):
            self._position = start
            hint = advise_on_condition(self._text[start:]) or self._explain_word(start)
            self._fail("expected a condition such as 'seed > 1'", hint)
        key_text = _QUOTED_PART.sub(r"\2\3", match[0])
        try:
            key = parse_key(key_text)
        except OptionError as exc:
            raise self._make_error(str(exc), start) from exc
        if null_test := self._take(_NULL_TEST):
            is_null = IsNull(self._get_text(start), key)
            return Not(is_null.text, is_null) if null_test[1] else is_null
        operator, is_negated = self._parse_operator(match[0], start)
        value_start = self._skip_space()
        value, texts = self._parse_value(operator, is_logged_text=key.kind in ("params", "tags"))
        text = self._get_text(start)
        expression: Expression
        if value is None and operator == "==":
            expression = IsNull(text, key)
        else:
            problem = check_fact_value(key, operator, value, texts)
            if problem is not None:
                raise self._make_error(problem, value_start)
            expression = _make_comparison(Comparison(text, key, operator, value, texts))
        return Not(text, expression) if is_negated else expression

    def _parse_operator(self, key: str, start: int) -> tuple[str, bool]:
        """Return an operator of a `Comparison`, and whether its opposite is meant."""
        match = self._take(_SYMBOL)
        if match is not None:
            return {"=": "==", "!=": "=="}.get(match[0], match[0]), match[0] == "!="
        match = self._take(_WORD)
        if match is None:
            is_in_key = self._peek() in "\"'`" and not self._text[self._position - 1].isspace()
            hint = "; a key with a quote in it goes into quotes of another kind"
            if not is_in_key:
                rest = self._text[self._skip_space() :]
                hint = self._explain_word(start) or advise_on_operator(key, rest)
            self._fail(f"expected an operator after {key!r}: one of {_OPERATORS}", hint)
        return match[2].lower(), match[1] is not None

    def _parse_value(self, operator: str, *, is_logged_text: bool) -> tuple[Any, Any]:
        """Return a value, and the same with every scalar in it as text."""
        written = self._text[max(0, self._position - 2) : self._position]
        start = self._skip_space()
        is_list = operator == "in"
        is_absent = self._at_end() or self._peek() in "=<>!)"
        if is_absent or _AND.match(self._text, start) or _OR.match(self._text, start):
            hint = advise_on_symbol(written, self._text[start:])
            self._fail(f"expected a value after {operator!r}", hint)
        is_plain = False
        if self._peek() in "\"'":
            self._take_quoted()
        elif self._peek() in ("[{(" if is_list else "" if operator in _PATTERNS else "[{"):
            self._take_brackets()
        else:
            is_plain = True
            self._take_plain()
        source = self._text[start : self._position]
        if is_plain and operator in _PATTERNS:
            return source, source
        if is_plain and not is_list and not is_plain_scalar(source):
            problem = f"{source!r} is not a plain text or number in YAML; quote it"
            raise self._make_error(problem, start)
        unlikely = explain_value(source) if is_plain and not is_logged_text else None
        if unlikely is not None:
            raise self._make_error(unlikely, start)
        if is_list and source[0] == "(":
            source = f"[{source[1:-1]}]"
        try:
            value, texts = parse_scalar(source), parse_texts(source)
        except ConfigError as exc:
            raise self._make_error(f"the value {source!r} is not YAML: {exc}", start) from exc
        if is_list and not isinstance(value, list):
            raise self._make_error(f"'in' expects a list such as [a, b], found {value!r}", start)
        if operator in _PATTERNS and not isinstance(value, str):
            raise self._make_error(f"{operator!r} expects text, found {value!r}", start)
        return value, texts

    def _take_quoted(self) -> None:
        if self._take(_QUOTED) is None:
            self._fail("the quote is not closed")

    def _take_brackets(self) -> None:
        """Move behind the bracket that closes the one at the position."""
        start = self._position
        open_brackets: list[str] = []
        while self._position < len(self._text):
            character = self._text[self._position]
            if character in "\"'" and self._text[self._position - 1] in " \t\n,:[{(":
                self._take_quoted()
                continue
            self._position += 1
            if character in _BRACKETS:
                open_brackets.append(_BRACKETS[character])
            elif open_brackets and character == open_brackets[-1]:
                open_brackets.pop()
                if not open_brackets:
                    return
        self._position = start
        self._fail("the bracket is not closed")

    def _take_plain(self) -> None:
        """Move to the end of an unquoted value."""
        start, end = self._position, len(self._text)
        depth = 0
        for match in _END_OF_PLAIN.finditer(self._text, start):
            if match[0] == "(":
                depth += 1
            elif match[0] == ")" and depth:
                depth -= 1
            elif depth == 0:
                end = match.start()
                break
        if depth:
            self._fail("a '(' is not closed; quote the value if that is part of it")
        end = start + len(self._text[start:end].rstrip())
        foreign = _OF_OTHER_LANGUAGES.search(self._text, start, end)
        if foreign is not None:
            word = "and" if foreign[1] == "&&" else "or"
            self._position = foreign.start(1)
            self._fail(f"write {word!r} for {foreign[1]!r}, or quote the value")
        second = _OF_NEXT_CONDITION.search(self._text, start, end)
        if second is not None:
            self._position = second.start()
            self._fail(
                "expected 'and' or 'or' between conditions",
                "; quote the value if that is part of it",
            )
        self._position = end

    def _explain_word(self, start: int) -> str:
        """Return a hint if the condition that starts here may be a part of a value."""
        before = self._text[:start].rstrip()
        word = re.search(r"(?:^|\s)(and|or)$", before, re.IGNORECASE)
        return f"; quote the value if {word[1]!r} is part of it" if word else ""

    def _skip_space(self) -> int:
        """Move to the next character that is not a space, and return its position."""
        match = _SPACE.match(self._text, self._position)
        self._position = match.end() if match else self._position
        return self._position

    def _at_end(self) -> bool:
        return self._skip_space() == len(self._text)

    def _peek(self) -> str:
        """Return the next character that is not a space, a space at the end."""
        return " " if self._at_end() else self._text[self._position]

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Move behind what matches a pattern, if the text goes on with that."""
        match = pattern.match(self._text, self._skip_space())
        if match is not None:
            self._position = match.end()
        return match

    def _get_text(self, start: int) -> str:
        return self._text[start : self._position].strip()

    def _fail(self, problem: str, hint: str = "") -> NoReturn:
        rest = self._text[self._skip_space() :]
        found = f"found {rest[:_MAX_SHOWN]!r}" if rest else "found the end"
        raise self._make_error(f"{problem}, {found}{hint}", self._position)

    def _make_error(self, problem: str, position: int) -> FilterError:
        return FilterError(f"filter {self._text!r}: column {position + 1}: {problem}")


_MAX_DEPTH = 100

_MAX_SHOWN = 20
"""The maximum length of what is shown of the rest of a filter."""


def _make_comparison(comparison: Comparison) -> Expression:
    """Return a comparison, in which a null in a list is a test for null."""
    if comparison.operator != "in" or None not in comparison.value:
        return comparison
    text, key = comparison.text, comparison.key
    kept = [i for i, value in enumerate(comparison.value) if value is not None]
    values = [comparison.value[i] for i in kept]
    texts = [comparison.texts[i] for i in kept]
    return Or(text, [IsNull(text, key), Comparison(text, key, "in", values, texts)])
