"""Names that would clear a terminal, or pass for another line of a log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError
from upath import UPath

import kedro_hydraflow
from kedro_hydraflow import (
    HydraflowArtifactDataset,
    HydraflowFrameDataset,
    HydraflowRunCollectionDataset,
    HydraflowRunDataset,
    Run,
    get_experiment_names,
    iter_run_dirs,
)
from kedro_hydraflow.errors import KedroHydraflowError, Lines, OptionError, RunLoadError
from kedro_hydraflow.escaping import escape, escape_json, escape_undecodable
from kedro_hydraflow.logs import get_logger
from tests.conftest import TrackingDir, write

EVIL = "\x1b[2J\x1b[31mx\nWARNING: all is well\r\x07\u202e"

META = """\
experiment_id: '1'
lifecycle_stage: active
name: "train\\x1b[2J\\nWARNING: all is well"
"""


def test_what_is_not_printable_is_escaped() -> None:
    assert escape("plain é 文") == "plain é 文"
    assert escape(EVIL) == r"\x1b[2J\x1b[31mx\nWARNING: all is well\r\x07\u202e"
    assert escape("a\nb\x07\ud800", keep="\n") == "a\nb\\x07\\ud800"


def test_what_utf_8_cannot_encode_is_escaped() -> None:
    assert escape_undecodable("é 文\n\udcff") == "é 文\n\\udcff"
    assert escape_json('{"a": "é\udcff\x7f"}') == '{"a": "é\\udcff\\u007f"}'


def test_errors_are_one_line_unless_they_are_lists() -> None:
    assert str(OptionError(EVIL)) == escape(EVIL)
    assert str(OptionError(Lines(f"all:\n- {escape(EVIL)}"))) == f"all:\n- {escape(EVIL)}"
    assert str(RunLoadError("some:\n- \x1b[2J")) == "some:\n- \\x1b[2J"
    assert str(KedroHydraflowError()) == ""


@pytest.fixture
def evil_dir(tracking_dir: TrackingDir) -> Path:
    experiment = tracking_dir.add_experiment("train")
    write(experiment / "meta.yaml", META)
    good = 'seed: 1\n"k\\e[2J\\nWARNING": {a: 1}\nbad: ${absent}\n'
    for name in (f"one{EVIL}", f"two{EVIL}"):
        run_dir = tracking_dir.add_run(experiment, name, good, {"acc": "1 0.9 0\n"})
        write(run_dir / "metrics" / f"m{EVIL}", "x")
        (run_dir / "params/p").write_bytes(b"\xff")
        write(run_dir / "artifacts" / f"a{EVIL}.txt", "x")
    broken = tracking_dir.add_run(experiment, f"broken{EVIL}", "a: [\n")
    write(broken / "meta.yaml", 'status: "3\n')
    tracking_dir.add_run(experiment, f"empty{EVIL}", None)
    (experiment / f"link{EVIL}").symlink_to("nowhere")
    (tracking_dir.root / f"stray{EVIL}").mkdir()
    write(tracking_dir.root / f"stray{EVIL}" / "meta.yaml", "\x1b[2J: [")
    return tracking_dir.root


def load(root: Any, **options: Any) -> Any:
    return Run.load(iter_run_dirs(root, on_error="warn"), on_error="warn", index=False, **options)


USES: dict[str, Callable[[Any], Any]] = {
    "load": lambda root: Run.load(iter_run_dirs(root), index=False),
    "load with warnings": load,
    "names": get_experiment_names,
    "absent name": lambda root: [*iter_run_dirs(root, f"absent{EVIL}")],
    "absent directory": lambda root: [*iter_run_dirs(f"{root}/absent{EVIL}")],
    "a stray": lambda root: Run.load([UPath(root) / f"stray{EVIL}"]),
    "absent run": lambda root: Run.load([UPath(root) / "1" / f"absent{EVIL}"]),
    "absent run later": lambda root: Run(UPath(root) / "1" / f"absent{EVIL}").cfg,
    "get": lambda root: load(root)[0].get("absent"),
    "get evil": lambda root: load(root)[0].get(EVIL),
    "unresolved": lambda root: load(root)[0].get("bad"),
    "metrics": lambda root: load(root)[0].metrics,
    "params": lambda root: load(root)[0].params,
    "frame": lambda root: load(root).to_frame("metrics.acc", "absent"),
    "frame of evil": lambda root: load(root).to_frame(EVIL),
    "history": lambda root: load(root)[0].metric_history(EVIL),
    "filter": lambda root: load(root).filter(seed=lambda value: value.absent),
    "impl": lambda root: [r.impl for r in load(root, impl_factory=lambda path: fail(path))],
    "artifact": lambda root: load(root)[0].fetch(f"absent{EVIL}"),
    "log": lambda root: load(root)[0].read_log(),
    "best": lambda root: load(root).best("absent", mode="max"),
    "collection dataset": lambda root: HydraflowRunCollectionDataset(
        path=str(root), filters=["absent == 1"], on_error="warn"
    ).load(),
    "frame dataset": lambda root: HydraflowFrameDataset(
        path=str(root), schema={"run_id": "Int64"}, on_error="warn"
    ).load(),
    "run dataset": lambda root: HydraflowRunDataset(path=str(root), on_error="warn").load(),
    "artifact dataset": lambda root: HydraflowArtifactDataset(
        path=str(root), artifact="absent.txt", dataset="text.TextDataset", on_error="warn"
    ).load(),
}


def fail(path: Path) -> None:
    raise ValueError(f"cannot use {path}: {EVIL}")


def iter_texts(exc: BaseException | None) -> Iterator[str]:
    while exc is not None:
        if isinstance(exc, (KedroHydraflowError, DatasetError)):
            yield str(exc)
        yield repr(exc)
        for failure in getattr(exc, "failures", ()):
            yield str(failure)
        exc = exc.__cause__


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("is_remote", [False, True])
def test_no_name_gets_through(
    evil_dir: Path,
    caplog: pytest.LogCaptureFixture,
    use: Callable[[Any], Any],
    is_remote: bool,
) -> None:
    caplog.set_level(logging.DEBUG, "kedro_hydraflow")
    root: Any = evil_dir
    if is_remote:
        from fsspec.implementations.memory import MemoryFileSystem

        root = UPath("memory://evil/mlruns")
        MemoryFileSystem.store.clear()
        for path in evil_dir.rglob("*"):
            if path.is_file():
                MemoryFileSystem().pipe_file(
                    f"/evil/mlruns/{path.relative_to(evil_dir)}", path.read_bytes()
                )
    texts = []
    try:
        texts.append(repr(use(root)))
    except (KedroHydraflowError, DatasetError) as exc:
        texts += iter_texts(exc)
    texts += [r.getMessage() for r in caplog.records if r.name.startswith("kedro_hydraflow")]
    assert texts

    for text in texts:
        assert text.replace("\n", "").isprintable(), text
        assert not any(line.startswith("WARNING") for line in text.split("\n")), text


def test_all_loggers_escape(caplog: pytest.LogCaptureFixture) -> None:
    logger = get_logger("kedro_hydraflow.example")
    logger.warning("%s, %d, %r, %s, %s", EVIL, 3, "a\n", Path("a\nb"), OptionError("c\n"))
    logger.warning(EVIL)
    assert caplog.messages == [
        f"{escape(EVIL)}, 3, 'a\\\\n', a\\nb, c\\n",
        escape(EVIL),
    ]
    for path in Path(kedro_hydraflow.__file__).parent.rglob("*.py"):
        assert path.name == "logs.py" or "logging.getLogger(__name__)" not in path.read_text(), path
