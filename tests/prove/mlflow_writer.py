"""Writes runs with MLflow until a file appears: run by the interpreter of ``.venv-mlflow``.

    python -m tests.prove.mlflow_writer URI JOURNAL STOP

The journal has a line of JSON for each event: a run was ``created`` or has ``finished``, it is
``deleting`` or ``deleted``, or this is the ``end``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.prove.plan import CONFIG_FILE, EXPERIMENTS, RESULTS_FILE, Plan

N_OPEN = 8
"""How many runs go on at the same time."""

PAUSE = 0.02
"""Seconds between two actions, which leaves time for the readers."""


class Writer:
    """Runs that go on, and the journal."""

    def __init__(self, uri: str, journal: Path) -> None:
        from mlflow import MlflowClient  # here, because other environments collect this module

        self._client = MlflowClient(tracking_uri=uri)
        self._journal = journal.open("a", buffering=1)
        self._experiments = {name: self._client.create_experiment(name) for name in EXPERIMENTS}
        self._random = random.Random(uri)
        self._open: list[tuple[Plan, str, int]] = []
        self._to_delete: list[str] = []
        self._number = 0

    def note(self, event: str, run_id: str = "", **facts: Any) -> None:
        self._journal.write(json.dumps({"event": event, "run_id": run_id, **facts}) + "\n")

    def act(self) -> None:
        """Create, advance, finish or delete a run."""
        if len(self._open) < N_OPEN:
            self._create()
        elif self._to_delete and self._random.random() < 0.2:
            self._delete(self._to_delete.pop(0))
        else:
            self._advance(self._random.randrange(len(self._open)))

    def end(self) -> None:
        """Finish all runs."""
        while self._open:
            self._advance(0)
        self.note("end")

    def _create(self) -> None:
        plan = Plan(self._number)
        self._number += 1
        run = self._client.create_run(
            self._experiments[plan.experiment], plan.start_time, run_name=plan.name
        )
        self.note("created", run.info.run_id, number=plan.number)
        self._open.append((plan, run.info.run_id, 0))

    def _advance(self, position: int) -> None:
        plan, run_id, step = self._open.pop(position)
        client = self._client
        if step == 0:
            client.log_text(run_id, plan.config_text, CONFIG_FILE)
            for name, text in plan.params.items():
                client.log_param(run_id, name, text)
        if step < plan.n_steps:
            for name, points in plan.histories.items():
                _, timestamp, value = points[step]
                client.log_metric(run_id, name, value, timestamp, step)
            client.set_tag(run_id, "stage", plan.get_stage(step))
            self._open.append((plan, run_id, step + 1))
            return
        client.log_text(run_id, plan.results_text, RESULTS_FILE)
        client.set_terminated(run_id, plan.status, plan.end_time)
        self.note("finished", run_id)
        if plan.is_deleted_at_last:
            self._to_delete.append(run_id)

    def _delete(self, run_id: str) -> None:
        self.note("deleting", run_id)
        self._client.delete_run(run_id)
        self.note("deleted", run_id)


def main(uri: str, journal: str, stop: str) -> None:
    """Write runs until the file ``stop`` exists, or the process that started this one has ended."""
    parent = os.getppid()
    writer = Writer(uri, Path(journal))
    while not Path(stop).exists() and os.getppid() == parent:
        writer.act()
        time.sleep(PAUSE)
    writer.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
