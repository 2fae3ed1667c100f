"""A slow, obvious reader of runs to compare with.

It is docs/stores.md and docs/hydra-without-mlflow.md in plain Python.

It shares nothing with the package. It is told the kind of the store, and reads one run after the
other from the local disk.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

KINDS = ("metrics", "params", "tags")
STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
FACTS = ("status", "run_name", "start_time", "end_time", "lifecycle_stage")
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
JUNK = {".DS_Store", ".gitkeep", "desktop.ini"}

Point = tuple[int, int, float]
"""Step, timestamp and value."""


class UnreadableError(Exception):
    """A file is malformed."""


@dataclass
class RunRead:
    """What there is to know of one run."""

    folder: Path | None
    """The run directory; None where the recorded location decides."""

    run_id: str
    experiment_id: str
    job_name: str
    artifacts: Path
    facts: dict[str, Any] = field(default_factory=dict)
    histories: dict[str, list[Point]] = field(default_factory=dict)
    logged: dict[str, dict[str, Any]] = field(default_factory=lambda: {k: {} for k in KINDS})
    config: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def read_artifacts(self) -> None:
        paths = [path for path in self.artifacts.rglob("*") if path.is_file()]
        self.files = {p.relative_to(self.artifacts).as_posix(): p.read_bytes() for p in paths}
        self.results = json.loads(self.files.get("result.json", b"{}"))
        self.config = load_yaml(self.artifacts / ".hydra/config.yaml") or {}


@dataclass
class Reading:
    """The runs of a tree in order, and the directories of those that cannot be read."""

    runs: list[RunRead] = field(default_factory=list)
    unreadable: set[Path] = field(default_factory=set)
    without_config: list[RunRead] = field(default_factory=list)
    """Of the unreadable ones, those of which all but the configuration is known."""

    strays: list[RunRead] = field(default_factory=list)
    """Directories that are listed as runs and, when they are read, turn out to be none."""

    names: set[str] = field(default_factory=set)
    """Those of all experiments."""

    def add(self, run: RunRead) -> None:
        try:
            run.read_artifacts()
            self.runs.append(run)
        except UnreadableError:
            self.unreadable.add(run.folder or run.artifacts.parent)
            self.without_config.append(run)


def load_yaml(path: Path) -> Any:
    """Return the mapping in a file, None if there is no file, {} if it is empty."""
    if not path.exists():
        return None
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise UnreadableError(path) from exc
    return {} if data is None else data


def list_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def is_run_id(name: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", name) is not None


def is_wanted(experiment_id: str, name: str, patterns: Sequence[str] | None) -> bool:
    """Whether an experiment is asked for: 0, the "Default" one, by its name alone."""
    if patterns is None or (experiment_id == "0" and name not in patterns):
        return patterns is None and experiment_id != "0"
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def get_job_name(artifacts: Path) -> str:
    """Return Hydra's job name; if that is an interpolation, the name of the log file."""
    hydra = load_yaml(artifacts / ".hydra/hydra.yaml") or {}
    name = str(hydra.get("hydra", {}).get("job", {}).get("name") or "")
    if "${" in name:
        logs = list(artifacts.glob("*.log"))
        return logs[0].stem if len(logs) == 1 else ""
    return name


# Where artifacts are ---------------------------------------------------------------------


def find_artifacts(
    own: Path | None,
    uri: str,
    ids: tuple[str, str],
    neighbors: Sequence[Path],
    artifact_root: Path | None,
) -> Path:
    """Return the first of the artifacts directories that may be meant and has artifacts.

    Args:
        own: The run directory in a file store.
        uri: The recorded ``artifact_uri``.
        ids: Those of the experiment and of the run.
        neighbors: Directories with tracking data, or with ``mlruns`` in it.
        artifact_root: As for ``iter_run_dirs``.
    """
    experiment_id, run_id = ids
    location = uri.removesuffix("/artifacts").removesuffix(f"/{run_id}")
    is_served = location.startswith("mlflow-artifacts:")
    path = location.removeprefix("mlflow-artifacts:")
    if location.startswith("file://"):
        path = unquote(location.removeprefix("file://"))
    parts = [part for part in path.split("/") if part not in ("", ".")]
    ends = [] if ".." in parts else ["/".join(parts[i:]) for i in range(len(parts))]

    found = [own] if own is not None else []
    if artifact_root is not None:
        found += [artifact_root / end / run_id for end in (experiment_id, *ends, "")]
    else:
        if is_served and ends:
            ends.insert(0, f"mlartifacts/{ends[0]}")
        ends += [f"mlruns/{experiment_id}", f"mlartifacts/{experiment_id}"]
        found += [neighbor / end / run_id for neighbor in neighbors for end in ends]
        if not is_served and path:
            found.append(neighbors[0] / path / run_id)  # which is `path` if that is absolute
    for folder in found:
        if has_artifacts(folder / "artifacts"):
            return folder / "artifacts"
    return found[0] / "artifacts"


def has_artifacts(folder: Path) -> bool:
    return any(path.is_file() and path.name not in JUNK for path in folder.rglob("*"))


# A file store ----------------------------------------------------------------------------


def read_file_store(
    root: Path,
    names: Sequence[str] | None = None,
    *,
    include_deleted: bool = False,
    artifact_root: Path | None = None,
) -> Reading:
    reading = Reading()
    experiments = []
    broken_experiments = []
    for folder in list_folders(root):
        if folder.name in (".trash", "models") or (folder.name == "0" and names is None):
            continue
        run_dirs = [d for d in list_folders(folder) if d.name not in ("tags", "datasets", "models")]
        try:
            meta = load_yaml(folder / "meta.yaml")
        except UnreadableError:
            broken_experiments.append(folder)
            continue
        if meta is None:
            with_meta = [run_dir for run_dir in run_dirs if (run_dir / "meta.yaml").exists()]
            if folder.name != "0" and not with_meta:
                continue
            name = (
                "Default"
                if folder.name == "0"
                else find_lost_name(with_meta, [root.parent, root], artifact_root)
            )
        elif meta["lifecycle_stage"] == "deleted":
            continue
        else:
            name = meta["name"]
        reading.names.add(name)
        if is_wanted(folder.name, name, names):
            location = (meta or {}).get("artifact_location", "")
            experiments.append((name, folder.name, location, run_dirs))
            broken = {p for p in folder.iterdir() if p.is_symlink() and not p.exists()}
            reading.unreadable |= broken
    # "Default" may be meant by a name that no other experiment has.
    is_default_asked = any(not set("*?[") & set(name) for name in set(names or ()) - reading.names)
    reading.unreadable |= {f for f in broken_experiments if f.name != "0" or is_default_asked}
    for name, experiment_id, location, run_dirs in sorted(experiments):
        for run_dir in run_dirs:
            try:
                facts, uri = read_meta(run_dir)
            except UnreadableError:
                reading.unreadable.add(run_dir)
                continue
            if facts is None or (facts.get("lifecycle_stage") == "deleted" and not include_deleted):
                continue
            ids = experiment_id, run_dir.name
            uri = uri or (f"{location}/{run_dir.name}/artifacts" if location else "")
            artifacts = find_artifacts(run_dir, uri, ids, [root.parent, root], artifact_root)
            run = RunRead(run_dir, run_dir.name, experiment_id, name, artifacts, facts)
            read_logged_files(run_dir, run)
            if facts and facts["run_name"] is None:
                facts["run_name"] = run.logged["tags"].get("mlflow.runName") or None
            reading.add(run)
    return reading


def find_lost_name(
    run_dirs: Sequence[Path], neighbors: Sequence[Path], artifact_root: Path | None
) -> str:
    """Return the job name of the first, the middle or the last run of an experiment."""
    for run_dir in (run_dirs[0], run_dirs[len(run_dirs) // 2], run_dirs[-1]):
        ids = run_dir.parent.name, run_dir.name
        try:
            _, uri = read_meta(run_dir)
        except UnreadableError:
            uri = ""
        name = get_job_name(find_artifacts(run_dir, uri, ids, neighbors, artifact_root))
        if name:
            return name
    return ""


def read_meta(run_dir: Path) -> tuple[dict[str, Any] | None, str]:
    """Return the facts of a run and its recorded URI; None for what is no run."""
    meta = load_yaml(run_dir / "meta.yaml")
    if not meta:
        is_run = meta is not None or (run_dir / "artifacts").is_dir()
        is_named = is_run_id(run_dir.name) and any((run_dir / kind).is_dir() for kind in KINDS)
        return ({} if is_run or is_named else None), ""
    if "artifact_uri" in meta and "user_id" not in meta:
        raise UnreadableError("cut off")
    facts = {name: meta.get(name) for name in FACTS}
    facts["status"] = STATUSES[facts["status"]]
    facts["run_name"] = facts["run_name"] or None
    return facts, meta["artifact_uri"]


def read_logged_files(run_dir: Path, run: RunRead) -> None:
    for kind in KINDS:
        for path in sorted((run_dir / kind).rglob("*")):
            is_junk = path.name in JUNK or path.name.startswith("._")
            if path.is_dir() or is_junk:
                continue
            name = path.relative_to(run_dir / kind).as_posix()
            if kind != "metrics":
                run.logged[kind][name] = path.read_bytes().decode()
                continue
            points = []
            for line in path.read_text().splitlines(keepends=True):
                fields = line.split()
                if line.endswith("\n") or len(fields) >= 3:  # else it is still being written
                    step = int(fields[2]) if len(fields) > 2 else 0
                    points.append((step, int(fields[0]), float(fields[1])))
            points.sort(key=sort_key)
            run.histories[name] = points
            if points:
                run.logged[kind][name] = points[-1][2]


def sort_key(point: Point) -> tuple[Any, ...]:
    """Return what points are ordered by, with NaN before other values."""
    step, timestamp, value = point
    return step, timestamp, not math.isnan(value), value


# A database ------------------------------------------------------------------------------


def read_database(
    database: Path,
    neighbors: Sequence[Path],
    names: Sequence[str] | None = None,
    *,
    include_deleted: bool = False,
    artifact_root: Path | None = None,
) -> Reading:
    reading = Reading()
    with closing(sqlite3.connect(database)) as connection:
        select = "SELECT name FROM experiments WHERE lifecycle_stage = 'active'"
        reading.names.update(name for (name,) in connection.execute(select))
        rows = connection.execute(
            "SELECT e.name, e.experiment_id, r.run_uuid, r.artifact_uri, r.status, r.name,"
            " r.start_time, r.end_time, r.lifecycle_stage"
            " FROM runs AS r JOIN experiments AS e USING (experiment_id)"
            " WHERE e.lifecycle_stage = 'active'"
        ).fetchall()
        for job_name, number, run_id, uri, *values in sorted(rows, key=lambda row: row[:3]):
            facts = dict(zip(FACTS, values, strict=True))
            is_deleted = facts["lifecycle_stage"] == "deleted"
            experiment_id = str(number)
            if not is_wanted(experiment_id, job_name, names):
                continue
            if is_deleted and not include_deleted:
                continue
            ids = experiment_id, run_id
            artifacts = find_artifacts(None, uri, ids, neighbors, artifact_root)
            run = RunRead(None, run_id, experiment_id, job_name, artifacts, facts)
            for kind in ("params", "tags"):
                select = f"SELECT key, value FROM {kind} WHERE run_uuid = ?"
                found = connection.execute(select, (run_id,))
                run.logged[kind] = {key: value or "" for key, value in found}
            facts["run_name"] = (
                facts["run_name"] or run.logged["tags"].get("mlflow.runName") or None
            )
            select = "SELECT key, value, is_nan FROM latest_metrics WHERE run_uuid = ?"
            found = connection.execute(select, (run_id,))
            run.logged["metrics"] = {key: decode(value, is_nan) for key, value, is_nan in found}
            select = "SELECT key, step, timestamp, value, is_nan FROM metrics WHERE run_uuid = ?"
            for key, step, timestamp, value, is_nan in connection.execute(select, (run_id,)):
                run.histories.setdefault(key, []).append((step, timestamp, decode(value, is_nan)))
            for points in run.histories.values():
                points.sort(key=sort_key)
            reading.add(run)
    return reading


def decode(value: float, is_nan: int) -> float:
    if is_nan:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


# Artifacts alone -------------------------------------------------------------------------


def read_artifacts_alone(root: Path, names: Sequence[str] | None = None) -> Reading:
    reading = Reading()
    experiments = []
    folders = [root]
    if (root / "workspaces").is_dir():
        folders += list_folders(root / "workspaces")
    for folder in folders:
        experiments += [  # without the level of experiments
            (get_job_name(run_dir / "artifacts"), "", str(folder), [run_dir])
            for run_dir in iter_runs_of_artifacts(folder)
        ]
        for experiment in list_folders(folder):
            if not experiment.name.isdecimal():
                continue
            run_dirs = list(iter_runs_of_artifacts(experiment))
            found = [get_job_name(run_dir / "artifacts") for run_dir in run_dirs]
            name = "Default" if experiment.name == "0" else next(filter(None, found), "")
            experiments.append((name, experiment.name, str(experiment), run_dirs))
    for name, experiment_id, _, run_dirs in sorted(experiments, key=lambda e: e[:3]):
        if run_dirs or experiment_id == "0":
            reading.names.add(name)
        if is_wanted(experiment_id, name, names):
            for run_dir in run_dirs:
                run = RunRead(run_dir, run_dir.name, experiment_id, name, run_dir / "artifacts")
                if run.artifacts.is_dir():
                    reading.add(run)
                else:
                    reading.strays.append(run)
    return reading


def iter_runs_of_artifacts(folder: Path) -> Iterator[Path]:
    return (run_dir for run_dir in list_folders(folder) if is_run_id(run_dir.name))


# Hydra alone -----------------------------------------------------------------------------


def read_outputs(root: Path, names: Sequence[str] | None = None) -> Reading:
    reading = Reading()
    runs = []
    folders = list_folders(root)
    while folders:
        folder = folders.pop()
        if folder.name.startswith(".") or folder.name in ("mlruns", "__pycache__"):
            continue
        if not (folder / ".hydra").is_dir():
            folders += list_folders(folder)
            continue
        reading.names.add(get_job_name(folder))
        if (folder / ".hydra/config.yaml").exists():
            run_id = get_output_id(folder) or folder.relative_to(root).as_posix()
            experiment_id = run_id.rpartition("/")[0]
            runs.append(RunRead(folder, run_id, experiment_id, get_job_name(folder), folder))
    for run in sorted(runs, key=lambda run: (run.job_name, natural_key(run.artifacts))):
        if is_wanted("", run.job_name, names):
            reading.add(run)
    return reading


def get_output_id(folder: Path) -> str | None:
    """Return the path from the last directory named ``multirun`` or ``outputs`` on."""
    for i in reversed(range(len(folder.parts))):
        if folder.parts[i] in ("multirun", "outputs"):
            return "/".join(folder.parts[i:])
    return None


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return what paths are ordered by: numbers by value, before other names."""
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in path.parts]
