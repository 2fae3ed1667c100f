"""The base class of a run: its info and its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_hydraflow.config import Configuration, SharedLock
from kedro_hydraflow.run_info import StoredConfig

if TYPE_CHECKING:
    from kedro_hydraflow.config import PlainConfig, State
    from kedro_hydraflow.run_info import RunInfo


class RunBase:
    """The part of a run that lookups, filters and frames use. See also `get_configuration`."""

    __slots__ = ("_config", "_config_class", "_configuration", "_lock", "info")

    info: RunInfo
    """Facts about the run: its ID, directory, job name, status and times."""

    @property
    def impl(self) -> Any:
        """The implementation, built on first use; None if there is none."""
        return None

    def _set_up_base(
        self,
        info: RunInfo,
        config_class: type | None,
        config: PlainConfig | None,
        lock: SharedLock | None,
    ) -> None:
        self.info = info
        self._config_class = config_class
        self._config = config
        self._lock = lock or SharedLock()
        # Made on first use, so that a load or a copy of many runs makes few objects.
        self._configuration: Configuration | None = None


def make_base(info: RunInfo) -> RunBase:
    """Return a run of which nothing has been read."""
    run = RunBase()
    run._set_up_base(info, None, None, None)
    return run


def get_configuration(run: RunBase) -> Configuration:
    """Return the configuration of a run, in the form that the package uses."""
    if run._configuration is None:
        with run._lock:
            if run._configuration is None:  # no other thread has built it meanwhile
                run._configuration = Configuration(
                    StoredConfig(run.info), run._config_class, run._config, run._lock
                )
    return run._configuration


def get_config_state(run: RunBase) -> State:
    """Return the parts from which a copy of a run builds its configuration."""
    if run._configuration is None:
        return run._config_class, run._config, None, run._lock
    return run._configuration.get_state()


def is_config_read(run: RunBase) -> bool:
    """Whether the configuration of a run is there without reading it."""
    _, data, cfg, _ = get_config_state(run)
    return data is not None or cfg is not None
