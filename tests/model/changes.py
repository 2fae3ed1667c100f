"""What may happen to a tree between two loads, most of it such that it is easily overlooked."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from tests.model.trees import NUMBERS, Tree, make_config

Change = Callable[[random.Random, Tree], "str | None"]
"""Changes a tree, and returns what it did; None if there is nothing to change in this way."""


def change(rng: random.Random, tree: Tree, count: int, *, has_change_times: bool = True) -> None:
    """Change a tree in several ways, and note them in ``tree.changes``.

    Args:
        rng: What chooses.
        tree: The tree.
        count: How many changes to try.
        has_change_times: Whether the filesystem notes the time of each change (``st_ctime``),
            which nobody can set back. Without it, a file of the same size and time, written in
            place, is not to be told from before.
    """
    wait_for_clock(tree.base)
    kinds = [*LOCAL_CHANGES] if has_change_times else [c for c in LOCAL_CHANGES if c not in _UNSEEN]
    kinds += DATABASE_CHANGES if tree.database is not None else FILE_STORE_CHANGES
    for kind in rng.choices(kinds, k=count):
        done = kind(rng, tree)
        if done is not None:
            tree.changes.append(done)


def wait_for_clock(folder: Path) -> None:
    """Wait until a file that is written has another time than all files before."""
    probe = folder / "probe"
    probe.touch()
    before = probe.stat().st_mtime_ns
    while probe.stat().st_mtime_ns == before:
        time.sleep(0.001)
        probe.touch()
    probe.unlink()


def _choose(rng: random.Random, tree: Tree, pattern: str) -> Path | None:
    """Return a file below the tree, None if there is none."""
    paths = sorted(tree.base.rglob(pattern))
    paths = [path for path in paths if path.is_file() and "decoy" not in path.name]
    return rng.choice(paths) if paths else None


def _get_run_dir(config: Path) -> Path:
    folder = config.parent.parent
    return folder.parent if folder.name == "artifacts" else folder


def _replace_number(rng: random.Random, content: bytes) -> bytes | None:
    """Return content of the same size with another number in it."""
    found = [number for number in NUMBERS if number.encode() in content]
    if not found:
        return None
    old = rng.choice(found)
    new = rng.choice([number for number in NUMBERS if number != old])
    return content.replace(old.encode(), new.encode())


def _restore_time(path: Path, status: os.stat_result) -> None:
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _put_in_place(new: Path, path: Path, tree: Tree) -> None:
    """Replace a file. The old one is kept elsewhere, so that no later file gets its inode."""
    kept = tree.base.with_name("replaced")
    kept.mkdir(exist_ok=True)
    os.link(path, kept / str(len(list(kept.iterdir()))))
    new.replace(path)


# Files of any store ----------------------------------------------------------------------


def rewrite_in_place(rng: random.Random, tree: Tree) -> str | None:
    """Write a file of the same size, and set its time back: the change time alone tells."""
    path = _choose(rng, tree, rng.choice(["config.yaml", "result.json"]))
    content = None if path is None else _replace_number(rng, path.read_bytes())
    if path is None or content is None:
        return None
    status = path.stat()
    path.write_bytes(content)
    _restore_time(path, status)
    return f"rewrote {path} with the same size and time"


def replace_file(rng: random.Random, tree: Tree) -> str | None:
    """Put another file of the same size and time in its place: without change times the inode
    alone tells."""
    path = _choose(rng, tree, rng.choice(["config.yaml", "result.json"]))
    content = None if path is None else _replace_number(rng, path.read_bytes())
    if path is None or content is None:
        return None
    status = path.stat()
    new = path.with_name("new")
    new.write_bytes(content)
    _restore_time(new, status)
    _put_in_place(new, path, tree)
    return f"replaced {path} by a file of the same size and time"


def lengthen_file(rng: random.Random, tree: Tree) -> str | None:
    """Append to a file, and set its time back: without change times the size alone tells."""
    path = _choose(rng, tree, "config.yaml")
    if path is None:
        return None
    status = path.stat()
    with path.open("ab") as file:
        file.write(f"appended{len(tree.changes)}: 1\n".encode())
    _restore_time(path, status)
    return f"appended to {path} and set its time back"


def swap_runs(rng: random.Random, tree: Tree) -> str | None:
    """Exchange the artifacts of two runs, whose files keep their times.

    Files of the same size and time are told apart by the inode alone.
    """
    first, second = _choose(rng, tree, "config.yaml"), _choose(rng, tree, "config.yaml")
    if first is None or second is None or first == second:
        return None
    if _get_run_dir(first).parent != _get_run_dir(second).parent:
        return None  # they are of different jobs
    one, other = first.parent, second.parent
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return f"exchanged {one} and {other}"


def remove_config(rng: random.Random, tree: Tree) -> str | None:
    path = _choose(rng, tree, "config.yaml")
    if path is None:
        return None
    path.unlink()
    return f"removed {path}"


def write_config(rng: random.Random, tree: Tree) -> str | None:
    path = _choose(rng, tree, "config.yaml")
    if path is None:
        return None
    path.write_bytes(make_config(rng))
    return f"wrote {path}"


def remove_run(rng: random.Random, tree: Tree) -> str | None:
    path = _choose(rng, tree, "config.yaml")
    if path is None or tree.database is not None:
        return None
    folder = _get_run_dir(path)
    if folder.is_symlink() or len(tree.read().runs) < 2:  # a directory without runs is an error
        return None
    shutil.rmtree(folder)
    return f"removed {folder}"


def add_run(rng: random.Random, tree: Tree) -> str | None:
    """Copy a run beside itself, with another ID and seed."""
    path = _choose(rng, tree, "config.yaml")
    if path is None or tree.database is not None:
        return None
    folder = _get_run_dir(path)
    is_of_mlflow = re.fullmatch("[0-9a-f]{32}", folder.name)
    new = folder.with_name(f"{rng.getrandbits(128):032x}" if is_of_mlflow else "copy")
    if new.exists():
        return None
    shutil.copytree(folder, new)
    config = new / path.relative_to(folder)
    config.write_bytes(_replace_number(rng, config.read_bytes()) or b"seed: 1\n")
    return f"copied {folder} to {new.name}"


def change_running(rng: random.Random, tree: Tree) -> str | None:
    """Write the configuration, and a param, of a run that goes on."""
    running = [run for run in tree.read().runs if run.facts.get("status") == "RUNNING"]
    if not running:
        return None
    run = rng.choice(running)
    assert run.folder is not None
    for path in (run.artifacts / ".hydra/config.yaml", run.folder / "params/new"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_config(rng))
    return f"changed {run.folder}, which goes on"


LOCAL_CHANGES: list[Change] = [
    rewrite_in_place,
    replace_file,
    lengthen_file,
    swap_runs,
    remove_config,
    write_config,
    remove_run,
    add_run,
]

REMOTE_CHANGES: list[Change] = [remove_run, add_run, change_running]
"""Those that an index notices that takes what has finished on remote storage for unchanged."""

_UNSEEN: list[Change] = [rewrite_in_place]


# A file store ----------------------------------------------------------------------------


def change_meta(rng: random.Random, tree: Tree) -> str | None:
    """Write the ``meta.yaml`` of a run, as MLflow does when it ends or is deleted."""
    path = _choose(rng, tree, "meta.yaml")
    meta = None
    if path is not None and b"artifact_uri" in path.read_bytes():
        meta = yaml.safe_load(path.read_text())
    if path is None or not isinstance(meta, dict) or "user_id" not in meta:
        return None
    status = path.stat()
    new = rng.choice(
        [
            {"status": 3, "end_time": 1795394370999},
            {"status": rng.choice([1, 3, 4, 5])},  # of the same size
            {"lifecycle_stage": rng.choice(["deleted", "active"])},
            {"run_name": "renamed"},
        ]
    )
    temporary = path.with_name("meta.yaml.tmp")
    temporary.write_text(yaml.safe_dump({**meta, **new}))
    _restore_time(temporary, status)
    _put_in_place(temporary, path, tree)
    return f"set {new} in {path}"


def rename_experiment(rng: random.Random, tree: Tree) -> str | None:
    path = _choose(rng, tree, "meta.yaml")
    if path is None or b"artifact_location" not in path.read_bytes():
        return None
    try:
        meta = yaml.safe_load(path.read_text())
    except yaml.YAMLError:
        return None
    path.write_text(yaml.safe_dump({**meta, "name": f"{meta['name']}-2"}))
    return f"renamed the experiment of {path}"


def append_metric(rng: random.Random, tree: Tree) -> str | None:
    path = _choose(rng, tree, "metrics/*")
    if path is None or b"\0" in path.read_bytes() or path.name == "desktop.ini":
        return None
    is_whole = path.read_bytes().endswith(b"\n")
    status = path.stat()
    with path.open("a") as file:
        file.write("1795394369999 0.75 9\n" if is_whole else " 0.25 8\n")
    _restore_time(path, status)
    return f"appended to {path}"


def replace_text(rng: random.Random, tree: Tree) -> str | None:
    """Replace a param or tag by one of the same size, and set its time back."""
    path = _choose(rng, tree, rng.choice(["params/*", "tags/*"]))
    if path is None or not path.read_bytes().isascii() or b"\0" in path.read_bytes():
        return None
    status = path.stat()
    new = path.with_name("new.tmp")
    new.write_bytes(bytes(rng.choice(b"abc") for _ in path.read_bytes()))
    _restore_time(new, status)
    _put_in_place(new, path, tree)
    return f"replaced {path} by a text of the same size and time"


FILE_STORE_CHANGES: list[Change] = [
    change_meta,
    change_meta,
    rename_experiment,
    append_metric,
    replace_text,
]


# A database ------------------------------------------------------------------------------


def _execute(tree: Tree, statement: str, *arguments: Any) -> str:
    assert tree.database is not None
    with closing(sqlite3.connect(tree.database)) as connection, connection:
        connection.execute(statement, arguments)
    return f"{statement} {arguments}"


_ANY_RUN = "run_uuid = (SELECT run_uuid FROM runs ORDER BY run_uuid LIMIT 1 OFFSET ?)"


def change_run(rng: random.Random, tree: Tree) -> str | None:
    column, value = rng.choice(
        [("status", "FAILED"), ("lifecycle_stage", "deleted"), ("name", "renamed"), ("end_time", 5)]
    )
    update = f"UPDATE runs SET {column} = ? WHERE {_ANY_RUN}"
    return _execute(tree, update, value, rng.randrange(3))


def change_latest(rng: random.Random, tree: Tree) -> str | None:
    update = f"UPDATE latest_metrics SET value = ? WHERE {_ANY_RUN}"
    return _execute(tree, update, 0.75, rng.randrange(3))


def change_param(rng: random.Random, tree: Tree) -> str | None:
    return _execute(tree, f"UPDATE params SET value = 'new' WHERE {_ANY_RUN}", rng.randrange(3))


def rename_in_database(rng: random.Random, tree: Tree) -> str | None:
    update = "UPDATE experiments SET name = name || '-2' WHERE experiment_id = ?"
    return _execute(tree, update, rng.choice([1, 2, 10]))


DATABASE_CHANGES: list[Change] = [
    change_run,
    change_run,
    change_latest,
    change_param,
    rename_in_database,
]


# The index -------------------------------------------------------------------------------


def damage(rng: random.Random, file: Path) -> None:
    """Replace some letters and digits in a file by others, as a bad disk does."""
    content = bytearray(file.read_bytes())
    places = [match.start() for match in re.finditer(rb"[0-9A-Za-z]", content)]
    for position in rng.sample(places, min(len(places), rng.choice([1, 3, 20]))):
        content[position] = rng.choice(b"0123456789abcdefxyz")
    file.write_bytes(content)
