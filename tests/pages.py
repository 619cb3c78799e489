"""README and the pages of docs/, and the blocks of code in them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text("utf-8")
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
}
README = PAGES["README.md"]

Place = tuple[str, str, str]
"""A page, a heading of it, and a language."""

_PARTS = re.compile(
    r"^#+ (?P<heading>[^\n]+)$|^```(?P<kind>\w+)\n(?P<text>.*?)^```", re.M | re.S
)


def _found() -> dict[Place, list[str]]:
    found: dict[Place, list[str]] = {}
    for page, text in PAGES.items():
        heading = ""
        for part in _PARTS.finditer(text):
            if part["heading"]:
                heading = part["heading"]
            else:
                found.setdefault((page, heading, part["kind"]), []).append(part["text"])
    return found


BLOCKS = _found()
"""All blocks of code, by where they are."""


def blocks(page: str, heading: str, language: str) -> list[str]:
    """Return the blocks in a language under a heading of a page, for a test that tries them.

    It is to give each of them a name, and to use that; `tried` tells who does.
    """
    return BLOCKS[page, heading, language]


def tried() -> Iterator[Place]:
    """Yield the places whose blocks a test takes, each by a name that it uses."""
    for file in (ROOT / "tests").rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        used = {
            node.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                yield from _taken(node.targets[0], node.value, used)


def _taken(target: ast.expr, value: ast.expr, used: set[str]) -> Iterator[Place]:
    """Yield the places of what an assignment takes wholly, of one call or of several."""
    if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=True):
            yield from _taken(one, its, used)
    if not isinstance(value, ast.Call) or ast.unparse(value.func) != "blocks":
        return
    assert isinstance(target, ast.Tuple), f"{ast.unparse(value)} is not taken apart"
    names = [each.id if isinstance(each, ast.Name) else "" for each in target.elts]
    lost = [each for each in names if each not in used]
    assert not lost, f"{ast.unparse(value)} is taken by names that nothing uses"
    page, heading, language = (ast.literal_eval(each) for each in value.args)
    yield page, heading, language
