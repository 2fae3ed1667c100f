from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blocks import Block
from tests.follow import PageError, Reader, follow

PAGE = """\
# Start

```sh
mkdir project && cd project
export NAME=value
```

1. In a list:

   ```console
   $ echo "$NAME"
   value
   $ basename "$PWD"
   project
   ```

<!-- not run: it needs a server -->
```sh
false
```

<!-- not run: it installs packages -->
```sh
touch installed # as pip install does
```

```yaml
a: 1
```

```yaml
# conf/base/globals.yml
b: 2
```

```yaml
c: 3
```

```python
# src/module.py
text = "written"
```

```python
import os
with open("src/module.py") as file:
    exec(file.read())
```

```python
print("before", text, "after", os.environ["NAME"], sep="\\n")
```

```
written
… value
```

```text
to read
```
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    programs = os.path.dirname(sys.executable)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(tmp_path, {**os.environ, "PATH": path})
    yield reader
    reader.close()


def test_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    programs = os.path.dirname(sys.executable)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    follow(page, tmp_path, {**os.environ, "PATH": path})
    written = tmp_path / "project"
    assert (written / "conf/base/catalog.yml").read_text() == "a: 1\nc: 3\n"
    assert (written / "conf/base/globals.yml").read_text() == "# conf/base/globals.yml\nb: 2\n"
    assert (written / "installed").exists()
    assert f"{page}:18: sh is not run: it needs a server\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("language", "code", "message"),
    [
        ("sh", "echo before; exit 3; echo after\n", "exit code 3:\nbefore\n"),
        ("sh", "false | cat\n", "exit code 1"),
        ("console", "$ echo a\nb\n", "expected of echo a:\nb\n\nfound:\na\n"),
        ("python", "print('before')\nraise ValueError('wrong')\n", "before\nTraceback"),
        ("python", "import sys\nsys.exit(0)\n", ""),
    ],
)
def test_what_fails(reader: Reader, language: str, code: str, message: str) -> None:
    with pytest.raises(PageError) as caught:
        reader.follow(Block(language, code, 1))
    assert message in str(caught.value)


def test_the_variables_of_a_block_hold_for_python_too(reader: Reader) -> None:
    reader.follow(Block("sh", "export PLACE='a b'\n", 1))
    reader.follow(Block("python", "import os\nassert os.environ['PLACE'] == 'a b'\n", 4))


@pytest.mark.parametrize("language", ["sh", "python"])
def test_what_is_not_shown(reader: Reader, language: str) -> None:
    code = {"sh": "echo a; echo b\n", "python": "print('a')\nprint('b')\n"}[language]
    reader.follow(Block(language, code, 1, output="a\n…\nb\n"))
    for output in ("c\n", "b\na\n"):
        with pytest.raises(PageError, match="expected the line"):
            reader.follow(Block(language, code, 1, output=output))
