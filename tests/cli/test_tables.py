from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.text import Text

from kedro_hydraflow.cli.tables import fit, make_list, make_plain_table, make_terminal_table
from kedro_hydraflow.formats import Column

RUN = Column("run_id", ["2ca54cc6", "cde953df"], "whole")
STATUS = Column("status", ["FINISHED", "FAILED"], "text")
NAME = Column("job_name", ["train_digits_v1", "eval"], "text")
RATE = Column("training.learning_rate", ["0.01", "0.1234567"], "number")
LOSS = Column("metrics.loss", ["1", ""], "number")
COLUMNS = [RUN, NAME, STATUS, RATE, LOSS]
HEADERS = [column.header for column in COLUMNS]


def strip_styles(text: str) -> list[str]:
    return [line.rstrip() for line in Text.from_ansi(text).plain.splitlines()]


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)


def test_a_plain_table_is_as_wide_as_it_gets() -> None:
    assert make_plain_table(COLUMNS) == (
        "run_id    job_name         status    training.learning_rate  metrics.loss\n"
        "2ca54cc6  train_digits_v1  FINISHED                    0.01             1\n"
        "cde953df  eval             FAILED                 0.1234567\n"
    )


def test_very_long_texts_are_cut_in_plain_tables_too() -> None:
    table = make_plain_table([Column("note", ["x" * 5000], "text"), RUN._replace(cells=["a"])])
    assert table.splitlines()[1] == "x" * 199 + "…  a"


def test_a_terminal_that_is_wide_enough() -> None:
    table = make_terminal_table(COLUMNS, HEADERS, width=73)
    assert "".join(f"{line}\n" for line in strip_styles(table.text)) == make_plain_table(COLUMNS)
    assert table.left_out == []


def test_texts_and_the_beginnings_of_headers_are_cut() -> None:
    table = make_terminal_table(COLUMNS, HEADERS, width=53)
    assert strip_styles(table.text) == [
        "run_id    job_name   status    …ning_rate       …loss",
        "2ca54cc6  train_di…  FINISHED        0.01           1",
        "cde953df  eval       FAILED     0.1234567",
    ]


@pytest.mark.parametrize(
    ("key", "width", "header"),
    [
        ("metrics.val/accuracy", 20, "metrics.val/accuracy"),
        ("metrics.val/accuracy", 19, "…val/accuracy"),
        ("metrics.val/accuracy", 13, "…val/accuracy"),
        ("metrics.val/accuracy", 12, "…accuracy"),
        ("metrics.val/accuracy", 9, "…accuracy"),
        ("metrics.val/accuracy", 8, "…ccuracy"),
        ("model.type", 9, "…type"),
        ("ends.", 4, "…ds."),
        ("学習.率の比較", 12, "…率の比較"),
    ],
)
def test_headers_are_cut_between_parts_of_keys(key: str, width: int, header: str) -> None:
    text = make_terminal_table([Column(key, ["1"], "text")], [key], width).text
    assert strip_styles(text)[0] == header


def test_headers_that_would_look_the_same_are_cut_elsewhere() -> None:
    names = ["metrics.train/loss", "metrics.valid/loss"]
    columns = [Column(name, ["1"], "number") for name in names]
    for width, header in (28, "…train/loss  …valid/loss"), (22, "…rain/loss  …alid/loss"):
        shown = strip_styles(make_terminal_table(columns, names, width).text)[0]
        assert shown.split() == header.split()


@pytest.mark.parametrize("width", range(8, 90))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    table = make_terminal_table(COLUMNS, HEADERS, width=width)
    lines = strip_styles(table.text)
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    shown = [header for header in HEADERS if header not in table.left_out]
    assert shown == HEADERS[: len(shown)]  # the last ones go first
    if "training.learning_rate" in shown:
        assert "0.1234567" in lines[2]  # numbers are whole


def test_the_least_important_columns_are_left_out() -> None:
    importance = ["metrics.loss", "run_id", "training.learning_rate", "status", "job_name"]
    fitted = fit(COLUMNS, importance, 30)
    assert [column.header for column, _ in fitted] == [
        "run_id",
        "training.learning_rate",
        "metrics.loss",
    ]


def test_wide_characters_take_two_columns() -> None:
    columns = [Column("実験", ["学習率の比較", "a"], "text"), Column("n", ["1", "2"], "number")]
    assert make_plain_table(columns) == "実験          n\n学習率の比較  1\na             2\n"
    table = make_terminal_table(columns, ["実験", "n"], width=12)
    assert strip_styles(table.text) == ["実験       n", "学習率の…  1", "a          2"]


def test_colours() -> None:
    text = make_terminal_table([RUN, STATUS], ["run_id", "status"], width=40).text
    assert text == (
        "\x1b[1mrun_id    status\x1b[0m\n"
        "2ca54cc6  \x1b[32mFINISHED\x1b[0m\n"
        "cde953df  \x1b[31mFAILED\x1b[0m\n"
    )


def test_other_columns_have_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column("note", ["FAILED", "[bold]x[/]"], "text")]
    text = make_terminal_table(columns, ["note"], width=40).text
    assert text == "\x1b[1mnote\x1b[0m\nFAILED\n[bold]x[/]\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in make_terminal_table([STATUS], ["status"], width=40).text


def test_texts_that_begin_alike_keep_their_ends() -> None:
    cells = [f"/mnt/{'x' * 300}/{i}" for i in range(2)]
    table = make_terminal_table([Column("path", cells, "text")], ["path"], width=20)
    assert strip_styles(table.text)[1:] == [f"/mnt/xxxx…xxxxxxx/{i}" for i in range(2)]
    assert make_plain_table([Column("path", cells, "text")]).splitlines()[2].endswith("x/1")


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_terminal_may_be_as_narrow_as_it_likes(width: int) -> None:
    alike = Column("name", ("a long text 1", "a long text 2", "日本語"), "text")
    lines = Text.from_ansi(make_terminal_table([alike], ["name"], width).text).plain.splitlines()
    assert [cell_len(line) <= width for line in lines] == [True] * 4
    rows = make_list([("name", "a long text"), ("日本語", "日本語")], width)
    assert len(rows) == 2
