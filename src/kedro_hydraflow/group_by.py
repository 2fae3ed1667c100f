"""The groups of a collection, and frames with a row for each group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from kedro_hydraflow.columns import check_keys, make_series
from kedro_hydraflow.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView

    import polars as pl
    from typing_extensions import Self


class Group(Protocol):
    """The part of a collection's interface that `GroupBy` uses."""

    def __getitem__(self, index: slice, /) -> Self:
        """Return a part of the collection."""

    def to_data(self, key: str) -> list[Any]:
        """Return the value of a key for each item, with plain lists and dictionaries."""


G = TypeVar("G", bound=Group)
T = TypeVar("T")


class GroupBy(Generic[G, T]):
    """The groups of ``Collection.group_by``: a mapping from group keys to collections.

    Attributes:
        by: The keys that the items were grouped by.
        groups: The collections in order of first appearance. A group's key is a value if
            ``by`` has one key, otherwise a tuple of values.

    Examples:
        >>> from kedro_hydraflow import Run, iter_run_dirs
        >>> runs = Run.load(iter_run_dirs("examples/data/mlruns"))
        >>> groups = runs.group_by("model.type", "training.learning_rate")
        >>> groups["mlp", 0.03].best(by="metrics.accuracy", mode="max")
        Run('6a8bb938e7f6477ea2d3a00e1f433be6')
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
        """Return the group keys.

        Examples:
            >>> list(runs.group_by("model.type").keys())
            ['mlp', 'linear']
        """
        return self.groups.keys()

    def values(self) -> ValuesView[G]:
        """Return the collections.

        Examples:
            >>> [group.n_unique("seed") for group in runs.group_by("job_name").values()]
            [2, 2, 1]
        """
        return self.groups.values()

    def items(self) -> ItemsView[Any, G]:
        """Return the pairs of group key and collection.

        Examples:
            >>> {model: len(group) for model, group in runs.group_by("model.type").items()}
            {'mlp': 19, 'linear': 12}
        """
        return self.groups.items()

    def agg(self, *aggs: str, **named_aggs: Callable[[G], Any]) -> pl.DataFrame:
        """Return a Polars frame with a row for each group.

        Args:
            *aggs: Keys. The column of a key holds one list per group, with the values of its
                items.
            **named_aggs: Columns by name: functions that take a group's collection.

        Returns:
            A column for each key in ``by``, then one for each aggregation. A later column
            replaces an earlier one of the same name.

        Raises:
            AttributeError: If an item lacks a key.

        Examples:
            >>> def get_mean(group):
            ...     return group.to_numpy("metrics.accuracy").mean().round(3)
            >>> groups = runs.filter(job_name="train_digits_v1").group_by("model.type")
            >>> groups.agg(n=len, accuracy=get_mean).rows()
            [('linear', 12, 0.884), ('mlp', 12, 0.926)]
        """
        import polars as pl

        check_keys(aggs)
        for name, function in named_aggs.items():
            if not callable(function):
                raise OptionError(
                    f"agg: expected a function of a group as {name}, found {function!r}; pass a "
                    "key without a name to list its values"
                )
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
        """Return a group's value of ``by[index]``."""
        value = group_key if len(self.by) == 1 else group_key[index]
        if isinstance(value, tuple):  # a list or a mapping, made hashable
            group = self.groups[group_key]
            (value,) = group[:1].to_data(self.by[index])
        return value
