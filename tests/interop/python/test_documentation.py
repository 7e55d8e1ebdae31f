"""The first call on each language's page is a part of the program that its suite runs."""

import re
from pathlib import Path

import gallery_table
import pytest

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "token-server" / "docs" / "languages"


def lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


@pytest.mark.parametrize("page", ["browser"])
def test_the_first_call_of_the_page_is_in_the_program(page):
    first_call, program = re.split(r"The complete (?:program|page) is\s", (PAGES / f"{page}.md").read_text(), maxsplit=1)
    path = re.match(r"`([^`]+)`", program)[1]
    blocks = re.findall(r"```\w+\n(.*?)```", first_call, re.DOTALL)
    assert blocks
    for block in blocks:
        assert lines(block) in lines((ROOT / path).read_text())


def test_the_table_of_forgeries_is_what_the_suites_have_on_record():
    assert gallery_table.table() in gallery_table.PAGE.read_text()
