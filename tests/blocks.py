"""The blocks of code on the pages of the documentation."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

RUN = ("python", "yaml", "console", "sh")
"""The languages of blocks that are run. Without a language, a block shows output."""

SHOWN = ("json", "text", "toml")
"""The languages of blocks that show files and other text."""

LOCAL = ("file:", "memory:", "sqlite:", "http://127.0.0.1")
"""The beginnings of URLs that need no server."""

TRACKING_SERVER = "https://mlflow.example"
SERVED = ("s3://", TRACKING_SERVER)
"""The beginnings of URLs for which ``make integration`` has a server."""


@dataclass(frozen=True)
class Block:
    """A block of code, and what it shows if that follows at once."""

    language: str
    code: str
    line: int
    reason: str | None = None
    """Why it is not run: ``<!-- not run: REASON -->`` before it."""
    output: str | None = None

    @property
    def file(self) -> str | None:
        """The file that a comment in the first line names."""
        found = re.match(r"# ([\w./-]+\.(?:py|ya?ml|toml))\b", self.code)
        return found[1] if found else None

    @property
    def urls(self) -> set[str]:
        """The URLs in the code, comments apart, that are not of this machine."""
        texts = _find_texts(self.language, self.code)
        found = {url for text in texts for url in re.findall(r"[a-z][\w+.-]*://[\w.-]*", text)}
        return {url for url in found if not url.startswith(LOCAL)}

    @property
    def is_served(self) -> bool:
        """Whether ``make integration`` has the servers that it needs, if it needs any."""
        return all(url.startswith(SERVED) for url in self.urls)


def read_blocks(text: str) -> list[Block]:
    """Return the blocks of a page, in their order."""
    blocks: list[Block] = []
    end = 0
    for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        before = text[end : found.start()]
        language, code = found[2], textwrap.dedent(found[3])
        if not language and blocks and not before.strip() and blocks[-1].language in RUN:
            blocks[-1] = Block(**{**vars(blocks[-1]), "output": code})
        else:
            comment = re.search(r"<!-- not run: ([^>]+) -->\s*\Z", before)
            line = text.count("\n", 0, found.start()) + 1
            blocks.append(Block(language, code, line, comment[1] if comment else None))
        end = found.end()
    return blocks


def _find_texts(language: str, code: str) -> Iterator[str]:
    if language == "python":
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    elif language == "yaml":
        yield from iter_yaml_texts(yaml.safe_load(code))
    else:
        yield from (re.sub(r"(^|\s)#.*", "", line) for line in code.splitlines())


def iter_yaml_texts(value: Any) -> Iterator[str]:
    """Yield all texts in the content of a YAML file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from iter_yaml_texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from iter_yaml_texts(item)
