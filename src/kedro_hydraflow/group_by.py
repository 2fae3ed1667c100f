"""The groups of a collection, and frames with a row for each group."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from kedro_hydraflow.aggregates import OF_NUMBERS, aggregate, check_aggregate
from kedro_hydraflow.columns import check_keys, make_series
from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.html_parts import MAX_ROWS, make_html, make_table
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.recorded import to_ordered
from kedro_hydraflow.value_text import show_counts

if TYPE_CHECKING:
    from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView

    import polars as pl
    from typing_extensions import Self

    from kedro_hydraflow.aggregates import Aggregate
    from kedro_hydraflow.columns import Mode


class Group(Protocol):
    """The part of a collection's interface that `GroupBy` uses."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: slice, /) -> Self:
        """Return a part of the collection."""

    def to_data(self, key: str) -> list[Any]:
        """Return the value of a key for each item, with plain lists and dictionaries."""


G = TypeVar("G", bound=Group)
T = TypeVar("T")


class GroupBy(Generic[G, T]):
    """The groups of ``Collection.group_by``: a mapping from group keys to collections.

    Args:
        by: The keys that the items were grouped by.
        groups: The collections by group key.
        find_top: For groups of runs: returns the best runs of each of some groups. It is called
            with the groups and the arguments of `top`.
        look_up: Returns the values of a key in each of some groups, None for items that lack the
            key. Without it, all items need to have the key.

    Attributes:
        by: The keys that the items were grouped by.
        groups: The collections in order of first appearance. A group's key is a value if
            ``by`` has one key, otherwise a tuple of values.

    Examples:
        >>> from kedro_hydraflow import Run, iter_run_dirs
        >>> runs = Run.load(iter_run_dirs("examples/data/mlruns"))
        >>> runs.group_by("model.type")
        GroupBy(by=model.type, n=2, sizes={'mlp': 19, 'linear': 12})
        >>> groups = runs.group_by("model.type", "training.learning_rate")
        >>> groups["mlp", 0.03].best(by="metrics.accuracy", mode="max")
        Run('6a8bb938e7f6477ea2d3a00e1f433be6', ...)
    """

    def __init__(
        self,
        by: tuple[str, ...],
        groups: dict[Any, G],
        find_top: Callable[[dict[Any, G], int, Any, Mode, Any], G] | None = None,
        look_up: Callable[[dict[Any, G], str], list[list[Any]]] | None = None,
    ) -> None:
        self.by = by
        self.groups = groups
        self._find_top = find_top
        self._look_up = look_up or _look_up_one_by_one

    def __repr__(self) -> str:
        text = f"{type(self).__name__}(by={', '.join(self.by)}, n={len(self)}"
        return f"{text}, sizes={show_counts(self._count())})" if self.groups else f"{text})"

    def _repr_html_(self) -> str:
        """Return for a notebook the keys and sizes of the first groups. It reads nothing."""
        names = [*self.by, "n"]
        rows = [
            [*(key if len(self.by) > 1 else [key]), n]
            for key, n in islice(self._count().items(), MAX_ROWS)
        ]
        title = f"{type(self).__name__}(by={', '.join(self.by)}, n={len(self)})"
        return make_html(title, lambda: make_table(names, rows, len(self)))

    def _ipython_key_completions_(self) -> list[Any]:
        """Return the group keys that ``groups["<Tab>`` offers."""
        return list(self.groups)

    def _count(self) -> dict[Any, int]:
        return {key: len(group) for key, group in self.groups.items()}

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

    def best(
        self,
        by: str | Callable[[T], Any],
        *,
        mode: Mode,
        default: Any | Callable[[T], Any] = MISSING,
    ) -> G:
        """Return the best run of each group, as one collection in the order of the groups.

        Args:
            by: As for `RunCollection.best`: a key, or a callable that takes a run.
            mode: ``"max"``: the largest value is the best one; ``"min"``: the smallest.
            default: For runs that lack the key; if callable, called with the run.

        Returns:
            The runs. A group in which no run has a value, or all have NaN, is left out, which is
            logged as a warning.

        Raises:
            OptionError: If there are groups, but no run has a value; if a value is neither a number
                nor a time; or if the groups are not of runs.

        Examples:
            >>> best = runs.group_by("model.type").best("metrics.accuracy", mode="max")
            >>> best.to_frame("model.type", "training.learning_rate", "seed").rows()
            [('mlp', 0.01, 1), ('linear', 0.01, 1)]
        """
        return self.top(1, by, mode=mode, default=default)

    def top(
        self,
        n: int,
        by: str | Callable[[T], Any],
        *,
        mode: Mode,
        default: Any | Callable[[T], Any] = MISSING,
    ) -> G:
        """Return the ``n`` best runs of each group, as one collection in the order of the groups.

        In a group, the best run comes first, and runs without a value last, as in
        `RunCollection.top`.

        Args:
            n: The number of runs of each group. A smaller group is there with all of its runs.
            by: As for `best`, as are the other arguments, the result and the errors.
            mode: As for `best`.
            default: As for `best`.

        Examples:
            >>> top = runs.group_by("model.type").top(2, "metrics.accuracy", mode="max")
            >>> top.to_list("model.type")
            ['mlp', 'mlp', 'linear', 'linear']
        """
        if self._find_top is None:
            raise OptionError("only runs can be ranked: group a RunCollection")
        return self._find_top(self.groups, n, by, mode, default)

    def agg(
        self, *aggs: str, **named_aggs: Callable[[G], Any] | tuple[str, Aggregate]
    ) -> pl.DataFrame:
        """Return a Polars frame with a row for each group.

        Args:
            *aggs: Keys. The column of a key holds one list per group, with the values of its
                items.
            **named_aggs: Columns by name: functions that take a group's collection, or pairs of a
                key and what to make of its values in the group: ``"mean"``, ``"std"``, ``"min"``,
                ``"max"``, ``"median"``, ``"sum"``, ``"count"`` (or ``"n"``), ``"n_unique"``,
                ``"first"``, ``"last"``, or a function that takes the list of values.

        Returns:
            A column for each key in ``by``, then one for each aggregation. A later column
            replaces an earlier one of the same name.

            Pairs leave out items without a value, or with null: ``count`` is the number of
            values. Without any value in a group it is 0, and the others are null. With NaN among
            the values, ``min`` and ``max`` are those of the others, and ``mean``, ``std``,
            ``median`` and ``sum`` are NaN. ``std`` is that of a sample, null for one value.

        Raises:
            AttributeError: If an item lacks a key; in a pair, if all items lack it.
            OptionError: If a value is not of the kind that a function needs, such as a number.

        Examples:
            >>> groups = runs.filter(job_name="train_digits_v1").group_by("model.type")
            >>> groups.agg(n=len, best=("metrics.accuracy", "max")).rows()
            [('linear', 12, 0.96), ('mlp', 12, 0.9777777777777777)]
            >>> def get_mean(group):
            ...     return group.to_numpy("metrics.accuracy").mean().round(3)
            >>> groups.agg(accuracy=get_mean).rows()
            [('linear', 0.884), ('mlp', 0.926)]
        """
        import polars as pl

        check_keys(aggs)
        for name, function in named_aggs.items():
            _check_aggregation(name, function)
        columns = {}
        for i, name in enumerate(self.by):
            values = [self._get_value(key, i) for key in self.groups]
            columns[name] = make_series(name, values)
        for key in aggs:
            columns[key] = make_series(key, [c.to_data(key) for c in self.values()])
        found: dict[str, list[list[Any]]] = {}
        for name, function in named_aggs.items():
            if not isinstance(function, tuple):
                columns[name] = make_series(name, [function(c) for c in self.values()])
                continue
            key, of_values = function
            if key not in found:
                found[key] = self._look_up(self.groups, key)
            columns[name] = make_series(name, self._aggregate(name, key, found[key], of_values))
        return pl.DataFrame(list(columns.values()))

    def _aggregate(
        self, name: str, key: str, columns: list[list[Any]], function: Aggregate
    ) -> list[Any]:
        """Return what a function makes of the values of each group."""
        if function in OF_NUMBERS:
            ordered = iter(to_ordered(key, list(chain.from_iterable(columns))))
            columns = [list(islice(ordered, len(values))) for values in columns]
        return [
            aggregate(values, function, f"agg: {name}: {key!r} in the group {group_key!r}")
            for group_key, values in zip(self.groups, columns, strict=True)
        ]

    def _get_value(self, group_key: Any, index: int) -> Any:
        """Return a group's value of ``by[index]``."""
        value = group_key if len(self.by) == 1 else group_key[index]
        if isinstance(value, tuple):  # a list or a mapping, made hashable
            group = self.groups[group_key]
            (value,) = group[:1].to_data(self.by[index])
        return value


def _check_aggregation(name: str, function: object) -> None:
    """Raise OptionError unless the value is a function, or a pair of a key and a function."""
    if isinstance(function, tuple) and len(function) == 2 and isinstance(function[0], str):
        check_aggregate(f"agg: {name}", function[1])
    elif not callable(function):
        raise OptionError(
            f"agg: expected a function of a group as {name}, or a pair such as "
            f"('metrics.accuracy', 'max'), found {function!r}; pass a key without a name to list "
            "its values"
        )


def _look_up_one_by_one(groups: dict[Any, Any], key: str) -> list[list[Any]]:
    return [group.to_data(key) for group in groups.values()]
