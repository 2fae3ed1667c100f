from __future__ import annotations

from typing import Any

import pytest

from kedro_hydraflow.errors import FilterError
from kedro_hydraflow.filters.expressions import (
    And,
    Comparison,
    Expression,
    IsNull,
    Level,
    Not,
    Or,
)
from kedro_hydraflow.filters.parser import parse_filters, quote_key


def show(expression: Expression) -> str:
    """Return an expression with every group in parentheses."""
    if isinstance(expression, IsNull):
        return f"{expression.key.text} is null"
    if isinstance(expression, Comparison):
        return f"{expression.key.text} {expression.operator} {expression.value!r}"
    if isinstance(expression, Not):
        return f"not ({show(expression.part)})"
    word = " and " if isinstance(expression, And) else " or "
    assert isinstance(expression, (And, Or))
    return "(" + word.join(map(show, expression.parts)) + ")"


def parse(text: str) -> list[str]:
    """Return what all has to hold, each condition with every group in parentheses."""
    return [show(condition.expression) for condition in parse_filters(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr==0.1", ["lr == 0.1"]),
        ("  lr\n  <\n  1e-2  ", ["lr < 0.01"]),
        ("lr = 0.1", ["lr == 0.1"]),
        ("lr != 0.1", ["not (lr == 0.1)"]),
        ("type not in [a, 1]", ["not (type in ['a', 1])"]),
        ("type NOT  IN ('a', 'b')", ["not (type in ['a', 'b'])"]),
        ("type in(a,b)", ["type in ['a', 'b']"]),
        ("a in [1, null, b]", ["(a is null or a in [1, 'b'])"]),
        ("a not in [null]", ["not (a is null)", "not (a in [])"]),
        ("status in [FINISHED, null]", ["(status is null or status in ['FINISHED'])"]),
        ("a is null", ["a is null"]),
        ("a IS  NOT Null", ["not (a is null)"]),
        ("a == null", ["a is null"]),
        ("a != ~", ["not (a is null)"]),
        ("a == 'null'", ["a == 'null'"]),
        ("a == ~/data and (b == ~)", ["a == '~/data'", "b is null"]),
        ("a is null or b is not null", ["(a is null or not (b is null))"]),
        # and, or, not
        ("a == 1 and b == 2 AND c == 3", ["a == 1", "b == 2", "c == 3"]),
        ("a == 1 or b == 2 and c == 3", ["(a == 1 or (b == 2 and c == 3))"]),
        ("(a == 1 or b == 2) and c == 3", ["(a == 1 or b == 2)", "c == 3"]),
        ("a == 1 and (b == 2 and (c == 3))", ["a == 1", "b == 2", "c == 3"]),
        ("not a == 1 and b == 2", ["not (a == 1)", "b == 2"]),
        ("not (a == 1 or b == 2)", ["not (a == 1)", "not (b == 2)"]),
        ("not(a == 1 and b == 2)", ["not ((a == 1 and b == 2))"]),
        ("not not a == 1", ["a == 1"]),
        ("NOT a != 1", ["a == 1"]),
        ("a == (1) and b == 2", ["a == '(1)'", "b == 2"]),
        # Values
        ("note == hello world", ["note == 'hello world'"]),
        ("note == 'salt and pepper' and a == 1", ["note == 'salt and pepper'", "a == 1"]),
        ('note == "a \\" or b" or a == 1', ["(note == 'a \" or b' or a == 1)"]),
        ("note == 'it''s' and a == 1", ['note == "it\'s"', "a == 1"]),
        ("note == sandy and a == 1", ["note == 'sandy'", "a == 1"]),
        ("note == ford or a == android", ["(note == 'ford' or a == 'android')"]),
        ("(path == f(x) or a == 1)", ["(path == 'f(x)' or a == 1)"]),
        ("path == (a and b) and c == 1", ["path == '(a and b)'", "c == 1"]),
        (
            "a == [1, [2, 'x]']] and b == {k: [v, \"}\"]}",
            ["a == [1, [2, 'x]']]", "b == {'k': ['v', '}']}"],
        ),
        ("a == [it's] and b == 1", ['a == ["it\'s"]', "b == 1"]),
        (
            "start_time > 2026-01-25 22:15:10 and a == 1",
            ["start_time > '2026-01-25 22:15:10'", "a == 1"],
        ),
        ("start_time > now - 7d or a == 1", ["(start_time > 'now - 7d' or a == 1)"]),
        (
            "overrides contains lr=0.1 and a == x->y== ",
            ["overrides contains 'lr=0.1'", "a == 'x->y=='"],
        ),
        ("a == 'b == c' and d == 'is null'", ["a == 'b == c'", "d == 'is null'"]),
        ("a ~ #5* and b like x: #5", ["a ~ '#5*'", "b like 'x: #5'"]),
        ("a == x:y#z, 'n' and b == ünï#5", ["a == \"x:y#z, 'n'\"", "b == 'ünï#5'"]),
        ("a ~ [ab]* and b ~ '*.5' and c ~ *", ["a ~ '[ab]*'", "b ~ '*.5'", "c ~ '*'"]),
        (
            "a like 5% and b ILIKE '%x' and c not like y",
            ["a like '5%'", "b ilike '%x'", "not (c like 'y')"],
        ),
        ("a contains 3 and b not contains 'x'", ["a contains 3", "not (b contains 'x')"]),
        # Keys
        ("`metrics.val loss` > 1", ["metrics.val loss > 1"]),
        ("metrics.`val loss`>1", ["metrics.val loss > 1"]),
        ('tags."mlflow.user" = "root"', ["tags.mlflow.user == 'root'"]),
        ("metrics.f1(macro) > 0.5 and a == 1", ["metrics.f1(macro) > 0.5", "a == 1"]),
        ('tags."it\'s `me`" == 1', ["tags.it's `me` == 1"]),
        ("metrics.f1('macro') > 0.5", ["metrics.f1('macro') > 0.5"]),
        ("hydra.runtime.choices['db.main'] == x", ["hydra.runtime.choices[db.main] == 'x'"]),
        ("hydra.runtime.choices[db.main] == x", ["hydra.runtime.choices[db.main] == 'x'"]),
        ("`not` == 1 and 'or' == 2 and android == 3", ["not == 1", "or == 2", "android == 3"]),
        (
            "inner == 1 and isnull == 2 and notes in [1]",
            ["inner == 1", "isnull == 2", "notes in [1]"],
        ),
        ("in in [in]", ["in in ['in']"]),
    ],
)
def test_what_a_filter_means(text: str, expected: list[str]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "column 1: expected a condition such as 'seed > 1', found the end"),
        (
            "lr",
            "column 3: expected an operator after 'lr': one of ==, !=, <, <=, >, >=, in, not in",
        ),
        ("lr ==", "column 6: expected a value after '==', found the end"),
        ("lr == and b == 1", "column 7: expected a value after '==', found 'and b == 1'"),
        ("lr =< 3", "column 5: expected a value after '==', found '< 3'"),
        ("lr is 3", "column 4: expected an operator after 'lr'"),
        ("lr in 3", "column 7: 'in' expects a list such as [a, b], found 3"),
        ("lr in a, b", "column 7: 'in' expects a list such as [a, b], found 'a, b'"),
        ("lr == [1, 2", "column 7: the bracket is not closed, found '[1, 2'"),
        ("lr == 'a", "column 7: the quote is not closed"),
        ("lr == {a: 1]", "column 7: the bracket is not closed"),
        ("lr == *x", "column 7: '*x' is not a plain text or number in YAML; quote it"),
        ("lr in [*x]", "column 7: the value '[*x]' is not YAML"),
        ("a == 1 && b == 2", "column 8: write 'and' for '&&', or quote the value"),
        ("a == 1 || b == 2", "column 8: write 'or' for '||', or quote the value"),
        (
            "a != x, b == 2",
            "column 11: expected 'and' or 'or' between conditions, found '== 2'; quote the value "
            "if that is part of it",
        ),
        ("a == 1 b>=2", "column 9: expected 'and' or 'or' between conditions"),
        ("a ~ x* b ~ y*", "column 10: expected 'and' or 'or' between conditions"),
        ("a == 1\nb = 2 and c == 3", "column 10: expected 'and' or 'or' between conditions"),
        ("(a == 1 b is NOT null )", "column 11: expected 'and' or 'or' between conditions"),
        ("a == 1 b not in [2]", "column 10: expected 'and' or 'or' between conditions"),
        ("a == b != c", "column 8: expected 'and' or 'or' between conditions"),
        ("a =~ x.*", "column 3: expected an operator after 'a': one of"),
        ("a == is null", "column 6: expected 'and' or 'or' between conditions"),
        ("a == ~ x", "column 6: expected 'and' or 'or' between conditions"),
        ("color == #fff", "column 10: '#fff' is not a plain text or number in YAML; quote it"),
        ("note == bug #5 and b == 2", "column 9: 'bug #5' is not a plain text or number"),
        ("note != fix: typo", "column 9: 'fix: typo' is not a plain text or number in YAML"),
        ("note == - 1", "column 9: '- 1' is not a plain text"),
        ("note == &5 off", "column 9: '&5 off' is not a plain text"),
        ("note contains |", "column 15: '|' is not a plain text"),
        ("note == --- a", "column 9: '--- a' is not a plain text"),
        ("note == salt and pepper", "found the end; quote the value if 'and' is part of it"),
        ("note == rise or", "found the end; quote the value if 'or' is part of it"),
        ("and a == 1", "column 1: expected a condition"),
        ("a == 1 and or b == 2", "column 12: expected a condition"),
        ("not", "expected an operator after 'not'"),
        ("not a", "expected an operator after 'a'"),
        (
            "a == 1)",
            "column 7: expected 'and', 'or' or the end; quote a value with a bracket in it",
        ),
        ("(a == 1", "column 8: expected 'and', 'or' or the ')' of the group at column 1"),
        ("(a == 1 b", "expected 'and', 'or' or the ')' of the group"),
        ("a == f(x", "column 6: a '(' is not closed; quote the value"),
        ("a == 'x' y", "column 10: expected 'and', 'or' or the end, found 'y'"),
        ("a ~ 'x' y", "column 9: expected 'and', 'or' or the end, found 'y'"),
        ("()", "column 2: expected a condition"),
        (
            "tags.it's is null and tags.that's is null",
            "column 8: expected an operator after 'tags.it': one of ==, !=, <, <=, >, >=, in, "
            'not in, ~, is null, like, ilike, contains, found "\'s is null and tags."; a key with '
            "a quote in it goes into quotes of another kind",
        ),
        ("tags.note 'it' == 1", "contains, found \"'it' == 1\""),
        ("info.stat == 1", "column 1: 'info.stat': there is no 'stat'; expected one of end_time, "),
        # Values that a fact never has
        (
            "status == finishd",
            "column 11: no run can have the status 'finishd'; expected one of RUN",
        ),
        ("a == 1 and status in [FINISHED, ok]", "column 22: no run can have the status 'ok'"),
        (
            "start_time > yesterday",
            "column 14: start_time is a time: expected a time such as 2026-0",
        ),
        ("start_time > 1e30", "found 1e+30"),
        ("end_time in [2020-13-01]", "found '2020-13-01'"),
        ("start_time > 20200101", "found 20200101"),
        ("start_time > now - 7 parsecs", "found 'now - 7 parsecs'"),
        ("start_time ~ 2026*", "start_time is a time, which '~' cannot compare; use < or >"),
    ],
)
def test_errors_say_where_and_what(text: str, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filters(text)
    assert str(caught.value).startswith(f"filter {text!r}: column ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", [3, None, {"lr": 3}, ["a == 1"]])
def test_a_filter_is_text(text: Any) -> None:
    with pytest.raises(FilterError, match=r"^filter .*: expected text such as 'seed > 1'$"):
        parse_filters([text])


def test_the_hint_for_the_configuration_is_only_given_where_it_may_be_meant() -> None:
    with pytest.raises(FilterError, match=r"for the configuration's, write cfg\.status$"):
        parse_filters("status == draft")
    with pytest.raises(FilterError, match=r"FAILED, KILLED$"):
        parse_filters("info.status == draft")
    assert parse("cfg.status == draft") == ["cfg.status == 'draft'"]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("job_name ~ train_*", Level.EXPERIMENT),
        ("experiment_id == 1", Level.EXPERIMENT),
        ("status == FINISHED", Level.FACT),
        ("job_name == a or run_id == b", Level.FACT),
        ("parent_run_id is null", Level.LOGGED),
        ("metrics.a > 1 or status == FAILED", Level.LOGGED),
        ("not tags.x == 1", Level.LOGGED),
        ("overrides contains a=1", Level.FILE),
        ("results.loss < 1 or hydra.job.num == 3", Level.FILE),
        ("seed == 1 or status == FAILED", Level.CONFIG),
        ("impl.size > 3", Level.CONFIG),
        ("metrics == 3", Level.CONFIG),
    ],
)
def test_the_level_is_what_has_to_be_read(text: str, level: Level) -> None:
    (condition,) = parse_filters(text)
    assert condition.level is level
    assert condition.text == text


def test_each_condition_has_its_own_text() -> None:
    conditions = parse_filters(["not (a == 1 or b > 2) and `c d` in (x)", "e ~ f"])
    assert [c.text for c in conditions] == ["not a == 1", "not b > 2", "`c d` in (x)", "e ~ f"]
    assert conditions[0].filter == "not (a == 1 or b > 2) and `c d` in (x)"


@pytest.mark.parametrize(
    "key",
    [
        "a.b",
        "val loss",
        "a=b",
        "and",
        "f(x)",
        "NOT",
        "order",
        "it's",
        'a"b',
        "a`b",
        "``'\" \"'`",
        "f('x')",
    ],
)
def test_a_quoted_key_is_read_as_it_was(key: str) -> None:
    (condition,) = parse_filters(f"{quote_key(key)} == 1")
    assert show(condition.expression) == f"{key} == 1"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    ["a == 1 and " * 20_000 + "b == 2", "a == " + "x " * 50_000, "a in [" + "1, " * 20_000 + "1]"],
)
def test_long_filters_are_read_in_linear_time(text: str) -> None:
    assert parse_filters(text)


@pytest.mark.parametrize("text", ["(" * 5_000 + "a == 1" + ")" * 5_000, "not " * 5_000 + "a == 1"])
def test_deep_filters_are_an_error(text: str) -> None:
    with pytest.raises(FilterError, match="deeper than"):
        parse_filters(text)


@pytest.mark.parametrize("value", ["9" * 5_000, "0x" + "f" * 5_000, "[1, 0x" + "f" * 5_000 + "]"])
def test_integers_that_python_does_not_write(value: str) -> None:
    operator = "in" if value.startswith("[") else ">"
    with pytest.raises(FilterError, match="is not YAML: line 1: an integer has more than 4,300"):
        parse_filters(f"a {operator} {value}")
