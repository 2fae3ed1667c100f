"""A tracking server, or a database other than SQLite, through MLflow's client.

``mlflow`` is imported on the first access to the tracking data, and to log in to a server that
serves artifacts. ``mlflow-skinny`` is enough for a server.

MLflow's client retries for minutes if a server is down. So one request is sent first, to check
that an MLflow server answers.

A search returns runs with their metrics, params and tags. Only the histories of metrics need
requests of their own.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from typing_extensions import override

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    MissingPackageError,
    OptionError,
    StorageError,
    TrackingDirectoryError,
    UnreachableError,
    describe,
)
from kedro_hydraflow.redaction import Options, get_safe_cause, redact, redact_url
from kedro_hydraflow.storage import LocalStorage, Place, locate
from kedro_hydraflow.storage.hosts import get_host, make_withheld_error
from kedro_hydraflow.storage.redirects import check_redirect
from kedro_hydraflow.stores.base import (
    DEFAULT_EXPERIMENT_ID,
    ExperimentFilter,
    make_experiment_filter,
    restore_infinity,
)
from kedro_hydraflow.stores.locations import RunLocator, make_foreign_host_error
from kedro_hydraflow.stores.metric_file import sort_key
from kedro_hydraflow.stores.record import (
    LOGGED_KINDS,
    RECORDED_FACTS,
    RUN_NAME_TAG,
    ExperimentRecord,
    Experiments,
    Facts,
    FoundRuns,
    ModelRecord,
    Point,
    RunListing,
    RunNames,
    RunRecord,
    is_deleted,
)
from kedro_hydraflow.stores.tracked_store import TrackedStore, get_usual_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kedro_hydraflow.source import Source
    from kedro_hydraflow.storage import Storage

A = TypeVar("A")
T = TypeVar("T")

_PAGE_SIZE = 1000
"""The maximum number of experiments or runs per request."""

_THREADS = 8
"""The number of concurrent requests. MLflow's client pools 10 connections."""

_PROBE = "/api/2.0/mlflow/experiments/search"
"""The endpoint of the first request."""

_PROBE_TIMEOUT = 20
_PROBE_RETRIES = 2
"""For the first request. MLflow's environment variables take precedence."""

_DATABASES = ("postgresql", "postgres", "mysql", "mssql", "oracle")
"""URI schemes of databases."""


class ServerStore(TrackedStore):
    """A tracking server or database, accessed through MLflow's client.

    Args:
        source: The tracking URI of the server (``http://`` or ``https://``) or database. The
            storage options are for artifacts that the server does not serve.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._source = source
        self._uri = source.uri or ""
        self._locator = RunLocator(source, open_proxied=self._open_proxied)
        self._proxies: dict[str, Storage] = {}
        self._opened: Any = None

    @property
    @override
    def where(self) -> str:
        return redact_url(self._uri)

    @override
    def find_experiments(
        self, experiment_names: ExperimentFilter = None, *, include_default: bool = False
    ) -> Experiments:
        matches = make_experiment_filter(experiment_names, include_default=include_default)
        self._locator.check_root()
        matching = []
        other_names = []
        failures = []
        unlocated = []
        defaults = []
        for experiment in self._list_experiments():
            name, experiment_id = experiment.name, str(experiment.experiment_id)
            if not matches(experiment_id, name):
                if experiment_id == DEFAULT_EXPERIMENT_ID:
                    # Its directory is not needed, and may be hard to find.
                    defaults.append(ExperimentRecord(LocalStorage(), "", experiment_id, name))
                else:
                    other_names.append(name)
                continue
            location = experiment.artifact_location or ""
            try:
                place = self._locator.find_experiment(experiment_id, location)
            except KedroHydraflowError as exc:
                failures.append(Failure(f"{self.where}: experiment {name!r}", exc))
                unlocated.append(name)
            else:
                known = place.storage, place.path, experiment_id, name
                matching.append(ExperimentRecord(*known, artifact_location=location))
        matching.sort(key=ExperimentRecord.sort_key)
        return Experiments(matching, other_names, failures, defaults, unlocated)

    @override
    def find_names(self) -> tuple[list[str], list[Failure]]:
        listed = self._list_experiments()
        return sorted(e.name for e in listed if str(e.experiment_id) != DEFAULT_EXPERIMENT_ID), []

    def _list_experiments(self) -> list[Any]:
        """Return MLflow's object for each experiment that is not deleted."""
        with self._client("list the experiments") as client:
            return list(_iter_pages(client.search_experiments))

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        with self._client("list the runs") as client:

            def search(experiment: ExperimentRecord) -> dict[str, Any]:
                pages = _iter_pages(
                    client.search_runs,
                    limit,
                    experiment_ids=[experiment.experiment_id],
                    run_view_type=_ANY_STAGE,
                    # So that runs added in the meantime do not shift the pages.
                    order_by=["attributes.start_time ASC"],
                )
                return {run.info.run_id: run for run in pages}

            searched = _map_in_threads(search, experiments)
        listed = [
            RunNames(experiment, sorted(runs), prefetched=runs)
            for experiment, runs in zip(experiments, searched, strict=True)
        ]
        return RunListing(listed, [])

    @override
    def has_active_runs(self, experiments: Sequence[ExperimentRecord]) -> bool:
        ids = [experiment.experiment_id for experiment in experiments]
        with self._client("look for runs") as client:
            pages = _iter_pages(
                client.search_runs, 1, experiment_ids=ids, run_view_type=_ACTIVE_STAGE
            )
            return bool(ids) and any(True for _ in pages)

    @override
    def read_runs(
        self, listed: Sequence[RunNames], *, include_deleted: bool | None = None
    ) -> FoundRuns:
        missing = [name for part in listed for name in part.names if name not in part.prefetched]
        fetched = dict(zip(missing, self._get_runs(missing), strict=True))
        records = []
        failures = []
        n_deleted = 0
        for part in listed:
            for run_id in part.names:
                run = part.prefetched.get(run_id) or fetched[run_id]
                try:
                    record = self._make_record(part.experiment, run_id, run)
                except KedroHydraflowError as exc:
                    failures.append(Failure(f"{self.where}: run {run_id}", exc))
                    continue
                if record is None:
                    continue
                if is_deleted(record.facts) and not include_deleted:
                    n_deleted += 1
                else:
                    records.append(record)
        return FoundRuns(records, failures, n_deleted)

    def _make_record(self, experiment: ExperimentRecord, run_id: str, run: Any) -> RunRecord | None:
        """Return the record of a run, None if MLflow has no such run.

        Args:
            experiment: The experiment of the run.
            run_id: The ID.
            run: An entry of `_get_runs`.

        Raises:
            StorageError: If the run could not be read, or its directory cannot be located.
        """
        if isinstance(run, StorageError):
            raise run
        if run is None:
            return None
        place = self._locator.find(experiment.experiment_id, run_id, run.info.artifact_uri or "")
        return RunRecord(
            place.storage, place.path, run_id, experiment, _make_facts(run), _get_logged(run)
        )

    @override
    def _get_locator(self, record: RunRecord) -> RunLocator:
        return self._locator

    @override
    def _read_uris(self, records: Sequence[RunRecord]) -> list[str]:
        return list(map(get_usual_uri, records))  # MLflow records no others

    @override
    def _read_models(self, record: RunRecord) -> list[ModelRecord]:
        experiment_id = record.experiment.experiment_id
        with self._client("list the models") as client:
            if not hasattr(client, "search_logged_models"):  # before MLflow 3
                return []
            try:
                found = list(
                    _iter_pages(client.search_logged_models, experiment_ids=[experiment_id])
                )
            except Exception as exc:
                if _get_status(exc) == 404:  # a server before MLflow 3
                    return []
                raise
        return [
            ModelRecord(
                model.model_id,
                model.name,
                model.source_run_id or "",
                model.creation_timestamp,
                model.artifact_location,
            )
            for model in found
        ]

    @override
    def _read_experiment_name(self, record: RunRecord) -> str:
        experiment_id = record.experiment.experiment_id
        with self._client(f"read the experiment {experiment_id}") as client:
            return str(client.get_experiment(experiment_id).name)

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        return [
            run if isinstance(run, StorageError) else {} if run is None else _make_facts(run)
            for run in self._get_runs([record.run_id for record in records])
        ]

    @override
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> list[float | str | KedroHydraflowError | None]:
        return [
            values if isinstance(values, KedroHydraflowError) else values.get(name)
            for values in self.read_all(records, kind)
        ]

    @override
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        runs = self._get_runs([record.run_id for record in records])
        return [
            run if isinstance(run, StorageError) else {} if run is None else _get_logged(run)[kind]
            for run in runs
        ]

    @override
    def read_histories(
        self, records: Sequence[RunRecord], name: str
    ) -> list[list[Point] | KedroHydraflowError]:
        return _map_in_threads(lambda record: self._read_history(record, name), records)

    def _read_history(self, record: RunRecord, name: str) -> list[Point] | KedroHydraflowError:
        metrics = (record.logged or {}).get("metrics")
        if metrics is not None and name not in metrics:
            return []
        history = self._try(
            f"read the history of the metric {name!r}",
            lambda client: client.get_metric_history(record.run_id, name),
        )
        if history is None or isinstance(history, StorageError):
            return history or []
        points = (Point(m.step, m.timestamp, restore_infinity(m.value)) for m in history)
        return sorted(points, key=sort_key)

    def _get_runs(self, run_ids: Sequence[str]) -> list[Any]:
        """Return MLflow's object for each run, None if there is no such run, or the error."""
        return _map_in_threads(
            lambda run_id: self._try(
                f"read the run {run_id}", lambda client: client.get_run(run_id)
            ),
            run_ids,
        )

    def _try(self, action: str, request: Callable[[Any], T]) -> T | StorageError | None:
        """Return the result of a request, None if MLflow has no such object, or the error."""
        try:
            with self._client(action) as client:
                return request(client)
        except StorageError as exc:
            if getattr(exc.__cause__, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                return None
            return exc

    @contextmanager
    def _client(self, action: str) -> Iterator[Any]:
        """Yield MLflow's client, translating its exceptions.

        Args:
            action: The purpose of the block, for messages such as ``cannot <action>``.

        Raises:
            UnreachableError: If the server or database does not respond.
            StorageError: If access is denied, or a request fails.
            TrackingDirectoryError: If the server or database is not MLflow's.
            MissingPackageError: If MLflow or the database's driver is not installed.
        """
        try:
            if self._opened is None:
                self._opened = self._open()
            yield self._opened
        except KedroHydraflowError:
            raise
        except Exception as exc:
            raise self._make_error(action, exc) from self._get_cause(exc)

    def _open(self) -> Any:
        if self._source.is_without_credentials:
            raise make_withheld_error(self.where)
        try:
            from mlflow import MlflowClient
        except ImportError as exc:
            raise MissingPackageError(
                f"tracking_uri: reading {self.where!r} needs MLflow, which cannot be imported "
                f"({exc}): pip install 'kedro-hydraflow[mlflow]'"
            ) from exc
        scheme = urlsplit(self._uri).scheme.lower()
        if scheme in ("http", "https"):
            self._check_server()
        elif scheme.partition("+")[0] in _DATABASES:
            self._check_database()
        try:
            return MlflowClient(self._uri)
        except Exception as exc:
            raise OptionError(
                f"tracking_uri: MLflow cannot open {self.where!r}: {self._hide(describe(exc))}"
            ) from self._get_cause(exc)

    def _check_server(self) -> None:
        """Raise an error unless an MLflow server answers and grants access."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        environ = os.environ
        options: dict[str, Any] = {
            "params": {"max_results": 1},
            "max_retries": None if "MLFLOW_HTTP_REQUEST_MAX_RETRIES" in environ else _PROBE_RETRIES,
            "timeout": None if "MLFLOW_HTTP_REQUEST_TIMEOUT" in environ else _PROBE_TIMEOUT,
            "raise_on_status": False,
        }
        creds = get_default_host_creds(self._uri)
        try:
            response = http_request(creds, _PROBE, "GET", allow_redirects=False, **options)
            if response.is_redirect:
                target = urljoin(response.url, response.headers["Location"])
                check_redirect(response.url, target, self._source.allowed_hosts)
                response = http_request(creds, _PROBE, "GET", **options)
        except KedroHydraflowError:
            raise
        except Exception as exc:
            text = self._hide(describe(exc))
            raise UnreachableError(
                f"the tracking server {self.where!r} cannot be reached: "
                f"{text.rpartition('Caused by ')[2]}; is it running, and is the URL correct?"
            ) from self._get_cause(exc)
        status = response.status_code
        if status in (401, 403):
            raise self._make_denial(status)
        if status == 429 or status >= 500:
            text = self._hide(response.text)
            raise UnreachableError(
                f"the tracking server {self.where!r} failed with status {status}"
                f"{': ' if text else ''}{text}"
            )
        try:
            is_mlflow = status == 200 and isinstance(response.json(), dict)
        except ValueError:
            is_mlflow = False
        if not is_mlflow:
            raise TrackingDirectoryError(
                f"tracking_uri: {self.where!r} is not an MLflow server: expected status 200 and a "
                f"JSON object from {_PROBE}, found status {status}"
                f"{' and other content' if status == 200 else ''}; give the URL of MLflow's web "
                "interface"
            )

    def _check_database(self) -> None:
        """Raise unless the database is MLflow's. MLflow's client would create tables in it."""
        needed = f"tracking_uri: reading the database {self.where!r} needs"
        try:
            import sqlalchemy
        except ImportError as exc:
            raise MissingPackageError(
                f"{needed} the full mlflow package, not just mlflow-skinny ({exc}): "
                "pip install mlflow"
            ) from exc
        try:
            engine = sqlalchemy.create_engine(self._uri)
        except ImportError as exc:
            raise MissingPackageError(f"{needed} its driver ({exc}): install it with pip") from exc
        except (sqlalchemy.exc.ArgumentError, ValueError) as exc:
            raise OptionError(
                f"tracking_uri: expected the URL of a database, found {self.where!r}: "
                f"{self._hide(describe(exc))}"
            ) from self._get_cause(exc)
        try:
            is_mlflow = sqlalchemy.inspect(engine).has_table("experiments")
        except sqlalchemy.exc.SQLAlchemyError as exc:
            text = self._hide(describe(exc).partition("\n")[0])
            raise UnreachableError(
                f"cannot read the database {self.where!r}: {text}"
            ) from self._get_cause(exc)
        finally:
            engine.dispose()
        if not is_mlflow:
            raise TrackingDirectoryError(
                f"tracking_uri: {self.where!r} is not an MLflow database: it has no table "
                "'experiments'"
            )

    def _make_error(self, action: str, exc: Exception) -> StorageError:
        status = _get_status(exc)
        if status in (401, 403):
            return self._make_denial(status)
        kind = UnreachableError if status == 429 or status >= 500 else StorageError
        return kind(f"{self.where}: cannot {action}: {self._hide(describe(exc))}")

    def _make_denial(self, status: int) -> StorageError:
        return StorageError(
            f"the tracking server {self.where!r} denies access ({status}): set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
            "as for MLflow"
        )

    def _hide(self, text: str) -> str:
        return redact(text, self._secrets)

    def _get_cause(self, exc: Exception) -> Exception | None:
        return get_safe_cause(exc, self._secrets)

    @property
    def _secrets(self) -> Options:
        return Options(self._source.storage_options or {}, tracking_uri=self._uri)

    def _open_proxied(self, location: str) -> Place:
        """Return the place of ``mlflow-artifacts:/path`` or ``mlflow-artifacts://host/path``."""
        server, artifacts = urlsplit(self._uri), urlsplit(location)
        if server.scheme not in ("http", "https"):
            raise StorageError(
                f"{location!r} can only be read through its tracking server: give the server's "
                "URL as tracking_uri, or set artifact_root to the location of the artifacts"
            )
        netloc = artifacts.netloc.rpartition("@")[2] or server.netloc.rpartition("@")[2]
        base_url = f"{server.scheme}://{netloc}{server.path.rstrip('/')}"
        host, own = get_host(base_url), get_host(self._uri)
        allowed_hosts = self._source.allowed_hosts
        if host is None or host not in (own, *allowed_hosts):
            raise make_foreign_host_error(location, host)
        if host not in self._proxies:
            from kedro_hydraflow.storage.mlflow_artifacts import make_artifacts_root

            login = (server.username, server.password) if host == own else (None, None)
            user, password = (unquote(text) if text else None for text in login)
            root = make_artifacts_root(base_url, user, password, allowed_hosts)
            storage = locate(root).storage
            withheld = self._source.is_without_credentials
            self._proxies[host] = storage.without_credentials() if withheld else storage
        return Place(self._proxies[host], artifacts.path.strip("/"))


_ACTIVE_STAGE, _ANY_STAGE = 1, 3
"""``ViewType.ACTIVE_ONLY`` and ``ViewType.ALL`` in MLflow's ``service.proto``."""


def _iter_pages(
    search: Callable[..., Any], limit: int | None = None, **filters: Any
) -> Iterator[Any]:
    """Yield the results of a search method of MLflow's client, page by page, up to a limit."""
    token = None
    left = math.inf if limit is None else limit
    while left > 0:
        page = search(**filters, max_results=min(_PAGE_SIZE, left), page_token=token)
        yield from page
        left -= len(page)
        token = page.token
        if not token:
            return


def _get_status(exc: Exception) -> int:
    """Return the HTTP status of an exception of MLflow, 0 if it has none."""
    get_status = getattr(exc, "get_http_status_code", None)
    return get_status() if get_status else 0


def _map_in_threads(function: Callable[[A], T], items: Iterable[A]) -> list[T]:
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            return list(threads.map(function, items))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _make_facts(run: Any) -> Facts:
    """Return the facts in MLflow's object for a run."""
    facts = {name: getattr(run.info, name, None) for name in RECORDED_FACTS}
    facts["run_name"] = facts["run_name"] or run.data.tags.get(RUN_NAME_TAG)
    return {name: str(value) for name, value in facts.items() if value is not None}


def _get_logged(run: Any) -> dict[str, dict[str, Any]]:
    """Return the values in MLflow's object for a run, by kind and name, sorted by name."""
    logged = {kind: dict(sorted(getattr(run.data, kind).items())) for kind in LOGGED_KINDS}
    logged["metrics"] = {key: restore_infinity(v) for key, v in logged["metrics"].items()}
    return logged
