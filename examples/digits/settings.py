"""Kedro's settings of the demo."""

# kedro-telemetry calls home, and kedro-mlflow stops at a file store, where installed.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro_mlflow")
