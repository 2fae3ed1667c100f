"""The base class of the datasets, and checks of their options."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, NewType, NoReturn, TypeVar

from kedro.io import AbstractDataset, DatasetError

from kedro_hydraflow.config import is_structured
from kedro_hydraflow.datasets._given import Given
from kedro_hydraflow.errors import OptionError, show_count
from kedro_hydraflow.escaping import escape
from kedro_hydraflow.redaction import Options
from kedro_hydraflow.storage import check_engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl

    from kedro_hydraflow.provenance import LoadRecorder
    from kedro_hydraflow.run import Run

D = TypeVar("D")

TablePreview = NewType("TablePreview", dict[str, Any])
"""A table as kedro-viz shows it: ``index``, ``columns`` and ``data``.

kedro-viz recognises the type by its name.
"""

MAX_COLUMNS = 100
"""The maximum number of columns of a table."""

_MAX_TEXT = 500
"""The maximum number of characters of a text in a table."""

_DOTTED_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class ReadOnlyDataset(AbstractDataset[NoReturn, D]):
    """The base class of the datasets, with their common options.

    The constructor does no I/O and imports nothing, because Kedro, its plugins and kedro-viz
    construct every dataset of a catalog. Between loads, only the index caches anything.
    """

    is_lazy = False
    """Whether runs are looked for when what `load` gives is used, so that none are recorded."""

    def __init__(
        self,
        *,
        impl: str | Callable[..., Any] | None = None,
        config_class: str | type | None = None,
        engine: str | None,
        credentials: Mapping[str, Any] | None,
        fs_args: Mapping[str, Any] | None,
        metadata: Any,
    ) -> None:
        self._impl = _check_reference("impl", impl)
        self._config_class = _check_reference("config_class", config_class)
        check_engine(engine)
        self._storage_options = Options(_check_mapping("fs_args", fs_args))
        self._storage_options |= _check_mapping("credentials", credentials)
        if engine is not None:
            self._storage_options["engine"] = engine
        self.metadata = metadata
        self._given = Given()
        self._recorders: tuple[LoadRecorder, ...] = ()

    def add_recorder(self, recorder: LoadRecorder) -> None:
        """Have each load recorded from now on, also in processes that get a copy."""
        self._recorders = (*self._recorders, recorder)

    def remove_recorder(self, recorder: LoadRecorder) -> None:
        """Have loads no longer recorded by a recorder."""
        self._recorders = tuple(each for each in self._recorders if each != recorder)

    def describe(self) -> dict[str, Any]:
        """Return the options that have a value, as JSON has them, without credentials."""
        return {name: to_json(v) for name, v in self._describe().items() if v is not None}

    def save(self, data: NoReturn) -> None:  # noqa: ARG002 - Kedro's signature
        """Raise DatasetError: runs are written by HydraFlow."""
        raise DatasetError(
            f"{type(self).__name__} is a read only dataset type: runs are written by HydraFlow"
        )

    def _record(self, runs: Sequence[Run[Any, Any]]) -> None:
        """Record the runs of a load, before anybody can change them."""
        for recorder in self._recorders:
            recorder.record(runs)

    def _describe_common(self) -> dict[str, Any]:
        return {"impl": _name(self._impl), "config_class": _name(self._config_class)}

    def _load_impl(self) -> Callable[..., Any] | None:
        impl = import_object("impl", self._impl)
        if impl is not None and not callable(impl):
            raise OptionError(
                f"impl: expected a class or function, found {impl!r} at {self._impl!r}"
            )
        return impl  # type: ignore[no-any-return]

    def _load_config_class(self) -> type | None:
        config_class = import_object("config_class", self._config_class)
        if config_class is None or is_structured(config_class):
            return config_class  # type: ignore[no-any-return]
        raise OptionError(
            f"config_class: expected a dataclass, found {config_class!r} at {self._config_class!r}"
        )


def import_object(option: str, reference: Any) -> Any:
    """Import the object at a dotted path. Anything but text is returned unchanged.

    Raises:
        OptionError: If there is no such module or name.
    """
    if not isinstance(reference, str):
        return reference
    module_name, _, name = reference.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as exc:
        raise OptionError(
            f"{option}: cannot import {reference!r} ({type(exc).__name__}: {exc}); expected "
            "the dotted path of something that Python can import, such as my_project.analysis.Name"
        ) from exc


def is_dotted_path(text: str) -> bool:
    """Whether text has the form of a dotted path."""
    return _DOTTED_PATH.fullmatch(text) is not None


def is_importable_path(text: str) -> bool:
    """Whether text is a dotted path into a package or module that exists."""
    if not is_dotted_path(text):
        return False
    package = text.partition(".")[0]
    return package in sys.modules or importlib.util.find_spec(package) is not None


def to_table(frame: pl.DataFrame, notes: Sequence[str] = ()) -> TablePreview:
    """Return the result of `make_table` for a Polars frame."""
    shown = frame[:, :MAX_COLUMNS]
    return make_table(shown.columns, shown.rows(), frame.width - shown.width, notes)


def make_table(
    columns: Sequence[Any], rows: Iterable[Sequence[Any]], n_more: int, notes: Sequence[str] = ()
) -> TablePreview:
    """Return a table in the format of kedro-viz.

    Args:
        columns: The names of the columns, at most `MAX_COLUMNS`.
        rows: The rows.
        n_more: How many columns are left out, which is noted.
        notes: What else is said below the rows.
    """
    names = [_shorten(to_json(name)) for name in columns] or ["note"]
    data = [[_shorten(to_json(value)) for value in row] for row in rows]
    notes = [*notes, *([f"… and {show_count(n_more, 'more column')}"] if n_more else [])]
    data += [[note, *[None] * (len(names) - 1)] for note in notes]
    return TablePreview({"index": [*range(len(data))], "columns": names, "data": data})


def _shorten(value: Any) -> Any:
    """Return foreign text without control characters, and cut; anything else unchanged."""
    if not isinstance(value, str):
        return value
    return escape(value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}…")


def to_json(value: Any) -> Any:
    """Convert a value to JSON types, for previews in kedro-viz."""
    if isinstance(value, Mapping):
        return {k.name if isinstance(k, Enum) else str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Enum):
        return value.name
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def _check_reference(option: str, reference: Any) -> Any:
    if reference is None or callable(reference):
        return reference
    if isinstance(reference, str) and is_dotted_path(reference):
        return reference
    raise OptionError(
        f"{option}: expected a dotted path such as my_project.analysis.Name, found {reference!r}"
    )


def _check_mapping(option: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        # The value is not shown: it may be a secret.
        raise OptionError(f"{option}: expected a mapping, found a {type(value).__name__}")
    return Options(value)


def _name(reference: Any) -> str | None:
    if reference is None or isinstance(reference, str):
        return reference
    return f"{reference.__module__}.{getattr(reference, '__qualname__', type(reference).__name__)}"
