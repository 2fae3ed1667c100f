"""What SQL, Python and pandas have and filters have not is an error that says what to write."""

from __future__ import annotations

import re

import pytest

from kedro_hydraflow.errors import FilterError
from kedro_hydraflow.filters import parse_filters


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("seed between 1 and 3", "write 'seed >= 1 and seed <= 3'"),
        ("seed not between 1 and 3", "write 'not (seed >= 1 and seed <= 3)'"),
        ("note is None", "write 'note is null'"),
        ("note is not NaN", "write 'note is not null'"),
        ("flag is true", "write '==' for a value"),
        ("flag is not true", "write '!=' for a value"),
        ("note.isna()", "write 'note is null'"),
        ("note.notnull()", "write 'note is not null'"),
        ("seed <> 3", "write '!=' for '<>'"),
        ("seed<>3", "write '!=' for '<>'"),
        ("seed => 3", "write '>=' for '=>'"),
        ("seed =< 3", "write '<=' for '=<'"),
        ("seed === 3", "write '==' for '==='"),
        ("!(seed == 1)", "write 'not' for '!'"),
        ("a == 1 and !b", "write 'not' for '!'"),
        ("metrics.val loss < 0.5", "if the key has spaces, quote it: `metrics.val loss`"),
        ("params.batch size = 64", "if the key has spaces, quote it: `params.batch size`"),
        ("note == None", "write null, or 'None' in quotes for the text"),
        ("note != none", "write null, or 'none' in quotes for the text"),
        ("loss != NaN", "write .nan, or 'NaN' in quotes for the text"),
        ("loss > -inf", "write -.inf, or '-inf' in quotes for the text"),
        (
            "start_time == 2026-11-23",
            "for the whole day write 'start_time >= 2026-11-23 and start_time < 2026-11-24'",
        ),
        ("info.end_time in ['2026-12-31']", "info.end_time < 2027-01-01'"),
    ],
)
def test_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(FilterError, match=f"{re.escape(advice)}$"):
        parse_filters(text)
    for written in re.findall("'([^' ][^']* [^']*)'", advice):
        parse_filters(written)


@pytest.mark.parametrize(
    "text",
    [
        "params.init == None",  # as MLflow writes None
        "tags.loss = nan",
        "note == 'None'",
        "note ~ None",
        "note like nan",
        "name == nano",
        "end_time != 9999-12-31",
        "start_time > 2026-11-23",
        "start_time == 2026-11-23 00:00",
        "note == is it",
    ],
)
def test_what_may_be_meant(text: str) -> None:
    assert parse_filters(text)


@pytest.mark.parametrize("text", ["seed", "seed ?", "seed 3"])
def test_what_is_of_no_language(text: str) -> None:
    with pytest.raises(FilterError, match=r"found [^;]*$"):
        parse_filters(text)
