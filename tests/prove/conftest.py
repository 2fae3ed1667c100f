"""None of these modules has tests, and some import packages that only the integration tests have."""

collect_ignore_glob = ["*.py"]
