"""Places, and functions for many of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import fsspec
import pytest
from upath import UPath

from kedro_hydraflow.errors import ConfigError, KedroHydraflowError, NotFoundError
from kedro_hydraflow.storage import (
    Place,
    group_positions,
    list_places,
    locate,
    read_parsed,
    read_parsed_in,
)


@pytest.fixture
def places(tmp_path: Path) -> list[Place]:
    """Two folders on different storages, each with the file ``in/a.txt``."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_bytes(b"local")
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/{tmp_path.name}/in/a.txt", b"memory")
    return [locate(tmp_path), locate(f"memory://{tmp_path.name}")]


def test_names_and_content(places: list[Place], tmp_path: Path) -> None:
    for place, expected in zip(places, (b"local", b"memory"), strict=True):
        file = place.join("in", "a.txt")
        assert file == place.join("in/a.txt")
        assert (file.name, file.parent.name, file.parent.parent) == ("a.txt", "in", place)
        assert file.read() == expected
        assert place.join("nothing").read() is None
        assert [entry.name for entry in place.join("in").list()] == ["a.txt"]
        assert place.is_dir()
        assert not file.is_dir()
        with pytest.raises(NotFoundError):
            place.join("nothing").list()
    assert places[0].to_path() == tmp_path
    assert places[1].to_path() == UPath(f"memory://{tmp_path.name}")
    assert str(places[1]) == places[1].url == f"memory://{tmp_path.name}"


def test_places_can_be_keys_and_pickled(places: list[Place], tmp_path: Path) -> None:
    assert {locate(tmp_path): 1}[places[0]] == 1
    for place in places:
        assert pickle.loads(pickle.dumps(place)).join("in/a.txt").read()
    with pytest.raises(AttributeError):
        places[0].path = "elsewhere"  # type: ignore[misc]


def test_results_of_many_storages_are_in_order(places: list[Place]) -> None:
    folders = [places[0], places[1], places[0]]
    assert list(group_positions(place.storage for place in folders).values()) == [[0, 2], [1]]
    texts = read_parsed_in(folders, "in/a.txt", bytes.decode)
    assert texts.values == ["local", "memory", "local"]
    files = [folder.join("in/a.txt") for folder in folders]
    assert read_parsed(files, bytes.decode).values == texts.values
    assert read_parsed([], bytes.decode).values == []
    absent = [place.join("nothing") for place in places]
    assert read_parsed(absent, bytes.decode).values == [None, None]

    inside, nothing, inner = list_places([places[1], absent[0], places[0].join("in")])
    assert isinstance(inside, list)
    assert [entry.name for entry in inside] == ["in"]
    assert isinstance(nothing, NotFoundError)
    assert isinstance(inner, list)
    assert [entry.name for entry in inner] == ["a.txt"]


def test_an_error_of_parsing_is_the_value_with_the_path(places: list[Place]) -> None:
    def refuse(content: bytes) -> str:
        raise ConfigError(f"cannot parse {content!r}")

    errors = read_parsed_in(places, "in/a.txt", refuse).values
    for place, error, content in zip(places, errors, (b"local", b"memory"), strict=True):
        assert type(error) is ConfigError
        assert str(error) == f"{place.join('in/a.txt').url}: cannot parse {content!r}"
        assert isinstance(error.__cause__, KedroHydraflowError)
