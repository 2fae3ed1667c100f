"""The command ``kedro-hydraflow``, which is ``python -m kedro_hydraflow``, too."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Ctrl-C ends it without a traceback, also while modules are imported.

    Args:
        arguments: Its arguments, by default those of the process.
    """
    try:
        from kedro_hydraflow.cli.main import main

        main(arguments, prog_name="kedro-hydraflow")
    except KeyboardInterrupt:
        sys.exit(130)  # as in `cli.command`, which may not have been imported


if __name__ == "__main__":
    run()
