"""A mistake in the code of a page is noticed when the page is run."""

from __future__ import annotations

import pytest

from tests.blocks import read_blocks
from tests.pages import PageRunner
from tests.test_docs import workspace
from tests.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver:UserWarning")

__all__ = ["workspace"]  # a fixture

LS = "kedro-hydraflow ls mlruns --limit 1 --columns seed --csv"
ENTRY = """\
```yaml
runs:
  type: kedro_hydraflow.HydraflowRunCollectionDataset
  path: {}
```
"""


def run_page(text: str, workspace: Workspace) -> None:
    runner = PageRunner(workspace)
    for block in read_blocks(text):
        runner.run(block)
    runner.finish()


GOOD = {
    "names": "```python\na = 1\n```\nand\n```python\nprint(a)\n```\n\n```\n1\n```\n",
    "catalog": ENTRY.format("mlruns") + '```python\nlen(catalog.load("runs"))\n```\n```\n31\n```\n',
    "bucket": ENTRY.format("s3://team/mlruns") + '```python\nlen("s3://a" + unknown)\n```\n',
    "part of an entry": "```yaml\nfilters: seed > 1\n```\n",
    "files": "```yaml\n# conf/base/globals.yml\nroot: mlruns\n```\n"
    + ENTRY.format("${globals:root}"),
    "environments": (
        "```yaml\n# conf/base/globals.yml\nroot: mlruns\n```\n"
        "```yaml\n# conf/s3/globals.yml\nroot: s3://team/mlruns\n```\n"
        + ENTRY.format("${globals:root}")
    ),
    "terminal": f"```console\n$ {LS}\nseed\n7\nthe first 1 run; there may be more\n```\n",
    "shell": "```sh\npip install 'kedro-hydraflow[s3]'\nmake demo\necho b\n```\n```\nb\n```\n",
    "not run": "<!-- not run: it is wrong -->\n```python\nunknown\n```\n",
}

BAD = {
    "unknown name": ("```python\nunknown\n```\n", "unknown"),
    "other output": ("```python\n1 + 1\n```\n```\n3\n```\n", "'2'"),
    "unknown option": (ENTRY.format("mlruns\n  filter: seed > 1"), "filter"),
    "bad option of a bucket": (ENTRY.format("s3://team/mlruns\n  n_jobs: two"), "n_jobs"),
    "no such directory": (ENTRY.format("mlrun"), "there is no mlrun"),
    "unknown key": ("```yaml\nfilters: sed > 1\n```\n", "similar keys: 'seed'"),
    "other table": (
        f"```console\n$ {LS}\nseed\n43\n```\n",
        "43",
    ),
    "no such flag": (
        "```console\n$ kedro-hydraflow ls s3://team/mlruns --limits 1\n```\n",
        "--limits",
    ),
    "no such command": ("```sh\nkedro hydraflow list s3://team/mlruns\n```\n", "list"),
    "no such extra": ("```sh\npip install 'kedro-hydraflow[s4]'\n```\n", "s4"),
    "no such target": ("```sh\nmake tea\n```\n", "make tea"),
    "a command that fails": ("```sh\nls nowhere\n```\n", "nowhere"),
    "other output of commands": ("```sh\necho one\n```\n```\ntwo\n```\n", "'two' is not in"),
    "broken file": ("```json\n{\n```\n", "Expecting"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_page_is_run(name: str, workspace: Workspace) -> None:
    run_page(GOOD[name], workspace)


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_an_error(name: str, workspace: Workspace) -> None:
    text, message = BAD[name]
    with pytest.raises(Exception, match=message):
        run_page(text, workspace)


def test_blocks_have_reasons_outputs_and_lines() -> None:
    text = "# A\n\n<!-- not run: needs\na server -->\n```python\n1\n```\n\n```\n2\n```\n"
    text += "\n- x:\n\n  ```sh\n  b\n  ```\n"
    python, shell = read_blocks(text)
    assert (python.reason, python.output, python.line) == ("needs\na server", "2\n", 5)
    assert (shell.code, shell.reason, shell.line) == ("b\n", None, 15)
