"""A sequence of items that is filtered, sorted, grouped and tabulated by their keys."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from numbers import Integral
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from omegaconf import DictConfig, OmegaConf
from typing_extensions import Self

from kedro_hydraflow.columns import SCALARS, make_array, make_series, sort_order, to_hashable
from kedro_hydraflow.errors import MissingKeyError, OptionError
from kedro_hydraflow.group_by import GroupBy
from kedro_hydraflow.parallel import parallel_map

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

Default = Any
"""A value for items that lack a key, or a callable that takes the item and returns it."""

Criterion = Any
"""What `filter` takes: a predicate on the item, a pair ``(key, criterion)``, or a mask."""


class Collection(Sequence[T], Generic[T]):
    """A sequence of items whose values are looked up by key.

    Args:
        items: The items.
        get: How to look up a key: ``get(item, key, default)``, by default ``getattr``.
    """

    def __init__(
        self, items: Iterable[T], get: Callable[[T, str, Default], Any] | None = None
    ) -> None:
        self._items = list(items)
        self._get: Callable[[T, str, Default], Any] = get or _get_attribute

    def _make(self, items: Iterable[T]) -> Self:
        """Return a collection like this one, of other items."""
        return type(self)(items, self._get)

    def __repr__(self) -> str:
        class_name = type(self).__name__
        if not self._items:
            return f"{class_name}(empty)"
        return f"{class_name}({repr(self._items[0]).partition('(')[0]}, n={len(self)})"

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice | Iterable[int]) -> Self: ...

    @overload
    def __getitem__(self, index: str) -> pl.Series: ...

    def __getitem__(self, index: int | slice | Iterable[int] | str) -> T | Self | pl.Series:
        """Return an item, a part of the collection, or the values of a key as a series."""
        if isinstance(index, str):
            return self.to_series(index)
        if isinstance(index, Integral):  # a number of NumPy is one
            return self._items[int(index)]
        if isinstance(index, slice):
            return self._make(self._items[index])
        positions = list(cast("Iterable[int]", index))
        if any(type(i).__name__ in ("bool", "bool_") for i in positions):  # or NumPy's
            raise OptionError("expected integers as index, found truth values; use filter(mask)")
        return self._make([self._items[i] for i in positions])

    def filter(self, *criteria: Criterion, **kwargs: Any) -> Self:
        """Return the items that match all criteria.

        Args:
            *criteria: Each is a predicate on the item, a pair ``(key, criterion)``, or a
                mask: an iterable of as many truth values as there are items.
            **kwargs: Criteria by key, ``__`` standing for a dot.

        A criterion for a value is a predicate on it, a list or set that holds it, a tuple
        ``(low, high)`` that includes it, or what it equals. See `matches`.

        Raises:
            ValueError: If a mask is longer or shorter than the collection, or if a value
                cannot be compared with the ends of a range.
        """
        kept = list(range(len(self)))
        for criterion in (*criteria, *kwargs.items()):
            kept = self._matching(criterion, kept)
        return self._make([self._items[i] for i in kept])

    def exclude(self, *criteria: Criterion, **kwargs: Any) -> Self:
        """Return the items that match none of the criteria, which are as for `filter`."""
        kept = list(range(len(self)))
        for criterion in (*criteria, *kwargs.items()):
            gone = set(self._matching(criterion, kept))
            kept = [i for i in kept if i not in gone]
        return self._make([self._items[i] for i in kept])

    def _matching(self, criterion: Criterion, candidates: list[int]) -> list[int]:
        items = self._items
        if callable(criterion):
            return [i for i in candidates if criterion(items[i])]
        if isinstance(criterion, tuple) and len(criterion) == 2 and isinstance(criterion[0], str):
            return self._matching_values(criterion[0], criterion[1], candidates)
        if isinstance(criterion, str) or not isinstance(criterion, Iterable):
            raise OptionError(
                "expected a predicate, a pair (key, criterion) or a mask of truth values, "
                f"found {criterion!r}"
            )
        mask = [bool(chosen) for chosen in criterion]
        if len(mask) != len(items):
            raise OptionError(
                f"expected a mask of {len(items)} truth values, one for each item, "
                f"found {len(mask)}"
            )
        return [i for i in candidates if mask[i]]

    def _matching_values(self, key: str, wanted: Any, candidates: list[int]) -> list[int]:
        chosen = [self._items[i] for i in candidates]
        if callable(wanted):  # it may expect the very value that `get` gives
            values = [self._get(item, key, MISSING) for item in chosen]
            return [i for i, value in zip(candidates, values, strict=True) if wanted(value)]
        matching = []
        wanted = _as_list(wanted)  # once, not for each value
        is_list = isinstance(wanted, list) and SCALARS.issuperset(map(type, wanted))
        scalars = frozenset(wanted) if is_list else None  # has the same scalars as the list
        values = self._look_up(chosen, key, MISSING)
        value = None
        try:
            for i, value in zip(candidates, values, strict=True):
                if scalars is not None and type(value) in SCALARS:
                    found = value in scalars
                else:
                    found = matches(value, wanted)
                if found:
                    matching.append(i)
        except TypeError as exc:
            raise OptionError(f"cannot compare {key} {value!r} with {wanted!r}: {exc}") from exc
        return matching

    def try_get(self, *criteria: Criterion, **kwargs: Any) -> T | None:
        """Return the one item that matches, None if there is none.

        Raises:
            ValueError: If several items match.
        """
        items = self.filter(*criteria, **kwargs)
        if len(items) > 1:
            raise OptionError(f"expected one item to match the criteria, found {len(items)}")
        return items[0] if len(items) else None

    def get(self, *criteria: Criterion, **kwargs: Any) -> T:
        """Return the one item that matches.

        Raises:
            ValueError: If no item or several items match.
        """
        items = self.filter(*criteria, **kwargs)
        if len(items) != 1:
            raise OptionError(f"expected one item to match the criteria, found {len(items)}")
        return items[0]

    def first(self, *criteria: Criterion, **kwargs: Any) -> T:
        """Return the first item that matches.

        Raises:
            ValueError: If no item matches.
        """
        return self._filter_some(criteria, kwargs)[0]

    def last(self, *criteria: Criterion, **kwargs: Any) -> T:
        """Return the last item that matches.

        Raises:
            ValueError: If no item matches.
        """
        return self._filter_some(criteria, kwargs)[-1]

    def _filter_some(self, criteria: tuple[Criterion, ...], kwargs: dict[str, Any]) -> Self:
        items = self.filter(*criteria, **kwargs)
        if not len(items):
            raise OptionError(f"none of the {len(self)} items matches the criteria")
        return items

    def to_list(self, key: str, default: Default = MISSING) -> list[Any]:
        """Return the value of a key for each item.

        Args:
            key: The key.
            default: For items that lack the key; if callable, called with the item.
        """
        return [self._get(item, key, default) for item in self._items]

    def to_data(self, key: str, default: Default = MISSING) -> list[Any]:
        """Return as `to_list` does, but plain data in place of OmegaConf's lists and mappings.

        The data are shared with the items: do not modify them.
        """
        return self._look_up(self._items, key, default)

    def _look_up(self, items: Sequence[T], key: str, default: Default) -> list[Any]:
        return [_to_data(self._get(item, key, default)) for item in items]

    def to_numpy(self, key: str, default: Default = MISSING) -> NDArray[Any]:
        """Return the values of a key as an array, the first axis along the items.

        Values that have no common type of NumPy's give an array of objects.
        """
        return make_array(self.to_data(key, default))

    def to_series(
        self, key: str, default: Default = MISSING, *, name: str | None = None
    ) -> pl.Series:
        """Return the values of a key as a Polars series, named like the key by default."""
        return self._make_series(name or key, key, self.to_data(key, default))

    def _make_series(
        self,
        name: str,
        key: str,  # noqa: ARG002 - some keys of runs stand for objects
        values: list[Any],
    ) -> pl.Series:
        return make_series(name, values)

    def unique(self, key: str, default: Default = MISSING) -> NDArray[Any]:
        """Return the distinct values of a key, sorted, None and NaN last.

        Values that cannot be compared are in order of first appearance.
        """
        values = self._distinct(key, default)
        try:
            order = sort_order(values, range(len(values)))
        except TypeError:
            return make_array(values)
        return make_array([values[i] for i in order])

    def n_unique(self, key: str, default: Default = MISSING) -> int:
        """Return how many distinct values a key has."""
        return len(self._distinct(key, default))

    def _distinct(self, key: str, default: Default) -> list[Any]:
        distinct: dict[Hashable, Any] = {}
        for value in self.to_data(key, default):
            distinct.setdefault(to_hashable(value), value)
        return list(distinct.values())

    def sort(self, *keys: str, reverse: bool = False) -> Self:
        """Return the items sorted by the values of keys, the first key counting most.

        Items with equal values keep their order, or the opposite order with ``reverse``.
        None and NaN come last, with ``reverse`` too.

        Raises:
            ValueError: If the values of a key cannot be compared.
        """
        if not keys:
            return self
        order = list(range(len(self)))
        if reverse:
            order.reverse()
        for key in reversed(keys):
            values = self.to_data(key)
            try:
                order = sort_order(values, order, reverse=reverse)
            except TypeError as exc:
                types = sorted({type(value).__name__ for value in values if value is not None})
                raise OptionError(
                    f"cannot sort by {key!r}, whose values are of type {' and '.join(types)}: {exc}"
                ) from exc
        return self._make([self._items[i] for i in order])

    def map(
        self, function: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[R]:
        """Yield the function's result for each item, called with the further arguments."""
        for item in self._items:
            yield function(item, *args, **kwargs)

    def pmap(
        self,
        function: Callable[..., R],
        n_jobs: int = -1,
        backend: str | None = None,
        progress: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> list[R]:
        """Return the function's result for each item, computed in parallel with joblib.

        Args:
            function: Called with an item and the further arguments.
            n_jobs: 0 or 1: in this process; N: in N jobs; -1: in one for each core.
            backend: A backend of joblib, such as ``"threading"``. By default that of the
                surrounding ``joblib.parallel_config``, else loky processes.
            progress: Whether to show a progress bar.
            *args: Passed to the function.
            **kwargs: Passed to the function.
        """
        call: Callable[[T], R] = _Call(function, args, kwargs)
        if backend == "multiprocessing":  # the one backend that refuses lambdas by itself
            from joblib import wrap_non_picklable_objects

            call = wrap_non_picklable_objects(call)
        return parallel_map(call, self._items, n_jobs=n_jobs, backend=backend, progress=progress)

    def to_frame(
        self,
        *keys: str | tuple[str, Default],
        defaults: Mapping[str, Default] | None = None,
        n_jobs: int = 0,
        backend: str | None = None,
        progress: bool = False,
        **kwargs: Callable[[T], Any],
    ) -> pl.DataFrame:
        """Return a frame with a row for each item.

        Args:
            *keys: The columns; a tuple is a key with its default. A key that only some
                items have, without a default, gives null for the others.
            defaults: Defaults by key.
            n_jobs: As for `pmap`, for the computed columns.
            backend: As for `pmap`.
            progress: As for `pmap`.
            **kwargs: Computed columns: functions of the item, by column name.

        Returns:
            A column for each key, then the computed ones. See `make_series` for their types.

        Raises:
            AttributeError: If no item has a key that has no default.
        """
        import polars as pl

        known = dict(defaults or {})
        columns = {}
        for key in keys:
            name, default = key if isinstance(key, tuple) else (key, known.get(key, MISSING))
            columns[name] = self._make_series(name, name, self._column(name, default))
        for name, function in kwargs.items():
            values = self.pmap(function, n_jobs, backend, progress)
            columns[name] = make_series(name, list(map(_to_data, values)))
        return pl.DataFrame(list(columns.values()))

    def _column(self, key: str, default: Default) -> list[Any]:
        if default is not MISSING:
            return self.to_data(key, default)
        absent: Any = object()
        values = self.to_data(key, absent)
        present = [value for value in values if value is not absent]
        if values and not present:
            self._get(self._items[0], key, MISSING)  # its error says more
            raise MissingKeyError(f"none of the {len(values)} items has the key {key!r}")
        if len(present) == len(values):
            return values
        return [None if value is absent else value for value in values]

    def group_by(self, *by: str) -> GroupBy[Self, T]:
        """Return the items grouped by the values of one or more keys.

        The group's key is the value, or the tuple of the values of several keys. Lists
        become tuples in it, mappings tuples of pairs.
        """
        columns = [list(map(to_hashable, self.to_data(key))) for key in by]
        keys: Iterable[Hashable]
        if len(by) == 1:
            keys = columns[0]
        else:
            keys = zip(*columns, strict=True) if by else [()] * len(self)
        groups: dict[Hashable, list[T]] = {}
        for key, item in zip(keys, self._items, strict=True):
            groups.setdefault(key, []).append(item)
        return GroupBy(by, {key: self._make(items) for key, items in groups.items()})

    def sample(self, k: int, seed: int | None = None) -> Self:
        """Return ``k`` items drawn at random without replacement.

        Args:
            k: How many.
            seed: Makes the draw repeatable. The global generator is not touched.

        Raises:
            ValueError: If ``k`` is not between 1 and the number of items.
        """
        if not 1 <= k <= len(self):
            raise OptionError(f"expected a sample size between 1 and {len(self)}, found {k}")
        return self._make(random.Random(seed).sample(self._items, k))  # noqa: S311 - no secret

    def shuffle(self, seed: int | None = None) -> Self:
        """Return all items in random order, repeatable with a ``seed``."""
        return self._make(random.Random(seed).sample(self._items, len(self)))  # noqa: S311

    def eq(self, left: str, right: str, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: two keys have equal values."""
        return lambda i: bool(self._get(i, left, default) == self._get(i, right, default))

    def ne(self, left: str, right: str, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: two keys have different values."""
        return lambda i: bool(self._get(i, left, default) != self._get(i, right, default))

    def gt(self, left: str, right: str, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the left key's value is the greater one."""
        return lambda i: bool(self._get(i, left, default) > self._get(i, right, default))

    def lt(self, left: str, right: str, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the left key's value is the smaller one."""
        return lambda i: bool(self._get(i, left, default) < self._get(i, right, default))

    def ge(self, left: str, right: str, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the left key's value is not the smaller one."""
        return lambda i: bool(self._get(i, left, default) >= self._get(i, right, default))

    def le(self, left: str, right: str, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the left key's value is not the greater one."""
        return lambda i: bool(self._get(i, left, default) <= self._get(i, right, default))

    def startswith(
        self, key: str, prefix: str, *, default: Default = MISSING
    ) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the key's value, as text, starts with a prefix."""
        return lambda i: str(self._get(i, key, default)).startswith(prefix)

    def endswith(self, key: str, suffix: str, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the key's value, as text, ends with a suffix."""
        return lambda i: str(self._get(i, key, default)).endswith(suffix)

    def match(
        self,
        key: str,
        pattern: str | re.Pattern[str],
        *,
        default: Default = MISSING,
        flags: int = 0,
    ) -> Callable[[T], bool]:
        """Return a predicate for `filter`: a pattern matches at the start of the value's text."""
        compiled = re.compile(pattern, flags)
        return lambda i: compiled.match(str(self._get(i, key, default))) is not None


class _Call:
    """A function with its further arguments, picklable if they are."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def __call__(self, item: Any) -> Any:
        return self._function(item, *self._args, **self._kwargs)


def matches(value: Any, criterion: Any) -> bool:
    """Whether a value meets a criterion.

    Args:
        value: The value.
        criterion: A predicate on the value; a list, set or range that holds it; a tuple
            ``(low, high)`` that includes it, ends included; or what it equals. A list
            equals a value that is a list itself. None lies in no range.
    """
    if callable(criterion):
        return bool(criterion(value))
    criterion = _as_list(criterion)
    if not _is_iterable(value):
        if isinstance(criterion, (list, set, range)):
            return value in criterion
        if isinstance(criterion, tuple) and len(criterion) == 2:
            return value is not None and bool(criterion[0] <= value <= criterion[1])
        return bool(value == criterion)
    if isinstance(value, (DictConfig, Mapping)) or isinstance(criterion, (DictConfig, Mapping)):
        return bool(value == criterion)
    return list(value) == (list(criterion) if _is_iterable(criterion) else criterion)


def _as_list(criterion: Any) -> Any:
    """Return a criterion as `matches` tests it: a ListConfig, array or iterator as a list."""
    if isinstance(criterion, (list, tuple, set, range, Mapping, DictConfig)):
        return criterion
    return list(criterion) if _is_iterable(criterion) else criterion


def _is_iterable(value: Any) -> bool:
    if type(value) in SCALARS:  # asking whether it is an Iterable takes longer
        return False
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def _to_data(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _get_attribute(item: Any, key: str, default: Default) -> Any:
    if default is MISSING:
        return getattr(item, key)
    value = getattr(item, key, MISSING)
    if value is MISSING:
        return default(item) if callable(default) else default
    return cast("Any", value)
