"""What the index remembers, and that nothing that happens to its file does harm."""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kedro_hydraflow import Run, index_file, iter_run_dirs
from kedro_hydraflow.cache_dir import get_cache_dir
from kedro_hydraflow.config import ConfigReader
from kedro_hydraflow.errors import ConfigError, OptionError
from kedro_hydraflow.index import SETTLED, Index, check_index, open_local_index
from kedro_hydraflow.index_file import FILE_NAME
from kedro_hydraflow.limits import NODES_VARIABLE, QUERY_SECONDS_VARIABLE, QUERY_SIZE_VARIABLE
from kedro_hydraflow.storage import LocalStorage, Storage, locate
from tests.conftest import TrackingDir

MODEL = {"type": "mlp", "layers": [64, 32], "dropout": 0.1, "bias": True, "init": None}


class Validators(LocalStorage):
    """Where files have the validator that a test gives them."""

    def __init__(self, validator: str | None = "validator") -> None:
        super().__init__()
        self.validator = validator

    def get_validators(self, paths: Any) -> list[str | None]:
        return [self.validator] * len(paths)


def make_paths(count: int, root: str = "/mlruns/1") -> list[str]:
    return [f"{root}/run{i}" for i in range(count)]


def make_configs(count: int) -> list[Any]:
    return [{"seed": i, "model": MODEL, f"own{i}": {"i": i}} for i in range(count)]


def put(
    index: Index,
    configs: list[Any],
    paths: list[str] | None = None,
    validator: str | None = "validator",
) -> None:
    paths = paths or make_paths(len(configs))
    runs = [(path, validator, config) for path, config in zip(paths, configs, strict=True)]
    index.put("config", Validators(), runs)


def get(
    index: Index,
    count: int,
    validator: str | None = "validator",
    paths: list[str] | None = None,
    kind: str = "config",
) -> list[Any]:
    paths = paths or make_paths(count)
    return index.recall(kind, Validators(validator), paths, "config.yaml").values


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of an index that knows 300 runs."""
    put(open_local_index(tmp_path / "index"), make_configs(300))
    return tmp_path / "index"


# What comes back ------------------------------------------------------------------------


def test_what_was_put_comes_back_in_order(directory: Path) -> None:
    index = open_local_index(directory)
    known = get(index, 301)
    assert [repr(config) for config in known] == [*map(repr, make_configs(300)), "None"]


def test_runs_share_what_they_shared(directory: Path) -> None:
    index = open_local_index(directory)
    known = get(index, 300)
    assert len({id(config["model"]) for config in known}) == 1


def test_what_is_shared_is_stored_once(directory: Path) -> None:
    with sqlite3.connect(directory / FILE_NAME) as connection:
        blocks = connection.execute("SELECT json FROM blocks").fetchall()
    connection.close()
    assert b"".join(text for (text,) in blocks).count(b'"mlp"') == 1


def test_order_of_runs_does_not_matter_and_one_that_occurs_twice_is_known_once(
    directory: Path,
) -> None:
    paths = make_paths(3)
    known = get(open_local_index(directory), 3, paths=[paths[2], paths[0], paths[2]])
    assert [config and config["seed"] for config in known] == [None, 0, 2]


def test_another_validator_is_another_run(directory: Path) -> None:
    index = open_local_index(directory)
    assert get(index, 2, "validator2") == [None, None]
    assert get(index, 2, None) == [None, None]


def test_another_kind_or_folder_is_another_run(directory: Path) -> None:
    index = open_local_index(directory)
    assert get(index, 1, kind="facts") == [None]
    assert get(index, 1, paths=make_paths(1, "/mlruns/2")) == [None]


def test_the_latest_counts(directory: Path) -> None:
    index = open_local_index(directory)
    put(index, [{"a": 1}], validator="newer")
    assert get(index, 1) == [None]
    assert get(index, 1, "newer") == [{"a": 1}]


def test_without_a_validator_nothing_is_remembered(tmp_path: Path) -> None:
    index = open_local_index(tmp_path)
    put(index, [{"a": 1}], validator=None)
    assert get(index, 1, "None") == [None]


def test_errors_are_not_remembered(tmp_path: Path) -> None:
    index = open_local_index(tmp_path)
    put(index, [ConfigError("bad"), {"a": 1}])
    assert get(index, 2) == [None, {"a": 1}]


@pytest.mark.parametrize(
    "config",
    [
        {"a": b"bytes"},
        {"a": [Path("x")]},
        {"a": {1: "x"}},
        {1: "x"},
        {True: "x"},
        {"a": (1, 2)},
        {"a": {"b": [{None: 1}]}},
        {"a": "\ud83d\ude00"},
        {"\ud800": 1},
        {"a": 10**5000},
    ],
    ids=lambda config: ascii(config) if 10**5000 not in config.values() else "huge",
)
def test_what_json_cannot_give_back_is_left_out(tmp_path: Path, config: Any) -> None:
    index = open_local_index(tmp_path)
    put(index, [{"b": 1}, config, {"c": 2}])
    assert get(index, 3) == [{"b": 1}, None, {"c": 2}]


NAN = float("nan")


@pytest.mark.parametrize(
    "column",
    [
        ["a", "b", "a"],
        ["a", "a", "a"],
        ["", "", ""],
        ["a\x7fb", "c", "d"],
        ["a\nb", '"', "\\"],
        [1, 2, 3],
        [1, True, 1.0],
        [0.0, -0.0, 0.0],
        [NAN, NAN, NAN],
        [None, None, None],
        [None, "a", 1],
        [MODEL, MODEL, MODEL],
        [MODEL, {}, MODEL],
        [MODEL, None, 1],
        [[], [], [[]]],
    ],
    ids=str,
)
def test_values_of_one_key_come_back_exactly(tmp_path: Path, column: list[Any]) -> None:
    configs: list[Any] = [{"a": value, "b": i} for i, value in enumerate(column)]
    put(open_local_index(tmp_path), configs)
    known = get(open_local_index(tmp_path), len(configs))
    assert list(map(repr, known)) == list(map(repr, configs))


def test_runs_without_any_key_come_back(tmp_path: Path) -> None:
    put(open_local_index(tmp_path), [{}, {}, {"a": 1}])
    assert get(open_local_index(tmp_path), 3) == [{}, {}, {"a": 1}]


def test_runs_with_keys_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    put(open_local_index(tmp_path), [{1: "a"}, {True: "b"}, {1: "c"}, {"1": "d"}])
    assert get(open_local_index(tmp_path), 4) == [None, None, None, {"1": "d"}]


def test_a_run_that_json_cannot_give_back_leaves_those_with_the_same_keys(tmp_path: Path) -> None:
    put(open_local_index(tmp_path), [{"a": 1}, {"a": b"bytes"}, {"a": 2}])
    assert get(open_local_index(tmp_path), 3) == [{"a": 1}, None, {"a": 2}]


def test_a_run_with_keys_of_its_own_shares_what_others_have(tmp_path: Path) -> None:
    configs: list[Any] = [
        {"seed": 0, "model": MODEL},
        {"seed": 1, "model": MODEL},
        {"seed": 1, "model": MODEL, "other": {"a": 1}, "last": None},
    ]
    put(open_local_index(tmp_path), configs)
    known = get(open_local_index(tmp_path), 3)
    assert list(map(repr, known)) == list(map(repr, configs))
    assert len({id(config["model"]) for config in known}) == 1


def test_names_that_are_not_ascii_are_left_out(tmp_path: Path) -> None:
    paths = [f"/mlruns/1/{name}" for name in ("ä", "\udcff", "run1")]
    index = open_local_index(tmp_path)
    put(index, make_configs(3), paths)
    known = get(index, 3, paths=paths)
    assert known == [None, None, make_configs(3)[2]]


_KEYS = st.text(max_size=5) | st.integers(-3, 10) | st.booleans() | st.binary(max_size=3)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=5)
    | st.builds(Path, st.sampled_from(["a", "/b/c"]))
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=15,
)


def write_yaml(config: dict[Any, Any]) -> bytes:
    try:
        return OmegaConf.to_yaml(OmegaConf.create(config)).encode()
    except Exception:  # OmegaConf takes it not
        return b"{}"


def read_yaml(reader: ConfigReader, text: bytes) -> dict[Any, Any]:
    try:
        return reader.read(text)
    except ConfigError:
        return {}


_SAVED = st.dictionaries(_KEYS, _VALUES, max_size=5).map(write_yaml)
_WRITTEN = st.sampled_from(
    ["a: &x {b: 1}\nc: *x\n", "a: .nan\nb: -0.0\n", "a: 0x1F\n1: 2\n", 'a: "\\ud83d\\ude00"\n']
).map(str.encode)


@given(st.lists(_SAVED | _WRITTEN, max_size=5))
@example([b"a: 1\n", b"a: true\n", b"a: 1.0\n", b"a: '1'\n", b"a: -0.0\n", b"a: 0.0\n"])
def test_what_a_reader_gives_comes_back_exactly_or_not(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes]
) -> None:
    reader = ConfigReader()
    configs = [read_yaml(reader, text) for text in texts]
    directory = tmp_path_factory.mktemp("index")
    index = open_local_index(directory)
    put(index, configs)
    index = open_local_index(directory)
    known = get(index, len(configs))
    for config, found in zip(configs, known, strict=True):
        assert found is None or repr(found) == repr(config)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_garbage_collection_is_left_as_it_was(directory: Path, is_enabled: bool) -> None:
    (gc.enable if is_enabled else gc.disable)()
    gc.freeze()
    n_frozen = gc.get_freeze_count()
    try:
        assert get(open_local_index(directory), 300) == make_configs(300)
        assert gc.isenabled() is is_enabled
        assert gc.get_freeze_count() <= n_frozen  # some have been freed
        assert gc.get_freeze_count() > n_frozen / 2
    finally:
        gc.unfreeze()
        gc.enable()
    assert get(open_local_index(directory), 300) == make_configs(300)
    assert gc.get_freeze_count() == 0


# What happens to the file -----------------------------------------------------------------


def check_harmless(directory: Path, caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Check that a load gives what is right or nothing, in at most one line of the log."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "kedro_hydraflow"):
        index = open_local_index(directory)
        known = get(index, 300)
        put(index, make_configs(300))
    right = make_configs(300)
    assert all(found in (None, config) for found, config in zip(known, right, strict=True))
    assert len(caplog.records) <= 1
    return known


def check_recovers(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Check that after at most two loads everything is known again."""
    check_harmless(directory, caplog)
    check_harmless(directory, caplog)
    assert check_harmless(directory, caplog) == make_configs(300)


@pytest.mark.parametrize("content", [b"", b"not a database\n" * 99, bytes(40_000), b"SQLite"])
def test_another_file_in_its_place(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert check_harmless(tmp_path, caplog) == [None] * 300
    check_recovers(tmp_path, caplog)


def test_the_database_of_another_program_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("CREATE TABLE entries (mine TEXT)")
    connection.close()
    content = (tmp_path / FILE_NAME).read_bytes()
    check_recovers(tmp_path, caplog)
    assert (tmp_path / f"{FILE_NAME}.unusable").read_bytes() == content


def run_script(directory: Path, script: str) -> None:
    connection = sqlite3.connect(directory / FILE_NAME)
    connection.executescript(script)
    connection.close()


ENDLESS = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) "
COLUMNS = "id INTEGER PRIMARY KEY, folder INTEGER, first TEXT, last TEXT, runs INTEGER, checksum"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "script",
    [
        "ALTER TABLE blocks RENAME TO other; CREATE VIEW blocks AS SELECT * FROM other",
        f"DROP TABLE blocks; CREATE VIEW blocks AS {ENDLESS} SELECT i AS id, 0 AS folder, "
        "'' AS first, '' AS last, 1 AS runs, 0 AS checksum, x'' AS json FROM n WHERE i < 0",
        "CREATE TRIGGER t BEFORE INSERT ON blocks BEGIN SELECT count(*) FROM "
        f"({ENDLESS} SELECT i FROM n WHERE i < 0); END",
        "CREATE TRIGGER t AFTER DELETE ON blocks BEGIN DELETE FROM blocks; END",
        f"DROP TABLE blocks; CREATE TABLE blocks ({COLUMNS}, json AS (hex(zeroblob(1000))))",
        f"DROP TABLE blocks; CREATE TABLE blocks ({COLUMNS}, json BLOB CHECK (json LIKE '%x%'))",
        "CREATE INDEX other ON blocks (hex(json))",
        "DROP INDEX blocks_of_folder",
    ],
)
def test_tables_that_another_program_made_do_not_run(
    directory: Path, caplog: pytest.LogCaptureFixture, script: str
) -> None:
    run_script(directory, script)
    content = (directory / FILE_NAME).read_bytes()
    assert check_harmless(directory, caplog) == [None] * 300
    (message,) = caplog.messages
    assert message == (
        f"the index {directory / FILE_NAME} is not used: DatabaseError: its tables are not those "
        "of an index; it was renamed to *.unusable, and the next load creates a new one"
    )
    assert (directory / f"{FILE_NAME}.unusable").read_bytes() == content
    check_recovers(directory, caplog)


def test_a_trigger_that_is_made_while_it_is_open_does_not_run(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepare = index_file._prepare

    def prepare_and_change(connection: sqlite3.Connection) -> None:
        prepare(connection)
        run_script(
            directory,
            "CREATE TRIGGER t BEFORE INSERT ON blocks BEGIN SELECT count(*) FROM "
            f"({ENDLESS} SELECT i FROM n WHERE i < 0); END",
        )

    monkeypatch.setattr(index_file, "_prepare", prepare_and_change)
    put(open_local_index(directory), make_configs(300), validator="newer")
    (message,) = caplog.messages
    assert "DatabaseError: not authorized; it was renamed" in message


def replace_blocks(directory: Path, text: bytes, count: int = 1) -> None:
    """Replace the block by others with the right checksum."""
    with sqlite3.connect(directory / FILE_NAME) as connection:
        ((folder,),) = connection.execute("SELECT DISTINCT folder FROM blocks")
        connection.execute("DELETE FROM blocks")
        row = (folder, "", "z", 1, zlib.crc32(text, folder & 0xFFFFFFFF), text)
        insert = "INSERT INTO blocks VALUES (NULL, ?, ?, ?, ?, ?, ?)"
        connection.executemany(insert, [row] * count)
    connection.close()


def make_block(config: str) -> bytes:
    return f'[[], [], [["run0", "validator", {{"a": {config}}}, []]]]'.encode()


def test_a_block_is_limited_before_it_is_decoded(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replace_blocks(directory, make_block("[" + "[],{}," * 500 + "1]"))
    (found,) = get(open_local_index(directory), 1)
    assert len(found["a"]) == 1001
    monkeypatch.setenv(NODES_VARIABLE, "1000")
    decode = json.loads
    decoded = []
    monkeypatch.setattr(json, "loads", lambda text: decoded.append(1) or decode(text))
    assert get(open_local_index(directory), 1) == [None]
    monkeypatch.setenv(NODES_VARIABLE, "1100")
    assert get(open_local_index(directory), 1) == [found]
    monkeypatch.setenv(QUERY_SIZE_VARIABLE, f"{64 * 3000}")
    assert get(open_local_index(directory), 1) == [None]
    assert len(decoded) == 1
    assert caplog.messages == []
    put(open_local_index(directory), [{"a": 1}])
    assert get(open_local_index(directory), 1) == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[[], [], [["run0", "validator", [], []]]]', "TypeError: "),
        ('[[], [], [["run0", "validator", {"a": 0}, ["a"]]]]', "IndexError: "),
        ('[[], [], [["run0", "validator", {}, ["a"]]]]', "KeyError: "),
        ('[[], [[["a"], "run0\x7frun1", "v\x7fv", "1\x7f2\x7f3"]], []]', "ValueError: "),
        ('[[], [[["a"], "run0\x7frun1", "v\x7fv", {"parts": [0, 1]}]], []]', "IndexError: "),
        ('[[], [[["a"], "run0\x7frun1", "v\x7fv", {"other": [0, 1]}]], []]', "KeyError: "),
        ('[[], [[["a", "b"], "run0\x7frun1", "v\x7fv", "1\x7f2"]], []]', "ValueError: "),
        ('[[], [[["a"]]], []]', "ValueError: "),
        ('[[], [[[{}], "run0\x7frun1", "v", "1"]], []]', "TypeError: "),
        ("[[], {}]", "ValueError: "),
        ("[" * 100_000, "RecursionError: "),
    ],
)
def test_blocks_of_another_shape_are_noticed(
    directory: Path, caplog: pytest.LogCaptureFixture, text: str, reason: str
) -> None:
    replace_blocks(directory, text.encode())
    assert get(open_local_index(directory), 1) == [None]
    (message,) = caplog.messages
    assert f"{FILE_NAME} is not used: {reason}" in message
    check_recovers(directory, caplog)


def test_the_values_of_a_block_are_limited(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(index_file, "MAX_VALUES", 100)
    configs: list[Any] = [{f"key{i}": "x" for i in range(10)} for _ in range(300)]
    put(open_local_index(directory), configs)
    assert get(open_local_index(directory), 300) == configs
    assert max(get_sizes(directory)) <= 10
    names = "\x7f".join(f"run{i}" for i in range(11))
    keys = [f"key{i}" for i in range(10)]
    replace_blocks(directory, json.dumps([[], [[keys, names, "validator", *keys]], []]).encode())
    assert get(open_local_index(directory), 1) == [None]
    assert "is not used: ValueError: a block has more than 100 values; it was" in caplog.text


def test_all_blocks_together_are_limited(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replace_blocks(directory, make_block(f'"{"x" * 10_000}"'), count=100)
    assert get(open_local_index(directory), 1) == [{"a": "x" * 10_000}]
    monkeypatch.setenv(QUERY_SIZE_VARIABLE, "900kB")
    assert get(open_local_index(directory), 1) == [{"a": "x" * 10_000}]  # from those until then
    assert caplog.messages == [
        f"the index {directory / FILE_NAME} is not used: DatabaseError: a query returns more than "
        "900,000 bytes, or one value of 14,062, the limits that the environment variable "
        "KEDRO_HYDRAFLOW_MAX_QUERY_SIZE raises; it was renamed to *.unusable, and the next load "
        "creates a new one"
    ]


@pytest.mark.parametrize("action", ["read", "write"])
def test_the_time_of_a_query_is_limited(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, action: str
) -> None:
    values = "NULL, (SELECT folder FROM blocks LIMIT 1), 'a', 'z', 1, 0, x''"
    script = f"{ENDLESS} INSERT INTO blocks SELECT {values} FROM n LIMIT 20000"
    run_script(directory, script)
    monkeypatch.setenv(QUERY_SECONDS_VARIABLE, "0")
    if action == "read":
        assert get(open_local_index(directory), 1) == [None]
    else:
        put(open_local_index(directory), make_configs(1), validator="newer")
    assert caplog.messages == [
        f"the index {directory / FILE_NAME} is not used: DatabaseError: a query took more than 0 "
        "seconds, the limit that the environment variable KEDRO_HYDRAFLOW_MAX_QUERY_SECONDS "
        "raises; it was renamed to *.unusable, and the next load creates a new one"
    ]


def test_large_blocks_are_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(QUERY_SIZE_VARIABLE, f"{64 * 20_000}")
    configs: list[Any] = [{"seed": i, "text": f"{i:01000}"} for i in range(50)]
    put(open_local_index(tmp_path), configs)
    assert get(open_local_index(tmp_path), 50) == configs
    assert all(2 < size < 20 for size in get_sizes(tmp_path))
    put(open_local_index(tmp_path), [{"text": "x" * 30_000}, {"seed": "new"}], validator="newer")
    assert get(open_local_index(tmp_path), 2, "newer") == [None, {"seed": "new"}]
    assert get(open_local_index(tmp_path), 50)[2:] == configs[2:]


def test_blocks_with_many_containers_are_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NODES_VARIABLE, "100")
    configs: list[Any] = [{"own": [{"i": i}, {"j": i}]} for i in range(60)]
    put(open_local_index(tmp_path), configs)
    assert get(open_local_index(tmp_path), 60) == configs
    assert max(get_sizes(tmp_path)) <= 30


@pytest.mark.parametrize("variable", [NODES_VARIABLE, QUERY_SIZE_VARIABLE, QUERY_SECONDS_VARIABLE])
def test_a_malformed_limit_is_an_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "much")
    with pytest.raises(OptionError, match=f"{variable}: expected .*, found 'much'"):
        get(open_local_index(directory), 1)
    monkeypatch.delenv(variable)
    assert get(open_local_index(directory), 300) == make_configs(300)


@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
@pytest.mark.parametrize("suffix", ["-journal", "-wal", "-shm"])
def test_a_fifo_beside_it(directory: Path, caplog: pytest.LogCaptureFixture, suffix: str) -> None:
    fifo = f"{os.path.realpath(directory / FILE_NAME)}{suffix}"
    os.mkfifo(fifo)
    assert check_harmless(directory, caplog) == [None] * 300
    assert f"is not used: OSError: {fifo} is not a regular file" in caplog.messages[0]
    os.unlink(fifo)
    assert get(open_local_index(directory), 300) == make_configs(300)


def test_pages_that_refer_to_each_other_deeply_do_not_end_the_process(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_script(directory, "PRAGMA page_size = 512; VACUUM")
    path = directory / FILE_NAME
    connection = sqlite3.connect(path)
    select = "SELECT rootpage FROM sqlite_master WHERE name = 'blocks'"
    ((root,),) = connection.execute(select)
    ((size,),) = connection.execute("PRAGMA page_size")
    connection.close()
    content = bytearray(path.read_bytes())
    first = len(content) // size + 1
    depth = 40_000
    leaf = struct.pack(">BHHHB", 13, 0, 0, size, 0).ljust(size, b"\0")

    def make_page(level: int) -> bytes:
        cell = struct.pack(">IB", first + depth + level, 1)  # a leaf of its own
        header = struct.pack(">BHHHBIH", 5, 0, 1, size - 5, 0, first + level, size - 5)
        return header.ljust(size - 5, b"\0") + cell

    content[(root - 1) * size : root * size] = make_page(0)
    content += b"".join(map(make_page, range(1, depth))) + leaf * (depth + 1)
    content[28:32] = struct.pack(">I", len(content) // size)
    path.write_bytes(content)
    let_days_pass(index_file.MAX_DAYS + 1, monkeypatch)  # so that it is emptied
    put(open_local_index(directory), make_configs(3))
    assert "DatabaseError: database disk image is malformed; it was renamed" in caplog.text


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file(directory: Path, kept: float, caplog: pytest.LogCaptureFixture) -> None:
    path = directory / FILE_NAME
    os.truncate(path, int(path.stat().st_size * kept))
    check_recovers(directory, caplog)


@pytest.mark.parametrize("seed", range(40))
def test_overwritten_bytes(directory: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    path = directory / FILE_NAME
    rng = random.Random(seed)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 10, 100])):
        start = rng.randrange(len(content))
        content[start : start + 4] = rng.randbytes(4)[: len(content) - start]
    path.write_bytes(content)
    for _ in range(3):  # a row that its index has lost may be read again each time
        check_harmless(directory, caplog)


def test_changed_digits_are_noticed(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = directory / FILE_NAME
    content = path.read_bytes()
    assert b'"mlp"' in content
    path.write_bytes(content.replace(b"mlp", b"cnn"))
    assert check_harmless(directory, caplog) == [None] * 300
    assert check_harmless(directory, caplog) == make_configs(300)


def test_changed_digits_are_noticed_when_blocks_are_merged(directory: Path) -> None:
    path = directory / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b"mlp", b"cnn"))
    paths = make_paths(600)
    put(open_local_index(directory), make_configs(300), paths[300:])
    assert len(get_sizes(directory)) == 1
    assert get(open_local_index(directory), 600, paths=paths) == [None] * 300 + make_configs(300)


def test_a_block_of_another_folder_is_noticed(directory: Path) -> None:
    put(open_local_index(directory), [{"seed": 7}], ["/mlruns/2/run700"])
    with sqlite3.connect(directory / FILE_NAME) as connection:
        of_other = "SELECT folder FROM blocks WHERE id = 2"
        connection.execute(f"UPDATE blocks SET folder = ({of_other}) WHERE id = 1")
    connection.close()
    paths = ["/mlruns/2/run0", "/mlruns/2/run700"]
    assert get(open_local_index(directory), 2, paths=paths) == [None, {"seed": 7}]


def test_a_directory_in_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert check_harmless(tmp_path, caplog) == [None] * 300
    assert check_harmless(tmp_path, caplog) == [None] * 300


def test_a_place_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert check_harmless(tmp_path / "file" / "index", caplog) == [None] * 300
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"the index {tmp_path / 'file' / 'index' / FILE_NAME} is not used" in caplog.text


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_index_is_read(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    (directory / FILE_NAME).chmod(0o400)
    directory.chmod(0o500)
    assert check_harmless(directory, caplog) == make_configs(300)


def test_a_failure_in_the_default_place_is_quiet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.DEBUG, "kedro_hydraflow"):
        put(open_local_index(None), make_configs(1))
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_file(
    directory: Path,
    lock: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_file, "TIMEOUT", 0.01)
    other = sqlite3.connect(directory / FILE_NAME, isolation_level=None)
    other.execute(f"BEGIN {lock}")
    known = check_harmless(directory, caplog)
    other.close()
    assert known == ([None] * 300 if lock == "EXCLUSIVE" else make_configs(300))
    assert "database is locked" in caplog.text
    assert check_harmless(directory, caplog) == make_configs(300)


def test_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def connect_to_full_disk(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.execute("PRAGMA max_page_count = 3")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect_to_full_disk)
        put(open_local_index(tmp_path), make_configs(300))
    assert "full" in caplog.text
    assert check_harmless(tmp_path, caplog) == [None] * 300
    assert check_harmless(tmp_path, caplog) == make_configs(300)


@pytest.mark.skipif(os.name == "nt", reason="there are no such limits")
def test_files_that_may_not_grow(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
index = open_local_index(sys.argv[1])
put(index, make_configs(5000))
assert get(open_local_index(sys.argv[1]), 300) == make_configs(300)
"""
    process = run_python(code, directory)
    process.communicate()
    assert process.returncode == 0
    assert check_harmless(directory, caplog) == make_configs(300)


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"from tests.test_index import *\n{code}", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = """
for i in range(int(sys.argv[2]), 300, 2):
    put(open_local_index(sys.argv[1]), [make_configs(300)[i]], [make_paths(300)[i]])
"""
    processes = [run_python(code, tmp_path, first) for first in (0, 1)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    index = open_local_index(tmp_path)
    assert get(index, 300) == make_configs(300)


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_process_killed_while_it_writes(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
connection = sqlite3.connect(os.path.join(sys.argv[1], FILE_NAME), isolation_level=None)
connection.execute("PRAGMA synchronous = OFF")
connection.execute("PRAGMA cache_size = 1")  # so that it writes into the file before the end
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE blocks SET json = zeroblob(30000)")
connection.execute("UPDATE blocks SET checksum = 0")
print("written", flush=True)
signal.pause()
"""
    process = run_python(code, directory)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (directory / f"{FILE_NAME}-journal").stat().st_size > 0
    assert check_harmless(directory, caplog) == make_configs(300)
    assert caplog.text == ""


# Its size, place and option -----------------------------------------------------------------


def let_days_pass(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time() + days * 86_400
    monkeypatch.setattr(time, "time", lambda: now)


def test_it_begins_anew_after_some_time(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_days_pass(index_file.MAX_DAYS + 1, monkeypatch)
    index = open_local_index(directory)
    put(index, [{"a": 1}])
    assert get(index, 2) == [{"a": 1}, None]
    put(index, make_configs(300))
    assert get(index, 300) == make_configs(300)


def test_its_size_is_bounded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "MAX_BYTES", 60_000)
    index = open_local_index(directory)
    put(index, [{"a": 1}])  # it began today: what it knows is kept, and nothing added
    assert get(index, 300) == make_configs(300)
    let_days_pass(1, monkeypatch)
    put(index, [{"a": 1}])
    assert get(index, 2) == [{"a": 1}, None]
    put(index, [{"a": 2}])
    assert get(index, 2) == [{"a": 2}, None]


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing there")
def test_it_is_for_this_user_alone(directory: Path) -> None:
    assert (directory / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_no_secret_is_stored(tmp_path: Path) -> None:
    options = {"username": "me", "password": "hunter2"}
    place = locate("ftp://me:hunter2@host/mlruns/1/run0", options)
    index = open_local_index(tmp_path)
    index.put("config", place.storage, [(place.path, SETTLED, {"a": 1})])
    recalled = index.recall("config", place.storage, [place.path], "config.yaml")
    assert recalled.values == [{"a": 1}]
    content = (tmp_path / FILE_NAME).read_bytes()
    assert b"run0" in content
    assert b"hunter2" not in content


@pytest.mark.parametrize(
    ("location", "option", "is_covered"),
    [
        ("/mlruns", None, True),
        ("/mlruns", True, True),
        ("/mlruns", False, False),
        ("s3://bucket/mlruns", None, False),
        ("s3://bucket/mlruns", True, True),
        ("s3://bucket/mlruns", "folder", True),
        ("s3://bucket/mlruns", False, False),
        ("memory://bucket/mlruns", True, False),
        ("zip://mlruns::/a.zip", True, False),
    ],
)
def test_where_it_remembers(location: str, option: Any, is_covered: bool) -> None:
    storage: Storage = locate(location).storage
    assert open_local_index(option).covers(storage) is is_covered
    assert open_local_index(option).assumes_unchanged(storage) is (is_covered and storage.is_remote)


# Its blocks -----------------------------------------------------------------------------------


def get_sizes(directory: Path) -> list[int]:
    connection = sqlite3.connect(directory / FILE_NAME)
    sizes = [size for (size,) in connection.execute("SELECT runs FROM blocks ORDER BY runs")]
    connection.close()
    return sizes


def test_few_runs_do_not_take_to_write_many_again(directory: Path) -> None:
    for i in range(300, 340):
        put(open_local_index(directory), [make_configs(340)[i]], [make_paths(340)[i]])
    assert sum(get_sizes(directory)) == 340
    assert len(get_sizes(directory)) <= 5
    known = get(open_local_index(directory), 340)
    assert known == make_configs(340)
    assert len({id(config["model"]) for config in known}) <= 5


def test_what_is_all_known_better_replaces_the_old(directory: Path) -> None:
    put(open_local_index(directory), make_configs(300), validator="newer")
    assert get_sizes(directory) == [300]
    assert get(open_local_index(directory), 300, "newer") == make_configs(300)


def test_a_batch_reads_its_own_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "BLOCK_SIZE", 10)
    paths = [f"/mlruns/1/run{i:03}" for i in range(100)]
    for start in range(0, 100, 20):
        put(open_local_index(tmp_path), make_configs(20), paths[start : start + 20])
    assert get_sizes(tmp_path) == [10] * 10
    decoded = []
    decode = json.loads
    monkeypatch.setattr(json, "loads", lambda text: decoded.append(1) or decode(text))
    assert get(open_local_index(tmp_path), 20, paths=paths[40:60]) == make_configs(20)
    assert len(decoded) == 2


def test_without_an_index_nothing_is_known(tmp_path: Path) -> None:
    index = open_local_index(False)  # noqa: FBT003 - as in a catalog
    put(index, make_configs(2))
    assert get(index, 2) == [None, None]


def test_the_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(tmp_path / "cache"))
    for option in (None, True):
        index = open_local_index(option)
        put(index, make_configs(1))
    assert (tmp_path / "cache" / FILE_NAME).exists()
    monkeypatch.delenv("KEDRO_HYDRAFLOW_CACHE_DIR")
    assert Path(get_cache_dir("index")).parts[-2:] == ("kedro-hydraflow", "index")


@pytest.mark.parametrize(
    "option", [None, True, False, "./folder", "a/b", "~/x", ".", "..", "/a", Path("a")]
)
def test_options_that_are_taken(option: Any) -> None:
    check_index(option)


@pytest.mark.parametrize("option", ["ture", "False", "yes", "cache"])
def test_a_mistyped_boolean_is_no_directory(option: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_index(option)
    assert str(caught.value) == (
        f"index: expected true, false or a directory, found '{option}'; for a directory of that "
        f"name, write './{option}'"
    )


@pytest.mark.parametrize("option", [1, "", b"folder", ["folder"]])
def test_options_that_are_refused(option: Any) -> None:
    with pytest.raises(OptionError, match="index: expected true, false, a directory"):
        check_index(option)


@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
def test_an_index_that_is_a_fifo_is_not_used(
    tracking_dir: TrackingDir, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_dir.add_runs(2)
    (tmp_path / "index").mkdir()
    os.mkfifo(tmp_path / "index" / FILE_NAME)
    for _ in range(2):
        runs = Run.load(iter_run_dirs(tracking_dir.root), index=tmp_path / "index")
        assert runs.to_list("i") == [0, 1]
    assert len(caplog.messages) == 2
    assert all("is not used: OSError: it is not a regular file" in m for m in caplog.messages)
