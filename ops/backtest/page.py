"""A backtest's report as one page of HTML that needs nothing else: no script, no network."""

from html import escape
from pathlib import Path
from typing import Final

from ops.backtest import pictures, words
from ops.backtest.report import Report
from ops.backtest.words import Grid

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
.key { display: flex; flex-wrap: wrap; gap: 1.25rem; margin: .5rem 0 0; font-size: .85rem;
  color: var(--quiet); }
.key i { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem;
  margin-right: .4rem; }
"""


def write_page(path: Path, report: Report) -> None:
    """Write the page; raises OSError."""
    path.write_text(page(report), "utf-8")


def page(report: Report) -> str:
    """Return the page."""
    title = f"Rules on {report.about['stream']}, {report.about['from']} to {report.about['to']}"
    told = "".join(
        f"<p>{escape(line)}</p>" for line in [*words.summary(report), *words.failures(report)]
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{told}{''.join(_sections(report))}</body></html>\n"
    )


def _sections(report: Report) -> list[str]:
    live = report.live is not None
    found = [
        _section("", _tiles(report)),
        _section("What is found", _table(words.found(report))),
    ]
    these, others = ("these", "these rules"), ("live", "live rules")
    drawn = report.pictures
    if drawn is not None:
        found.append(_section("What it is worth", _table(words.worth(report))))
        if live:
            name = "What changes against the live rules"
            found.append(_section(name, _table(words.changes(report))))
        picture = pictures.precision_recall(drawn)
        key = _key(these, *([others] if live else []))
        found.append(_section("Precision by recall", picture + key))
    picture = pictures.alerts_by_day(report.days, report.labelled, live)
    bars = [("these", "on frauds"), ("wrong", "on others")] if report.labelled else [these]
    key = _key(*bars, *([others] if live else []))
    found.append(_section("Alerts by day", picture + key))
    if drawn is not None:
        picture = pictures.money_by_threshold(drawn, 10 ** words.digits(drawn.currency))
        if picture:
            key = _key(("these", "frauds stopped"), ("wrong", "wrongly stopped"))
            found.append(_section("Money by threshold", picture + key))
    return found


def _section(title: str, content: str) -> str:
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f"<section>{heading}{content}</section>"


def _tiles(report: Report) -> str:
    total = report.total
    told = [("alerts a day", words.figure(total["alerts_per_day"], 1))]
    if report.labelled:
        told += [
            ("precision", words.figure(total["precision"])),
            ("recall", words.figure(total["recall"])),
            ("average precision", words.figure(total["average_precision"])),
            ("AUC ROC", words.figure(total["auc_roc"])),
            ("card precision@100", words.figure(total["card_precision_100"])),
        ]
    tiles = (f"<div><b>{escape(value)}</b><span>{name}</span></div>" for name, value in told)
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _table(grid: Grid) -> str:
    def row(tag: str, cells: list[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(row("td", cells) for cells in grid.rows)
    return f"<table><thead>{row('th', grid.columns)}</thead><tbody>{body}</tbody></table>"


def _key(*entries: tuple[str, str]) -> str:
    told = (
        f'<span><i style="background: var(--{colour})"></i>{escape(name)}</span>'
        for colour, name in entries
    )
    return f'<div class="key">{"".join(told)}</div>'
