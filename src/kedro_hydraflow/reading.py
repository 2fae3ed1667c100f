"""Reading the configurations of many runs: from the index, in this process or in jobs."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from kedro_hydraflow.config import ConfigMerger, ConfigReader, PlainConfig
from kedro_hydraflow.errors import (
    ConfigError,
    KedroHydraflowError,
    UnreachableError,
    prefix_error,
)
from kedro_hydraflow.index import NO_INDEX, Index, Recalled
from kedro_hydraflow.parallel import map_batches
from kedro_hydraflow.progress import step
from kedro_hydraflow.run_info import (
    get_layout,
    get_place,
    get_record,
    is_listing_denied,
    read_facts,
)
from kedro_hydraflow.storage import Parsed, group_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.run_info import RunInfo
    from kedro_hydraflow.storage import Storage
    from kedro_hydraflow.stores import RunRecord, Store


class BulkReader:
    """Reads the configurations of many runs.

    Args:
        config_class: A dataclass onto which each configuration is merged.
        n_jobs: As for ``Run.load``.
        progress: As for ``Run.load``.
        index: What was read before.
        discovered: Whether a store has just listed the runs. If so, a folder without a
            configuration may not be a run; if not, a run may no longer exist.
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
        self._index = index
        self._discovered = discovered

    def read(self, infos: Sequence[RunInfo]) -> list[PlainConfig | KedroHydraflowError | None]:
        """Return the configuration of each run, read now or taken from the index.

        Returns:
            For each run its configuration, None without one, or the error: NotARunError for a
            folder that is no run directory, RunNotFoundError for one that does not exist.
        """
        configs: list[PlainConfig | KedroHydraflowError | None] = [None] * len(infos)
        places = ((get_layout(info), get_place(info).storage) for info in infos)
        for (store, storage), positions in group_positions(places).items():
            with step("reading configurations"):
                group = self._read_group(store, storage, [infos[i] for i in positions])
            for i, config in zip(positions, group, strict=True):
                configs[i] = config
        return configs

    def _read_group(
        self, store: Store, storage: Storage, infos: Sequence[RunInfo]
    ) -> list[PlainConfig | KedroHydraflowError | None]:
        """Return the configurations, as `read` does, of runs of one store on one storage."""
        recalled = self._recall(store, storage, infos)
        unread = [infos[i] for i in recalled.unknown]
        parsed = self._read_unknown(store, storage, unread, len(infos) - len(unread))
        are_settled = (store.is_settled(get_record(info)) for info in unread)
        validators = self._index.choose_validators(storage, parsed.validators, are_settled)
        configs = recalled.complete(parsed.values, validators)
        if self._config_class is not None:
            configs = self._merge(self._config_class, store, infos, configs)
        unconfigured = [i for i, config in enumerate(configs) if config is None]
        strays = store.get_run_errors([get_record(infos[i]) for i in unconfigured])
        for i, error in zip(unconfigured, strays, strict=True):
            if self._discovered or not is_listing_denied(error):
                configs[i] = error
        return configs

    def _recall(self, store: Store, storage: Storage, infos: Sequence[RunInfo]) -> Recalled:
        """Return the configurations that are in the index."""
        index = self._index
        if index.assumes_unchanged(storage) and not self._discovered:
            index = NO_INDEX  # it would not notice that a run was removed
        elif index.notes_settled(storage):
            read_facts(infos)  # at once, as they show which runs are finished
        paths = [get_place(info).path for info in infos]
        return index.recall("config", storage, paths, store.config_file)

    def _read_unknown(
        self, store: Store, storage: Storage, infos: Sequence[RunInfo], n_known: int
    ) -> Parsed[PlainConfig]:
        """Return the configurations that the index does not know."""
        batches = map_batches(
            BatchReader(store),
            [get_record(info) for info in infos],
            n_jobs=self._n_jobs,
            backend="threading" if storage.is_process_local else None,
            progress=self._progress,
            n_done=n_known,
        )
        return Parsed(
            [value for batch in batches for value in batch.values],
            [validator for batch in batches for validator in batch.validators],
        )

    def _merge(
        self,
        config_class: type,
        store: Store,
        infos: Sequence[RunInfo],
        configs: list[PlainConfig | KedroHydraflowError | None],
    ) -> list[PlainConfig | KedroHydraflowError | None]:
        """Return the configurations merged onto a class, or the errors."""
        plain = {i: config for i, config in enumerate(configs) if isinstance(config, dict)}
        batches = map_batches(BatchMerger(config_class), [*plain.values()], n_jobs=self._n_jobs)
        merged = [*configs]
        for i, result in zip(plain, chain.from_iterable(batches), strict=True):
            if isinstance(result, ConfigError):
                merged[i] = prefix_error(store.config_url(get_record(infos[i])), result)
            else:
                merged[i] = result
        return merged


class BatchReader:
    """Reads the configurations of a batch of runs of one store, in this process or in a job.

    After an outage it makes no more requests, because each would take many seconds to fail.

    Args:
        store: What tracked the runs.
        outage: The error of all runs, if the storage is known to be down.
    """

    def __init__(self, store: Store, outage: UnreachableError | None = None) -> None:
        self._store = store
        self._outage = outage
        self._reader = ConfigReader()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._store, self._outage)

    def __call__(self, records: Sequence[RunRecord]) -> Parsed[PlainConfig]:
        """Return the configuration of each run, as `Store.read_configs` does."""
        if self._outage is not None:
            return Parsed([self._outage] * len(records), [None] * len(records))
        parsed = self._store.read_configs(records, self._reader)
        last = parsed.values[-1]
        if isinstance(last, UnreachableError):
            self._outage = last
        return parsed


class BatchMerger:
    """Merges configurations onto a class, in this process or in a job.

    Args:
        config_class: The dataclass.
    """

    def __init__(self, config_class: type) -> None:
        self._config_class = config_class

    def __call__(self, configs: Sequence[PlainConfig]) -> list[PlainConfig | ConfigError]:
        """Return each configuration merged onto the class, or the error."""
        merge = ConfigMerger(self._config_class).merge
        return [merge(config) for config in configs]
