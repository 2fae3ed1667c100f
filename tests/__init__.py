import pytest

pytest.register_assert_rewrite("tests.pages", "tests.workspace")  # which assert for tests
