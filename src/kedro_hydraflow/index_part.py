"""A part of a shared index: what was read of many runs, as a Parquet file.

Each row is a directory, of a run or an experiment; ``folder`` and ``name`` say which. What was read
of it is a mapping for each *kind*, such as ``config`` or ``metrics``, in these columns:

- ``<kind>``: the keys of the mapping in their order, as a JSON list; null if nothing is known.
- ``<kind>.<key>``: the value of a frequent key. Metrics are numbers, the values of a configuration
  JSON texts, all others texts, but times are milliseconds since 1970.
- ``<kind>:rare``: the other keys and values, as a JSON object.

In a sweep most texts are the same, so that a run takes some 40 bytes, and each distinct text is
parsed once. What would not survive a round trip is left out.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro_hydraflow.exact_json import (
    CONTAINERS,
    KINDS,
    Facts,
    has_few_nodes,
    is_exact,
    no_garbage,
    to_json,
)
from kedro_hydraflow.limits import get_max_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import polars as pl


class Row(NamedTuple):
    """What is known of a directory."""

    folder: str
    name: str
    kinds: Mapping[str, Facts]


LOGGED_KINDS = ("metrics", "params", "tags")
KINDS_OF_ROWS = ("config", "facts", *LOGGED_KINDS, "experiment", "job_name")
"""The kinds that a part may have."""

_TIMES = frozenset({"start_time", "end_time"})

_FREQUENT = 0.05
"""The share of the runs with a key from which on it has a column."""

_MAX_COLUMNS = 2000
"""The maximum number of columns of a kind."""

MAX_ROWS = 1_000_000
"""The maximum number of rows. Parquet could hold any number of equal ones in a few bytes."""


# Writing ------------------------------------------------------------------------------------


def encode(rows: Sequence[Row]) -> bytes:
    """Return the Parquet file of some rows. Kinds that it could not give back are left out."""
    import polars as pl

    series = [
        pl.Series("folder", [row.folder for row in rows], pl.String),
        pl.Series("name", [row.name for row in rows], pl.String),
    ]
    for kind in KINDS_OF_ROWS:
        mappings = [row.kinds.get(kind) for row in rows]
        if any(mapping is not None for mapping in mappings):
            series += _encode_kind(kind, mappings)
    buffer = io.BytesIO()
    pl.DataFrame(series).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def _encode_kind(kind: str, mappings: Sequence[Facts | None]) -> list[pl.Series]:
    import polars as pl

    texts = _Texts()
    known = [m if m is not None and texts.can_hold(m) else None for m in mappings]
    counts = Counter(key for mapping in known if mapping is not None for key in mapping)
    least = _FREQUENT * sum(mapping is not None for mapping in known)
    frequent = [key for key, count in counts.most_common(_MAX_COLUMNS) if count >= least]
    cells: dict[str, list[Any]] = {key: [None] * len(known) for key in sorted(frequent)}
    encoders = {key: _get_encoder(kind, key, texts) for key in cells}
    orders: list[str | None] = [None] * len(known)
    rare: list[str | None] = [None] * len(known)
    for i, mapping in enumerate(known):
        if mapping is None:
            continue
        encoded = {key: encode(mapping[key]) for key, encode in encoders.items() if key in mapping}
        others = {key: value for key, value in mapping.items() if encoded.get(key) is None}
        order, of_others = texts.get_of_keys(tuple(mapping)), to_json(others) if others else None
        if has_few_nodes(order) and has_few_nodes(of_others or ""):
            orders[i], rare[i] = order, of_others
            for key, value in encoded.items():
                cells[key][i] = value
    series = [pl.Series(kind, orders, pl.String)]
    if any(text is not None for text in rare):
        series.append(pl.Series(f"{kind}:rare", rare, pl.String))
    for key, values in cells.items():
        series.append(pl.Series(f"{kind}.{key}", values, _get_type(kind, key)))
    return series


class _Texts:
    """The JSON of values, each one once however many runs share it."""

    def __init__(self) -> None:
        self._of_containers: dict[int, tuple[Any, str | None]] = {}
        """The values by their ID, which no other gets as long as they are kept, with their JSON."""
        self._of_keys: dict[tuple[str, ...], str] = {}

    def can_hold(self, mapping: Facts) -> bool:
        """Whether JSON gives back a mapping."""
        if not all(type(key) is str and type(value) in KINDS for key, value in mapping.items()):
            return False
        if not is_text("".join(mapping)):
            return False
        return all(
            self._get_of_container(value) is not None
            if type(value) in CONTAINERS
            else _to_json_text(value) is not None
            for value in mapping.values()
        )

    def _get_of_container(self, value: Any) -> str | None:
        if id(value) not in self._of_containers:
            text = _to_json_text(value) if is_exact([value]) else None
            self._of_containers[id(value)] = value, text
        return self._of_containers[id(value)][1]

    def get(self, value: Any) -> str | None:
        """Return the JSON of a value."""
        return self._get_of_container(value) if type(value) in CONTAINERS else to_json(value)

    def get_of_keys(self, keys: tuple[str, ...]) -> str:
        """Return the JSON of a list of keys."""
        if keys not in self._of_keys:
            self._of_keys[keys] = to_json([*keys])
        return self._of_keys[keys]


def _to_json_text(value: Any) -> str | None:
    """Return JSON that can be written and read, None if there is none."""
    try:
        text = to_json(value)
    except ValueError:  # an integer of 5,000 digits
        return None
    return text if is_text(text) and has_few_nodes(text) else None


def is_text(text: str) -> bool:
    """Whether text can be UTF-8: half a surrogate pair cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _get_encoder(kind: str, key: str, texts: _Texts) -> Callable[[Any], Any]:
    """Return what makes a cell of a value: None if the column cannot hold it."""
    if kind == "config":
        return texts.get
    if kind == "metrics":
        return lambda value: value if type(value) is float else None
    if kind == "facts" and key in _TIMES:
        return _to_time
    return lambda value: value if type(value) is str else None


def _to_time(text: Any) -> int | None:
    is_canonical = type(text) is str and text.isascii() and text.isdecimal() and len(text) <= 18
    return int(text) if is_canonical and str(int(text)) == text else None


def _get_type(kind: str, key: str) -> Any:
    import polars as pl

    if kind == "metrics":
        return pl.Float64
    return pl.Int64 if kind == "facts" and key in _TIMES else pl.String


# Reading ------------------------------------------------------------------------------------


class Part:
    """A part that was read. Each column is decoded when it is asked for.

    Args:
        content: The Parquet file.
    """

    def __init__(self, content: bytes) -> None:
        import polars as pl

        self._content = content
        self._types = pl.read_parquet_schema(io.BytesIO(content))
        folders, names = self._read(["folder", "name"])
        self.n_rows = len(names)
        self.positions: dict[str, dict[str, int]] = {}
        """The numbers of the rows, by folder and name."""
        for i, (folder, name) in enumerate(zip(folders, names, strict=True)):
            self.positions.setdefault(folder, {})[name] = i
        self._decoded: dict[str, list[Facts | None]] = {}

    def get(self, kind: str) -> list[Facts | None]:
        """Return what is known of a kind, for each row. Do not modify it: rows share parts."""
        if kind not in self._decoded:
            with no_garbage():
                self._decoded[kind] = self._decode(kind, self._list_keys(kind))
        return self._decoded[kind]

    def get_values(self, kind: str, key: str) -> list[Facts | None]:
        """Return ``{"value": ...}`` for each row: the value of one key, None if it has none."""
        name = f"{kind} {key}"
        if name not in self._decoded:
            of_key = self._decode(kind, [key] if f"{kind}.{key}" in self._types else [])
            self._decoded[name] = [
                None if facts is None else {"value": facts.get(key)} for facts in of_key
            ]
        return self._decoded[name]

    def make_rows(self) -> list[Row]:
        """Return all rows."""
        kinds = [kind for kind in KINDS_OF_ROWS if kind in self._types]
        decoded = {kind: self.get(kind) for kind in kinds}
        rows = []
        for folder, names in self.positions.items():
            for name, i in names.items():
                found = ((kind, decoded[kind][i]) for kind in kinds)
                rows.append(Row(folder, name, {k: v for k, v in found if v is not None}))
        return rows

    def _list_keys(self, kind: str) -> list[str]:
        prefix = f"{kind}."
        return [name.removeprefix(prefix) for name in self._types if name.startswith(prefix)]

    def _decode(self, kind: str, keys: Collection[str]) -> list[Facts | None]:
        """Return the mappings of a kind, with only some of its keys."""
        mappings: list[Facts | None] = [None] * self.n_rows
        if kind not in self._types:
            return mappings
        rare_name = f"{kind}:rare"
        has_rare = rare_name in self._types
        rare = self._read_json(rare_name) if has_rare else []
        cells = {key: self._read_cells(kind, key) for key in keys}
        for order, positions in _group(self._read_json(kind)):
            wanted = [key for key in order if key in cells or has_rare]
            _fill(mappings, positions, wanted, cells, rare)
        return mappings

    def _read_cells(self, kind: str, key: str) -> list[Any]:
        """Return the values of a column."""
        name = f"{kind}.{key}"
        if kind == "config":
            return self._read_json(name)
        (values,) = self._read([name])
        if kind == "facts" and key in _TIMES:
            return [None if value is None else str(value) for value in values]
        return values

    def _read_json(self, name: str) -> list[Any]:
        """Return the data in a column of JSON. What is equal is parsed once, and shared."""
        import polars as pl

        column = self._read_frame([name])[name]
        texts = column.unique().drop_nulls()
        parsed = _parse_all(texts.to_list())
        parsed.append(None)  # for null
        numbers = column.cast(pl.Enum(texts)).to_physical().cast(pl.Int64).fill_null(-1)
        return list(map(parsed.__getitem__, numbers.to_list()))

    def _read(self, names: Sequence[str]) -> list[list[Any]]:
        """Return the values of some columns."""
        frame = self._read_frame(names)
        return [frame[name].to_list() for name in names]

    def _read_frame(self, names: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        content = io.BytesIO(self._content)
        frame = pl.read_parquet(content, columns=[*names], n_rows=MAX_ROWS + 1)
        if frame.height > MAX_ROWS:
            raise ValueError(f"it has more than {MAX_ROWS:,} rows")
        return frame


def _group(orders: Sequence[list[str] | None]) -> Iterator[tuple[list[str], list[int]]]:
    """Yield each order of keys, with the numbers of its rows."""
    groups: dict[int, list[int]] = {}
    for i, order in enumerate(orders):
        groups.setdefault(id(order), []).append(i)  # equal ones are the same object
    for positions in groups.values():
        order = orders[positions[0]]
        if order is not None:
            yield order, positions


def _fill(
    mappings: list[Facts | None],
    positions: Sequence[int],
    keys: Sequence[str],
    cells: Mapping[str, list[Any]],
    rare: Sequence[Facts | None],
) -> None:
    """Set the mappings of rows that have the same keys."""
    nothing: list[None] = [None] * len(mappings)
    columns = [cells.get(key, nothing) for key in keys]
    is_all = len(positions) == len(mappings)
    chosen = columns if is_all else [[column[i] for i in positions] for column in columns]
    rows = zip(*chosen, strict=True) if chosen else (() for _ in positions)
    for i, row in zip(positions, rows, strict=True):
        mapping = dict(zip(keys, row, strict=True))
        others = rare[i] if rare else None
        if others is not None:
            mapping.update({key: others[key] for key in keys if key in others})
        mappings[i] = mapping


def _parse_all(texts: Sequence[str]) -> list[Any]:
    """Return the data of JSON texts, which are parsed as one, because that is faster.

    Raises:
        ValueError: If one of them is not JSON, or exceeds the limit on nodes.
    """
    limit = get_max_nodes()
    if not all(len(text) <= limit or has_few_nodes(text) for text in texts):
        raise ValueError("a value has more mappings and lists than KEDRO_HYDRAFLOW_MAX_NODES")
    parsed: list[Any] = json.loads(f"[{','.join(texts)}]")
    if len(parsed) != len(texts):
        raise ValueError("a text is not the JSON of one value")
    return parsed
