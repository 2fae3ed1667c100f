"""The groups of a collection, and frames of what is computed from each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from kedro_hydraflow.columns import make_series

if TYPE_CHECKING:
    from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView

    import polars as pl
    from typing_extensions import Self


class Group(Protocol):
    """A collection, as far as groups are aggregated."""

    def __getitem__(self, index: slice, /) -> Self:
        """Return a part of the collection."""

    def to_data(self, key: str) -> list[Any]:
        """Return the value of a key for each item, as plain data."""


G = TypeVar("G", bound=Group)
T = TypeVar("T")


class GroupBy(Generic[G, T]):
    """What ``Collection.group_by`` returns: a mapping from group keys to collections.

    Attributes:
        by: The keys that the items were grouped by.
        groups: The collections, by the value of the key, or by the tuple of values of
            several keys, in order of first appearance.
    """

    def __init__(self, by: tuple[str, ...], groups: dict[Any, G]) -> None:
        self.by = by
        self.groups = groups

    def __repr__(self) -> str:
        return f"{type(self).__name__}(by={', '.join(self.by)}, n={len(self)})"

    def __getitem__(self, key: Any) -> G:
        return self.groups[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __contains__(self, key: Any) -> bool:
        return key in self.groups

    def keys(self) -> KeysView[Any]:
        """Return the group keys."""
        return self.groups.keys()

    def values(self) -> ValuesView[G]:
        """Return the collections."""
        return self.groups.values()

    def items(self) -> ItemsView[Any, G]:
        """Return the pairs of group key and collection."""
        return self.groups.items()

    def agg(self, *aggs: str, **named_aggs: Callable[[G], Any]) -> pl.DataFrame:
        """Return a frame with a row for each group.

        Args:
            *aggs: Keys; the column holds the list of the group's values.
            **named_aggs: Functions of the group's collection, by column name.

        Returns:
            The columns that were grouped by, then one for each aggregation. One of the
            same name replaces the former.
        """
        import polars as pl

        columns = {}
        for i, name in enumerate(self.by):
            values = [self._get_value(key, i) for key in self.groups]
            columns[name] = make_series(name, values)
        for key in aggs:
            columns[key] = make_series(key, [c.to_data(key) for c in self.values()])
        for name, function in named_aggs.items():
            columns[name] = make_series(name, [function(c) for c in self.values()])
        return pl.DataFrame(list(columns.values()))

    def _get_value(self, group_key: Any, index: int) -> Any:
        """Return the value of one of the keys that the items were grouped by."""
        value = group_key if len(self.by) == 1 else group_key[index]
        if isinstance(value, tuple):  # a list or a mapping, made hashable
            group = self.groups[group_key]
            (value,) = group[:1].to_data(self.by[index])
        return value
