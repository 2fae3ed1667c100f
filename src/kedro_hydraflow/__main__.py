"""The command ``kedro-hydraflow``, which is ``python -m kedro_hydraflow``, too."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Ctrl-C ends it without a traceback, also while modules are imported.

    If standard output is closed, what it shows is lost.

    Args:
        arguments: Its arguments, by default those of the process.
    """
    if sys.stdout is None:  # which the oldest versions of click do not expect
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - up to the end
    try:
        from kedro_hydraflow.cli.main import main

        main(arguments, prog_name="kedro-hydraflow")
    except KeyboardInterrupt:
        sys.exit(130)  # as in `cli.command`, which may not have been imported


if __name__ == "__main__":
    run()
