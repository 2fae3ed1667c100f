"""Mutants that no user could notice, by name, with the reason."""

EQUIVALENT: dict[str, str] = {}
