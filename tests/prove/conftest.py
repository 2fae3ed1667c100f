"""These modules have no tests, and import packages that only the integration tests have."""

collect_ignore_glob = ["*.py"]
