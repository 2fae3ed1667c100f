"""What each run of the writer logs, by its number: the writer and the readers agree on it.

The writer has MLflow, the readers have this package; this module needs neither.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

EXPERIMENTS = ("eval", "train")
CONFIG_FILE = ".hydra/config.yaml"
RESULTS_FILE = "out/result.json"
STATUSES = ("FINISHED", "FAILED", "KILLED", "FINISHED")
TIME = 1_795_394_369_000


@dataclass(frozen=True)
class Plan:
    """What a run logs, from its start to its end."""

    number: int

    @property
    def name(self) -> str:
        return f"run-{self.number}"

    @property
    def experiment(self) -> str:
        return EXPERIMENTS[self.number % len(EXPERIMENTS)]

    @property
    def status(self) -> str:
        return STATUSES[self.number % len(STATUSES)]

    @property
    def start_time(self) -> int:
        return TIME + self.number

    @property
    def end_time(self) -> int:
        return TIME + 10**6 + self.number

    @property
    def n_steps(self) -> int:
        return 1 + self.number % 6

    @property
    def is_deleted_at_last(self) -> bool:
        return self.number % 7 == 3

    @property
    def histories(self) -> dict[str, list[tuple[int, int, float]]]:
        """The points of each metric: step, timestamp and value."""
        return {
            name: [
                (step, TIME + step, self.number + step / 1024 + shift)
                for step in range(self.n_steps)
            ]
            for name, shift in (("loss", 0.0), ("val/loss", 0.5))
        }

    @property
    def params(self) -> dict[str, str]:
        return {"number": f"{self.number}", "model.type": f"type {self.number}"}

    def get_stage(self, step: int) -> str:
        """Return the value of the tag ``stage`` after a step."""
        return f"step {step} of {self.number}"

    @property
    def config(self) -> dict[str, Any]:
        layers = [self.number, self.number + 1]
        return {"number": self.number, "model": {"type": "mlp", "layers": layers}, "end": 1}

    @property
    def config_text(self) -> str:
        """The configuration as Hydra writes it."""
        return (
            f"number: {self.number}\nmodel:\n  type: mlp\n  layers:\n  - {self.number}\n"
            f"  - {self.number + 1}\nend: 1\n"
        )

    @property
    def results(self) -> dict[str, Any]:
        return {"number": self.number, "loss": self.number / 3}

    @property
    def results_text(self) -> str:
        return json.dumps(self.results)
