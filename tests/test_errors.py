from __future__ import annotations

import builtins
import inspect
import pickle

import pytest

from kedro_hydraflow import errors
from kedro_hydraflow.errors import Failure, KedroHydraflowError, RunLoadError, describe

ALL = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, KedroHydraflowError) and error is not KedroHydraflowError
]


@pytest.mark.parametrize("error", ALL)
def test_errors_have_a_builtin_base_and_pickle(error: type[KedroHydraflowError]) -> None:
    bases = {base.__name__ for base in error.__mro__} & set(dir(builtins))
    assert bases - {"object", "Exception", "BaseException"}
    raised = error("what is wrong")
    again = pickle.loads(pickle.dumps(raised))
    assert (type(again), str(again), describe(again)) == (error, "what is wrong", "what is wrong")


def test_run_load_error_keeps_its_failures() -> None:
    failure = Failure("a/b", ValueError("no"))
    again = pickle.loads(pickle.dumps(RunLoadError("1 of 2", [failure])))
    assert str(again) == "1 of 2"
    assert [str(f) for f in again.failures] == ["a/b: ValueError: no"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (OSError(13, "Permission denied", "/a/b"), "PermissionError: Permission denied"),
        (OSError("no"), "OSError: no"),
        (errors.StorageError("cannot read 'a/b': no"), "cannot read 'a/b': no"),
    ],
)
def test_description(error: Exception, text: str) -> None:
    assert describe(error) == text


def test_failure_names_its_path_once() -> None:
    assert str(Failure("a/b", errors.StorageError("cannot read 'a/b'"))) == "cannot read 'a/b'"
    assert str(Failure("a/b", errors.ConfigError("a list"))) == "a/b: a list"
