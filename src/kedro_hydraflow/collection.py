"""A sequence of items that is filtered, sorted, grouped and tabulated by key."""

from __future__ import annotations

import dataclasses
import operator
import random
import re
import reprlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from numbers import Integral
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from omegaconf import DictConfig, OmegaConf
from typing_extensions import Self

from kedro_hydraflow.columns import (
    SCALARS,
    check_columns,
    check_keys,
    copy_data,
    make_array,
    sort_order,
    to_hashable,
)
from kedro_hydraflow.errors import MissingKeyError, OptionError, show_count, show_none_has
from kedro_hydraflow.group_by import GroupBy
from kedro_hydraflow.json_columns import Nested, check_nested, make_column
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.missing import MISSING, to_dataclasses, to_missing
from kedro_hydraflow.parallel import check_jobs, parallel_map
from kedro_hydraflow.times import to_time, to_utc

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

logger = get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

Default: TypeAlias = Any | Callable[[Any], Any]
"""The value for items that lack a key, or a callable that takes the item and returns the value."""

Criterion: TypeAlias = Callable[[T], Any] | tuple[str, Any] | Iterable[Any]
"""A condition of `Collection.filter`.

A predicate on the item, a pair ``(key, condition on the value)``, or a mask: an iterable of as
many truth values as there are items.
"""


class Collection(Sequence[T], Generic[T]):
    """A sequence of items whose values are looked up by key.

    Args:
        items: The items.
        get: The lookup of a key: ``get(item, key, default)``, where ``default`` is
            ``dataclasses.MISSING`` if there is none. By default ``getattr``.

    Examples:
        >>> from kedro_hydraflow import Collection, Run, iter_run_dirs
        >>> runs = Run.load(iter_run_dirs("examples/data/mlruns"))
        >>> infos = Collection(run.info for run in runs)
        >>> infos.first(status="FAILED")
        RunInfo('16188f25c92f4d218507a2809e71ec9f', ...)

        The examples of the methods use these ``runs``. A `RunCollection` is a collection too.
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
        if isinstance(index, Integral):  # NumPy integers too
            return self._items[int(index)]
        if isinstance(index, slice):
            return self._make(self._items[index])
        positions = list(cast("Iterable[int]", index))
        if any(type(i).__name__ in ("bool", "bool_") for i in positions):  # or NumPy's
            raise OptionError("expected integers as index, found truth values; use filter(mask)")
        return self._make([self._items[i] for i in positions])

    def filter(self, *criteria: Criterion[T], **kwargs: Any) -> Self:
        """Return the items that match all criteria.

        A keyword is a key (``__`` stands for a dot) and a condition on its value:

        - ``seed=1``: it is equal.
        - ``seed=[1, 5]``: it is 1 or 5. A list, set, array or ``range`` holds alternatives.
        - ``seed=(1, 5)``: it is from 1 to 5. A pair is a range, both ends included. None is
          in no range.
        - ``seed=lambda seed: seed % 2``: the result of the predicate is true.
        - ``layers=[64, 32]`` where the value is a list (or a mapping) itself: it is equal.

        Args:
            *criteria: Each is a predicate on the item, a pair ``(key, condition)``, or a
                mask: an iterable of as many truth values as there are items. For runs also a
                filter as text, such as ``"seed > 1 and status == FINISHED"``: see
                https://kedro-hydraflow.github.io/kedro-hydraflow/filters/. A run that lacks a key
                in it is left out.
            **kwargs: Conditions by key.

        Raises:
            AttributeError: If an item lacks a key, other than in a filter as text.
            OptionError: If the larger end of a range comes first, a tuple is not a pair, a value
                cannot be compared with a range, or a mask has the wrong length.
            FilterError: If runs are filtered by a status that there is not, or by a fact that
                their store does not record; if a filter as text cannot be read, or no run has a
                key in it. The case of a status does not matter.

        Examples:
            >>> runs.filter(model__type="mlp", seed=[1, 2])
            RunCollection(Run, n=12, ...)
            >>> runs.filter(training__learning_rate=(0.01, 0.1))
            RunCollection(Run, n=20, ...)
            >>> runs.filter(("model.hidden_size", 64), lambda run: run.metrics["accuracy"] > 0.97)
            RunCollection(Run, n=1, ...)
            >>> runs.filter(data__classes=list(range(10)))
            RunCollection(Run, n=31, ...)
            >>> runs.filter("model.type == linear or training.learning_rate > 0.01", seed=1)
            RunCollection(Run, n=8, ...)
        """
        kept = list(range(len(self)))
        for criterion in (*criteria, *kwargs.items()):
            kept = self._matching(criterion, kept)
        return self._make([self._items[i] for i in kept])

    def exclude(self, *criteria: Criterion[T], **kwargs: Any) -> Self:
        """Return the items that match none of the criteria, which are those of `filter`.

        Examples:
            >>> runs.exclude(status="FAILED", job_name="eval_digits")
            RunCollection(Run, n=28, ...)
        """
        kept = list(range(len(self)))
        for criterion in (*criteria, *kwargs.items()):
            gone = set(self._matching(criterion, kept))
            kept = [i for i in kept if i not in gone]
        return self._make([self._items[i] for i in kept])

    def _matching(self, criterion: Criterion[T], candidates: list[int]) -> list[int]:
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
        mask = list(criterion)
        if not all(map(_is_truth_value, mask)) or isinstance(criterion, Mapping):
            raise OptionError(
                "expected a mask of truth values, or a predicate, or a pair (key, criterion), "
                f"found {criterion!r}"
            )
        if len(mask) != len(items):
            raise OptionError(
                f"expected a mask of {len(items)} truth values, one for each item, "
                f"found {len(mask)}"
            )
        return [i for i in candidates if mask[i]]

    def _matching_values(self, key: str, wanted: Any, candidates: list[int]) -> list[int]:
        chosen = [self._items[i] for i in candidates]
        advise = self._make_advice(wanted)
        if callable(wanted):  # it may expect the very value that `get` gives
            found = self._get_values(chosen, key, advise=advise)
            return [i for i, value in zip(candidates, found, strict=True) if wanted(value)]
        matching = []
        wanted = _to_utc(as_list(wanted))  # once, not for each value
        is_list = isinstance(wanted, list) and SCALARS.issuperset(map(type, wanted))
        scalars = frozenset(wanted) if is_list else None  # has the same scalars as the list
        values = self._look_up(chosen, key, advise=advise)
        value = None
        fault = _find_fault(wanted)
        try:
            for i, value in zip(candidates, values, strict=True):
                if scalars is not None and type(value) in SCALARS:
                    is_match = value in scalars
                elif fault and value is not None and not _is_iterable(value):
                    raise OptionError(f"{key}: {fault}")
                else:
                    is_match = matches(value, wanted)
                if is_match:
                    matching.append(i)
        except TypeError as exc:
            raise OptionError(f"cannot compare {key} {value!r} with {wanted!r}: {exc}") from exc
        if not matching:
            _warn_of_kinds(key, wanted, values)
        return matching

    def try_get(self, *criteria: Criterion[T], **kwargs: Any) -> T | None:
        """Return the only item that matches the criteria of `filter`, None if none does.

        Raises:
            OptionError: If several items match.

        Examples:
            >>> runs.try_get(model__type="cnn") is None
            True
        """
        items = self.filter(*criteria, **kwargs)
        if len(items) > 1:
            raise self._not_one_error(len(items))
        return items[0] if len(items) else None

    def get(self, *criteria: Criterion[T], **kwargs: Any) -> T:
        """Return the only item that matches the criteria of `filter`.

        Raises:
            OptionError: If no item or several items match.

        Examples:
            >>> runs.get(status="FAILED")
            Run('16188f25c92f4d218507a2809e71ec9f', ...)
        """
        items = self.filter(*criteria, **kwargs)
        if len(items) != 1:
            raise self._not_one_error(len(items))
        return items[0]

    def first(self, *criteria: Criterion[T], **kwargs: Any) -> T:
        """Return the first item that matches the criteria of `filter`.

        Raises:
            OptionError: If no item matches.

        Examples:
            >>> runs.sort("start_time").first(model__type="mlp").get("training.learning_rate")
            0.001
        """
        return self._filter_some(criteria, kwargs)[0]

    def last(self, *criteria: Criterion[T], **kwargs: Any) -> T:
        """Return the last item that matches the criteria of `filter`.

        Raises:
            OptionError: If no item matches.

        Examples:
            >>> runs.sort("start_time").last().info.status
            'FAILED'
        """
        return self._filter_some(criteria, kwargs)[-1]

    def _not_one_error(self, n_found: int) -> OptionError:
        advice = "; add criteria, or use first, last or filter" if n_found else ""
        return OptionError(
            f"expected one item to match the criteria, found {n_found} of {len(self)}{advice}"
        )

    def _filter_some(self, criteria: tuple[Criterion[T], ...], kwargs: dict[str, Any]) -> Self:
        items = self.filter(*criteria, **kwargs)
        if not len(items):
            raise OptionError(f"none of the {show_count(len(self), 'item')} matches the criteria")
        return items

    def to_list(self, key: str, default: Default = MISSING) -> list[Any]:
        """Return the value of a key for each item.

        Args:
            key: The key.
            default: For items that lack the key; if callable, called with the item.

        Raises:
            AttributeError: If an item lacks the key and there is no default.

        Examples:
            >>> runs[:3].to_list("training.learning_rate")
            [0.01, 0.01, 0.1]
            >>> runs[:3].to_list("training.warmup", 0)
            [0, 0, 0]
        """
        return self._get_values(self._items, key, default)

    def to_data(self, key: str, default: Default = MISSING) -> list[Any]:
        """Return the value of a key for each item, with plain lists and dictionaries.

        `to_list` gives the ``ListConfig`` and ``DictConfig`` of each configuration instead.

        Args:
            key: The key.
            default: As for `to_list`.

        Examples:
            >>> import json
            >>> json.dumps(runs[:2].to_data("model"))
            '[{"type": "mlp", "hidden_size": 32, "activation": "relu"}, {"type": "mlp", ...}]'
        """
        return list(map(copy_data, self._look_up(self._items, key, default)))

    def _get_values(
        self,
        items: Sequence[T],
        key: str,
        default: Default = MISSING,
        advise: Callable[[str], str] | None = None,  # noqa: ARG002 - for runs
    ) -> list[Any]:
        """Return the values of `to_list` for some items.

        Args:
            items: The items.
            key: The key.
            default: As for `to_list`.
            advise: For methods without a default: takes the key, and returns what the error
                advises if only some items lack it.
        """
        default = to_dataclasses(default)
        return [self._get(item, key, default) for item in items]

    def _look_up(
        self,
        items: Sequence[T],
        key: str,
        default: Default = MISSING,
        advise: Callable[[str], str] | None = None,
    ) -> list[Any]:
        """Return the values of `to_data`, which items may share: do not modify them."""
        return list(map(_to_data, self._get_values(items, key, default, advise)))

    def _make_advice(
        self,
        wanted: Any = MISSING,  # noqa: ARG002 - for runs
    ) -> Callable[[str], str] | None:
        """Return the argument ``advise`` of `_get_values`, None if there is no advice.

        Args:
            wanted: The condition on the value in `filter`, MISSING in other methods.
        """
        return None

    def to_numpy(self, key: str, default: Default = MISSING) -> NDArray[Any]:
        """Return the values of a key as a NumPy array, the first axis along the items.

        Values without a common NumPy type give an array of objects.

        Args:
            key: The key.
            default: As for `to_list`.

        Examples:
            >>> float(runs.to_numpy("metrics.accuracy").mean().round(3))
            0.914
        """
        return make_array(self._look_up(self._items, key, default))

    def to_series(
        self, key: str, default: Default = MISSING, *, name: str | None = None
    ) -> pl.Series:
        """Return the values of a key as a Polars series.

        Args:
            key: The key.
            default: As for `to_list`.
            name: The name of the series, by default the key.

        Examples:
            >>> runs.filter(runs.to_series("metrics.accuracy").rank(descending=True) <= 2)
            RunCollection(Run, n=2, ...)
        """
        values = self._look_up(self._items, key, default)
        return self._make_series(name or key, key, values)

    def _make_series(
        self,
        name: str,
        key: str,  # noqa: ARG002 - some keys of runs stand for objects
        values: list[Any],
        nested: Nested = "keep",
    ) -> pl.Series:
        return make_column(name, values, nested)

    def unique(self, key: str, default: Default = MISSING) -> NDArray[Any]:
        """Return the distinct values of a key, sorted, None and NaN last.

        Values that cannot be compared are in order of first appearance.

        Args:
            key: The key.
            default: As for `to_list`.

        Examples:
            >>> runs.unique("training.learning_rate").tolist()
            [0.001, 0.003, 0.01, 0.03, 0.1, 1.0]
        """
        values = self._distinct(key, default)
        try:
            order = sort_order(values, range(len(values)))
        except TypeError:
            return make_array(values)
        return make_array([values[i] for i in order])

    def n_unique(self, key: str, default: Default = MISSING) -> int:
        """Return the number of distinct values of a key.

        Args:
            key: The key.
            default: As for `to_list`.

        Examples:
            >>> [k for k in ("seed", "model.type", "data.scale") if runs.n_unique(k) > 1]
            ['seed', 'model.type']
        """
        return len(self._distinct(key, default))

    def _distinct(self, key: str, default: Default) -> list[Any]:
        distinct: dict[Hashable, Any] = {}
        for value in self._look_up(self._items, key, default):
            distinct.setdefault(to_hashable(value), value)
        return list(distinct.values())

    def sort(self, *keys: str, reverse: bool = False) -> Self:
        """Return the items sorted by the first key, then by the next ones.

        Args:
            *keys: The keys.
            reverse: Whether the largest values come first. This also reverses the order of
                items with equal values. None and NaN come last in both cases.

        Raises:
            AttributeError: If an item lacks a key.
            OptionError: If the values of a key cannot be compared.

        Examples:
            >>> runs.sort("metrics.accuracy", reverse=True)[:3].to_list("training.learning_rate")
            [0.01, 0.01, 0.03]
        """
        check_keys(keys)
        if not keys:
            return self
        order = list(range(len(self)))
        if reverse:
            order.reverse()
        for key in reversed(keys):
            values = self._look_up_to_sort(key)
            try:
                order = sort_order(values, order, reverse=reverse)
            except TypeError as exc:
                types = sorted({type(value).__name__ for value in values if value is not None})
                raise OptionError(
                    f"cannot sort by {key!r}, whose values are of type {' and '.join(types)}: {exc}"
                ) from exc
        return self._make([self._items[i] for i in order])

    def _look_up_to_sort(self, key: str) -> list[Any]:
        """Return the value of a key for each item as it is ordered."""
        return self._look_up(self._items, key, advise=self._make_advice())

    def map(
        self, function: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[R]:
        """Yield the result of a function for each item.

        Args:
            function: Called with an item and the further arguments.
            *args: Passed to the function.
            **kwargs: Passed to the function.

        Examples:
            >>> durations = runs.map(lambda run: run.info.end_time - run.info.start_time)
            >>> max(durations).total_seconds()
            0.281
        """
        for item in self._items:
            yield function(item, *args, **kwargs)

    @overload
    def pmap(
        self,
        function: Callable[[T], R],
        n_jobs: int = -1,
        backend: str | None = None,
        progress: bool = False,
    ) -> list[R]: ...

    @overload
    def pmap(
        self,
        function: Callable[..., R],
        n_jobs: int = -1,
        backend: str | None = None,
        progress: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> list[R]: ...

    def pmap(
        self,
        function: Callable[..., R],
        n_jobs: int = -1,
        backend: str | None = None,
        progress: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> list[R]:
        """Return the result of a function for each item, computed in parallel with joblib.

        Args:
            function: Called with an item and the further arguments.
            n_jobs: 0 or 1: in this process; N: in N jobs; -1: in one job for each core.
            backend: A backend of joblib, such as ``"threading"``. By default that of the
                surrounding ``joblib.parallel_config``, or else loky processes.
            progress: Whether to show a progress bar, see `Run.load`.
            *args: Passed to the function.
            **kwargs: Passed to the function.

        Examples:
            >>> def get_size(run):
            ...     return run.path("model/weights.npz").stat().st_size
            >>> sum(runs.pmap(get_size, n_jobs=4, backend="threading"))
            123418
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
        nested: Nested = "keep",
        n_jobs: int = 0,
        backend: str | None = None,
        progress: bool = False,
        **kwargs: Callable[[T], Any],
    ) -> pl.DataFrame:
        """Return a Polars frame with a row for each item.

        Args:
            *keys: The columns: keys, or pairs of a key and its default. Without a default,
                items that lack the key have null.
            defaults: Defaults by key.
            nested: ``"keep"``: lists and mappings become List and Struct columns; values that
                Polars has no type for are kept as objects, which no file can hold. ``"json"``:
                these columns are JSON text.
            n_jobs: As for `pmap`, for the computed columns.
            backend: As for `pmap`.
            progress: As for `pmap`.
            **kwargs: Computed columns by name: functions of the item.

        Returns:
            A column for each key, then the computed ones.

        Raises:
            AttributeError: If no item has a key, and there is no default.

        Examples:
            >>> def get_errors(run):
            ...     return 1 - run.metrics["accuracy"]
            >>> runs.to_frame("model.type", ("training.warmup", 0), errors=get_errors).row(1)
            ('mlp', 0, 0.0222...)
        """
        import polars as pl

        check_nested(nested)
        check_jobs(n_jobs, backend, progress)
        check_columns(keys)
        columns = self._make_columns(keys, defaults or {}, nested)
        for name, values in self._compute(kwargs, n_jobs, backend, progress):
            columns[name] = make_column(name, values, nested)
        return pl.DataFrame(list(columns.values()))

    def _compute(
        self,
        functions: Mapping[str, Callable[[T], Any]],
        n_jobs: int,
        backend: str | None,
        progress: bool,
    ) -> Iterator[tuple[str, list[Any]]]:
        """Yield the name and the values of each computed column of `to_frame`."""
        for name, function in functions.items():
            if not callable(function):
                raise OptionError(f"{name}: expected a function of the item, found {function!r}")
            yield name, list(map(_to_data, self.pmap(function, n_jobs, backend, progress)))

    def _make_columns(
        self,
        keys: Iterable[str | tuple[str, Default]],
        defaults: Mapping[str, Default],
        nested: Nested,
    ) -> dict[str, pl.Series]:
        """Return the columns of `to_frame` by name."""
        columns = {}
        for key in keys:
            name, default = key if isinstance(key, tuple) else (key, defaults.get(key, MISSING))
            columns[name] = self._make_column(name, to_missing(default), nested)
        return columns

    def _make_column(self, key: str, default: Default, nested: Nested) -> pl.Series:
        return self._make_series(key, key, self._get_column(key, default), nested)

    def _get_column(self, key: str, default: Default) -> list[Any]:
        if default is not MISSING:
            return self._look_up(self._items, key, default)
        absent: Any = object()
        values = self._look_up(self._items, key, absent)
        present = [value for value in values if value is not absent]
        if values and not present:
            self._look_up(self._items, key)  # its error says more
            raise MissingKeyError(f"{show_none_has(len(values), 'item')} the key {key!r}")
        if len(present) == len(values):
            return values
        return [None if value is absent else value for value in values]

    def group_by(self, *by: str) -> GroupBy[Self, T]:
        """Return the items grouped by the values of one or more keys.

        Args:
            *by: The keys. A group's key is a value if there is one key, otherwise a tuple of
                values. In it, lists become tuples, and mappings tuples of pairs.

        Raises:
            AttributeError: If an item lacks a key.

        Examples:
            >>> for model, group in runs.group_by("model.type").items():
            ...     print(model, len(group))
            mlp 19
            linear 12
        """
        check_keys(by)
        columns = [
            list(map(to_hashable, self._look_up(self._items, key, advise=self._make_advice())))
            for key in by
        ]
        keys: Iterable[Hashable]
        if len(by) == 1:
            keys = columns[0]
        else:
            keys = zip(*columns, strict=True) if by else [()] * len(self)
        groups: dict[Hashable, list[T]] = {}
        for key, item in zip(keys, self._items, strict=True):
            groups.setdefault(key, []).append(item)
        return self._make_groups(by, groups)

    def _make_groups(
        self, by: tuple[str, ...], groups: dict[Hashable, list[T]]
    ) -> GroupBy[Self, T]:
        made = {key: self._make(items) for key, items in groups.items()}
        return GroupBy(by, made, look_up=self._look_up_in_groups)

    def _look_up_in_groups(self, groups: Mapping[Any, Self], key: str) -> list[list[Any]]:
        """Return the values of a key in each group, looked up at once; None without a value."""
        everything = self._make(item for group in groups.values() for item in group)
        values = iter(everything._get_column(key, MISSING))
        return [list(map(copy_data, islice(values, len(group)))) for group in groups.values()]

    def sample(self, k: int, seed: int | None = None) -> Self:
        """Return ``k`` items drawn at random, without replacement.

        Args:
            k: The number of items, at least 1.
            seed: The same seed draws the same items. Without a seed, they differ from call
                to call. The global generator is not used.

        Raises:
            OptionError: If there are fewer than ``k`` items, or ``k`` is less than 1.

        Examples:
            >>> runs.sample(3, seed=1).to_list("run_name")
            ['charming-shad-951', 'welcoming-seal-670', 'upset-turtle-765']
        """
        if k < 1:
            raise OptionError(f"k: expected the number of items to draw, 1 or more, found {k}")
        if k > len(self):
            raise OptionError(
                f"k: cannot draw {k} of {show_count(len(self), 'item')} without replacement"
            )
        return self._make(random.Random(seed).sample(self._items, k))  # noqa: S311 - no secret

    def shuffle(self, seed: int | None = None) -> Self:
        """Return all items in random order.

        Args:
            seed: As for `sample`: without a seed the order differs from call to call.

        Examples:
            >>> shuffled = runs.shuffle(seed=1)
            >>> shuffled[:25], shuffled[25:]
            (RunCollection(Run, n=25, ...), RunCollection(Run, n=6, ...))
        """
        return self._make(random.Random(seed).sample(self._items, len(self)))  # noqa: S311

    def eq(self, left: str, right: Any, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: two keys have equal values, or a key has a value.

        Args:
            left: A key.
            right: A key if it is text, otherwise a value: a number, a boolean, None, or a
                time, which is in UTC if it has no time zone. A date is its midnight.
            default: For items that lack a key, as for `to_list`.

        Examples:
            >>> runs.filter(runs.eq("model.hidden_size", "training.batch_size"))
            RunCollection(Run, n=12, ...)
            >>> runs.filter(runs.eq("seed", 42))
            RunCollection(Run, n=5, ...)
        """
        return self._compare(operator.eq, left, right, default)

    def ne(self, left: str, right: Any, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the opposite of `eq`.

        The arguments are those of `eq`.

        Examples:
            >>> runs.filter(runs.ne("model.hidden_size", "training.batch_size"))
            RunCollection(Run, n=19, ...)
            >>> runs.filter(runs.ne("end_time", None))
            RunCollection(Run, n=31, ...)
        """
        return self._compare(operator.ne, left, right, default)

    def gt(self, left: str, right: Any, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the left value is greater than the right one.

        The arguments are those of `eq`. None is neither greater nor less than anything.

        Examples:
            >>> runs.filter(runs.gt("metrics.train/loss", "training.learning_rate"))
            RunCollection(Run, n=23, ...)
            >>> runs.filter(runs.gt("training.learning_rate", 0.05))
            RunCollection(Run, n=9, ...)
        """
        return self._compare(operator.gt, left, right, default)

    def lt(self, left: str, right: Any, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the left value is less than the right one.

        The arguments are those of `eq`. None is neither greater nor less than anything.

        Examples:
            >>> runs.filter(runs.lt("metrics.train/loss", "training.learning_rate"))
            RunCollection(Run, n=8, ...)
            >>> from datetime import datetime
            >>> runs.filter(runs.lt("start_time", datetime(2026, 11, 23, 0, 39, 22)))
            RunCollection(Run, n=10, ...)
        """
        return self._compare(operator.lt, left, right, default)

    def ge(self, left: str, right: Any, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the left value is not less than the right one.

        The arguments are those of `eq`. None is neither greater nor less than anything.

        Examples:
            >>> runs.filter(runs.ge("model.hidden_size", "training.batch_size"))
            RunCollection(Run, n=12, ...)
            >>> runs.filter(runs.ge("metrics.accuracy", 0.97))
            RunCollection(Run, n=3, ...)
        """
        return self._compare(operator.ge, left, right, default)

    def le(self, left: str, right: Any, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the left value is not greater than the right one.

        The arguments are those of `eq`. None is neither greater nor less than anything.

        Examples:
            >>> runs.filter(runs.le("metrics.train/loss", "training.learning_rate"))
            RunCollection(Run, n=8, ...)
            >>> runs.filter(runs.le("training.epochs", 1))
            RunCollection(Run, n=1, ...)
        """
        return self._compare(operator.le, left, right, default)

    def _compare(
        self, compare: Callable[[Any, Any], Any], left: str, right: Any, default: Default
    ) -> Callable[[T], bool]:
        get, default = self._get, to_dataclasses(default)
        is_order = compare not in (operator.eq, operator.ne)
        value = to_utc(right)

        def get_right(item: T) -> Any:
            if not isinstance(right, str):
                return value
            try:
                return to_utc(get(item, right, default))
            except AttributeError as exc:
                raise MissingKeyError(
                    f"{exc}; the right side is a key, because it is text: give a number, a "
                    f"boolean, None or a datetime as value, or filter by ({left!r}, {right!r})"
                ) from exc

        def is_met(item: T) -> bool:
            one, other = to_utc(get(item, left, default)), get_right(item)
            if is_order and (one is None or other is None):
                return False
            if type(other) is date and isinstance(one, datetime):
                other = to_time(other)
            try:
                return bool(compare(one, other))
            except TypeError as exc:
                raise OptionError(f"cannot compare {left} {one!r} with {other!r}: {exc}") from exc

        return is_met

    def startswith(
        self, key: str, prefix: str, *, default: Default = MISSING
    ) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the value, as text, starts with a prefix.

        Examples:
            >>> runs.filter(runs.startswith("run_id", "5b59290f"))
            RunCollection(Run, n=1, ...)
        """
        get, default = self._get, to_dataclasses(default)
        return lambda i: str(get(i, key, default)).startswith(prefix)

    def endswith(self, key: str, suffix: str, *, default: Default = MISSING) -> Callable[[T], bool]:
        """Return a predicate for `filter`: the value, as text, ends with a suffix.

        Examples:
            >>> runs.filter(runs.endswith("job_name", "_v2"))
            RunCollection(Run, n=5, ...)
        """
        get, default = self._get, to_dataclasses(default)
        return lambda i: str(get(i, key, default)).endswith(suffix)

    def match(
        self,
        key: str,
        pattern: str | re.Pattern[str],
        *,
        default: Default = MISSING,
        flags: int = 0,
    ) -> Callable[[T], bool]:
        r"""Return a predicate for `filter`: a pattern matches the value, as text, from its start.

        Args:
            key: The key.
            pattern: A regular expression, for ``re.match``.
            default: As for `to_list`.
            flags: Those of ``re.compile``.

        Examples:
            >>> runs.filter(runs.match("job_name", r"train_.*_v\d$"))
            RunCollection(Run, n=29, ...)
        """
        get, default = self._get, to_dataclasses(default)
        compiled = re.compile(pattern, flags)
        return lambda i: compiled.match(str(get(i, key, default))) is not None


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
    """Whether a value meets a condition, as `Collection.filter` explains it."""
    if callable(criterion):
        return bool(criterion(value))
    criterion = as_list(criterion)
    value = to_utc(value)
    if not _is_iterable(value):
        if isinstance(criterion, (list, set, range)):
            return value in criterion
        if isinstance(criterion, tuple) and len(criterion) == 2:
            return value is not None and bool(criterion[0] <= value <= criterion[1])
        return bool(value == criterion)
    if isinstance(value, (DictConfig, Mapping)) or isinstance(criterion, (DictConfig, Mapping)):
        return bool(value == criterion)
    return list(value) == (list(criterion) if _is_iterable(criterion) else criterion)


def _warn_of_kinds(key: str, wanted: Any, values: Iterable[Any]) -> None:
    """Log that a criterion is equal to no value, as they are of different kinds."""
    present = [value for value in values if value is not None]
    alternatives = wanted if isinstance(wanted, list) else [wanted]
    if not {*SCALARS, date, datetime}.issuperset(map(type, [*alternatives, *present])):
        return
    kinds = [set(map(_name_kind, side)) for side in (alternatives, present)]
    if all(kinds) and kinds[0].isdisjoint(kinds[1]):
        is_text = isinstance(present[0], str)
        logger.warning(
            "filter: %r is never equal to %r, because all values are %s, such as %r%s",
            key,
            wanted,
            " or ".join(sorted(kinds[1])),
            present[0],
            "" if is_text else "; a condition with an operator is one text, as in 'seed > 1'",
        )


def _name_kind(value: Any) -> str:
    names = {str: "text", date: "dates", datetime: "times"}
    return names.get(type(value), "other than text")


def _find_fault(criterion: Any) -> str | None:
    """Return the fault of an invalid range, None if it has none or is not a tuple."""
    if not isinstance(criterion, tuple):
        return None
    if len(criterion) != 2:
        return (
            "a list holds alternatives, a pair is a range; found the tuple "
            f"{reprlib.repr(criterion)} of {len(criterion)}"
        )
    low, high = criterion
    try:
        is_reversed = high < low
    except TypeError:  # comparing a value with them says more
        return None
    if not is_reversed:
        return None
    return (
        f"no value is in the range {criterion!r}, whose first end is the larger one; "
        f"give {(high, low)!r}, or {[low, high]!r} for either value"
    )


def _is_truth_value(value: Any) -> bool:
    """Whether a value can be in a mask: a boolean, NumPy's too, null, 0 or 1."""
    name = type(value).__name__
    return name in ("bool", "bool_", "NoneType") or (isinstance(value, int) and value in (0, 1))


def as_list(criterion: Any) -> Any:
    """Return a criterion, as a list if it is a ListConfig, an array or an iterator."""
    if isinstance(criterion, (list, tuple, set, range, Mapping, DictConfig)):
        return criterion
    return list(criterion) if _is_iterable(criterion) else criterion


def _to_utc(criterion: Any) -> Any:
    """Return a criterion of `as_list` with its datetimes in UTC if they have no time zone."""
    kind = type(criterion)
    return kind(map(to_utc, criterion)) if kind in (list, tuple, set) else to_utc(criterion)


def _is_iterable(value: Any) -> bool:
    if type(value) in SCALARS:  # asking whether it is an Iterable takes longer
        return False
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes))


def _to_data(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _get_attribute(item: Any, key: str, default: Default) -> Any:
    if default is dataclasses.MISSING:
        return getattr(item, key)
    value = getattr(item, key, MISSING)
    if value is MISSING:
        return default(item) if callable(default) else default
    return cast("Any", value)
