"""A tracking server, through MLflow's client.

``mlflow`` is imported on the first access to the tracking data, and to log in to a server that
serves artifacts. ``mlflow-skinny`` is enough.

MLflow's client retries for minutes if a server is down. So one request is sent first, to check
that an MLflow server answers.

A search returns runs with their metrics, params and tags. Only the histories of metrics need
requests of their own: of many runs at once, where the server answers what MLflow's web interface
asks for its charts.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from typing_extensions import override

from kedro_hydraflow.errors import (
    Failure,
    KedroHydraflowError,
    MetadataError,
    MissingPackageError,
    OptionError,
    StorageError,
    TrackingDirectoryError,
    UnreachableError,
    describe,
)
from kedro_hydraflow.logs import get_logger
from kedro_hydraflow.progress import counting, counting_found
from kedro_hydraflow.redaction import get_safe_cause, redact, redact_url
from kedro_hydraflow.storage import Place, locate
from kedro_hydraflow.storage.hosts import get_host, make_withheld_error
from kedro_hydraflow.storage.redirects import check_redirect
from kedro_hydraflow.stores.foreign_values import (
    attempt,
    make_repeated_error,
    to_id,
    to_integer,
    to_key,
    to_number,
    to_text,
)
from kedro_hydraflow.stores.locations import (
    RunLocator,
    make_foreign_host_error,
    make_proxied_error,
)
from kedro_hydraflow.stores.metric_file import sort_key
from kedro_hydraflow.stores.record import (
    LOGGED_KINDS,
    RECORDED_FACTS,
    RUN_NAME_TAG,
    ExperimentRecord,
    Facts,
    ModelRecord,
    Point,
    RunListing,
    RunNames,
    RunRecord,
    RunStream,
)
from kedro_hydraflow.stores.recorded_store import (
    RecordedExperiment,
    RecordedRun,
    RecordedStore,
    finish_values,
)
from kedro_hydraflow.stores.search_filter import write_search_filter
from kedro_hydraflow.stores.tracked_store import get_usual_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kedro_hydraflow.source import Source
    from kedro_hydraflow.storage import Storage
    from kedro_hydraflow.stores.clauses import Clause

logger = get_logger(__name__)

A = TypeVar("A")
T = TypeVar("T")

_PAGE_SIZE = 1000
"""The maximum number of experiments or runs per request."""

_THREADS = 8
"""The number of concurrent requests. MLflow's client pools 10 connections."""

_PROBE = "/api/2.0/mlflow/experiments/search"
"""The endpoint of the first request."""

_PROBE_TIMEOUT = 20
"""For the first request. MLflow's environment variable takes precedence."""

_RETRIES = 2
"""For the first request, and for histories in bulk. MLflow's environment variable takes
precedence."""

_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
"""The endpoint for the histories of many runs, of which MLflow's client knows nothing."""

_BULK_RUNS = 50
"""The number of runs per request: MLflow takes 100, but gunicorn and proxies take short URLs."""

_BULK_ROWS = 25_000
"""The number of values at which MLflow cuts off its answer without a word."""


class ServerStore(RecordedStore):
    """A tracking server, accessed through MLflow's client.

    Args:
        source: The tracking URI of the server (``http://`` or ``https://``). The storage options
            are for artifacts that the server does not serve.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(RunLocator(source, open_proxied=self._open_proxied), source)
        self._source = source
        self._uri = source.uri or ""
        self._proxies: dict[str, Storage] = {}
        self._opened: Any = None
        self._has_bulk = urlsplit(self._uri).scheme.lower() in ("http", "https")
        """Whether histories of many runs can be requested at once, as far as is known."""

    @property
    @override
    def where(self) -> str:
        return redact_url(self._uri)

    @override
    def _list_experiments(self) -> list[RecordedExperiment]:
        with self._client("list the experiments") as client:
            found = _list_pages(client.search_experiments)
        recorded = _drop_equal(
            RecordedExperiment(e.experiment_id, e.name, e.artifact_location) for e in found
        )
        return sorted(recorded, key=lambda e: (str(e.name or ""), str(e.experiment_id)))

    @override
    def list_runs(
        self, experiments: Sequence[ExperimentRecord], limit: int | None = None
    ) -> RunListing:
        with self._client("list the runs") as client:
            searched = _search_runs(client, experiments, limit)
        return self._make_listing(experiments, searched)

    @override
    def list_narrowed(
        self, experiments: Sequence[ExperimentRecord], clauses: Sequence[Clause]
    ) -> RunListing | None:
        written = write_search_filter(clauses)
        if not written:
            return None
        with self._client("list the runs") as client:
            try:
                searched = _search_runs(client, experiments, filter_string=written)
            except Exception as exc:
                if _get_status(exc) == 400:  # another version may have another language
                    return None
                raise
        return replace(self._make_listing(experiments, searched), is_narrowed=True)

    @override
    def stream_runs(self, experiments: Sequence[ExperimentRecord]) -> RunStream:
        if not self._can_stream(experiments):
            return super().stream_runs(experiments)
        return RunStream(self._iter_parts(experiments), [], None)

    def _can_stream(self, experiments: Sequence[ExperimentRecord]) -> bool:
        """Whether the server can sort runs by ID."""
        with self._client("list the runs") as client:
            try:
                for experiment in experiments[:1]:
                    next(_iter_sorted_pages(client, experiment, 1))
            except Exception as exc:
                if _get_status(exc) == 400:
                    return False
                raise
        return True

    def _iter_parts(self, experiments: Sequence[ExperimentRecord]) -> Iterator[RunNames]:
        """Yield the runs page by page. The first pages of experiments are requested together."""
        owners: dict[str, ExperimentRecord] = {}
        for start in range(0, len(experiments), _THREADS):
            group = experiments[start : start + _THREADS]
            pages = [self._iter_runs(experiment) for experiment in group]
            for experiment, first, others in zip(
                group, _map_in_threads(next, pages), pages, strict=True
            ):
                found: Iterator[Sequence[Any]] = chain([first], others)
                ids = [str(run.info.run_id) for run in first]
                if ids != sorted(ids):  # a server that does not sort
                    found = iter([[*chain.from_iterable(found)]])
                for runs in found:
                    yield _make_part(experiment, runs, owners)

    def _iter_runs(self, experiment: ExperimentRecord) -> Iterator[Sequence[Any]]:
        """Yield the pages with the runs in an experiment, sorted by ID."""
        with self._client("list the runs") as client:
            pages = _iter_sorted_pages(client, experiment)
        while True:
            with self._client("list the runs"):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _make_listing(
        self, experiments: Sequence[ExperimentRecord], searched: Sequence[Sequence[Any]]
    ) -> RunListing:
        failures: list[Failure] = []
        runs = _merge_searches(searched)
        names = self._convert_ids(runs, failures)
        listed = [
            RunNames(experiment, sorted(of_experiment), prefetched=found)
            for experiment, of_experiment, found in zip(experiments, names, runs, strict=True)
        ]
        return RunListing(listed, failures)

    @override
    def has_active_runs(self, experiments: Sequence[ExperimentRecord]) -> bool:
        ids = [experiment.experiment_id for experiment in experiments]
        with self._client("look for runs") as client:
            return bool(ids) and any(
                _iter_pages(client.search_runs, 1, experiment_ids=ids, run_view_type=_ACTIVE_STAGE)
            )

    @override
    def _read_runs(
        self, listed: Sequence[RunNames]
    ) -> dict[str, RecordedRun | KedroHydraflowError]:
        known = {
            name: part.prefetched[name]
            for part in listed
            for name in part.names
            if name in part.prefetched
        }
        missing = [name for part in listed for name in part.names if name not in known]
        known.update(zip(missing, self._get_runs(missing), strict=True))
        return {
            run_id: run if isinstance(run, KedroHydraflowError) else self._record(run_id, run)
            for run_id, run in known.items()
            if run is not None
        }

    def _record(self, run_id: str, run: Any) -> RecordedRun:
        logged = {kind: self._get_logged(run_id, run, kind) for kind in LOGGED_KINDS}
        # What is malformed is read again, to raise its errors.
        usual = {kind: values for kind, values in logged.items() if isinstance(values, dict)}
        return RecordedRun(run.info.artifact_uri, _get_facts(run), usual)

    def _get_logged(self, run_id: str, run: Any, kind: str) -> dict[str, Any] | KedroHydraflowError:
        """Return the values of a kind in MLflow's object for a run by name, or the error."""
        values: dict[str, Any] = {}
        malformed: list[MetadataError] = []
        for key, recorded in getattr(run.data, kind).items():
            name, value = attempt(to_key, key), attempt(_DECODERS[kind], recorded)
            error = name if isinstance(name, MetadataError) else value
            if isinstance(error, MetadataError):
                malformed.append(self._locate_error(run_id, f"{kind} with the key {key!r}", error))
            elif value is not None:
                values[key] = value
        return finish_values(values, malformed)

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
                found = _list_pages(client.search_logged_models, experiment_ids=[experiment_id])
            except Exception as exc:
                if _get_status(exc) == 404:  # a server before MLflow 3
                    return []
                raise
        return self._make_models(
            (
                model.model_id,
                model.name,
                model.source_run_id,
                model.creation_timestamp,
                model.artifact_location,
            )
            for model in found
        )

    @override
    def _read_experiment_name(self, record: RunRecord) -> str | None:
        experiment_id = record.experiment.experiment_id
        with self._client(f"read the experiment {experiment_id}") as client:
            recorded = client.get_experiment(experiment_id).name
        name = self._convert(record.run_id, "experiments.name", to_text, recorded)
        if isinstance(name, Exception):
            raise name
        return name

    @override
    def read_facts(self, records: Sequence[RunRecord]) -> list[Facts | KedroHydraflowError | None]:
        def convert(run_id: str, run: Any) -> Facts | KedroHydraflowError | None:
            return self._convert_facts(run_id, _get_facts(run))

        return self._map_runs(convert, records, {})

    @override
    def read_values(
        self, records: Sequence[RunRecord], kind: str, name: str
    ) -> list[float | str | KedroHydraflowError | None]:
        def convert(run_id: str, run: Any) -> float | str | KedroHydraflowError | None:
            values = getattr(run.data, kind)
            if name not in values:
                return None
            field = f"{kind} with the key {name!r}"
            return self._convert(run_id, field, _DECODERS[kind], values[name])

        return self._map_runs(convert, records, None)

    @override
    def read_all(
        self, records: Sequence[RunRecord], kind: str
    ) -> list[dict[str, Any] | KedroHydraflowError]:
        def convert(run_id: str, run: Any) -> dict[str, Any] | KedroHydraflowError:
            return self._get_logged(run_id, run, kind)

        nothing: dict[str, Any] | KedroHydraflowError = {}
        return [*self._map_runs(convert, records, nothing)]

    def _map_runs(
        self,
        function: Callable[[str, Any], T],
        records: Sequence[RunRecord],
        default: T,
    ) -> list[T | StorageError]:
        """Return a function of the ID of each run and MLflow's object for it, or the error.

        Args:
            function: The function.
            records: The runs.
            default: The result for runs that MLflow does not have.
        """
        run_ids = [record.run_id for record in records]
        return [
            run
            if isinstance(run, StorageError)
            else default
            if run is None
            else function(run_id, run)
            for run_id, run in zip(run_ids, self._get_runs(run_ids), strict=True)
        ]

    @override
    def read_histories(
        self, records: Sequence[RunRecord], name: str
    ) -> list[list[Point] | KedroHydraflowError]:
        wanted = []
        for record in records:
            metrics = (record.logged or {}).get("metrics")
            if metrics is None or name in metrics:
                wanted.append(record.run_id)
        groups = [wanted[i : i + _BULK_RUNS] for i in range(0, len(wanted), _BULK_RUNS)]
        histories: dict[str, list[Point] | KedroHydraflowError] = {}
        for found in _map_in_threads(lambda group: self._read_in_bulk(group, name), groups):
            histories.update(found)
        left = [run_id for run_id in wanted if run_id not in histories]
        read = _map_in_threads(lambda run_id: self._read_history(run_id, name), left)
        histories.update(zip(left, read, strict=True))
        return [histories.get(record.run_id, []) for record in records]

    def _read_in_bulk(
        self, run_ids: Sequence[str], name: str
    ) -> dict[str, list[Point] | KedroHydraflowError]:
        """Return the histories of a metric that are in a server's answers for many runs, by ID.

        Not among them is a run with so many values that it is better read alone, a run without
        values, which may be one that this user may not read, and any run where the server does
        not answer such requests.
        """
        histories: dict[str, list[Point] | KedroHydraflowError] = {}
        left = set(run_ids)
        while self._has_bulk and len(left) > 1:
            rows = self._request_histories(sorted(left), name)
            if rows is None:
                self._has_bulk = False
                break
            of_runs: dict[str, list[Sequence[Any]]] = {}
            for run_id, *values in rows:
                of_runs.setdefault(run_id, []).append(values)
            is_cut = len(rows) >= _BULK_ROWS
            n_left = len(left)
            if is_cut and len(of_runs) == 1:
                left -= of_runs.keys()
            elif is_cut:
                del of_runs[rows[-1][0]]  # cut off, for the rows are ordered by run
            for run_id in left & of_runs.keys():
                histories[run_id] = self._make_history(run_id, name, of_runs[run_id])
            left -= histories.keys()
            if not is_cut or len(left) == n_left:
                break
        return histories

    def _request_histories(self, run_ids: Sequence[str], name: str) -> list[Any] | None:
        """Return rows of a run's ID and a value, its step and time; None if there is no answer."""
        try:
            with self._client("read histories"):
                from mlflow.utils.credentials import get_default_host_creds
                from mlflow.utils.rest_utils import http_request

                response = http_request(
                    get_default_host_creds(self._uri),
                    _BULK,
                    "GET",
                    allow_redirects=False,
                    params={"run_id": run_ids, "metric_key": name},
                    max_retries=_get_retries(),
                    raise_on_status=False,
                )
                response.raise_for_status()
                return [
                    (str(row["run_id"]), row["value"], row["step"], row["timestamp"])
                    for row in response.json()["metrics"]
                ]
        except Exception as exc:  # which those that are read one by one will raise, if it lasts
            logger.debug("histories are read one by one: %s", self._hide(describe(exc)))
            return None

    def _read_history(self, run_id: str, name: str) -> list[Point] | KedroHydraflowError:
        history = self._try(
            f"read the history of the metric {name!r}",
            lambda client: client.get_metric_history(run_id, name),
        )
        if history is None or isinstance(history, StorageError):
            return history or []
        return self._make_history(run_id, name, ((m.value, m.step, m.timestamp) for m in history))

    def _make_history(
        self, run_id: str, name: str, values: Iterable[Sequence[Any]]
    ) -> list[Point] | KedroHydraflowError:
        """Return the sorted values of a metric of a run, given with their steps and times."""
        points = []
        for value in values:
            point = attempt(_convert_point, value)
            if isinstance(point, MetadataError):
                return self._locate_error(run_id, f"metrics with the key {name!r}", point)
            if point is not None:
                points.append(point)
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
            UnreachableError: If the server does not respond.
            StorageError: If access is denied, or a request fails.
            TrackingDirectoryError: If the server is not MLflow's.
            MissingPackageError: If MLflow is not installed.
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

        options: dict[str, Any] = {
            "params": {"max_results": 1},
            "max_retries": _get_retries(),
            "timeout": None if "MLFLOW_HTTP_REQUEST_TIMEOUT" in os.environ else _PROBE_TIMEOUT,
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
        except (ValueError, RecursionError):
            is_mlflow = False
        if not is_mlflow:
            raise TrackingDirectoryError(
                f"tracking_uri: {self.where!r} is not an MLflow server: expected status 200 and a "
                f"JSON object from {_PROBE}, found status {status}"
                f"{' and other content' if status == 200 else ''}; give the URL of MLflow's web "
                "interface"
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
        return redact(text, self._source.secrets)

    def _get_cause(self, exc: Exception) -> Exception | None:
        return get_safe_cause(exc, self._source.secrets)

    def _open_proxied(self, location: str) -> Place:
        """Return the place of ``mlflow-artifacts:/path`` or ``mlflow-artifacts://host/path``."""
        server, artifacts = urlsplit(self._uri), urlsplit(location)
        if server.scheme not in ("http", "https"):
            raise make_proxied_error(location)
        netloc = artifacts.netloc.rpartition("@")[2] or server.netloc.rpartition("@")[2]
        base_url = f"{server.scheme}://{netloc}{server.path.rstrip('/')}"
        host, own = get_host(base_url), get_host(self._uri)
        allowed_hosts = self._source.allowed_hosts
        if host is None or host not in (own, *allowed_hosts):
            raise make_foreign_host_error(location, host)
        if host not in self._proxies:
            from kedro_hydraflow.storage.mlflow_artifacts import make_artifacts_root

            is_own = host == own
            login = (server.username, server.password) if is_own else (None, None)
            user, password = (unquote(text) if text else None for text in login)
            root = make_artifacts_root(base_url, user, password, allowed_hosts, has_login=is_own)
            storage = locate(root).storage
            withheld = self._source.is_without_credentials
            self._proxies[host] = storage.without_credentials() if withheld else storage
        return Place(self._proxies[host], artifacts.path.strip("/"))


_ACTIVE_STAGE, _ANY_STAGE = 1, 3
"""``ViewType.ACTIVE_ONLY`` and ``ViewType.ALL`` in MLflow's ``service.proto``."""


def _search_runs(
    client: Any,
    experiments: Sequence[ExperimentRecord],
    limit: int | None = None,
    filter_string: str = "",
) -> list[list[Any]]:
    """Return the runs in each experiment that meet a filter, as MLflow's objects."""

    def search(experiment: ExperimentRecord) -> list[Any]:
        return _list_pages(
            client.search_runs,
            limit,
            experiment_ids=[experiment.experiment_id],
            filter_string=filter_string,
            run_view_type=_ANY_STAGE,
            # So that runs added in the meantime do not shift the pages.
            order_by=["attributes.start_time ASC"],
        )

    return _map_in_threads(search, experiments)


def _iter_sorted_pages(
    client: Any, experiment: ExperimentRecord, limit: int | None = None
) -> Iterator[Sequence[Any]]:
    """Yield the pages of the runs in an experiment, sorted by ID, with those that were deleted.

    Runs that are added in the meantime shift the pages, so that others may be on two of them.
    """
    return _iter_pages(
        client.search_runs,
        limit,
        experiment_ids=[experiment.experiment_id],
        run_view_type=_ANY_STAGE,
        order_by=["attributes.run_id ASC"],
    )


def _make_part(
    experiment: ExperimentRecord, runs: Iterable[Any], owners: dict[str, ExperimentRecord]
) -> RunNames:
    """Return the runs that are not on an earlier page.

    Args:
        experiment: The experiment.
        runs: MLflow's objects.
        owners: The experiment of each run so far, to which these are added.
    """
    found: dict[str, Any] = {}
    for run in runs:
        run_id = run.info.run_id
        name = str(run_id)
        if name not in owners:
            owners[name] = experiment
            converted = attempt(to_id, run_id)
            found[name] = converted if isinstance(converted, MetadataError) else run
        elif owners[name] is not experiment:
            found[name] = make_repeated_error(2, "one run with this ID")
    return RunNames(experiment, sorted(found), prefetched=found)


def _merge_searches(searched: Sequence[Sequence[Any]]) -> list[dict[Any, Any]]:
    """Return what was found in each experiment by run ID: MLflow's object, or an error.

    A run may be on two pages, if others were added in the meantime. One that is in two
    experiments, or with artifacts in two places, is an error.
    """
    merged: list[dict[Any, Any]] = [{} for _ in searched]
    owners: dict[Any, dict[Any, Any]] = {}
    for runs, found in zip(merged, searched, strict=True):
        for run in found:
            run_id = run.info.run_id
            owner = owners.setdefault(run_id, runs)
            known = owner.get(run_id, run)
            if isinstance(known, MetadataError):
                continue
            is_same = owner is runs and known.info.artifact_uri == run.info.artifact_uri
            owner[run_id] = run if is_same else make_repeated_error(2, "one run with this ID")
    return merged


def _drop_equal(recorded: Iterable[RecordedExperiment]) -> list[RecordedExperiment]:
    """Return experiments, once if they are equal: on two pages, as others were added meanwhile."""
    first: dict[str, RecordedExperiment] = {}
    kept = []
    for experiment in recorded:
        experiment_id = experiment.experiment_id
        known = experiment
        if isinstance(experiment_id, str):
            known = first.setdefault(experiment_id, experiment)
        if known is experiment or known != experiment:
            kept.append(experiment)
    return kept


def _iter_pages(
    search: Callable[..., Any], limit: int | None = None, **filters: Any
) -> Iterator[Sequence[Any]]:
    """Yield the pages of a search method of MLflow's client, one or more, up to a limit.

    Raises:
        StorageError: If the pages do not end.
    """
    token = None
    tokens = set()
    left = math.inf if limit is None else limit
    with counting_found() as advance:
        while left > 0:
            page = search(**filters, max_results=min(_PAGE_SIZE, left), page_token=token)
            advance(len(page))
            yield page
            left -= len(page)
            token = page.token
            if not token:
                return
            if token in tokens:
                raise StorageError(
                    f"the server's pages do not end: it gave the token {token!r} twice"
                )
            tokens.add(token)


def _list_pages(search: Callable[..., Any], limit: int | None = None, **filters: Any) -> list[Any]:
    """Return the results of `_iter_pages`."""
    return list(chain.from_iterable(_iter_pages(search, limit, **filters)))


def _get_retries() -> int | None:
    """Return the number of retries of the first request and of those for many runs."""
    return None if "MLFLOW_HTTP_REQUEST_MAX_RETRIES" in os.environ else _RETRIES


def _get_status(exc: Exception) -> int:
    """Return the HTTP status of an exception of MLflow, 0 if it has none."""
    get_status = getattr(exc, "get_http_status_code", None)
    return get_status() if get_status else 0


def _map_in_threads(function: Callable[[A], T], items: Sequence[A]) -> list[T]:
    results = []
    with ThreadPoolExecutor(_THREADS) as threads, counting(len(items), "request") as advance:
        try:
            for result in threads.map(function, items):
                results.append(result)
                advance(1)
            return results
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _get_facts(run: Any) -> dict[str, object]:
    """Return the facts in MLflow's object for a run, which may be of any type."""
    facts = {name: getattr(run.info, name, None) for name in RECORDED_FACTS}
    facts["run_name"] = facts["run_name"] or run.data.tags.get(RUN_NAME_TAG)
    return facts


def _convert_point(recorded: Sequence[Any]) -> Point | None:
    """Return a value of a metric from the value, step and time; None if the value is null."""
    number, step, timestamp = recorded
    value = to_number(number)
    if value is None:
        return None
    return Point(to_integer(step), to_integer(timestamp), value)


def _to_text(value: object) -> str:
    return to_text(value) or ""


_DECODERS: dict[str, Callable[[object], float | str | None]] = {
    "metrics": to_number,
    "params": _to_text,
    "tags": _to_text,
}
"""What converts the values of each of the `LOGGED_KINDS`."""
