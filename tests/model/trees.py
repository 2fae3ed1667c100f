"""Random trees of every store, and what may happen to them between two loads."""

from __future__ import annotations

import atexit
import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from tests.conftest import Database, TrackingDir, replace_meta, write, write_job
from tests.model import reference
from tests.model.reference import Point, Reading

EXPERIMENT_NAMES = [
    *("train", "eval", "1e3", "yes", "null", "2024-01-01", "007", "~", "${oc.env:HOME}", "a: b"),
    *("#x", "- a", "[x]*", "a?", "Default", "it's", '"q"', "日本語", "a b", ".hidden"),
    "long name " * 12 + "end",
]
VALUES = [
    *("", "x", "1", "1e3", "yes", "two\nlines", "ends\n", " padded ", "日本語 😀", "nan", "a: b"),
]
METRICS = ["loss", "val/loss", "acc.top1", "a b", "x-y", "a__b", "deep/er/still", "_"]
PARAMS = ["lr", "model.type", "opt/name", "a b", "é"]
TAGS = ["mlflow.user", "stage", "mlflow.note.content", "team/name"]
FLOATS = [0.5, -1.0, 1e-7, 3.0, 1e300, math.inf, -math.inf, math.nan, 0.1]
CONFIG_KEYS = ["model", "lr", "seed2", "a_b", "opt", "x y", "A"]
CONFIG_VALUES: list[Any] = [
    *(None, True, False, 0, -7, 12345678901234567890, 0.25, 1e-05, 3.0, [], {}, "", "???", "x"),
    *(
        "yes",
        "null",
        "12",
        "a: b",
        "it's",
        "${seed}",
        "two\nlines",
        "日本語",
        "/data/x y",
        "#",
        "- a",
    ),
]
NUMBERS = ["10000", "20000", "30000"]
"""What is replaced by another one of the same size."""

JUNK = {".DS_Store": b"\0\1Bud1", ".gitkeep": b"", "desktop.ini": b"[x]\r\n"}


@dataclass
class RunData:
    """What an application logged, before it is known to which store."""

    run_id: str
    name: str | None
    status: int
    is_deleted: bool
    start: int
    end: int | None
    metrics: dict[str, list[Point]]
    params: dict[str, str]
    tags: dict[str, str]
    artifacts: dict[str, bytes]
    """By relative path, Hydra's files included."""


@dataclass
class Tree:
    """A random tree, what to give for it, and how the reference reads it."""

    kind: str
    base: Path
    """Everything is below it."""

    given: Path
    """What is loaded."""

    read: Callable[[], Reading]
    options: dict[str, Any] = field(default_factory=dict)
    """For ``iter_run_dirs``."""

    database: Path | None = None
    changes: list[str] = field(default_factory=list)
    """What happened since it was made, for messages."""

    needs_local: bool = False
    """Whether it has what only a local disk can have."""

    def describe(self) -> str:
        """Return what is loaded, and the files, for messages."""
        paths = sorted(path for path in self.base.rglob("*") if not path.is_dir())
        lines = [f"{self.kind}: {self.given.relative_to(self.base)} with {self.options}"]
        lines += [f"  {path.relative_to(self.base)}" for path in paths]
        return "\n".join(lines)


# Runs ------------------------------------------------------------------------------------


def make_run(rng: random.Random, job_name: str, parent: str | None = None) -> RunData:
    tags = {name: rng.choice(VALUES) for name in pick(rng, TAGS)}
    name = rng.choice(["upset-turtle-765", "null", "1e3", "a: b", "日本語", "", None])
    if not name and rng.random() < 0.5:
        tags["mlflow.runName"] = "named by tag"
    if parent is not None:
        tags["mlflow.parentRunId"] = parent
    start = 1795394369957 + rng.randrange(10**6)
    status = rng.choice([1, 3, 3, 3, 4, 5])
    return RunData(
        run_id=f"{rng.getrandbits(128):032x}",
        name=name,
        status=status,
        is_deleted=rng.random() < 0.15,
        start=start,
        end=None if status == 1 else start + 60,
        metrics={name: make_points(rng) for name in pick(rng, METRICS)},
        params={name: rng.choice(VALUES) for name in pick(rng, PARAMS)},
        tags=tags,
        artifacts=make_artifacts(rng, job_name),
    )


def pick(rng: random.Random, names: Sequence[str]) -> list[str]:
    return rng.sample(names, rng.randrange(len(names)))


def make_points(rng: random.Random) -> list[Point]:
    count = rng.choice([1, 1, 2, 5])
    steps = [rng.choice([i, i, 0, -i]) for i in range(count)]
    return [(step, 1795394369957 + rng.randrange(3), rng.choice(FLOATS)) for step in steps]


def make_artifacts(rng: random.Random, job_name: str) -> dict[str, bytes]:
    artifacts: dict[str, bytes] = {}
    if rng.random() < 0.85:
        artifacts[".hydra/config.yaml"] = make_config(rng)
    if job_name:
        hydra = {"run": {"dir": "outputs"}, "job": {"name": job_name, "chdir": None}}
        artifacts[".hydra/hydra.yaml"] = dump({"hydra": hydra})
    if rng.random() < 0.5:
        results = {"loss": rng.random(), "n": int(rng.choice(NUMBERS)), "text": rng.choice(VALUES)}
        artifacts["result.json"] = json.dumps(results).encode()
    if rng.random() < 0.5:
        artifacts[rng.choice(["weights.bin", "a b.txt", "plots/é.txt"])] = rng.randbytes(40)
    return artifacts


def make_config(rng: random.Random) -> bytes:
    config = {"seed": int(rng.choice(NUMBERS))}
    if rng.random() < 0.7:  # else it has the size of others
        config |= {key: make_value(rng, 0) for key in pick(rng, CONFIG_KEYS)}
    return dump(config)


def make_value(rng: random.Random, depth: int) -> Any:
    if depth < 2 and rng.random() < 0.3:
        if rng.random() < 0.5:
            return [make_value(rng, depth + 1) for _ in range(rng.randrange(3))]
        return {key: make_value(rng, depth + 1) for key in pick(rng, CONFIG_KEYS[:4])}
    return rng.choice(CONFIG_VALUES)


def dump(data: Any) -> bytes:
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return text.encode()


def write_artifacts(folder: Path, run: RunData) -> None:
    for name, content in run.artifacts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_decoy(folder: Path) -> None:
    """Write artifacts that no load may take for those of the run."""
    write(folder / ".hydra/config.yaml", "seed: 66666\ndecoy: true\n")
    write(folder / "decoy.txt", "decoy")


# Where the artifacts of tracked runs are ---------------------------------------------------


@dataclass
class Whereabouts:
    """Where the artifacts of an experiment are, and where they were recorded."""

    location: str
    """The recorded ``artifact_location``."""

    folder: Path | None
    """The directory that has them, with a folder for each run. None: they are in the runs'
    directories of a file store."""

    decoy: Path | None = None
    """A directory of others, which is not meant."""


def choose_whereabouts(
    rng: random.Random, base: Path, project: Path, root: Path, experiment_id: str, *, is_files: bool
) -> Whereabouts:
    """Return where artifacts are.

    Args:
        rng: What chooses.
        base: The directory of the tree.
        project: The directory of the database, or of ``mlruns``.
        root: The tracking directory, such as ``mlruns``.
        experiment_id: The experiment.
        is_files: Whether it is a file store.
    """
    usual = f"/somewhere/else/mlruns/{experiment_id}"
    in_place = None if is_files else root / experiment_id
    elsewhere = base / "other disk é" / "kept" / experiment_id
    outside = base / "outside" / experiment_id
    choices = [
        Whereabouts(usual, in_place),
        Whereabouts(usual, in_place),
        Whereabouts(str(elsewhere), in_place, decoy=elsewhere),
        Whereabouts(f"mlflow-artifacts:/{experiment_id}", project / "mlartifacts" / experiment_id),
        Whereabouts(f"mlflow-artifacts:/team/{experiment_id}", project / "team" / experiment_id),
        Whereabouts(str(elsewhere), elsewhere),
        Whereabouts(f"file://{quote(str(elsewhere))}", elsewhere),
        Whereabouts(f"/old/disk/kept/{experiment_id}", project / "kept" / experiment_id),
        Whereabouts(f"/nowhere/../../outside/{experiment_id}", in_place, decoy=outside),
        Whereabouts(f"/nowhere/../outside/{experiment_id}", project / "lost", decoy=outside),
        Whereabouts(f"/nowhere/x/../../outside/{experiment_id}", project / "lost", decoy=outside),
    ]
    if not is_files:
        choices.append(Whereabouts(f"./mlruns/{experiment_id}", in_place))
    return rng.choice(choices)


# Stores ----------------------------------------------------------------------------------


def make_tree(seed: int, base: Path) -> Tree:
    """Write the tree of a seed into an empty directory."""
    rng = random.Random(seed)
    make = rng.choice(
        [
            *(make_files, make_files, make_files, make_database, make_database, make_both),
            *(make_artifacts_alone, make_outputs, make_outputs),
        ]
    )
    tree = make(rng, base)
    if rng.random() < 0.5:
        for path in base.rglob("*"):
            if path.is_file() and not path.is_symlink():
                os.utime(path, (1_795_394_369, 1_795_394_369))  # as after a checkout
    return tree


def make_experiments(rng: random.Random, *, unique: bool) -> list[tuple[str, str, list[RunData]]]:
    """Return the ID, name and runs of experiments."""
    count = rng.choice([1, 1, 2, 3])
    names = rng.sample(EXPERIMENT_NAMES, count)
    if not unique and rng.random() < 0.1:
        names = [names[0]] * count
    ids = rng.sample(["1", "2", "10", "935292330156410202", "3"], count)
    if rng.random() < 0.2:
        ids.append("0")
        names.append(rng.choice(["Default", "renamed"]))
    experiments = []
    for experiment_id, name in zip(ids, names, strict=True):
        runs: list[RunData] = []
        for _ in range(rng.choice([0, 1, 2, 3, 5])):
            parent = rng.choice(runs).run_id if runs and rng.random() < 0.3 else None
            runs.append(make_run(rng, f"job_{experiment_id}", parent))
        experiments.append((experiment_id, name, runs))
    return experiments


def choose_options(rng: random.Random, names: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if names and rng.random() < 0.25:
        globs = ["*", "[t-z]*", "*e*", "?"]
        options["experiment_names"] = sorted({rng.choice(names), rng.choice([*names, *globs])})
    if rng.random() < 0.3:
        options["include_deleted"] = rng.random() < 0.5
    return options


def make_files(rng: random.Random, base: Path) -> Tree:
    """Write a file store."""
    root = base / "project" / rng.choice(["mlruns", "mlruns", "store", "my runs"])
    directory = TrackingDir(root)
    experiments = make_experiments(rng, unique=False)
    needs_local = False
    options = choose_options(rng, [name for experiment_id, name, _ in experiments])
    artifact_root = None
    if rng.random() < 0.1:
        artifact_root = options["artifact_root"] = base / "other disk é" / "kept"
        artifact_root.mkdir(parents=True)
        needs_local = True
    for experiment_id, name, runs in experiments:
        where = choose_whereabouts(rng, base, root.parent, root, experiment_id, is_files=True)
        needs_local = needs_local or "somewhere" not in where.location
        experiment = directory.add_experiment(name, experiment_id, artifact_location=where.location)
        for run in runs:
            add_to_files(rng, directory, experiment, run, where)
        needs_local = spoil_experiment(rng, experiment) or needs_local
    if rng.random() < 0.3:
        trash = TrackingDir(root / ".trash").add_experiment("gone", "77", lifecycle_stage="deleted")
        add_to_files(rng, directory, trash, make_run(rng, "gone"), Whereabouts("/x/77", None))
    if rng.random() < 0.3:
        write(root / "models" / "m-1" / "meta.yaml", "model_id: m-1\nstatus: 2\n")

    def read() -> Reading:
        return reference.read_file_store(
            root,
            options.get("experiment_names"),
            include_deleted=bool(options.get("include_deleted")),
            artifact_root=artifact_root,
        )

    return Tree("file store", base, root, read, options, needs_local=needs_local)


def add_to_files(
    rng: random.Random,
    directory: TrackingDir,
    experiment: Path,
    run: RunData,
    where: Whereabouts,
) -> None:
    run_dir = directory.add_run(
        experiment,
        run.run_id,
        None,
        {name: format_metric(rng, points) for name, points in run.metrics.items()},
        artifact_uri=f"{where.location}/{run.run_id}/artifacts",
        lifecycle_stage="deleted" if run.is_deleted else "active",
        run_name=run.name,
        start_time=run.start,
        end_time=run.end,
        status=run.status,
    )
    for kind, values in (("params", run.params), ("tags", run.tags)):
        for name, value in values.items():
            path = run_dir / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.encode())
    is_in_place = where.folder is None or rng.random() < 0.2
    folder = run_dir if where.folder is None or is_in_place else where.folder / run.run_id
    write_artifacts(folder / "artifacts", run)
    if where.decoy is not None:
        write_decoy(where.decoy / run.run_id / "artifacts")
    spoil_run(rng, run_dir)


def format_metric(rng: random.Random, points: Sequence[Point]) -> str:
    lines = [f"{timestamp} {value} {step}\n" for step, timestamp, value in points]
    if rng.random() < 0.1:
        lines.append("179539")  # still being written
    if rng.random() < 0.1:
        lines[0] = lines[0].rstrip("\n") + " data 0a1b\n"
    return "".join(lines)


def spoil_run(rng: random.Random, run_dir: Path) -> None:
    """Add or remove what a run directory may have or lack."""
    draw = rng.random()
    meta = run_dir / "meta.yaml"
    if draw < 0.03:
        meta.unlink()
    elif draw < 0.05:
        meta.write_bytes(meta.read_bytes()[:60])
    elif draw < 0.07:
        write(run_dir / "artifacts/.hydra/config.yaml", "a: [1\n\tb: 2\n")
    elif draw < 0.10:
        shutil.rmtree(run_dir / rng.choice(["params", "metrics", "tags"]))
    elif draw < 0.20:
        name, content = rng.choice([*JUNK.items()])
        folder = run_dir / rng.choice(["params", "metrics", "tags", "artifacts"])
        (folder / name).write_bytes(content)
    elif draw < 0.25 and (run_dir / "metrics/loss").exists():
        (run_dir / "metrics/._loss").write_bytes(b"\0\5\x16\7")


def spoil_experiment(rng: random.Random, experiment: Path) -> bool:
    """Add or remove what an experiment may have or lack. Return whether that needs a local disk."""
    draw = rng.random()
    if draw < 0.05 and any(experiment.glob("*/meta.yaml")):
        (experiment / "meta.yaml").unlink()
    elif draw < 0.08:
        (experiment / "meta.yaml").write_text("name: [\n")
    elif draw < 0.12:
        replace_meta(experiment, lifecycle_stage="deleted")
    elif draw < 0.25:
        write(experiment / rng.choice(["tags", "datasets", "notes"]) / "x", "x")
        (experiment / f"{rng.getrandbits(128):032x}").mkdir()  # named like a run
    elif draw < 0.30:
        (experiment / "a broken link").symlink_to("nowhere")
        return True
    elif draw < 0.40:
        for run_dir in [*experiment.iterdir()][:1]:
            if run_dir.is_dir():  # it is elsewhere, behind a link
                target = experiment.parent.parent / "linked" / run_dir.name
                target.parent.mkdir(exist_ok=True)
                run_dir.rename(target)
                run_dir.symlink_to(target)
        return True
    return False


class QuickDatabase(Database):
    """A database that is written at once, from a copy of an empty one."""

    _template: Path | None = None

    def __init__(self, path: Path) -> None:
        template = QuickDatabase._template
        if template is None or not template.exists():
            folder = Path(tempfile.mkdtemp())
            atexit.register(shutil.rmtree, folder)
            template = QuickDatabase._template = folder / "empty.db"
            Database(template)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(template, path)
        self.path = path
        self._statements: list[Any] = []

    def execute(self, *statements: Any) -> None:
        self._statements += statements

    def commit(self) -> None:
        """Write what was inserted."""
        super().execute(*self._statements)
        self._statements.clear()


def make_database(rng: random.Random, base: Path, share_moved: float = 0.15) -> Tree:
    """Write a database, with the artifacts anywhere.

    Args:
        rng: What chooses.
        base: An empty directory.
        share_moved: How often all artifacts are in an ``artifact_root``.
    """
    project = base / "project"
    path = project / rng.choice(["mlflow.db", "mlflow.db", "runs.sqlite", "tracking"])
    root = project / "mlruns"
    root.mkdir(parents=True)
    given = rng.choice([path, project, root])
    experiments = make_experiments(rng, unique=True)
    options = choose_options(rng, [name for experiment_id, name, _ in experiments])
    artifact_root = None
    if rng.random() < share_moved:
        artifact_root = options["artifact_root"] = base / "moved"
        artifact_root.mkdir()
    database = QuickDatabase(path)
    for experiment_id, name, runs in experiments:
        where = choose_whereabouts(rng, base, project, root, experiment_id, is_files=False)
        add_experiment_to_database(rng, database, experiment_id, name, where)
        for run in runs:
            add_to_database(database, experiment_id, run, where)
            if artifact_root is not None:
                end = rng.choice([f"{experiment_id}/{run.run_id}", run.run_id])
                write_artifacts(artifact_root / end / "artifacts", run)
                write_decoy((where.folder or root) / run.run_id / "artifacts")
                continue
            write_artifacts((where.folder or root) / run.run_id / "artifacts", run)
            if where.decoy is not None:
                write_decoy(where.decoy / run.run_id / "artifacts")
    database.commit()
    neighbors = [project] if given == path else [project, given]

    def read() -> Reading:
        return reference.read_database(
            path,
            neighbors,
            options.get("experiment_names"),
            include_deleted=bool(options.get("include_deleted")),
            artifact_root=artifact_root,
        )

    return Tree("database", base, given, read, options, database=path, needs_local=True)


def add_experiment_to_database(
    rng: random.Random, database: Database, experiment_id: str, name: str, where: Whereabouts
) -> None:
    is_deleted = experiment_id != "0" and rng.random() < 0.1
    stage = "deleted" if is_deleted else "active"
    if experiment_id == "0":
        update = "UPDATE experiments SET name = ?, artifact_location = ? WHERE experiment_id = 0"
        database.execute((update, (name, where.location)))
    else:
        database.add_experiment(
            name if name != "Default" else "Default 2",
            int(experiment_id),
            artifact_location=where.location,
            lifecycle_stage=stage,
        )


def add_to_database(
    database: Database, experiment_id: str, run: RunData, where: Whereabouts
) -> None:
    database.add_run(
        int(experiment_id),
        run.run_id,
        metrics=run.metrics,
        params=run.params,
        tags=run.tags,
        name=run.name,
        status=reference.STATUSES[run.status],
        start_time=run.start,
        end_time=run.end,
        lifecycle_stage="deleted" if run.is_deleted else "active",
        artifact_uri=f"{where.location}/{run.run_id}/artifacts",
    )


def make_both(rng: random.Random, base: Path) -> Tree:
    """Write a file store and the database that it was migrated to."""
    project = base / "project"
    root = project / "mlruns"
    directory = TrackingDir(root)
    database = QuickDatabase(project / "mlflow.db")
    experiments = [e for e in make_experiments(rng, unique=True) if e[0] != "0"]
    options = choose_options(rng, [])
    for experiment_id, name, runs in experiments:
        where = Whereabouts(f"/somewhere/else/mlruns/{experiment_id}", None)
        name = name if name != "Default" else "Default 2"
        experiment = directory.add_experiment(name, experiment_id, artifact_location=where.location)
        database.add_experiment(name, int(experiment_id), artifact_location=where.location)
        for run in runs:
            run_dir = directory.add_run(experiment, run.run_id, None, run_name="old name")
            write_artifacts(run_dir / "artifacts", run)
            add_to_database(database, experiment_id, run, where)
    database.commit()
    path = database.path
    given = rng.choice([path, project, root])
    if not any(runs for _, _, runs in experiments):
        given = path  # otherwise the file store counts
    neighbors = [project] if given == path else [project, given]

    def read() -> Reading:
        is_included = bool(options.get("include_deleted"))
        return reference.read_database(path, neighbors, include_deleted=is_included)

    return Tree("database and files", base, given, read, options, path, needs_local=True)


def make_artifacts_alone(rng: random.Random, base: Path) -> Tree:
    """Write the artifacts of a server, without its tracking data."""
    root = base / rng.choice(["mlartifacts", "bucket"])
    root.mkdir()
    folders = [root]
    if rng.random() < 0.3:
        folders.append(root / "workspaces" / "team é")
    experiments = [(folder, e) for folder in folders for e in make_experiments(rng, unique=True)]
    has_any = False
    for folder, (experiment_id, _, runs) in experiments:
        above = folder if folder == root and rng.random() < 0.1 else folder / experiment_id
        for run in runs:
            if experiment_id == "1":  # nobody recorded a job name
                run.artifacts.pop(".hydra/hydra.yaml", None)
            write_artifacts(above / run.run_id / "artifacts", run)
            (above / run.run_id / "artifacts").mkdir(parents=True, exist_ok=True)
            has_any = has_any or bool(run.artifacts)
    if not has_any:
        run_dir = root / "5" / f"{rng.getrandbits(128):032x}"
        write(run_dir / "artifacts/.hydra/config.yaml", "a: 1\n")
    if rng.random() < 0.3 and (root / "2").is_dir():
        (root / "2" / f"{rng.getrandbits(128):032x}").mkdir()
    job_names = [run.job_name for run in reference.read_artifacts_alone(root).runs]
    options = choose_options(rng, [name for name in job_names if name])

    def read() -> Reading:
        return reference.read_artifacts_alone(root, options.get("experiment_names"))

    return Tree("artifacts alone", base, root, read, options)


def make_outputs(rng: random.Random, base: Path) -> Tree:
    """Write output directories of Hydra alone."""
    project = base / "app"
    folders = []
    job_names: dict[Path, str] = {}
    for _ in range(rng.choice([1, 1, 2])):  # sweeps
        names = rng.choice(
            [range(12), range(3), ["lr=0.1,seed=1", "lr=0.1,seed=2"], ["a/1", "a/2"]]
        )
        sweep = project / "multirun" / rng.choice(["2026-11-25/23-01-50", "named", "10"])
        write(sweep / "multirun.yaml", "hydra:\n  sweep:\n    dir: multirun\n    subdir: x\n")
        names_of_jobs = ["fit", "train é", "1e3", "${app}"]
        job_name = job_names.setdefault(sweep, rng.choice(names_of_jobs))  # of all of its jobs
        for name in names:
            folder = sweep / str(name)
            if str(name).isdecimal() and rng.random() < 0.1:
                write(folder / "crash.txt", "it failed")
            elif not folder.exists():
                folders.append((folder, job_name))
    for second in rng.sample(range(10, 60), rng.choice([0, 1, 3])):
        job_name = rng.choice(["fit", "eval"])
        folders.append((project / "outputs" / "2026-11-25" / f"23-02-{second}", job_name))
    for folder, job_name in folders:
        run = make_run(rng, job_name)
        run.artifacts.setdefault(".hydra/config.yaml", make_config(rng))
        write_job(folder, run.artifacts.pop(".hydra/config.yaml").decode(), name=None, log=None)
        write_artifacts(folder, run)
        if "$" in job_name or rng.random() < 0.5:
            write(folder / "log name.log", "log\n")
    if rng.random() < 0.3:
        write(project / ".git" / "multirun" / ".hydra" / "config.yaml", "a: 1\n")
        write(project / "notes" / "readme.txt", "x")
    given = rng.choice([project, project / "multirun", project / "outputs"])
    if not given.is_dir():
        given = project
    job_names = [run.job_name for run in reference.read_outputs(given).runs]
    options = choose_options(rng, [name for name in job_names if name])
    options.pop("include_deleted", None)

    def read() -> Reading:
        return reference.read_outputs(given, options.get("experiment_names"))

    return Tree("outputs of Hydra", base, given, read, options)
