"""In which order a command shows runs: sorted by keys, or the best ones first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import NamedTuple, override

from kedro_hydraflow.columns import sort_order
from kedro_hydraflow.errors import OptionError, raise_first, show_none_has
from kedro_hydraflow.fact_checks import explain_unrecorded
from kedro_hydraflow.keys import Key, parse_key
from kedro_hydraflow.lookup import read_values
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.nearest_keys import describe_nearest_keys
from kedro_hydraflow.recorded import read_key, to_ordered
from kedro_hydraflow.run import Run, make_run
from kedro_hydraflow.run_base import make_base
from kedro_hydraflow.run_collection import RunCollection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_hydraflow.columns import Mode
    from kedro_hydraflow.run_base import RunBase
    from kedro_hydraflow.run_info import RunInfo

T = TypeVar("T")

_MAX_EXAMPLES = 10
"""The maximum number of runs to look at for the nearest keys."""


class Order(ABC):
    """An order of runs. Those without a value, or with NaN, come last.

    Its methods raise OptionError if no run has a key of it, or values cannot be compared.
    """

    @property
    @abstractmethod
    def key_texts(self) -> list[str]:
        """Its keys as they were written, the most important one first."""

    @property
    @abstractmethod
    def is_recorded(self) -> bool:
        """Whether it is known without configurations."""

    @abstractmethod
    def apply(self, runs: RunCollection[Run[Any, Any]]) -> RunCollection[Run[Any, Any]]:
        """Return runs in this order."""

    @abstractmethod
    def apply_to_infos(self, infos: list[RunInfo]) -> list[RunInfo]:
        """Return runs in this order, which is known without configurations."""


class SortKey(NamedTuple):
    """A key by which runs are sorted."""

    key: Key
    is_descending: bool


def parse_sort_key(text: str) -> SortKey:
    """Return what ``KEY`` or ``-KEY`` means.

    Raises:
        OptionError: If the key is empty, or there is no such fact.
    """
    key = text.removeprefix("-")
    if not key:
        raise OptionError(f"expected KEY or -KEY, found {text!r}")
    return SortKey(parse_key(key), text.startswith("-"))


@dataclass(frozen=True)
class SortOrder(Order):
    """Sorted by keys, the most important one first."""

    keys: Sequence[SortKey]

    @property
    @override
    def key_texts(self) -> list[str]:
        return [sort_key.key.text for sort_key in self.keys]

    @property
    @override
    def is_recorded(self) -> bool:
        return all(sort_key.key.is_recorded for sort_key in self.keys)

    @override
    def apply(self, runs: RunCollection[Run[Any, Any]]) -> RunCollection[Run[Any, Any]]:
        return RunCollection(self._sort(list(runs), read_values, lambda run: run))

    @override
    def apply_to_infos(self, infos: list[RunInfo]) -> list[RunInfo]:
        return self._sort(infos, read_key, make_base)

    def _sort(
        self,
        items: list[T],
        read: Callable[[Sequence[T], Key], list[Any]],
        to_run: Callable[[T], RunBase],
    ) -> list[T]:
        positions = list(range(len(items)))
        for key, is_descending in reversed(self.keys):
            values = read(items, key)
            raise_first(values)
            absent = [value is None or value is MISSING for value in values]
            if items and all(absent):
                _check_known([to_run(item) for item in items[:_MAX_EXAMPLES]], key, values)
            values = [None if lacks else v for v, lacks in zip(values, absent, strict=True)]
            values = to_ordered(key.text, values)
            try:
                positions = sort_order(values, positions, reverse=is_descending)
            except TypeError as exc:
                raise OptionError(
                    f"--sort: cannot compare the values of {key.text!r}: {exc}"
                ) from exc
        return [items[i] for i in positions]


def _check_known(runs: Sequence[RunBase], key: Key, values: Sequence[Any]) -> None:
    """Raise OptionError if none of the runs can have a value for a key."""
    unrecorded = explain_unrecorded(runs[0].info, key.path) if key.kind == "fact" else None
    if unrecorded is None and any(value is None for value in values):
        return
    reason = unrecorded or describe_nearest_keys(runs, key.path)
    raise OptionError(f"--sort: {show_none_has(len(values))} the key {key.text!r}; {reason}")


@dataclass(frozen=True)
class Ranking(Order):
    """The best runs first, as for ``RunCollection.top``."""

    by: str
    mode: Mode

    @property
    @override
    def key_texts(self) -> list[str]:
        return [self.by]

    @property
    @override
    def is_recorded(self) -> bool:
        return parse_key(self.by).is_recorded

    @override
    def apply(self, runs: RunCollection[Run[Any, Any]]) -> RunCollection[Run[Any, Any]]:
        if not runs:
            return runs
        runs.best(self.by, mode=self.mode)  # which is an error if no run has a value
        return runs.top(len(runs), self.by, mode=self.mode)

    @override
    def apply_to_infos(self, infos: list[RunInfo]) -> list[RunInfo]:
        unread = RunCollection([make_run(Run, info, None, None) for info in infos])
        return [run.info for run in self.apply(unread)]
