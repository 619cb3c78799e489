"""Pages of HTML that need nothing else: no script, no network."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b2430; --quiet: #5d6b7c; --page: #f6f7f9;
  --card: #fff; --rule: #e2e6eb; --these: #2463c7; --wrong: #d9702b; --live: #3b4654; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --quiet: #9aa7b6; --page: #12161c;
  --card: #1a2028; --rule: #2b333e; --these: #7aa7ff; --wrong: #f0955a; --live: #cfd6df; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 60rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.1rem; margin: 0 0 .75rem; }
p { margin: .25rem 0; color: var(--quiet); overflow-wrap: anywhere; }
section { margin-top: 1.25rem; padding: 1.25rem; background: var(--card);
  border: 1px solid var(--rule); border-radius: .75rem; overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: 1rem; }
.tiles b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--quiet); font-size: .85rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { color: var(--quiet); font-weight: 500; font-size: .85rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr:last-child td { border-bottom: 0; }
svg { display: block; width: 100%; height: auto; font-size: 12px; }
svg text { fill: var(--quiet); } .grid { stroke: var(--rule); }
.line { fill: none; stroke-width: 2; } .line.live { stroke-dasharray: 5 4; }
.line.these { stroke: var(--these); } .line.wrong { stroke: var(--wrong); }
.line.live { stroke: var(--live); }
rect.these, circle.these { fill: var(--these); } rect.wrong { fill: var(--wrong); }
rect.live { fill: var(--live); }
.key { display: flex; flex-wrap: wrap; gap: 1.25rem; margin: .5rem 0 0; font-size: .85rem;
  color: var(--quiet); }
.key i { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem;
  margin-right: .4rem; }
"""


@dataclass(frozen=True)
class Grid:
    """A table of texts: what each column is called, and rows of as many."""

    columns: list[str]
    rows: list[list[str]]


def document(title: str, told: Iterable[str], sections: Iterable[str]) -> str:
    """Return a page: its title, what is told below it, and what `section` returned."""
    lines = "".join(f"<p>{escape(line)}</p>" for line in told)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{lines}{''.join(sections)}</body></html>\n"
    )


def section(title: str, content: str) -> str:
    """Return a section; `content` is HTML."""
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f"<section>{heading}{content}</section>"


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Return figures, large, each a name and a text."""
    told = (
        f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for name, value in figures
    )
    return f'<div class="tiles">{"".join(told)}</div>'


def table(grid: Grid) -> str:
    """Return a table."""

    def row(tag: str, cells: list[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(row("td", cells) for cells in grid.rows)
    return f"<table><thead>{row('th', grid.columns)}</thead><tbody>{body}</tbody></table>"


def key(*entries: tuple[str, str]) -> str:
    """Return what the colours of a picture mean, each a colour of the page and a text."""
    told = (
        f'<span><i style="background: var(--{colour})"></i>{escape(name)}</span>'
        for colour, name in entries
    )
    return f'<div class="key">{"".join(told)}</div>'
