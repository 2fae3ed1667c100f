"""Applying conditions to runs, in the order in which what they need becomes known."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from typing_extensions import NamedTuple

from kedro_hydraflow.errors import (
    Failure,
    FilterError,
    KedroHydraflowError,
    is_denied,
    prefix_error,
    show_none_has,
)
from kedro_hydraflow.fact_checks import check_recorded, explain_beginning
from kedro_hydraflow.filters.comparison import Comparer, get_kind
from kedro_hydraflow.filters.expressions import (
    And,
    Comparison,
    Expression,
    IsNull,
    Level,
    Not,
    iter_keys,
    iter_leaves,
)
from kedro_hydraflow.filters.narrowing import make_narrowing
from kedro_hydraflow.filters.parser import Condition, quote_key
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.lookup import explain_lack, read_values, warn_of_other_meaning
from kedro_hydraflow.missing import MISSING
from kedro_hydraflow.recorded import read_key
from kedro_hydraflow.run_base import RunBase, make_base
from kedro_hydraflow.run_info import RECORDED_FACTS, RunInfo, get_place, is_known_as_deleted
from kedro_hydraflow.stores.record import ExperimentRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kedro_hydraflow.keys import Key
    from kedro_hydraflow.stores.clauses import Clause

logger = get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R", bound=RunBase)

Truth = bool | KedroHydraflowError | None
"""Whether a run meets an expression: None if that is unknown, the error if it cannot be read."""

_MAX_EXAMPLES = 100
"""The maximum number of runs without a key that are kept, to look for the nearest keys."""

_MAX_UNREAD_EXAMPLES = 10
"""The same, of runs whose configurations have not been read."""


class Selected(NamedTuple, Generic[T]):
    """The runs that meet conditions."""

    runs: list[T]

    failures: list[Failure]
    """The failures of runs of which that cannot be said."""


@dataclass
class _Tally:
    """What was seen of the values that a comparison asked for."""

    n_runs: int = 0
    n_missing: int = 0
    lacking: list[RunInfo | RunBase] = field(default_factory=list)
    """Some of the runs without a value."""
    n_failures: int = 0
    failure: KedroHydraflowError | None = None
    """The first error of reading a value."""
    kinds: dict[str, Any] = field(default_factory=dict)
    """An example of each kind of values."""
    longer_ids: dict[str, str] = field(default_factory=dict)
    """The ID of a run for each text in the comparison that is only the beginning of it."""
    whole_ids: set[str] = field(default_factory=set)
    """The texts in the comparison that are whole IDs."""

    def add_id(self, run_id: str, comparer: Comparer) -> None:
        """Note which text in a comparison of run IDs is this one, or its beginning."""
        if run_id in comparer.texts:
            self.whole_ids.add(run_id)
        beginning = comparer.find_beginning(run_id)
        if beginning is not None:
            self.longer_ids[beginning] = run_id


class Conditions:
    """Conditions on runs, all of which have to be met.

    Each is applied as soon as what it needs is known: `keep_experiments` before runs are listed,
    `select_infos` before configurations are read, `select_runs` after that. They may be called for
    one batch of runs after the other. In the end, `check` says which conditions no run can meet.

    Args:
        conditions: The conditions.
        without_deleted: Whether to leave out runs that were deleted in MLflow, by the facts that
            have been read.
        is_partial: Whether there are more runs than those that are asked, so that one of these may
            have the keys.
    """

    def __init__(
        self,
        conditions: Iterable[Condition] = (),
        *,
        without_deleted: bool = False,
        is_partial: bool = False,
    ) -> None:
        self._conditions = sorted(conditions, key=lambda condition: condition.level)
        self._without_deleted = without_deleted
        self._is_partial = is_partial
        now = datetime.now(timezone.utc)
        comparisons = [c for each in self._conditions for c in _iter_comparisons(each.expression)]
        self._comparers = {id(comparison): Comparer(comparison, now) for comparison in comparisons}
        self._narrowing = make_narrowing(self._conditions, lambda c: self._comparers[id(c)])
        self.start(is_narrowed=False)

    def start(self, *, is_narrowed: bool) -> None:
        """Count from the beginning.

        Args:
            is_narrowed: Whether the store listed only runs that may meet the `clauses`.
        """
        self.is_narrowed = is_narrowed
        self._n_items = 0
        """The number of runs before any condition."""
        self._n_deleted = 0
        self._counts = [0] * len(self._conditions)
        self._tallies = {key: _Tally() for key in self._comparers}

    def are_met_as_narrowed(self, infos: Sequence[RunInfo]) -> bool:
        """Whether one of the runs that the store listed meets the conditions with `clauses`.

        It also has to meet the conditions between these.
        """
        try:
            selected = Conditions(self._narrowing.others).select_infos(infos)
        except FilterError:  # as it would be if all were listed
            return True
        return bool(selected.runs or selected.failures)

    @property
    def n_met_as_narrowed(self) -> int:
        """The number of runs that met the conditions with `clauses`, and those between."""
        return self._counts[self._narrowing.n_conditions - 1]

    def __bool__(self) -> bool:
        return bool(self._conditions)

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """What a store may apply before. It changes nothing but `steps`, if any run meets them."""
        return self._narrowing.clauses

    @property
    def steps(self) -> list[str]:
        """How many runs were left after each condition, for messages.

        Of conditions that a store may have applied, only how many were left after all of them.
        """
        texts = [repr(condition.text) for condition in self._conditions]
        counts = self._counts
        if self.is_narrowed:
            n = self._narrowing.n_conditions
            texts, counts = [" and ".join(texts[:n]), *texts[n:]], counts[n - 1 :]
        steps = [f"{count} after {text}" for count, text in zip(counts, texts, strict=True)]
        return (
            [*steps, f"without {self._n_deleted} that were deleted"] if self._n_deleted else steps
        )

    @property
    def need_configs(self) -> bool:
        """Whether `select_runs` has anything to do."""
        return any(condition.level is Level.CONFIG for condition in self._conditions)

    def keep_experiments(self, experiments: Sequence[ExperimentRecord]) -> list[ExperimentRecord]:
        """Return the experiments whose runs may meet the conditions.

        Those whose name has not been read are kept: `select_infos` decides about their runs.
        """
        return list(filter(self._may_have_runs, experiments))

    def _may_have_runs(self, experiment: ExperimentRecord) -> bool:
        """Whether an experiment may have runs that meet the conditions on it."""
        if experiment.experiment_name is None:
            return True
        for condition in self._conditions:
            if condition.level is not Level.EXPERIMENT:
                continue
            try:
                (truth,) = self._evaluate(
                    condition.expression, condition, [experiment], _read_of_experiment
                )
            except FilterError:
                return True  # `select_infos` raises it if there is a run
            if truth is not True:
                return False
        return True

    def select_infos(self, infos: Sequence[RunInfo]) -> Selected[RunInfo]:
        """Return the runs that meet the conditions that need no configurations.

        Raises:
            FilterError: If a value cannot be compared, or a fact is not recorded in the store.
            StorageError: If the storage denies access to a value, or cannot be reached. That says
                nothing of the run, so it is not among the failures, which may be skipped.
        """
        selected = self._select(infos, read_key, Level.EXPERIMENT, Level.FILE)
        return selected._replace(runs=self._leave_out_deleted(selected.runs))

    def select_runs(self, runs: Sequence[R], *, leave_out_deleted: bool = True) -> Selected[R]:
        """Return the runs that meet the conditions that need configurations.

        Args:
            runs: The runs.
            leave_out_deleted: Whether to leave out those that are known by now to be deleted, if
                the conditions are without deleted runs.

        Raises:
            FilterError: As for `select_infos`.
            StorageError: As for `select_infos`.
        """
        keys = dict.fromkeys(k for c in self._conditions for k in iter_keys(c.expression))
        for key in keys:
            warn_of_other_meaning(runs, key)
        selected = self._select(runs, read_values, Level.CONFIG, Level.CONFIG)
        if not leave_out_deleted:
            return selected
        return selected._replace(runs=self._leave_out_deleted(selected.runs))

    def _leave_out_deleted(self, items: list[T]) -> list[T]:
        if not self._without_deleted:
            return items
        kept = [item for item in items if not is_known_as_deleted(_get_info(item))]
        self._n_deleted += len(items) - len(kept)
        return kept

    def select_all(self, runs: Sequence[R]) -> Selected[R]:
        """Return the runs that meet all conditions.

        Raises:
            FilterError: As for `select_infos` and `check`.
            StorageError: As for `select_infos`.
        """
        recorded = self._select(runs, read_values, Level.EXPERIMENT, Level.FILE)
        selected = self.select_runs(recorded.runs)
        self.check()
        return Selected(selected.runs, [*recorded.failures, *selected.failures])

    def check(self) -> None:
        """Raise FilterError if no run has the key of a comparison. Log what is never equal.

        It counts what runs have that met the conditions before. If there are more runs than were
        asked, it is logged that none of these has the key.
        """
        for condition in self._conditions:
            for comparison in _iter_comparisons(condition.expression):
                tally = self._tallies[id(comparison)]
                if tally.n_missing and tally.n_missing == tally.n_runs:
                    n_asked = tally.n_runs + tally.n_failures
                    is_all = n_asked == self._n_items and not self.is_narrowed
                    error = _make_missing_error(condition, comparison.key, tally, is_all=is_all)
                    if not self._is_partial:
                        raise error
                    logger.warning("%s", error)
                self._warn_of_kinds(condition, comparison, tally)
                _warn_of_beginnings(condition, tally)

    def _select(
        self,
        items: Sequence[T],
        read: Callable[[Sequence[T], Key], list[Any]],
        first: Level,
        last: Level,
    ) -> Selected[T]:
        """Return the runs that meet the conditions of some levels."""
        failures = []
        if first is Level.EXPERIMENT:
            self._n_items += len(items)
        for i, condition in enumerate(self._conditions):
            if not first <= condition.level <= last:
                continue
            kept = []
            truths = self._evaluate(condition.expression, condition, items, read)
            for item, truth in zip(items, truths, strict=True):
                if isinstance(truth, KedroHydraflowError):
                    error = FilterError(f"filter {condition.filter!r}: {truth}")
                    error.__cause__ = truth
                    failures.append(Failure(get_place(_get_info(item)).url, error))
                elif truth:
                    kept.append(item)
            items = kept
            self._counts[i] += len(kept)
        return Selected(list(items), failures)

    def _evaluate(
        self,
        expression: Expression,
        condition: Condition,
        items: Sequence[T],
        read: Callable[[Sequence[T], Key], list[Any]],
    ) -> list[Truth]:
        """Return the truth of an expression for each run."""
        if isinstance(expression, Not):
            truths = self._evaluate(expression.part, condition, items, read)
            return [not truth if isinstance(truth, bool) else truth for truth in truths]
        if isinstance(expression, (IsNull, Comparison)):
            values = read(items, expression.key)
            return [
                self._test(expression, condition, item, value)
                for item, value in zip(items, values, strict=True)
            ]
        # What is false for one part of a conjunction is not asked for the next one, and what is
        # true for one part of a disjunction neither.
        decisive = not isinstance(expression, And)
        results: list[Truth] = [not decisive] * len(items)
        open_positions = list(range(len(items)))
        for part in expression.parts:
            asked = [items[i] for i in open_positions]
            for i, truth in zip(
                open_positions, self._evaluate(part, condition, asked, read), strict=True
            ):
                results[i] = _combine(results[i], truth, decisive)
            open_positions = [i for i in open_positions if results[i] is not decisive]
        return results

    def _test(
        self, expression: IsNull | Comparison, condition: Condition, item: Any, value: Any
    ) -> Truth:
        """Return the truth of an expression for a value of a run."""
        if isinstance(value, KedroHydraflowError):
            if is_denied(value):
                raise prefix_error(f"filter {condition.filter!r}", value)
            if isinstance(expression, Comparison):
                tally = self._tallies[id(expression)]
                tally.n_failures += 1
                tally.failure = tally.failure or value
            return value
        key = expression.key
        if value is None and key.kind == "fact" and key.path in RECORDED_FACTS:  # of a run
            check_recorded(f"filter {condition.filter!r}", _get_info(item), key.path)
        if isinstance(expression, IsNull):
            return value is None or value is MISSING
        tally = self._tallies[id(expression)]
        tally.n_runs += 1
        if value is None:
            return None
        if value is MISSING:
            tally.n_missing += 1
            if len(tally.lacking) < _MAX_EXAMPLES:
                tally.lacking.append(item)
            return None
        comparer = self._comparers[id(expression)]
        tally.kinds.setdefault(get_kind(comparer.convert(value)), value)
        if comparer.compares_ids:
            tally.add_id(value, comparer)
        try:
            return comparer.meets(value)
        except TypeError:
            is_pattern = expression.operator in ("~", "like", "ilike")
            is_for_text = isinstance(value, list) and is_pattern
            advice = "; contains looks for a whole element of a list" if is_for_text else ""
            raise FilterError(
                f"filter {condition.filter!r}: {_describe(item)} has {value!r} "
                f"({type(value).__name__}) as {key.text!r}, which {expression.operator!r} cannot "
                f"compare with {expression.value!r} ({type(expression.value).__name__}){advice}"
            ) from None

    def _warn_of_kinds(self, condition: Condition, comparison: Comparison, tally: _Tally) -> None:
        """Log that a value is equal to none because it is of another kind than all of them."""
        wanted = self._comparers[id(comparison)].kinds
        if comparison.operator not in ("==", "in") or not wanted or not tally.kinds:
            return
        if wanted.isdisjoint(tally.kinds):
            kind, example = next(iter(tally.kinds.items()))
            logger.warning(
                "filter %r: %r is never equal to %r, because all runs have values of another kind, "
                "such as the %s %r%s",
                condition.filter,
                comparison.key.text,
                comparison.value,
                kind,
                example,
                _advise_on_kind(comparison.key, kind) if "text" in wanted else "",
            )


def _advise_on_kind(key: Key, kind: str) -> str:
    """Return what to write for a text that is sought in values of a kind."""
    if kind == "list":
        return f"; write '{quote_key(key.text)} contains ...' for an element of it"
    if kind == "mapping" and not key.is_recorded:
        choice = quote_key(f"hydra.runtime.choices.{key.path.replace('.', '/')}")
        return f"; if it is a config group, {choice} is the option that Hydra chose"
    return ""


def _warn_of_beginnings(condition: Condition, tally: _Tally) -> None:
    """Log that an ID in a comparison is only the beginning of one."""
    for beginning, run_id in tally.longer_ids.items():
        if beginning not in tally.whole_ids:  # as that of Hydra's job 1 is of job 10
            logger.warning("filter %r: %s", condition.filter, explain_beginning(beginning, run_id))
            return


NO_CONDITIONS = Conditions()


def _iter_comparisons(expression: Expression) -> Iterator[Comparison]:
    return (leaf for leaf in iter_leaves(expression) if isinstance(leaf, Comparison))


def _combine(first: Truth, second: Truth, decisive: bool) -> Truth:
    """Return the truth of a conjunction (``decisive`` is false) or disjunction (true) of two.

    An error is like an unknown truth.
    """
    if first is decisive or second is decisive:
        return decisive
    for truth in (first, second):
        if isinstance(truth, KedroHydraflowError):
            return truth
    return None if first is None or second is None else first


def _read_of_experiment(experiments: Sequence[ExperimentRecord], key: Key) -> list[Any]:
    names = {"job_name": "shown_name", "experiment_id": "experiment_id"}
    return [getattr(experiment, names[key.path]) for experiment in experiments]


def _describe(item: RunInfo | RunBase | ExperimentRecord) -> str:
    if isinstance(item, ExperimentRecord):
        return f"experiment {item.experiment_id}"
    return f"run {_get_info(item).run_id}"


def _get_info(item: Any) -> RunInfo:
    return item if isinstance(item, RunInfo) else item.info


def _make_missing_error(
    condition: Condition, key: Key, tally: _Tally, *, is_all: bool
) -> FilterError:
    """Return the error for a key that none of the runs has that were asked for it.

    Args:
        condition: The condition.
        key: The key in it.
        tally: What was seen of its values.
        is_all: Whether all runs were asked.
    """
    unread = [item for item in tally.lacking if isinstance(item, RunInfo)]
    runs = [item for item in tally.lacking if isinstance(item, RunBase)]
    runs += map(make_base, unread[:_MAX_UNREAD_EXAMPLES])
    if is_all:
        lacking = show_none_has(tally.n_runs)
    elif tally.n_runs == 1:
        lacking = "the run that is left by then does not have"
    else:
        lacking = f"none of the {tally.n_runs} runs that are left by then has"
    failed = (
        f"; {tally.n_failures} more could not be read: {tally.failure}" if tally.failure else ""
    )
    return FilterError(
        f"filter {condition.filter!r}: {lacking} the key "
        f"{key.text!r}; {explain_lack(runs, key, quote_key)}; 'is null' selects runs without it"
        f"{failed}"
    )
