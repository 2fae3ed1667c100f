"""Pack the example sweep into the package, for the command ``kedro-hydraflow example``.

``python -m tests.example_sweep`` does that after a change of ``examples/data/mlruns``. The same
runs give the same bytes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.conftest import ROOT, SWEEP

ARCHIVE = ROOT / "src" / "kedro_hydraflow" / "cli" / "example_sweep.zip"


def read_sweep(directory: Path) -> dict[str, bytes]:
    """Return the content of each file below a directory by its path."""
    files = {p.relative_to(directory).as_posix(): p for p in directory.rglob("*") if p.is_file()}
    return {path: files[path].read_bytes() for path in sorted(files)}


def pack() -> None:
    """Write the archive, without the times and permissions of the files."""
    with zipfile.ZipFile(ARCHIVE, "w") as archive:
        for path, content in read_sweep(SWEEP).items():
            member = zipfile.ZipInfo(path)
            member.create_system = 3  # on Windows, too
            member.external_attr = 0o644 << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED, compresslevel=9)


if __name__ == "__main__":
    pack()
