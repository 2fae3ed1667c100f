from __future__ import annotations

from typing import Any

import pytest

from kedro_hydraflow.errors import OptionError
from kedro_hydraflow.storage import check_engine


@pytest.mark.parametrize("engine", [None, "fsspec", "obstore"])
def test_valid_engines(engine: str | None) -> None:
    check_engine(engine)


@pytest.mark.parametrize("engine", ["boto", "", "FSSPEC", 3, ["obstore"]])
def test_invalid_engines(engine: Any) -> None:
    with pytest.raises(OptionError) as raised:
        check_engine(engine)
    expected = f"engine: expected 'fsspec' or 'obstore', found {engine!r}"
    assert str(raised.value) == expected
