"""The commands of the terminal: ``kedro-hydraflow`` (`main`) and ``kedro hydraflow`` (`project`).

Kedro loads `project` whenever it starts, so the modules with commands import click alone, and the
others when a command runs.
"""
