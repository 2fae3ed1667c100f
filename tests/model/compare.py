"""Loading a tree in every way, and comparing what is loaded with the reference."""

from __future__ import annotations

import logging
import os
import random
import re
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import fsspec
from omegaconf import OmegaConf

from kedro_hydraflow import Run, RunCollection, iter_run_dirs, iter_runs
from kedro_hydraflow.errors import (
    Failure,
    FilterError,
    NotFoundError,
    RunLoadError,
    TrackingDirectoryError,
)
from kedro_hydraflow.storage import local
from tests.model.changes import change, damage
from tests.model.filters import FilterMaker
from tests.model.reference import FACTS, KINDS, Reading, RunRead
from tests.model.reference_filters import And, Selection, select
from tests.model.trees import Tree, make_tree

RESULTS = "result.json"


@dataclass(frozen=True)
class Load:
    """One way to load a tree."""

    name: str
    """What is said of it in messages."""

    index: Path | bool = False
    n_jobs: int = 0
    how: str = "load"
    """``load``, ``iter_runs`` or ``given``: by a list of the run directories."""

    location: Any = None
    """What is given instead of the tree's own path."""

    options: Any = None
    """For ``storage_options``."""

    uri: str | None = None
    """The ``tracking_uri`` of a server that has the tree, instead of a path."""


class Difference(AssertionError):
    """What was loaded is not what the reference reads."""


# One load --------------------------------------------------------------------------------


def compare(tree: Tree, load: Load, rng: random.Random) -> int:
    """Load a tree and compare; return the number of runs.

    Raises:
        Difference: If anything differs.
    """
    reading = tree.read()
    missing = find_missing_names(tree, reading)
    try:
        if missing:
            return check_missing(tree, load, missing)
        with unfinished_metas(tree, reading, rng):
            failures: list[Failure] = []
            try:
                runs = list(start_load(tree, load, "raise"))
            except RunLoadError:
                failures = find_failures(tree, load)
                runs = list(start_load(tree, load, "warn"))
            differences = [
                *find_in_failures(map(partial(get_path, tree, load), failures), reading),
                *find_in_runs(runs, reading.runs, rng, is_bulk=rng.random() < 0.5),
            ]
    except Difference:
        raise
    except TrackingDirectoryError as exc:
        if reading.runs or reading.unreadable:
            raise Difference(explain(tree, load, [f"TrackingDirectoryError: {exc}"])) from exc
        return 0  # there is something else
    except Exception as exc:
        raise Difference(explain(tree, load, [f"{type(exc).__name__}: {exc}"])) from exc
    if differences:
        raise Difference(explain(tree, load, differences))
    return len(runs)


def find_missing_names(tree: Tree, reading: Reading) -> set[str]:
    """Return the experiment names that are asked for and do not exist."""
    names = tree.options.get("experiment_names", ())
    return {name for name in names if not set(name) & set("*?[")} - reading.names


def explain(tree: Tree, load: Load, differences: Sequence[str]) -> str:
    changes = "".join(f"\n  {what}" for what in tree.changes)
    shown = "".join(f"\n  {what}" for what in differences[:10])
    return (
        f"{load.name} ({load.how}, n_jobs={load.n_jobs}):{shown}"
        f"{'' if len(differences) <= 10 else f' and {len(differences) - 10} more'}"
        f"\nbefore that:{changes or ' nothing'}\n{tree.describe()}"
    )


def check_missing(tree: Tree, load: Load, names: set[str]) -> int:
    """Raise Difference unless it is an error that there are no experiments with these names."""
    try:
        list(start_load(tree, load, "warn"))
    except NotFoundError as exc:
        if not all(repr(name) in str(exc) for name in names):
            raise Difference(explain(tree, load, [f"{names} are not named: {exc}"])) from exc
        return 0
    raise Difference(explain(tree, load, [f"no error, though {names} do not exist"]))


def find_failures(tree: Tree, load: Load, filters: Any = None) -> list[Failure]:
    """Return what ``on_error="raise"`` names, of finding the runs and of reading them."""
    failures: list[Failure] = []
    try:
        list(iter_run_dirs(**make_arguments(tree, load)))
    except RunLoadError as exc:
        failures += exc.failures
    try:
        dirs = iter_run_dirs(**make_arguments(tree, load, filters), on_error="warn")
        Run.load(dirs, index=load.index, results=RESULTS)
    except RunLoadError as exc:
        failures += exc.failures
    return failures


def make_arguments(tree: Tree, load: Load, filters: Any = None) -> dict[str, Any]:
    location = tree.given if load.location is None else load.location
    options = {"storage_options": load.options, "filters": filters, **tree.options}
    if load.uri is not None:
        return {"tracking_uri": load.uri, **options}
    return {"tracking_dir": location, **options}


def start_load(
    tree: Tree, load: Load, on_error: Any, filters: Any = None
) -> Iterator[Run[Any, Any]]:
    arguments = make_arguments(tree, load, filters)
    options = {"index": load.index, "n_jobs": load.n_jobs, "results": RESULTS}
    if load.how == "iter_runs":
        for batch in iter_runs(**arguments, **options, batch_size=2, on_error=on_error):
            yield from batch
        return
    dirs: Any = iter_run_dirs(**arguments, on_error=on_error)
    if load.how == "given":
        dirs = list(dirs)
    yield from Run.load(dirs, on_error=on_error, **options)


# What differs ----------------------------------------------------------------------------


def get_path(tree: Tree, load: Load, failure: Failure) -> str:
    """Return the path of a failure, below what the tree is and not what was given."""
    path = os.path.abspath(failure.path)
    link = str(load.location)
    return f"{tree.given}{path.removeprefix(link)}" if path.startswith(f"{link}/") else path


def find_in_failures(failures: Iterable[str], reading: Reading) -> Iterator[str]:
    """Yield what is wrongly said to be unreadable, and what should be."""
    expected = {str(path) for path in reading.unreadable}
    named = set()
    for failure in failures:
        above = [folder for folder in expected if f"{failure}/".startswith(f"{folder}/")]
        if above:
            named.add(max(above, key=len))
        else:
            yield f"wrongly unreadable: {failure}"
    for path in sorted(expected - named):
        yield f"it should be unreadable: {path}"


def find_in_runs(
    runs: Sequence[Run[Any, Any]],
    expected: Sequence[RunRead],
    rng: random.Random,
    *,
    is_bulk: bool,
) -> Iterator[str]:
    """Yield what differs between runs and what is expected of them.

    Args:
        runs: The runs.
        expected: What is expected of them.
        rng: Chooses the order in which things are read.
        is_bulk: Whether single values are read for all runs at once first.
    """
    found = [(run.info.job_name, run.info.experiment_id, run.info.run_id) for run in runs]
    wanted = [(run.job_name, run.experiment_id, run.run_id) for run in expected]
    if found != wanted:
        for run in sorted((Counter(wanted) - Counter(found)).elements()):
            yield f"missing: {run}"
        for run in sorted((Counter(found) - Counter(wanted)).elements()):
            yield f"too much: {run}"
        if sorted(found) == sorted(wanted):
            yield f"the order is {found}, expected {wanted}"
        return
    if is_bulk:
        yield from find_in_columns(RunCollection(list(runs)), expected)
    for run, one in zip(runs, expected, strict=True):
        parts = list(DESCRIBED.items())
        rng.shuffle(parts)
        for name, describe in parts:
            is_there, of_reference = describe(run), EXPECTED[name](one)
            if is_there != of_reference:
                yield f"{run.info.run_id}: {name} is {is_there}, expected {of_reference}"


def find_in_columns(runs: RunCollection[Any], expected: Sequence[RunRead]) -> Iterator[str]:
    """Yield what differs in columns, which are read for all runs at once."""
    for kind in KINDS:
        for name in sorted({name for run in expected for name in run.logged[kind]}):
            found = runs.to_list(f"{kind}.{name}", default=None)
            wanted = [run.logged[kind].get(name) for run in expected]
            if repr(found) != repr(wanted):
                yield f"the column {kind}.{name} is {found}, expected {wanted}"
    names = sorted({name for run in expected for name, points in run.histories.items() if points})
    if names:
        rows = runs.metric_histories(*names).rows()
        found = [
            (run_id, name, step, to_ms(time_), repr(value))
            for run_id, name, step, time_, value in rows
        ]
        wanted = [
            (run.run_id, name, step, timestamp, repr(value))
            for run in expected
            for name in names
            for step, timestamp, value in run.histories.get(name, [])
        ]
        if found != wanted:
            yield f"the histories are {found}, expected {wanted}"
    found = runs.to_list("results.loss", default=None)
    wanted = [run.results.get("loss") for run in expected]
    if found != wanted:
        yield f"the column results.loss is {found}, expected {wanted}"


def to_ms(time_: Any) -> int | None:
    return None if time_ is None else round(time_.timestamp() * 1000)


def show(data: Any) -> str:
    return repr(data)


def show_sorted(mapping: dict[str, Any]) -> str:
    return repr(sorted(mapping.items()))


def read_files(run: Run[Any, Any]) -> str:
    root = run.path()
    paths = [path for path in root.rglob("*") if path.is_file()] if root.exists() else []
    return show_sorted({p.relative_to(root).as_posix(): p.read_bytes() for p in paths})


def get_facts(run: Run[Any, Any]) -> str:
    info = run.info
    times = (to_ms(info.start_time), to_ms(info.end_time))
    return repr((info.status, info.run_name, *times, info.lifecycle_stage))


DESCRIBED: dict[str, Callable[[Run[Any, Any]], str]] = {
    "configuration": lambda run: show(OmegaConf.to_container(run.cfg)),
    "facts": get_facts,
    "parent": lambda run: show(run.info.parent_run_id),
    "metrics": lambda run: show_sorted(run.metrics),
    "params": lambda run: show_sorted(run.params),
    "tags": lambda run: show_sorted(run.tags),
    "results": lambda run: show(run.results),
    "artifacts": read_files,
}

EXPECTED: dict[str, Callable[[RunRead], str]] = {
    "configuration": lambda run: show(run.config),
    "facts": lambda run: show(tuple(run.facts.get(name) for name in FACTS)),
    "parent": lambda run: show(run.logged["tags"].get("mlflow.parentRunId")),
    "metrics": lambda run: show_sorted(run.logged["metrics"]),
    "params": lambda run: show_sorted(run.logged["params"]),
    "tags": lambda run: show_sorted(run.logged["tags"]),
    "results": lambda run: show(run.results),
    "artifacts": lambda run: show_sorted(run.files),
}


# Filters ---------------------------------------------------------------------------------


def compare_filters(tree: Tree, load: Load, rng: random.Random) -> str:
    """Select runs by random filters, and compare; return how many were selected, in words.

    Raises:
        Difference: If others are selected than those that the reference selects.
    """
    reading = tree.read()
    if not reading.runs or find_missing_names(tree, reading):
        return "of no runs"
    maker = FilterMaker(rng, reading.runs)
    makes = [maker.make_plain, maker.make] if rng.random() < 0.5 else [maker.make]
    made = [make() for make in rng.sample(makes, rng.randint(1, len(makes)))]
    expressions, texts = zip(*made, strict=True)
    filters = texts[0] if len(texts) == 1 and rng.random() < 0.5 else [*texts]
    joined = " and ".join(f"({text})" for text in texts)
    records_facts = tree.kind not in ("artifacts alone", "outputs of Hydra")
    selects = partial(select, records_facts=records_facts)
    expected = selects(reading.runs, [*reading.without_config, *reading.strays], expressions)
    expected_later = selects(reading.runs, [], [And(expressions)])
    left_out = [run for run in reading.runs if run not in expected_later.runs]
    try:
        found = select_or_explain(lambda: start_load(tree, load, "warn", filters))
        runs = RunCollection(list(start_load(tree, load, "warn")))
        differences = [
            *find_in_selection("filters=", found, expected, expected.runs),
            *find_in_selection(
                "runs.filter",
                select_or_explain(lambda: runs.filter(joined)),
                expected_later,
                expected_later.runs,
            ),
            *find_in_selection(
                "runs.exclude",
                select_or_explain(lambda: runs.exclude(joined)),
                expected_later,
                left_out,
            ),
        ]
        if reading.without_config and not (expected.errors or expected.lacking):
            failures = find_failures(tree, load, filters)
            named = {get_path(tree, load, f) for f in failures if "config.yaml" in f.path}
            for run in reading.without_config:
                is_named = any(path.startswith(f"{run.folder}/") for path in named)
                if is_named != (run in expected.unread):
                    differences.append(
                        f"{run.folder} is {'' if is_named else 'not '}named: {named}"
                    )
    except Difference:
        raise
    except Exception as exc:
        differences = [f"{type(exc).__name__}: {exc}"]
    if differences:
        differences.insert(0, f"filters: {filters}")
        raise Difference(explain(tree, load, differences))
    if expected.errors:
        return "cannot be applied"
    if expected.lacking:
        return "no such key"
    count = len(expected.runs)
    return "none" if not count else "all" if count == len(reading.runs) else "some"


def select_or_explain(start: Callable[[], Iterable[Run[Any, Any]]]) -> list[str] | str:
    """Return the IDs of runs, or the message of the error of a filter."""
    try:
        return [run.info.run_id for run in start()]
    except FilterError as exc:
        return str(exc)


def find_in_selection(
    name: str, found: list[str] | str, expected: Selection, runs: Sequence[RunRead]
) -> Iterator[str]:
    """Yield what differs between what is selected, or said, and what should be."""
    if expected.errors:
        wanted: Any = f"the error {expected.errors}"
        is_right = isinstance(found, str) and any(each in found for each in expected.errors)
    elif expected.lacking:
        wanted = f"the error that no run has any of {expected.lacking}"
        is_right = (
            isinstance(found, str) and re.search(r" (has|not have) the key ", found) is not None
        )
    else:
        wanted = [run.run_id for run in runs]
        is_right = found == wanted
    if not is_right:
        yield f"{name} gives {found}, expected {wanted}"


# Many loads of one tree --------------------------------------------------------------------


class Tally(Counter[str]):
    """How many trees, runs and loads of each kind were compared."""


def check_tree(seed: int, folder: Path, *, changes: int = 2, processes: bool = False) -> Tally:
    """Load the tree of a seed in several ways, change it, and load it again.

    Args:
        seed: The seed.
        folder: An empty directory for the tree.
        changes: How often to change it.
        processes: Whether to read in two processes too.

    Raises:
        Difference: If a load gives something else than the reference.
    """
    rng = random.Random(f"loads of {seed}")
    base = folder / "tree"
    base.mkdir()
    tree = make_tree(seed, base)
    tally = Tally({tree.kind: 1, "trees": 1})
    index = folder / "index"
    has_change_times = rng.random() < 0.7

    def check(name: str, **options: Any) -> None:
        tally["runs"] += compare(tree, Load(name, **options), rng)
        tally["loads"] += 1

    def check_filters(**options: Any) -> None:
        for _ in range(2 if tree.database is None else 4):  # which narrows what it gives
            how = rng.choice(["load", "iter_runs"])
            load = Load("filters", how=how, **options)
            tally[f"filters: {compare_filters(tree, load, rng)}"] += 1

    with settled_clock(), ExitStack() as stack:
        if not has_change_times:
            stack.enter_context(without_change_times())
        if rng.random() < 0.3:
            check("without an index")
        check("index cold", index=index)
        check("index warm", index=index, how=rng.choice(["load", "iter_runs"]))
        if can_be_given(tree):
            check("given directories", how="given", index=rng.choice([False, index]))
        check_filters(index=rng.choice([False, index]))
        for _ in range(changes):
            count = rng.choice([1, 2, 4])
            change(rng, tree, count, has_change_times=has_change_times)
            check("index half stale", index=index, how=rng.choice(["load", "iter_runs"]))
            if rng.random() < 0.5:
                check_filters(index=index)
            check("index warm again", index=index)
            if rng.random() < 0.5 and index.exists():
                for file in index.glob("*.sqlite"):
                    damage(rng, file)
                tree.changes.append("damaged the index")
                if rng.random() < 0.5:
                    load_every_other(tree, index)
                else:
                    check("index damaged", index=index)
                check("index mended", index=index)
        if processes:
            with mock.patch("kedro_hydraflow.parallel._MIN_BATCH", 2):
                check("two processes", n_jobs=2)
                check("two processes, warm", n_jobs=2, index=index)
        for name, options in iter_locations(tree, folder, rng):
            check(name, **options)
            check_filters(**options)
    return tally


def load_every_other(tree: Tree, index: Path) -> None:
    """Load some of the runs: what is written to the index is merged with what it has of others."""
    with suppress(NotFoundError, TrackingDirectoryError):  # of experiments that were renamed
        dirs = list(iter_run_dirs(**make_arguments(tree, Load("")), on_error="warn"))
        Run.load(dirs[::2], index=index, on_error="warn")
    tree.changes.append("loaded every other run")


def check_seed(seed: int, keep: Path | None = None, *, processes: bool = False) -> Tally | str:
    """Return what was compared for a seed, or the message of what failed.

    Args:
        seed: The seed.
        keep: A directory in which to leave the tree.
        processes: As for `check_tree`.
    """
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix=f"tree-{seed}-", dir=keep))
    try:
        return check_tree(seed, folder, processes=processes)
    except Exception as exc:
        again = f"python -m tests.model --trees 1 --seed {seed} --keep ."
        reason = exc if isinstance(exc, Difference) else traceback.format_exc()
        return f"DIFFERENCE at seed {seed}; to load its tree again: {again}\n{reason}"
    finally:
        if keep is None:
            shutil.rmtree(folder)


def can_be_given(tree: Tree) -> bool:
    """Whether a list of the run directories says as much as the tree."""
    if tree.kind == "outputs of Hydra":  # whose IDs may depend on what is given
        return any(name in tree.given.parts for name in ("multirun", "outputs"))
    if tree.kind != "file store" or "artifact_root" in tree.options:
        return False
    # The name of an experiment without a meta.yaml is that of its jobs, here of each.
    folders = [folder for folder in tree.given.iterdir() if folder.name.isdecimal()]
    return all((folder / "meta.yaml").exists() for folder in folders)


def iter_locations(
    tree: Tree, folder: Path, rng: random.Random
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield other ways to give a tree: relative, as a URL, on other storage."""
    kind = rng.choice(["relative path", "file URL", "link", "memory", "zip"])
    if kind == "relative path":
        yield kind, {"location": os.path.relpath(tree.given)}
    elif kind == "file URL":
        yield kind, {"location": tree.given.as_uri()}
    elif kind == "link" and can_be_linked(tree):
        link = folder / "links" / "link"
        link.parent.mkdir()
        link.symlink_to(tree.given)
        yield kind, {"location": link}
    elif kind in ("memory", "zip") and can_be_published(tree):
        tree.options["include_deleted"] = bool(tree.options.get("include_deleted"))
        if kind == "memory":
            with published_in_memory(tree, folder.name) as location:
                yield kind, {"location": location}
        else:
            root = tree.given.parent
            archive = shutil.make_archive(str(folder / "archive"), "zip", root, tree.given.name)
            yield kind, {"location": f"zip://{tree.given.name}::{archive}"}


def can_be_linked(tree: Tree) -> bool:
    """Whether a tree is the same behind a symbolic link elsewhere."""
    if tree.kind == "outputs of Hydra":  # the IDs have the name of the directory
        return False
    return tree.database is None or tree.given.name != "mlruns"  # which has it beside it


def can_be_published(tree: Tree) -> bool:
    """Whether a tree is one that other storages than a disk can hold."""
    if tree.needs_local or tree.database is not None:
        return False
    remove_empty_folders(tree.given)
    return any(tree.given.iterdir()) and not tree.read().unreadable


def remove_empty_folders(root: Path) -> None:
    """Remove what an object store does not keep."""
    for folder, _, _ in os.walk(root, topdown=False):
        if not os.listdir(folder) and folder != str(root):
            os.rmdir(folder)


@contextmanager
def published_in_memory(tree: Tree, name: str) -> Iterator[str]:
    """Copy a tree to fsspec's memory filesystem."""
    memory = fsspec.filesystem("memory")
    above = f"/model-{name}"
    for path in tree.given.rglob("*"):
        if path.is_file():
            relative = path.relative_to(tree.given.parent).as_posix()
            memory.pipe_file(f"{above}/{relative}", path.read_bytes())
    try:
        yield f"memory:/{above}/{tree.given.name}"
    finally:
        memory.rm(above, recursive=True)


@contextmanager
def unfinished_metas(tree: Tree, reading: Reading, rng: random.Random) -> Iterator[None]:
    """Leave a ``meta.yaml`` empty, as MLflow does at first, until the reader waits."""
    active = [run for run in reading.runs if run.facts.get("lifecycle_stage") == "active"]
    folders = [run.folder for run in active if run.folder is not None]
    contents = {}
    if folders and rng.random() < 0.2:
        run_dir = rng.choice(folders)
        for path in (run_dir / "meta.yaml", run_dir.parent / "meta.yaml"):
            if path.exists() and rng.random() < 0.6:
                contents[path] = path.read_bytes()
                path.write_bytes(b"")

    def finish(seconds: float = 0) -> None:
        while contents:
            path, content = contents.popitem()
            path.write_bytes(content)

    with mock.patch.object(time, "sleep", finish):
        try:
            yield
        finally:
            finish()


@contextmanager
def settled_clock() -> Iterator[None]:
    """Let a minute pass, so that files are old enough for the index."""
    now = time.time_ns

    def get_later() -> int:
        return now() + 60 * 10**9

    with mock.patch.object(time, "time_ns", get_later):
        yield


@contextmanager
def without_change_times() -> Iterator[None]:
    """Read files as where nothing notes the time of a change, such as on Windows."""

    class System:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def stat(self, *args: Any, **kwargs: Any) -> Any:
            return hide_change_time(os.stat(*args, **kwargs))

        def fstat(self, file: int) -> Any:
            return hide_change_time(os.fstat(file))

    with mock.patch.object(local, "os", System()):
        yield


def hide_change_time(status: os.stat_result) -> Any:
    names = ("st_mode", "st_ino", "st_size", "st_mtime_ns", "st_uid")
    return SimpleNamespace(**{name: getattr(status, name) for name in names}, st_ctime_ns=0)
