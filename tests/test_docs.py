"""The examples in the documents and in the modules are run: numbers in, numbers out."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs").glob("*.md") if ">>> " in path.read_text())
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "operators").rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_are_as_they_say(page):
    found = doctest.testfile(str(page), module_relative=False, optionflags=doctest.FAIL_FAST)
    assert found.failed == 0
    assert found.attempted > 5


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_as_they_say(module):
    assert doctest.testmod(import_module(module)).failed == 0
