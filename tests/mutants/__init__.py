"""Changing the code in small ways, to see whether the tests notice: mutation testing."""
