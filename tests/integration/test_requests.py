"""How many requests reach an S3 server, and which: 2,000 runs in two experiments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pytest

from kedro_hydraflow import (
    HydraflowFrameDataset,
    HydraflowRunCollectionDataset,
    Run,
    RunCollection,
    iter_run_dirs,
    publish_index,
)
from kedro_hydraflow.errors import RunLoadError
from tests.integration.behind_proxy import (
    EXPERIMENTS,
    FAILED,
    N_FEW,
    RUNS_EACH,
    WEIGHTS,
    Bucket,
    Fault,
    Site,
    make_run_id,
    serve_sweep,
)

pytestmark = pytest.mark.integration

FSSPEC: dict[str, Any] = {"engine": "fsspec"}
OBSTORE: dict[str, Any] = {"engine": "obstore"}

N_RUNS = RUNS_EACH * len(EXPERIMENTS)
CONFIG = "artifacts/.hydra/config.yaml"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serve_sweep() as bucket:
        yield bucket


@pytest.fixture
def site(bucket: Bucket) -> Iterator[Site]:
    with bucket.behind() as site:
        yield site


@pytest.fixture(params=[FSSPEC, OBSTORE], ids=["fsspec", "obstore"])
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The storage option that chooses the client."""
    engine: dict[str, Any] = request.param
    return engine


def load_with_run(
    site: Site, engine: dict[str, Any], index: Any = None, **kwargs: Any
) -> RunCollection[Any]:
    options = site.options | engine
    return Run.load(iter_run_dirs(site.url, storage_options=options, **kwargs), index=index)


def load_with_dataset(site: Site, engine: dict[str, Any], **kwargs: Any) -> RunCollection[Any]:
    return HydraflowRunCollectionDataset(
        path=site.url, credentials=site.options, fs_args=engine, **kwargs
    ).load()


def get_paths(site: Site) -> Counter[str]:
    """Return how often each file was read, by its path below the tracking directory."""
    root = "/team/mlruns/"
    return Counter(
        request.target.removeprefix(root).partition("?")[0]
        for request in site.proxy.requests()
        if request.kind == "GET"
    )


def list_paths(
    name: str,
    experiments: tuple[str, ...] = tuple(EXPERIMENTS),
    numbers: Iterable[int] = range(RUNS_EACH),
) -> Counter[str]:
    """Return a file of each run, once."""
    return Counter(
        f"{experiment}/{make_run_id(experiment, number)}/{name}"
        for experiment in experiments
        for number in numbers
    )


EXPERIMENT_METAS = Counter(f"{experiment}/meta.yaml" for experiment in EXPERIMENTS)


@pytest.mark.parametrize("load", [load_with_run, load_with_dataset])
@pytest.mark.parametrize("engine", [{}, FSSPEC, OBSTORE], ids=["default", "fsspec", "obstore"])
def test_five_lists_and_one_get_for_each_config(site, engine, load):
    runs = load(site, engine)

    assert len(runs) == N_RUNS
    assert site.proxy.counts() == {"LIST": 5, "GET": N_RUNS + 2}
    assert get_paths(site) == list_paths(CONFIG) + EXPERIMENT_METAS


@pytest.mark.parametrize("load", [load_with_run, load_with_dataset])
def test_the_engine_makes_all_requests(site, load):
    load(site, OBSTORE, experiment_names="train_small")
    agents = {request.agent.lower() for request in site.proxy.requests()}
    assert len(agents) == 1
    assert not any("boto" in agent for agent in agents)

    site.proxy.reset()
    load(site, FSSPEC, experiment_names="train_small")
    assert all("boto" in request.agent.lower() for request in site.proxy.requests())


def test_each_load_lists_anew(site, engine):
    for _ in range(2):
        site.proxy.reset()
        dirs = iter_run_dirs(site.few_url, storage_options=site.options | engine)
        assert len(Run.load(dirs)) == N_FEW
        assert site.proxy.counts() == {"LIST": 2, "GET": N_FEW + 1}


def test_an_experiment_filter_reads_nothing_of_the_others(site, engine):
    runs = load_with_run(site, engine, experiment_names="train_l*")

    assert len(runs) == RUNS_EACH
    assert site.proxy.counts() == {"LIST": 3, "GET": RUNS_EACH + 2}
    assert get_paths(site) == list_paths(CONFIG, ("202",)) + EXPERIMENT_METAS
    listings = [r.target for r in site.proxy.requests() if r.kind == "LIST"]
    assert not any("101" in target for target in listings)


def test_leaving_out_deleted_runs_reads_each_meta_once(site, engine):
    runs = load_with_dataset(site, engine, include_deleted=False)

    assert len(runs) == N_RUNS
    assert site.proxy.counts() == {"LIST": 5, "GET": 2 * N_RUNS + 2}
    assert get_paths(site) == list_paths(CONFIG) + list_paths("meta.yaml") + EXPERIMENT_METAS


def test_a_filter_by_status_reads_each_meta_once(site, engine):
    runs = load_with_dataset(site, engine, filters=["status == FAILED"])

    assert len(runs) == FAILED * len(EXPERIMENTS)
    configs = list_paths(CONFIG, numbers=range(FAILED))
    paths = configs + list_paths("meta.yaml") + EXPERIMENT_METAS
    assert get_paths(site) == paths
    assert site.proxy.counts() == {"LIST": 5, "GET": paths.total()}


def test_filters_by_names_and_ids_read_nothing_for_them(site, engine):
    run_ids = [make_run_id("101", number) for number in range(3)]
    for filters, n_runs in (
        (f"run_id in [{', '.join(run_ids)}]", 3),
        (f"job_name == train_small and experiment_id == 101 and run_id < {run_ids[2]}", 2),
    ):
        site.proxy.reset()
        assert len(load_with_run(site, engine, filters=filters)) == n_runs
        configs = list_paths(CONFIG, ("101",), range(n_runs))
        assert get_paths(site) == configs + EXPERIMENT_METAS
        n_lists = 3 if "job_name" in filters else 5
        assert site.proxy.counts() == {"LIST": n_lists, "GET": n_runs + 2}


def test_each_condition_reads_only_of_what_the_cheaper_ones_left(site, engine):
    # In the order in which they are asked: job_name, status, metrics.accuracy, seed.
    filters = (
        "seed != 50 and metrics.accuracy < 0.06 and status == FAILED and job_name == train_small"
    )
    runs = load_with_run(site, engine, filters=filters)

    assert runs.to_list("seed") == [number for number in range(60) if number != 50]
    small = ("101",)
    paths = list_paths("meta.yaml", small) + list_paths("metrics/accuracy", small, range(FAILED))
    paths += list_paths(CONFIG, small, range(60))
    assert get_paths(site) == paths + EXPERIMENT_METAS
    assert site.proxy.counts() == {"LIST": 3, "GET": paths.total() + 2}


def test_a_configuration_that_facts_rule_out_is_no_failure(bucket, engine):
    bad = Fault(status=403, match=f"{make_run_id('101', FAILED)}/{CONFIG}")
    with bucket.behind(0.0, bad) as site:
        options = {"filters": "status == FAILED", "experiment_names": "train_small"}
        assert len(load_with_run(site, engine, **options)) == FAILED
        with pytest.raises(RunLoadError, match=r"1 of 1000 runs .*\(100 others were ruled out by"):
            load_with_run(site, engine, **{**options, "filters": "status == FINISHED"})


@pytest.mark.parametrize("load", [load_with_run, load_with_dataset])
def test_what_the_index_knows_takes_the_lists_alone(site, engine, load, tmp_path: Path):
    runs = load(site, engine, index=tmp_path)

    assert len(runs) == N_RUNS
    assert site.proxy.counts() == {"LIST": 5, "GET": 2 * N_RUNS + 2}
    assert get_paths(site) == list_paths(CONFIG) + list_paths("meta.yaml") + EXPERIMENT_METAS

    site.proxy.reset()
    known = load(site, engine, index=tmp_path)

    assert known.to_list("seed") == runs.to_list("seed")
    assert known.to_list("status") == runs.to_list("status")
    assert site.proxy.counts() == {"LIST": 5}


def test_filters_by_facts_of_known_runs_take_the_lists_alone(site, engine, tmp_path: Path):
    load_with_run(site, engine, index=tmp_path)
    for kwargs in ({}, {"include_deleted": False}):
        site.proxy.reset()
        runs = load_with_dataset(
            site, engine, index=tmp_path, filters=["status == FINISHED"], **kwargs
        )
        assert len(runs) == N_RUNS - FAILED * len(EXPERIMENTS)
        assert site.proxy.counts() == {"LIST": 5}


def test_a_metric_is_read_without_listing(site, engine):
    runs = load_with_run(site, engine, experiment_names="train_small")
    site.proxy.reset()

    frame = runs.to_frame("run_id", "metrics.accuracy")

    assert frame["metrics.accuracy"].to_list() == [n / RUNS_EACH for n in range(RUNS_EACH)]
    assert site.proxy.counts() == {"GET": RUNS_EACH}
    assert get_paths(site) == list_paths("metrics/accuracy", ("101",))


def test_as_many_requests_are_in_flight_as_connections(bucket, engine):
    # So slow that the client has the time to send as many as it wants, on any machine.
    with bucket.behind(latency=0.3) as site:
        load_with_run(site, engine, experiment_names="train_small")
        assert 32 <= site.proxy.max_in_flight() <= 64
        assert 32 <= site.proxy.max_connections() <= 64


def test_a_pool_size_given_by_the_user_wins(site):
    site.options["config_kwargs"] = {"max_pool_connections": 7}

    runs = load_with_run(site, FSSPEC, experiment_names="train_small")

    assert len(runs) == RUNS_EACH
    assert site.proxy.max_connections() <= 7
    assert site.options["config_kwargs"] == {"max_pool_connections": 7}


def test_an_artifact_is_fetched_once(site, engine, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("KEDRO_HYDRAFLOW_CACHE_DIR", str(tmp_path))
    run = Run(site.run_url(0), storage_options=site.options | engine)
    path = run.path("weights.npz")
    assert np.array_equal(np.load(path)["w"], WEIGHTS)
    assert site.proxy.counts() == {"LIST": 1, "GET": 1}

    site.proxy.reset()
    assert np.array_equal(np.load(path)["w"], WEIGHTS)
    assert np.array_equal(np.load(run.path("weights.npz"))["w"], WEIGHTS)
    assert site.proxy.counts() == {}


@pytest.mark.parametrize("location", ["mlruns/.kedro-hydraflow", "index"])
def test_a_shared_index_takes_the_place_of_all_other_reads(site, engine, location):
    index = f"{site.url.removesuffix('mlruns')}{location}/{engine['engine']}"
    options = site.options | engine
    expected = load_with_run(site, engine, filters="status == FAILED")

    done = publish_index(site.url, index=index, storage_options=options)

    assert (done.n_published, done.n_failed) == (N_RUNS, 0)
    site.proxy.reset()
    runs = load_with_run(site, engine, index)
    frame = runs.to_frame("run_id", "seed", "status", "metrics.accuracy")
    # Two experiments of more runs than a page, the index, and whether there is a "Default".
    assert site.proxy.counts() == {"LIST": 6, "GET": 1}
    assert frame.height == N_RUNS
    failed = frame.filter(pl.col("status") == "FAILED")
    assert failed.equals(expected.to_frame("run_id", "seed", "status", "metrics.accuracy"))
    site.proxy.reset()
    assert publish_index(site.url, index=index, storage_options=options).n_known == N_RUNS
    assert site.proxy.counts() == {"LIST": 6, "GET": 1 + len(EXPERIMENTS)}


def test_a_preview_with_a_shared_index_reads_it_instead_of_the_runs(site, engine):
    index = f"{site.url.removesuffix('mlruns')}of-previews/{engine['engine']}"
    options: dict[str, Any] = {"path": site.url, "credentials": site.options, "fs_args": engine}
    options["columns"] = ["run_id", "seed", "status", "metrics.accuracy"]
    expected = HydraflowFrameDataset(**options).preview()
    paths = sum((list_paths(n, ("202",), range(5)) for n in FILES_OF_COLUMNS), EXPERIMENT_METAS)
    assert get_paths(site) == paths
    assert site.proxy.counts() == {"LIST": 3, "GET": paths.total()}
    publish_index(site.url, index=index, storage_options=site.options | engine)
    site.proxy.reset()

    assert HydraflowFrameDataset(**options, index=index).preview() == expected

    assert site.proxy.counts() == {"LIST": 4, "GET": 1}


FILES_OF_COLUMNS = (CONFIG, "meta.yaml", "metrics/accuracy")


def test_what_is_published_has_no_credentials(bucket, engine):
    with bucket.behind() as site:
        index = f"{site.few_url.removesuffix('few')}secret-{engine['engine']}"
        options = site.options | engine
        publish_index(site.few_url, index=index, storage_options=options)
        fs = fsspec.filesystem("s3", **bucket.server.options)
        (part,) = fs.ls(index.removeprefix("s3://"), detail=False)
        written = part.encode() + fs.cat_file(part) + str(pl.read_parquet(fs.open(part))).encode()
    for name in ("key", "secret"):
        assert bucket.server.options[name].encode() not in written
