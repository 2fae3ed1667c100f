"""Run a command three times while the example sweep grows: `make demo-incremental`.

python examples/growing_sweep.py kedro run --env incremental --pipelines incremental
"""

import shutil
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parent / "data"
SWEEP = DATA / "mlruns"
GROWING = DATA / "reporting" / "growing"  # as in conf/incremental/catalog.yml
TIMES = 3


def main() -> int:
    """Add some runs, run the command, and so on; return the exit status."""
    shutil.rmtree(GROWING, ignore_errors=True)
    run_dirs = sorted(path.parent for path in SWEEP.glob("*/*/meta.yaml"))
    for meta in SWEEP.glob("*/meta.yaml"):
        copy(meta)
    for time in range(TIMES):
        new = run_dirs[time::TIMES]
        for run_dir in new:
            copy(run_dir)
        print(f"\n{len(new)} more runs have ended", flush=True)
        status = subprocess.run(sys.argv[1:], check=False).returncode
        if status:
            return status
    return 0


def copy(path: Path) -> None:
    """Copy a file or folder of the sweep to the growing one."""
    target = GROWING / "mlruns" / path.relative_to(SWEEP)
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


if __name__ == "__main__":
    sys.exit(main())
