"""The base class of the datasets of many runs, which can be confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError

from kedro_hydraflow.datasets._base import D, ReadOnlyDataset
from kedro_hydraflow.errors import KedroHydraflowError, OptionError, show_count
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.run_info import get_store, is_settled, read_parsed_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kedro_hydraflow.checkpoint import Checkpoint
    from kedro_hydraflow.datasets._search import Loaded, RunSearch
    from kedro_hydraflow.run import Run
    from kedro_hydraflow.run_collection import RunCollection

logger = get_logger(f"kedro.{__name__}")  # as in _search.py


class SearchDataset(ReadOnlyDataset[D]):
    """The base class of the datasets that give what a search finds. A subclass sets ``_search``."""

    _search: RunSearch

    def confirm(self) -> None:
        """Add the runs that this object has loaded to the checkpoint, if they had ended by then.

        Kedro calls it after a node with ``confirms``. Those that had not ended, or could not be
        read, come again with the next load.

        Raises:
            DatasetError: If there is no checkpoint, if this object has loaded nothing, or if the
                checkpoint cannot be read or written. It has been left as it was then.
        """
        try:
            checkpoint = self._given.checkpoint
            if checkpoint is None:
                self.open_checkpoint()
                raise OptionError(
                    f"confirm: no runs were loaded from {self._search.shown_location} by this "
                    "object; start the pipeline run with the node that loads them. With "
                    "ParallelRunner, each node has objects of its own: give confirms to that node"
                )
            have_ended = self._given.take()
            run_ids = [run_id for run_id, has_ended in have_ended.items() if has_ended]
            try:
                twice = checkpoint.add(run_ids)
            except KedroHydraflowError:
                self._given.note(checkpoint, have_ended)
                raise
        except KedroHydraflowError as exc:
            raise DatasetError(f"{type(self).__name__}: {exc}") from exc
        if twice:
            logger.warning(
                "%s: %d of %d runs were confirmed by others since they were loaded, such as %s, so "
                "they were processed twice; each consumer needs a checkpoint of its own",
                checkpoint.place.url,
                len(twice),
                len(run_ids),
                min(twice),
            )
        n_open = len(have_ended) - len(run_ids)
        more = f"; {n_open} had not ended, or lack artifacts, and will come again" if n_open else ""
        logger.info(
            "%s: confirmed %s%s", checkpoint.place.url, show_count(len(run_ids), "run"), more
        )

    def load_locked(self) -> RunCollection[Run[Any, Any]] | None:
        """Return the runs that are locked, for ``kedro hydraflow``; None without a lock.

        Raises:
            KedroHydraflowError: As `RunSearch.load` does.
        """
        return self._search.load_locked(self._load_impl(), self._load_config_class())

    def open_checkpoint(self) -> Checkpoint:
        """Return the checkpoint, for ``kedro hydraflow``.

        Raises:
            OptionError: If there is none.
        """
        return self._search.open_checkpoint()

    def _note(
        self, loaded: Loaded, runs: Sequence[Run[Any, Any]], lacking: Sequence[Run[Any, Any]] = ()
    ) -> None:
        """Note the runs of a load for `confirm`, and for hooks.

        Args:
            loaded: What the search found.
            runs: The runs that the load gives.
            lacking: Runs that it leaves out, because they lack the artifact and may do so.
        """
        self._record(runs)
        if self._search.checkpoint is None:
            return
        lost: set[int] = set()
        if loaded.lost and self._search.artifact_root is None:
            lost = set(map(id, loaded.lost))
            logger.warning(
                "%s: %s will not be confirmed, because their artifacts cannot be found; give "
                "artifact_root, the directory of the artifacts, if these runs never had any",
                self._search.shown_location,
                show_count(len(lost), "run"),
            )
        ends = [*self._have_end(runs), *([False] * len(lacking))]
        have_ended: dict[str, bool] = {}
        for run, has_end in zip((*runs, *lacking), ends, strict=True):
            info = run.info
            has_ended = is_settled(info) if get_store(info).records_facts else has_end
            is_whole = has_ended and id(info) not in lost
            have_ended[info.run_id] = is_whole and have_ended.get(info.run_id, True)  # of copies
        self._given.note(self.open_checkpoint(), have_ended)

    def _have_end(self, runs: Sequence[Run[Any, Any]]) -> list[bool]:
        """Return whether each run has what it writes at its end, if its store knows no status."""
        unknown = [run.info for run in runs if not get_store(run.info).records_facts]
        contents = iter(read_parsed_files(unknown, "results"))
        return [
            get_store(run.info).records_facts or isinstance(next(contents), dict) for run in runs
        ]
