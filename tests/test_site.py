"""The documentation site: its navigation, its links and ``llms.txt``, without MkDocs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
SITE = "https://kedro-hydraflow.github.io/kedro-hydraflow/"
REPOSITORY = "https://github.com/kedro-hydraflow/kedro-hydraflow/"


def read_config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    return config


def load_hook() -> Any:
    """Import the module that MkDocs imports by its path."""
    spec = importlib.util.spec_from_file_location("llms_txt", DOCS / "hooks/llms_txt.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_in_the_navigation_once() -> None:
    listed = [
        page for _, pages in load_hook().iter_sections(read_config()["nav"]) for page in pages
    ]
    assert sorted(listed) == PAGES


def test_nothing_is_fetched_from_other_hosts() -> None:
    config = read_config()
    assert config["theme"]["font"] is False
    assert not any("://" in str(path) for path in config["extra_css"])
    assert not {"extra_javascript", "extra"} & {*config}


def test_the_readme_has_absolute_links_alone() -> None:
    """It is the page on PyPI, too, which knows no files beside it."""
    readme = (ROOT / "README.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)]+)\)", re.sub(r"^```.*?^```$", "", readme, flags=re.M | re.S))
    assert len(links) > 15
    assert [link for link in links if not link.startswith("https://")] == []


# llms.txt ----------------------------------------------------------------------------------


def test_llms_txt(tmp_path: Path) -> None:
    for name, text in {
        "index.md": "# a package\n\n![A picture](a.png)\n\nIt [reads](b.md) all `runs`. More.\n",
        "b.md": "<!-- note -->\n# B\n\n*A caption.*\n\n| a | b |\n\nWhat b is,\nand why:\n\n- x\n",
        "api/c.md": "# C\n\nOne sentence.\n\n::: kedro_hydraflow.C\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    config = {
        "site_name": "a package",
        "site_description": "What it is.\n",
        "site_url": SITE,
        "site_dir": str(tmp_path),
        "docs_dir": str(tmp_path),
        "nav": [{"Home": "index.md"}, {"More": ["b.md", {"API": ["api/c.md"]}]}],
    }
    load_hook().on_post_build(config)
    assert (
        (tmp_path / "llms.txt").read_text("utf-8")
        == f"""\
# a package

> What it is.

## Home

- [a package]({SITE}): It reads all `runs`.

## More

- [B]({SITE}b/): What b is, and why.
- [C]({SITE}api/c/): One sentence.
"""
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_page_begins_with_a_title_and_a_sentence_about_it(page: str) -> None:
    title, sentence = load_hook().read_summary((DOCS / page).read_text("utf-8"))
    assert re.fullmatch(r"[^#\n]{3,80}", title)
    assert re.fullmatch(r"[\w`].{15,200}\.", sentence)


# Links ---------------------------------------------------------------------------------------


def find_links(pattern: str) -> set[str]:
    sources = [*DOCS.rglob("*.md"), *(ROOT / "src").rglob("*.py"), *ROOT.glob("*.md")]
    texts = [path.read_text("utf-8") for path in sources]
    return {link for text in texts for link in re.findall(pattern, text)}


def get_anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as MkDocs names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", h).strip().lower()) for h in headings}


def test_links_to_the_site_lead_somewhere() -> None:
    """MkDocs checks links between pages, but not those in docstrings, the README and messages."""
    links = find_links(re.escape(SITE) + r"([\w./-]*(?:#[\w.-]+)?)")
    assert "filters/" in {link.rstrip(".") for link in links}
    for link in links:
        path, _, anchor = link.rstrip(".").partition("#")
        page = DOCS / f"{path.rstrip('/')}.md"
        assert path in ("", "llms.txt", "catalog.schema.json") or page.is_file(), link
        assert not anchor or anchor in get_anchors(page), link


def test_links_to_the_repository_lead_somewhere() -> None:
    links = find_links(re.escape(REPOSITORY) + r"(?:blob|tree)/main/([\w./-]+)")
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
