"""Write ``llms.txt`` (https://llmstxt.org) beside the pages of the site.

The sections are those of ``nav``. A page is listed with its title and its first sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def on_post_build(config: Mapping[str, Any]) -> None:
    """Write the file; MkDocs calls this after it has built the site."""
    path = Path(config["site_dir"], "llms.txt")
    path.write_text(make_llms_txt(config, Path(config["docs_dir"])), encoding="utf-8")


def make_llms_txt(config: Mapping[str, Any], docs_dir: Path) -> str:
    """Return the text of ``llms.txt``.

    Args:
        config: The content of ``mkdocs.yml``.
        docs_dir: The directory with the pages.
    """
    lines = [f"# {config['site_name']}", "", f"> {config['site_description'].strip()}"]
    for section, pages in iter_sections(config["nav"]):
        lines += ["", f"## {section}", ""]
        for page in pages:
            title, sentence = read_summary((docs_dir / page).read_text("utf-8"))
            url = config["site_url"] + re.sub(r"(index)?\.md$", "", page).rstrip("/")
            lines.append(f"- [{title}]({url.rstrip('/')}/): {sentence}")
    return "\n".join(lines) + "\n"


def iter_sections(nav: Sequence[Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield the title of each section of ``nav`` and the paths of its pages."""
    for entry in nav:
        title, content = next(iter(entry.items()))
        yield title, list(iter_pages(content))


def iter_pages(content: Any) -> Iterator[str]:
    """Yield the paths of the pages in a part of ``nav``, those in subsections included."""
    if isinstance(content, str):
        yield content
    else:
        for item in content.values() if isinstance(content, Mapping) else content:
            yield from iter_pages(item)


def read_summary(markdown: str) -> tuple[str, str]:
    """Return the title of a page and the first sentence of its text, without markup."""
    title, _, text = re.sub("<!--.*?-->", "", markdown, flags=re.DOTALL).strip().partition("\n")
    paragraph = next(p for p in text.strip().split("\n\n") if re.match(r"[\w`\[]", p))
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
    sentence = re.split(r"(?<=[.!?])\s", plain)[0]
    return title.removeprefix("# "), re.sub(":$", ".", sentence)
