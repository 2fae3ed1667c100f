"""Kedro's settings of the demo."""

import warnings

# kedro-telemetry calls home, and kedro-mlflow stops at a file store, where installed.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro_mlflow")

# Kedro calls what OmegaConf has deprecated, once for each of its resolvers.
warnings.filterwarnings("ignore", r"register_new_resolver\(\) is deprecated", UserWarning)
