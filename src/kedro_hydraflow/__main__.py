"""``python -m kedro_hydraflow`` is the command ``kedro-hydraflow``."""

from kedro_hydraflow.cli.main import main

if __name__ == "__main__":
    main(prog_name="kedro-hydraflow")
