"""What is shown of the steps of a call."""

from __future__ import annotations

import threading

import pytest

from kedro_hydraflow.progress import counting, counting_found, progress_bar, showing_progress, step


def count(total: int) -> None:
    with counting(total) as advance:
        for _ in range(total):
            advance(1)


@pytest.mark.usefixtures("terminal")
def test_steps_are_shown_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with step("reading metrics"):
        count(3)
    with showing_progress(show=False), step("reading metrics"):
        count(3)
    assert capsys.readouterr() == ("", "")
    with showing_progress(), step("reading metrics"):
        count(3)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "reading metrics: " in shown.err
    assert "/3 [" in shown.err
    count(3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("terminal")
def test_what_is_found_adds_up_in_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(), step("finding runs"):
        for n_found in (1000, 200):
            with counting_found() as advance:
                advance(n_found)
    last = capsys.readouterr().err.split("finding runs: ")[-1]
    assert last.startswith(("1000 found", "1200 found"))


@pytest.mark.usefixtures("terminal")
def test_a_bar_is_shown_instead_of_the_steps_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress():
        with progress_bar(2, show=True) as advance:
            count(7)
            advance(2)
        shown = capsys.readouterr().err
        assert "2/2" in shown
        assert "/7" not in shown
        with progress_bar(2, show=False):
            count(7)
        assert "/7" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_other_threads_show_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress():
        thread = threading.Thread(target=count, args=(3,))
        thread.start()
        thread.join()
    assert capsys.readouterr() == ("", "")


def test_logs_have_no_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedro_hydraflow.progress.BAR_DELAY", 0)
    with showing_progress():
        count(3)
    assert capsys.readouterr() == ("", "")
