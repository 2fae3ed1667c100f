"""Choosing one of the runs that a catalog entry finds: the best one, or one by its ID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.columns import Mode, check_mode
from kedro_hydraflow.errors import Lines, OptionError, show_lines
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.fact_checks import MIN_PREFIX, is_meant

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_hydraflow.datasets._search import RunSearch
    from kedro_hydraflow.run import Run
    from kedro_hydraflow.run_collection import RunCollection
    from kedro_hydraflow.run_info import RunInfo

_MAX_SHOWN = 5
"""Maximum number of runs, and of values of each, in the error for too many runs."""

_MAX_LENGTH = 100
"""Maximum length of a value in that error."""


@dataclass(frozen=True)
class RunChoice:
    """The options of a catalog entry that choose one run. The constructor checks them.

    They are documented in `HydraflowRunDataset`.
    """

    run_id: str | None = None
    best_by: str | None = None
    mode: Mode | None = None

    def __post_init__(self) -> None:
        _check_text("run_id", self.run_id)
        _check_text("best_by", self.best_by)
        if self.mode is not None:
            check_mode(self.mode)
        if self.run_id is not None and self.best_by is not None:
            raise OptionError("give best_by or run_id, not both")
        if (self.mode is None) != (self.best_by is None):
            raise OptionError(
                "give best_by and mode together: mode is 'max' if the largest value is the best "
                "one, 'min' if the smallest, as for a loss"
            )

    def __bool__(self) -> bool:
        """Whether an option is given."""
        return self.run_id is not None or self.best_by is not None

    def load(
        self,
        search: RunSearch,
        impl: Callable[..., Any] | None = None,
        config_class: type | None = None,
        *,
        min_runs: int = 0,
        writes_lock: bool = True,
    ) -> Run[Any, Any]:
        """Return the run of a search, with its configuration read.

        Args:
            search: The search. Without any option, it has to find one run.
            impl: The class or function that builds ``run.impl``.
            config_class: A dataclass onto which the configuration is merged.
            min_runs: The number of runs that there have to be.
            writes_lock: As for `RunSearch.load`.

        Raises:
            OptionError: If there is no such run, or there are several.
            KedroHydraflowError: As `RunSearch.load` does.
        """
        runs = search.load(
            impl,
            config_class,
            is_wanted=None if self.run_id is None else self._matches_run_id,
            min_runs=min_runs,
            writes_lock=writes_lock,
        ).runs
        if self.run_id is not None:  # a whole ID may be the beginning of another
            runs = runs.filter(lambda run: run.info.run_id == self.run_id) or runs
        if not runs:
            raise OptionError(f"there is no run in {self._show_options(search)}")
        if self.best_by is not None and self.mode is not None:
            return runs.best(by=self.best_by, mode=self.mode)
        if len(runs) > 1:
            raise self._make_error(search, runs)
        return runs[0]

    def check_state(self, search: RunSearch) -> None:
        """Raise OptionError if one run is chosen, and the search has a checkpoint, or a lock."""
        if self and search.checkpoint is not None:
            raise OptionError(
                "checkpoint: cannot be used with best_by or run_id, which choose one run"
            )
        if self.run_id is not None and search.lock is not None:
            raise OptionError("lock: cannot be used with run_id, which chooses one run")

    def explain_too_many(self, search: RunSearch) -> str | None:
        """Return why a preview does not choose a run; None if it may.

        One that has a given ID is found without reading the others.
        """
        return None if self.run_id is not None else search.explain_too_many()

    def exists(self, search: RunSearch) -> bool:
        """Whether there is the directory and, if an ID is given, that run. No filter is applied."""
        if self.run_id is None or not search.exists():
            return search.exists()
        return any(map(self._matches_run_id, search.find()))

    def _matches_run_id(self, info: RunInfo) -> bool:
        return is_meant(info.run_id, self.run_id or "")

    def _make_error(self, search: RunSearch, runs: RunCollection[Run[Any, Any]]) -> OptionError:
        """Return the error for several runs, which shows in what they differ."""
        advice = "a longer run_id" if self.run_id else "filters, best_by or run_id"
        if len({run.info.run_id for run in runs}) == 1:
            advice = "experiment_names or filters, as the run was copied,"
        return OptionError(
            Lines(
                f"expected one run, found {len(runs)} in {escape(self._show_options(search))}; "
                f"give {advice} to choose one:{_list_differences(runs)}"
            )
        )

    def _show_options(self, search: RunSearch) -> str:
        """Return the location and the options of the search, for messages."""
        described = {**search.describe(), "run_id": self.run_id}
        options = [
            f"{name}: {described[name]!r}"
            for name in ("experiment_names", "filters", "run_id")
            if described.get(name) is not None
        ]
        where = described.get("path") or described["tracking_uri"]
        shown = f"{where}{' with ' if options else ''}{', '.join(options)}"
        if self.run_id is not None and len(self.run_id) < MIN_PREFIX:
            shown += f" (a prefix needs at least {MIN_PREFIX} characters)"
        return shown


def _check_text(option: str, value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value):
        advice = "quote the value in YAML"
        if option == "run_id" and isinstance(value, (int, float)):
            advice += ", or give more of the ID where that does not help, as in kedro run --params"
        raise OptionError(f"{option}: expected text, found {value!r}; {advice}")


def _list_differences(runs: RunCollection[Run[Any, Any]]) -> str:
    """Return a line for each of the first runs, with values in which they differ."""
    some = runs[:_MAX_SHOWN]
    columns = [(c.name, c.to_list()) for c in some.to_frame().iter_columns()]
    telling = [(k, v) for k, v in columns if k != "run_id" and len(set(map(repr, v))) > 1]
    lines = []
    for i, run in enumerate(some):
        values = ", ".join(f"{k}={repr(v[i])[:_MAX_LENGTH]}" for k, v in telling[:_MAX_SHOWN])
        lines.append(f"{escape(run.info.run_id)}: {escape(values)}")
    return show_lines(lines, len(runs) - len(some))
