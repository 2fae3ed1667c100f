"""Say how many runs a demo found, how many it took, and what it wrote: the end of `make demo`.

python examples/show_results.py ENVIRONMENT ENTRY FOLDER
"""

import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader

from kedro_hydraflow import Run, iter_run_dirs

# Kedro calls what OmegaConf has deprecated.
warnings.filterwarnings("ignore", r"register_new_resolver\(\) is deprecated", UserWarning)

PROJECT = Path(__file__).parent.parent
REPORTING = Path("examples/data/reporting")


def main(environment: str, entry: str, folder: str) -> None:
    """Print it for an entry of the catalog, and the folder that the demo writes to."""
    loader = OmegaConfigLoader(
        str(PROJECT / "conf"), env=environment, base_env="base", default_run_env="local"
    )
    config = loader["catalog"][entry]
    options = loader["credentials"][config["credentials"]] if "credentials" in config else None
    print()
    print("\n".join(describe(config, options)))
    print(f"Written to {REPORTING / folder}:")
    for path in sorted((PROJECT / REPORTING / folder).glob("[!.]*")):
        print(f"  {path.name}")


def describe(config: dict[str, Any], options: dict[str, Any] | None) -> list[str]:
    """Return lines on the runs that an entry finds, and on those that it gives to the pipeline."""
    path, filters = config["path"], config.get("filters", [])
    filters = [filters] if isinstance(filters, str) else filters
    dirs = iter_run_dirs(path, config.get("experiment_names"), storage_options=options)
    found = Run.load(dirs, storage_options=options, results=config.get("results"))
    lines = [f"Found {len(found)} runs in {path}."]
    if filters:
        taken = found.filter(*filters)
        statuses = Counter(run.info.status for run in found if run not in taken)
        others = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
        lines.append(f"Took {len(taken)}: {' and '.join(filters)}. Left out {others or 'none'}.")
    if "results" in config:
        failed = found.filter("results.loss IS NULL")
        lines.append(f"Ranked {len(found) - len(failed)}; {len(failed)} wrote no result.")
    return lines


if __name__ == "__main__":
    main(*sys.argv[1:])
