"""Parallel coordinates of runs: a Plotly figure with an axis for each key, a line for each run."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from typing_extensions import NamedTuple

from kedro_hydraflow.comparing import find_differing, read_values_by_name
from kedro_hydraflow.default_columns import list_value_keys
from kedro_hydraflow.errors import MissingPackageError, OptionError, show_count, show_names
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.html_parts import cut_middle
from kedro_hydraflow.key_patterns import choose_default_pattern
from kedro_hydraflow.keys import identify, is_pattern
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.recorded import to_ordered
from kedro_hydraflow.times import to_utc
from kedro_hydraflow.value_text import show_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import plotly.graph_objects as go

    from kedro_hydraflow.comparing import Find
    from kedro_hydraflow.run_base import RunBase

logger = get_logger(__name__)

_MAX_AXES = 20
"""The maximum number of axes."""

_MAX_DEFAULT_AXES = 11
"""The maximum number of axes if no keys are named: more are hard to read on a page."""

_MAX_CATEGORIES = 30
"""The maximum number of categories of an axis."""

_MAX_TICKS = 8
"""The maximum number of distinct numbers that each have a tick."""

_MAX_LENGTH = 24
"""The maximum number of characters of a label or tick."""

_MIN_LENGTH = 6
"""The number of characters of a tick that are shown even if it runs into the axis beside it."""

_LINE_LENGTH = 90
"""The number of characters of ticks that fit beside each other in a figure 800 pixels wide."""

_LABEL_ANGLE = -30
"""The angle of labels in degrees, so that long ones do not run into each other."""

_TIME_FORMATS = (
    ("", "%Y-%m-%d"),
    ("%Y", "%m-%d %H:%M"),
    ("%Y-%m-%d", "%H:%M:%S"),
    ("%Y-%m-%d", "%H:%M:%S.%f"),
)
"""What the label and the ticks of times have, the shortest first."""

_DECADES = 2
"""The range of positive numbers, in powers of ten, from which on an axis is logarithmic."""

_GAP = 0.12
"""The distance of what is not a number from the numbers, as a part of their range."""

_NEAR = 0.04
"""The part of the range that is between two ticks at least."""

_LARGEST = 1e300
"""The magnitude from which on numbers are categories: their range may be no float."""

_MISSING = "missing"
"""The tick of runs without a value."""

_GREY = "#888888"
"""Of text and of runs without a value for the colour: it is readable on white and on black."""

_COLORS = ("#3b7dd8", "#8e6bd6", "#d65a9a", "#e8743b")
"""The colour scale, of medium lightness for the same reason."""


class Axis(NamedTuple):
    """The positions of runs on an axis, and its ticks."""

    label: str
    positions: list[float]

    ticks: dict[float, str]
    """Texts by position. Axes show them as they are; those of colours have to be escaped."""

    first: float
    """The least position of a value. What is below it is not a value, such as *missing*."""

    low: float
    high: float


# The figure ---------------------------------------------------------------------------------


def make_parallel_plot(
    runs: Sequence[RunBase], keys: Sequence[str], color: str | None, find: Find
) -> go.Figure:
    """Return a figure with an axis for each key: see ``RunCollection.plot_parallel``.

    Args:
        runs: The runs.
        keys: Keys and patterns; by default those of the configurations, or else of params, that
            differ.
        color: The key of the colour, by default the first metric.
        find: Finds the values of a key that is not a pattern.
    """
    graph_objects = _import_plotly()
    if not runs:
        raise OptionError("plot_parallel: there are no runs")
    if color is None:
        color = next(iter(list_value_keys(runs).keys), None)
    elif not isinstance(color, str) or is_pattern(color):
        raise OptionError(f"color: expected the key of one value, found {color!r}")
    columns = _choose_columns(runs, keys, color, find)
    colored = {} if color is None else read_values_by_name(runs, [color], find)
    columns = {k: v for k, v in columns.items() if color is None or identify(k) != identify(color)}
    n_shown = (_MAX_AXES if keys else _MAX_DEFAULT_AXES) - 1
    if len(columns) > n_shown:
        logger.warning(
            "plot_parallel: the first %d of %d keys have an axis, and not %s; name the keys",
            n_shown,
            len(columns),
            show_names(list(columns)[n_shown:]),
        )
        columns = {key: columns[key] for key in list(columns)[:n_shown]}
    length = max(_MIN_LENGTH, min(_MAX_LENGTH, _LINE_LENGTH // (len(columns) + 1)))
    axes = [_make_axis(key, values, length) for key, values in columns.items()]
    last = [_make_axis(key, values, length) for key, values in colored.items()]
    figure = graph_objects.Figure(
        graph_objects.Parcoords(
            dimensions=[_make_dimension(axis) for axis in [*axes, *last]],
            line=_make_line(last[0]) if last else {"color": _COLORS[0]},
            unselected={"line": {"color": _GREY, "opacity": 0.1}},
            labelangle=_LABEL_ANGLE,
            labelfont={"color": _GREY},
            tickfont={"color": _GREY, "shadow": "none"},  # which would blur them
            rangefont={"color": "rgba(0,0,0,0)"},  # the ticks say it
        )
    )
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": _GREY},
        margin={"l": _measure_left(axes or last), "r": 40, "t": 120, "b": 30},
    )
    return figure


def _import_plotly() -> Any:
    try:
        import plotly.graph_objects
    except ImportError as exc:
        raise MissingPackageError(
            f"plot_parallel: plotly cannot be imported ({exc}): "
            "pip install 'kedro-hydraflow[plotly]'"
        ) from exc
    return plotly.graph_objects


def _choose_columns(
    runs: Sequence[RunBase], keys: Sequence[str], color: str | None, find: Find
) -> dict[str, list[Any]]:
    """Return the values of the keys that have an axis.

    Keys with one value for all runs have none. Of one run, all keys have an axis.
    """
    wanted = keys or [choose_default_pattern(runs)]
    if len(runs) == 1:
        columns = read_values_by_name(runs, wanted, find)
    else:
        differing = find_differing(runs, wanted, find)
        columns = {column.name: column.values for column in differing}
    if keys:
        shown = set(map(identify, columns))
        constant = [key for key in keys if not is_pattern(key) and identify(key) not in shown]
        if constant:
            logger.warning(
                "plot_parallel: no axis for %s: all runs have the same value", show_names(constant)
            )
    else:
        many = [key for key, values in columns.items() if _has_many_categories(key, values)]
        if many:
            logger.warning(
                "plot_parallel: no axis for %s: more than %d distinct texts; name the keys to "
                "have one",
                show_names(many),
                _MAX_CATEGORIES,
            )
        columns = {key: values for key, values in columns.items() if key not in many}
    if not columns and (keys or color is None):
        raise OptionError(
            f"plot_parallel: nothing differs among {show_count(len(runs), 'run')} in "
            f"{show_names(keys) if keys else 'their configurations and params'}"
        )
    return columns


def _measure_left(axes: Sequence[Axis]) -> int:
    """Return the pixels that the ticks of the first axis need."""
    n_characters = max(map(len, axes[0].ticks.values()))
    return max(80, 20 + 7 * n_characters)


def _make_dimension(axis: Axis) -> dict[str, Any]:
    return {
        "label": axis.label,
        "values": axis.positions,
        "range": [axis.low, axis.high],
        "tickvals": list(axis.ticks),
        "ticktext": list(axis.ticks.values()),
    }


def _make_line(axis: Axis) -> dict[str, Any]:
    """Return the colours of the lines: grey for runs without a value."""
    start = (axis.first - axis.low) / (axis.high - axis.low)
    grey = [[0.0, _GREY], [start * 0.9, _GREY]] if start else []
    steps = [start + (1 - start) * i / (len(_COLORS) - 1) for i in range(len(_COLORS))]
    steps[-1] = 1.0
    return {
        "color": axis.positions,
        "cmin": axis.low,
        "cmax": axis.high,
        "colorscale": [*grey, *([step, c] for step, c in zip(steps, _COLORS, strict=True))],
        "showscale": True,
        "colorbar": {
            "title": {"text": axis.label},
            "tickvals": list(axis.ticks),
            "ticktext": list(map(_escape_marks, axis.ticks.values())),
            "outlinewidth": 0,
        },
    }


# One axis -----------------------------------------------------------------------------------


def _make_axis(key: str, values: list[Any], length: int) -> Axis:
    """Return an axis, with a maximum length of the ticks of categories."""
    ordered = to_ordered(key, values)
    if _are_numbers(ordered):
        return _make_number_axis(key, ordered)
    if {type(value) for value in ordered if value is not None} == {datetime}:
        times = [None if value is None else _to_seconds(value) for value in ordered]
        return _make_number_axis(key, times, are_times=True)
    return _make_category_axis(key, ordered, length)


def _make_number_axis(key: str, values: Sequence[float | None], *, are_times: bool = False) -> Axis:
    finite = [float(v) for v in values if v is not None and math.isfinite(v)]
    low, high = min(finite), max(finite)
    is_log = not are_times and low > 0 and math.log10(high / low) >= _DECADES
    to_position = math.log10 if is_log else float
    if len(set(finite)) <= _MAX_TICKS:
        between = sorted(set(finite))
    else:
        between = _choose_powers(low, high) if is_log else _choose_round(low, high)
    first, last = to_position(low), to_position(high)
    shown = {first: low}
    for value in between:
        place = to_position(value)
        if all(abs(place - other) > (last - first) * _NEAR for other in (*shown, last)):
            shown[place] = value
    shown[last] = high
    date, texts = (
        _show_times(shown.values()) if are_times else ("", map(_show_number, shown.values()))
    )
    ticks = dict(zip(shown, texts, strict=True))
    # Large numbers would swallow a small gap.
    gap = max((last - first or 1.0) * _GAP, max(abs(first), abs(last)) * 1e-12)
    others = sorted({_name_other(v) for v in values} - {""}, key=lambda name: name == _MISSING)
    places = {name: first - gap * (i + 1) for i, name in enumerate(others)}
    ticks = {**{place: name for name, place in reversed(places.items())}, **ticks}
    positions = [
        places[_name_other(v)] if v is None or not math.isfinite(v) else to_position(float(v))
        for v in values
    ]
    bottom = min(positions)
    label = " ".join(filter(None, [_show_key(key), date]))
    return Axis(label, positions, ticks, first, bottom, max(last, first + gap))


def _make_category_axis(key: str, values: Sequence[Any], length: int) -> Axis:
    texts = [None if value is None else show_value(value) for value in values]
    counts = Counter(text for text in texts if text is not None)
    known = dict(zip(texts, values, strict=True))
    order = sorted(counts, key=lambda text: _get_order(known[text], text))
    places = {text: float(i) for i, text in enumerate(order)}
    if len(order) > _MAX_CATEGORIES:
        most = {text for text, _ in counts.most_common(_MAX_CATEGORIES - 1)}
        order = [*(text for text in order if text in most), f"{len(order) - len(most)} others"]
        logger.warning(
            "plot_parallel: %r has %d distinct values: the rarest have one tick, %r",
            key,
            len(counts),
            order[-1],
        )
        last = len(order) - 1
        places = {text: float(order.index(text) if text in most else last) for text in counts}
    ticks = {float(i): text for i, text in enumerate(_show_categories(order, length))}
    low = 0.0
    if None in texts:
        low = -1.0
        ticks = {low: _MISSING, **ticks}
    positions = [low if text is None else places[text] for text in texts]
    return Axis(_show_key(key), positions, ticks, 0.0, low, max(low + 1.0, len(order) - 1.0))


def _has_many_categories(key: str, values: list[Any]) -> bool:
    present = [value for value in to_ordered(key, values) if value is not None]
    if _are_numbers(present) or set(map(type, present)) == {datetime}:
        return False
    return len(set(map(show_value, present))) > _MAX_CATEGORIES


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether values are numbers, None among them or not, of which one at least is finite."""
    present = [value for value in values if value is not None]
    return all(map(_is_number, present)) and any(math.isfinite(value) for value in present)


def _is_number(value: Any) -> bool:
    if type(value) is float and not math.isfinite(value):
        return True
    return type(value) in (int, float) and abs(value) < _LARGEST


def _name_other(value: float | None) -> str:
    """Return the tick of a value that is not a finite number, empty for a number."""
    if value is None:
        return _MISSING
    return "" if math.isfinite(value) else show_value(value)


def _get_order(value: Any, text: str) -> tuple[bool, float, str]:
    """Return a key to sort categories by: numbers by value, then the others by their text."""
    if _is_number(value) and math.isfinite(value):
        return False, float(value), text
    return True, 0.0, text


def _choose_powers(low: float, high: float) -> list[float]:
    """Return powers of ten in a range."""
    exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    step = max(1, math.ceil(len(exponents) / _MAX_TICKS))
    return [10.0**exponent for exponent in exponents][::step]


def _choose_round(low: float, high: float) -> list[float]:
    """Return about five round numbers in a range."""
    rough = (high - low) / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _show_number(value: float) -> str:
    return f"{value:.6g}"


def _show_times(seconds: Iterable[float]) -> tuple[str, list[str]]:
    """Return what times have in common, such as the date, and in what they differ, as text."""
    times = [datetime.fromtimestamp(each, timezone.utc) for each in seconds]
    for common, own in _TIME_FORMATS if len(times) > 1 else ():
        dates = {time.strftime(common) for time in times}
        texts = [time.strftime(own).removesuffix("000") for time in times]
        if len(dates) == 1 and len(set(texts)) == len(times):
            return dates.pop(), texts
    return "", [str(time.replace(tzinfo=None)) for time in times]


def _to_seconds(value: datetime) -> float:
    return float(to_utc(value).timestamp())


def _show_categories(texts: Sequence[str], length: int) -> list[str]:
    """Return the ticks of categories: in quotes if one reads like that of runs without a value.

    They are cut to a length, or a larger one where they would be alike.
    """
    shown = [f"'{text}'" if text == _MISSING else escape(text) for text in texts]
    cut = shown
    for n in range(length, _MAX_LENGTH + 1):
        cut = [cut_middle(text, n) for text in shown]
        if len(set(cut)) == len(set(shown)):
            break
    return cut


def _show_key(key: str) -> str:
    """Return the end of a key, which says more than its beginning."""
    shown = escape(key)
    return _escape_marks(shown if len(shown) <= _MAX_LENGTH else f"…{shown[1 - _MAX_LENGTH :]}")


def _escape_marks(text: str) -> str:
    """Return text for Plotly, which takes ``<b>`` for bold."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
