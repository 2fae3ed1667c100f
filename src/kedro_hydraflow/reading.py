"""Reading the configurations of many runs: from the index, here, or in jobs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.config import ConfigReader, PlainConfig, merge_config
from kedro_hydraflow.errors import (
    ConfigError,
    KedroHydraflowError,
    UnreachableError,
    prefix_error,
)
from kedro_hydraflow.index import NO_INDEX, Index, Recalled
from kedro_hydraflow.parallel import may_stay_here, parallel_map
from kedro_hydraflow.run_info import is_listing_denied, read_facts
from kedro_hydraflow.storage import Parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.storage import Storage
    from kedro_hydraflow.stores import RunRecord, Store

_MIN_BATCH = 32
_MAX_BATCH = 2000
"""Runs that one job reads at a time: enough to be worth shipping, and for progress to show."""

_SAMPLE = 500
"""Runs that are read in this process before it is decided whether the others go to jobs."""

_COST_OF_JOBS = 400_000
"""What has to be left for two jobs to be faster, in configuration values (4 us each): they
take 0.6 s to start, and save 40 to 50 % of the rest."""

_COST_OF_RUN = 10
_COST_OF_REQUEST = 100
_COST_OF_CONFIG_CLASS = 500
"""What a run takes besides the values that no other run has, in the same unit."""


class BulkReader:
    """Reads the configurations of many runs.

    Args:
        config_class: A dataclass onto which they are merged.
        n_jobs: As for ``Run.load``.
        progress: As for ``Run.load``.
        index: What is known of runs. It is not used with a ``config_class``.
        discovered: Whether the runs were just found by a store, and may turn out to be none.
    """

    def __init__(
        self,
        config_class: type | None,
        n_jobs: int = 0,
        progress: bool = False,
        index: Index = NO_INDEX,
        discovered: bool = False,
    ) -> None:
        self._config_class = config_class
        self._n_jobs = n_jobs
        self._progress = progress
        # To merge a configuration with its class takes longer than to read it.
        self._index = index if config_class is None else NO_INDEX
        self._discovered = discovered

    def read(self, infos: Sequence[RunInfo]) -> list[PlainConfig | KedroHydraflowError | None]:
        """Return the configuration of each run, read freshly or known to the index.

        Returns:
            For each run its configuration, None without one, or the error: NotARunError for a
            folder that is no run directory, RunNotFoundError for one that does not exist.
        """
        configs: list[PlainConfig | KedroHydraflowError | None] = [None] * len(infos)
        for (store, storage), positions in _group(infos).items():
            part = self._read_part(store, storage, [infos[i] for i in positions])
            for i, config in zip(positions, part, strict=True):
                configs[i] = config
        return configs

    def _read_part(
        self, store: Store, storage: Storage, infos: Sequence[RunInfo]
    ) -> list[PlainConfig | KedroHydraflowError | None]:
        """Return the configurations of runs of one store on one storage."""
        recalled = self._recall(store, storage, infos)
        unread = [infos[i] for i in recalled.unknown]
        parsed = self._read_in_jobs(store, storage, unread, len(infos) - len(unread))
        are_settled = (store.is_settled(info.get_record()) for info in unread)
        validators = self._index.choose_validators(storage, parsed.validators, are_settled)
        configs = recalled.complete(parsed.values, validators)
        without = [i for i, config in enumerate(configs) if config is None]
        strays = store.get_run_errors([infos[i].get_record() for i in without])
        for i, error in zip(without, strays, strict=True):
            if self._discovered or not is_listing_denied(error):
                configs[i] = error
        return configs

    def _recall(self, store: Store, storage: Storage, infos: Sequence[RunInfo]) -> Recalled:
        """Return what the index knows of the configurations.

        Where it assumes that finished runs stay as they are, the facts of all are read first.
        Runs that no listing showed to be there still are not known there.
        """
        index = self._index
        if index.assumes_unchanged(storage):
            if self._discovered:
                read_facts(infos)
            else:
                index = NO_INDEX
        paths = [info.get_place().path for info in infos]
        return index.recall("config", storage, paths, store.config_file)

    def _read_in_jobs(
        self, store: Store, storage: Storage, infos: Sequence[RunInfo], n_done: int
    ) -> Parsed[PlainConfig]:
        """Return the configurations that are read now, in this process or in jobs."""
        records = [info.get_record() for info in infos]
        backend = "threading" if storage.is_process_local else None
        n_sample = min(_SAMPLE, len(records)) if may_stay_here(self._n_jobs, backend) else 0

        def is_worth_jobs(sample: Parsed[PlainConfig]) -> bool:
            if isinstance(sample.values[-1], UnreachableError):
                return False  # only the loader of this process knows that the storage is down
            cost = _COST_OF_RUN + _count_distinct_values(sample.values) / n_sample
            cost += _COST_OF_REQUEST * storage.is_remote
            cost += _COST_OF_CONFIG_CLASS * (self._config_class is not None)
            return (len(records) - n_sample) * cost >= _COST_OF_JOBS

        batches = _make_batches(records, n_sample, self._n_jobs)
        read = parallel_map(
            _ConfigLoader(store, self._config_class),
            batches,
            n_jobs=self._n_jobs,
            backend=backend,
            progress=self._progress,
            weights=[len(batch) for batch in batches],
            done=n_done,
            is_worth_jobs=is_worth_jobs,
        )
        return Parsed(
            [value for batch in read for value in batch.values],
            [validator for batch in read for validator in batch.validators],
        )


def _group(infos: Sequence[RunInfo]) -> dict[tuple[Store, Storage], list[int]]:
    """Return the positions of the runs of each store on each storage."""
    groups: dict[tuple[Store, Storage], list[int]] = {}
    last_store = last_storage = None
    for i, info in enumerate(infos):
        store, storage = info.get_layout(), info.get_place().storage
        if store is not last_store or storage is not last_storage:
            last_store, last_storage = store, storage
            group = groups.setdefault((store, storage), [])
        group.append(i)
    return groups


class _ConfigLoader:
    """Reads the configurations of a batch of a store's runs, in this process or in a job."""

    def __init__(self, store: Store, config_class: type | None) -> None:
        self._store = store
        self._config_class = config_class
        self._reader = ConfigReader()
        self._outage: UnreachableError | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._store, self._config_class)

    def __call__(self, records: Sequence[RunRecord]) -> Parsed[PlainConfig]:
        if self._outage is not None:  # to notice it again would take a while for each batch
            return Parsed([self._outage] * len(records), [None] * len(records))
        parsed = self._store.read_configs(records, self._reader)
        last = parsed.values[-1]
        if isinstance(last, UnreachableError):
            self._outage = last
        if self._config_class is None:
            return parsed
        merged = [
            self._merge(record, value) if isinstance(value, dict) else value
            for record, value in zip(records, parsed.values, strict=True)
        ]
        return Parsed(merged, parsed.validators)

    def _merge(self, record: RunRecord, config: PlainConfig) -> PlainConfig | ConfigError:
        try:
            return merge_config(config, self._config_class)
        except ConfigError as exc:
            return prefix_error(self._store.config_url(record), exc)


def _make_batches(
    records: Sequence[RunRecord], n_sample: int, n_jobs: int
) -> list[Sequence[RunRecord]]:
    """Return the sample, if there is one, and fair shares of the rest."""
    n_left = len(records) - n_sample
    size = _batch_size(n_left, n_jobs)
    starts = range(n_sample, len(records), size)
    return [records[:n_sample]] * (n_sample > 0) + [records[i : i + size] for i in starts]


def _batch_size(n_runs: int, n_jobs: int) -> int:
    if n_jobs in (0, 1):
        return _MAX_BATCH
    from joblib import effective_n_jobs

    jobs: int = effective_n_jobs(n_jobs)
    fair = math.ceil(n_runs / (4 * jobs))
    return min(max(fair, _MIN_BATCH), _MAX_BATCH)


def _count_distinct_values(configs: Sequence[object]) -> int:
    """Return how many values configurations hold, those in shared mappings and lists once."""
    seen: set[int] = set()

    def count(node: Any) -> int:
        kind = type(node)
        if kind is not dict and kind is not list:
            return 1
        if id(node) in seen:
            return 0
        seen.add(id(node))
        return sum(map(count, node.values() if kind is dict else node))

    return sum(map(count, configs))
