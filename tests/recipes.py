"""Reading the recipes of docs/recipes.md."""

from __future__ import annotations

import re

from tests.blocks import Block, read_blocks
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "recipes.md"


def read_sections() -> list[str]:
    """Return the text before the first section, and those of the sections, with their titles."""
    return re.split("^###? ", PAGE.read_text("utf-8"), flags=re.MULTILINE)


def find_inline_code(title: str) -> list[str]:
    """Return the calls in the text of a recipe, between its blocks."""
    (text,) = [section for section in read_sections() if section.startswith(f"{title}\n")]
    text = re.sub("^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    calls = re.findall(r"`((?:jobs|list|runs|sweep)\b[^`]*\))`", text)
    return [call for call in calls if "..." not in call]


def read_recipes() -> tuple[Block, dict[str, list[Block]]]:
    """Return the block that all recipes begin with, and the blocks of each by its title."""
    beginning, *sections = read_sections()
    blocks = {section.split("\n", 1)[0]: read_blocks(section) for section in sections}
    (preamble,) = read_blocks(beginning)
    return preamble, {title: found for title, found in blocks.items() if found}


PREAMBLE, RECIPES = read_recipes()
