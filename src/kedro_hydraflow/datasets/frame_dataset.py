"""The runs below a tracking directory as a frame, as a Kedro dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, get_args

from kedro_hydraflow.datasets._base import (
    TablePreview,
    import_object,
    is_dotted_path,
)
from kedro_hydraflow.datasets._choice import RunChoice
from kedro_hydraflow.datasets._confirming import SearchDataset
from kedro_hydraflow.datasets._preview import Some, make_note_table
from kedro_hydraflow.datasets._search import Loaded, Query, RunSearch, check_min_runs
from kedro_hydraflow.default_columns import MAX_KEYS
from kedro_hydraflow.errors import OptionError, check_flag
from kedro_hydraflow.frames import (
    list_null,
    make_complete_frame,
    make_frame_by_spelling,
    warn_of_absent,
)
from kedro_hydraflow.json_columns import check_nested
from kedro_hydraflow.keys import is_pattern, parse_key
from kedro_hydraflow.lookup import warn_of_other_meaning
from kedro_hydraflow.pandas_frames import import_pandas, to_pandas_frame
from kedro_hydraflow.run_collection import RunCollection
from kedro_hydraflow.scan import Scan, make_lazy_frame
from kedro_hydraflow.schemas import check_schema, parse_schema

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import polars as pl

    from kedro_hydraflow.columns import Mode
    from kedro_hydraflow.datasets._search import StateFile
    from kedro_hydraflow.errors import OnError
    from kedro_hydraflow.filters import Filters
    from kedro_hydraflow.index import IndexOption
    from kedro_hydraflow.json_columns import Nested
    from kedro_hydraflow.run import Run
    from kedro_hydraflow.schemas import Schema, SchemaOption
    from kedro_hydraflow.source import Layout
    from kedro_hydraflow.stores import ExperimentFilter

Library = Literal["polars", "pandas"]
"""The package of a frame."""

_PATHS = ("path", "filepath", "filename")
"""The names whose values Kedro takes for paths, and makes relative to the project."""


class HydraflowFrameDataset(SearchDataset[Any]):
    """The HydraFlow runs below a tracking directory, as a frame with a row for each run.

    Args:
        path: As for `HydraflowRunCollectionDataset`.
        tracking_uri: As for `HydraflowRunCollectionDataset`.
        artifact_root: As for `HydraflowRunCollectionDataset`.
        columns: Keys and patterns of keys, such as ``[run_id, model.*, metrics.accuracy]``, which
            mean what they do in filters. By default those of the schema or, without one,
            ``run_id``, ``job_name`` and every key of the configurations.
        schema: The types of columns by key, in a catalog by their names, such as ``Float64``, or
            the dotted path of a mapping. Keys that are not among the columns come after them.
            See https://kedro-hydraflow.github.io/kedro-hydraflow/frames/#schemas.
        strict: Whether a value that does not fit its type is an error. If not, it is null.
        nested: ``json``: columns of lists, mappings and values of several kinds are JSON text, so
            that the frame can be written as CSV. ``keep``: they stay lists, mappings or objects.
        library: The package of the frame: ``polars`` or ``pandas``, which is in the extra
            ``pandas``. Of frames of pandas, Kedro-Viz shows how many rows and columns they have.
        lazy: Whether to give a Polars LazyFrame, which reads what the node needs of it, as
            `scan_runs` does. It has the columns of the schema.
        experiment_names: As for `HydraflowRunCollectionDataset`.
        filters: As for `HydraflowRunCollectionDataset`.
        run_id: Of the run with this ID alone, as for `HydraflowRunDataset`.
        best_by: Of the best run alone, as for `HydraflowRunDataset`.
        mode: As for `HydraflowRunDataset`.
        impl: As for `HydraflowRunCollectionDataset`. Its attributes are keys.
        config_class: As for `HydraflowRunCollectionDataset`.
        n_jobs: As for `HydraflowRunCollectionDataset`.
        progress: As for `HydraflowRunCollectionDataset`.
        on_error: As for `HydraflowRunCollectionDataset`.
        include_deleted: As for `HydraflowRunCollectionDataset`.
        index: As for `HydraflowRunCollectionDataset`.
        min_runs: As for `HydraflowRunCollectionDataset`.
        layout: As for `HydraflowRunCollectionDataset`.
        results: As for `HydraflowRunCollectionDataset`.
        checkpoint: As for `HydraflowRunCollectionDataset`. Not with ``best_by``, ``run_id`` or
            ``lazy``.
        lock: As for `HydraflowRunCollectionDataset`. Not with ``run_id`` or ``lazy``.
        engine: As for `HydraflowRunCollectionDataset`.
        credentials: As for `HydraflowRunCollectionDataset`.
        fs_args: As for `HydraflowRunCollectionDataset`.
        metadata: Anything; Kedro and this package ignore it.

    Raises:
        OptionError: If an option is invalid.
        FilterError: If a filter cannot be parsed.

    Examples:
        In a catalog:

            accuracies:
              type: kedro_hydraflow.HydraflowFrameDataset
              path: mlruns
              filters: status == FINISHED
              columns: [run_id, model.*]
              schema:
                training.learning_rate: Float64
                metrics.accuracy: Float64
              validator: my_project.schemas.Accuracies   # Kedro 1.6 and newer, with Pandera

        In Python:

        >>> from kedro_hydraflow import HydraflowFrameDataset
        >>> dataset = HydraflowFrameDataset(
        ...     path="examples/data/mlruns",
        ...     filters="status == FINISHED",
        ...     columns=["model.type"],
        ...     schema={"seed": "Int8", "metrics.accuracy": "Float64"},
        ... )
        >>> frame = dataset.load()
        >>> frame.shape, frame.columns
        ((30, 3), ['model.type', 'seed', 'metrics.accuracy'])
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        tracking_uri: str | None = None,
        artifact_root: str | os.PathLike[str] | None = None,
        columns: Sequence[str] | None = None,
        schema: SchemaOption | str | None = None,
        strict: bool = True,
        nested: Nested = "json",
        library: Library = "polars",
        lazy: bool = False,
        experiment_names: ExperimentFilter = None,
        filters: Filters = None,
        run_id: str | None = None,
        best_by: str | None = None,
        mode: Mode | None = None,
        impl: str | Callable[..., Any] | None = None,
        config_class: str | type | None = None,
        n_jobs: int = 0,
        progress: bool = False,
        on_error: OnError = "raise",
        include_deleted: bool | None = None,
        index: IndexOption = None,
        min_runs: int = 0,
        layout: Layout | None = None,
        results: str | None = None,
        checkpoint: StateFile = None,
        lock: StateFile = None,
        engine: str | None = None,
        credentials: Mapping[str, Any] | None = None,
        fs_args: Mapping[str, Any] | None = None,
        metadata: Any = None,
    ) -> None:
        super().__init__(
            impl=impl,
            config_class=config_class,
            engine=engine,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )
        self._search = RunSearch(
            path=path,
            tracking_uri=tracking_uri,
            artifact_root=artifact_root,
            experiment_names=experiment_names,
            filters=filters,
            n_jobs=n_jobs,
            progress=progress,
            on_error=on_error,
            include_deleted=include_deleted,
            index=index,
            layout=layout,
            results=results,
            checkpoint=checkpoint,
            lock=lock,
            storage_options=self._storage_options,
        )
        self._min_runs = check_min_runs(min_runs)
        self._columns = _check_columns(columns)
        self._schema = _check_schema(schema)
        self._strict = check_flag("strict", strict)
        check_nested(nested)
        self._nested: Nested = nested
        self._choice = RunChoice(run_id, best_by, mode)
        if run_id is not None and min_runs:
            raise OptionError("min_runs: cannot be used with run_id, which chooses one run")
        self._choice.check_state(self._search)
        if library not in get_args(Library):
            raise OptionError(f"library: expected 'polars' or 'pandas', found {library!r}")
        self._library = library
        self.is_lazy = check_flag("lazy", lazy)
        if lazy:
            given: dict[str, Any] = {
                "columns": columns,
                "best_by": best_by,
                "run_id": run_id,
                "min_runs": min_runs,
            }
            given |= {"checkpoint": checkpoint, "lock": lock}
            given["library: pandas"] = library == "pandas"
            _check_lazy(schema, [name for name, value in given.items() if value])

    def load(self) -> Any:
        """Return the frame, in the order of `HydraflowRunCollectionDataset`.

        With ``lazy``, runs are looked for and read when the frame is collected.

        Raises:
            DatasetError: If runs cannot be read, a value does not fit the schema, or no run has
                a key among the columns.
        """
        schema = self._parse_schema()  # before anything is read, for it may be wrong
        if self.is_lazy and schema is not None:
            search, options = self.make_query()
            return make_lazy_frame(Scan(search, options, schema))
        if self._library == "pandas":
            import_pandas()
        loaded = self._find_runs()
        frame = self._make_frame(loaded.runs, self._columns, schema)
        self._note(loaded, loaded.runs)
        return to_pandas_frame(frame) if self._library == "pandas" else frame

    def make_query(self) -> Query:
        """Return which runs `load` finds, whatever ``min_runs`` says; for ``kedro hydraflow``."""
        return self._search.make_query(self._load_impl(), self._load_config_class())

    @property
    def has_one_run(self) -> bool:
        """Whether ``best_by`` or ``run_id`` chooses one run."""
        return bool(self._choice)

    def find_run(self, *, writes_lock: bool = False) -> Run[Any, Any]:
        """Return the run of ``best_by`` or ``run_id``."""
        return self._choice.load(
            self._search,
            self._load_impl(),
            self._load_config_class(),
            min_runs=self._min_runs,
            writes_lock=writes_lock,
        )

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return the first rows of the frame that `load` gives as a table.

        It looks at as many runs, and as many keys of a run that a pattern matches, as that of
        `HydraflowRunCollectionDataset`.

        Args:
            nrows: The maximum number of rows.
        """
        schema = self._parse_schema()
        if self._choice:
            note = self._choice.explain_too_many(self._search)
            if note is not None:
                return make_note_table(note)
            some = Some(RunCollection([self.find_run()]))
        else:
            some = self._search.load_some(nrows, self._load_config_class())
        keys = None
        if self._columns is not None:  # which other runs may have
            keys = [(key, None) for key in self._columns]
        lenient = None if schema is None else replace(schema, strict=False)
        return some.to_table(self._make_frame(some.runs, keys, lenient, MAX_KEYS))

    def _find_runs(self) -> Loaded:
        if self._choice:
            return Loaded(RunCollection([self.find_run(writes_lock=True)]), [])
        impl, config_class = self._load_impl(), self._load_config_class()
        return self._search.load(impl, config_class, min_runs=self._min_runs)

    def _make_frame(
        self,
        runs: RunCollection[Run[Any, Any]],
        columns: Sequence[str | tuple[str, None]] | None,
        schema: Schema | None,
        max_keys: int | None = None,
    ) -> pl.DataFrame:
        if columns is None and schema is None:
            return make_complete_frame(runs, {}, self._nested, max_keys)
        for key in columns or ():
            if isinstance(key, str) and not is_pattern(key):
                warn_of_other_meaning(runs, parse_key(key))
        frame = make_frame_by_spelling(runs, columns or [], self._nested, schema, max_keys)
        if schema is not None:
            warn_of_absent(runs, list_null(frame, schema.types))
        return frame

    def _parse_schema(self) -> Schema | None:
        schema = import_object("schema", self._schema)
        if schema is not None and not isinstance(schema, Mapping):
            raise OptionError(f"schema: expected a mapping, found {schema!r} at {self._schema!r}")
        return parse_schema(schema, strict=self._strict, nested=self._nested)

    def _exists(self) -> bool:
        """Whether there is the directory and, if ``run_id`` is given, that run below it.

        Filters are not applied.
        """
        return self._choice.exists(self._search)

    def _describe(self) -> dict[str, Any]:
        schema = self._schema
        return {
            **self._search.describe(),
            **asdict(self._choice),
            **self._describe_common(),
            "columns": self._columns,
            "schema": {k: str(v) for k, v in schema.items()}
            if isinstance(schema, Mapping)
            else schema,
            "strict": self._strict,
            "nested": self._nested,
            "library": self._library,
            "lazy": self.is_lazy,
            "min_runs": self._min_runs or None,
        }


def _check_lazy(schema: object, given: Sequence[str]) -> None:
    """Raise OptionError unless there is a schema, and no option that needs the runs at load."""
    if schema is None:
        raise OptionError("lazy: needs a schema, which says what columns there are")
    if given:
        advice = "give all columns as schema" if "columns" in given else "remove it, or lazy"
        raise OptionError(f"{', '.join(given)}: cannot be used with lazy: true; {advice}")


def _check_columns(columns: Any) -> list[str] | None:
    if columns is None:
        return None
    is_list = isinstance(columns, Sequence) and not isinstance(columns, str) and columns
    are_texts = is_list and all(isinstance(key, str) for key in columns)
    if not are_texts or len(set(columns)) < len(columns):
        raise OptionError(
            "columns: expected a list of different keys, such as [run_id, metrics.*], found "
            f"{columns!r}"
        )
    return list(columns)


def _check_schema(schema: Any) -> dict[str, Any] | str | None:
    """Return a schema, of which the types are checked as far as they are text."""
    if schema is None or (isinstance(schema, str) and is_dotted_path(schema)):
        return schema
    if isinstance(schema, Mapping):
        # A key such as `path` is one of the configuration, and its type no path.
        schema = {
            key: PurePath(dtype).name if key in _PATHS and isinstance(dtype, str) else dtype
            for key, dtype in schema.items()
        }
    check_schema(schema)
    return dict(schema)
