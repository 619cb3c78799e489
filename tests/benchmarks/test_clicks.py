"""The lines of the clicks job here and elsewhere are those that docs/benchmarks.md says."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "clicks"
PAGE = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
QUIET = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def of_python(text: str) -> int:
    """Count the lines that do something: no blank ones, comments or docstrings."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {
        line
        for token in tokens
        if token.type not in QUIET
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None:
                lines -= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return len(lines)


def lines(*paths: Path) -> int:
    """Count the lines of files that are neither blank nor comments."""
    total = 0
    for path in paths:
        text = path.read_text("utf-8")
        total += (
            of_python(text)
            if path.suffix == ".py"
            else sum(not re.match(r"\s*(#|--|$)", line) for line in text.splitlines())
        )
    return total


def row(name: str) -> list[str]:
    found = re.search(rf"^\| {name} \|(.*)\|$", PAGE, re.MULTILINE)
    assert found, f"no row '{name}' in the page"
    return [cell.strip() for cell in found[1].split("|")]


def test_docstrings_comments_and_blank_lines_are_no_lines():
    text = '"""Two\nlines."""\n\n# None.\ndef f():\n    """One."""\n    return """a\n\nb"""\n'
    assert of_python(text) == 4


def test_the_page_counts_the_lines_of_the_clicks_job():
    stream = ROOT / "flows" / "streams" / "clicks"
    here = [ROOT / "flows" / "clicks.py", *stream.rglob("*.py")]
    beside = [*stream.rglob("*.yaml"), *(ROOT / "schemas" / "click").iterdir()]
    # Two name the stream in the catalog.
    assert row("lines of Python or SQL") == [
        str(lines(*here) + 2),
        *(str(lines(PEERS / name)) for name in ("quix.py", "flink.sql", "spark.py")),
    ]
    assert row("schema, contract and rule beside it")[0] == str(lines(*beside))


@pytest.mark.parametrize("path", sorted(PEERS.iterdir()), ids=lambda path: path.name)
def test_each_peer_says_the_same_job(path):
    text = path.read_text("utf-8")
    assert "cost_minor" in text
    assert "> 2000" in text
    for said in ("campaign_5m", "costly_click", "clicks.dlq", "quarantine", "id_length"):
        assert said in text
