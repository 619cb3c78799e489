"""A dashboard as one picture: its panels where it has them, each with what Prometheus answered."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import Final

from benchmarks.dashboards import units
from benchmarks.dashboards.asked import Line, Panel, Span
from ops.axes import Axes, ticks

_COLUMN: Final = 60
_ROW: Final = 34
_GAP: Final = 8
_HEAD: Final = 64
_LEGEND: Final = 15
_MOST: Final = 8
"""How many lines of a panel are named, two beside each other: those that come highest."""
_NAME: Final = 30
"""For how many letters a name and a value have room."""

_COLOURS: Final = (
    "#3b7dd8", "#e0752d", "#3f9e5a", "#b45ac8", "#c9a227", "#d64550", "#2aa1b3", "#8a6d4b",
    "#6b78c9", "#7f8c3b",
)  # fmt: skip
_STYLE: Final = (
    "text { font: 11px system-ui, sans-serif; fill: #5c6370 } "
    ".title { font-size: 13px; font-weight: 600; fill: #24292f } "
    ".head { font-size: 20px; font-weight: 600; fill: #24292f } .page { fill: #f3f4f6 } "
    ".panel { fill: #ffffff; stroke: #d8dbe0 } .grid { stroke: #e6e8eb } "
    ".bound { stroke: #d64550; stroke-dasharray: 5 4 } "
    ".line { fill: none; stroke-width: 1.5; stroke-linejoin: round } "
    + " ".join(
        f".c{n} {{ stroke: {colour} }} .f{n} {{ fill: {colour} }}"
        for n, colour in enumerate(_COLOURS)
    )
)


def picture(
    title: str, note: str, shown: Sequence[tuple[Panel, Sequence[Line]]], span: Span
) -> str:
    """Draw panels with their lines; `note` stands below the title."""
    width = 24 * _COLUMN + _GAP
    height = _HEAD + max(panel.box[1] + panel.box[3] for panel, _ in shown) * _ROW + _GAP
    parts = [
        f'<rect class="page" width="{width}" height="{height}"/>'
        f'<text class="head" x="{2 * _GAP}" y="30">{escape(title)}</text>'
        f'<text x="{2 * _GAP}" y="50">{escape(note)}</text>'
    ]
    for panel, lines in shown:
        x, y, w, h = panel.box
        parts.append(
            f'<g transform="translate({x * _COLUMN + _GAP},{_HEAD + y * _ROW})">'
            f"{_panel(panel, lines, span, w * _COLUMN - _GAP, h * _ROW - _GAP)}</g>\n"
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _panel(panel: Panel, lines: Sequence[Line], span: Span, width: int, height: int) -> str:
    by_height = sorted(lines, key=lambda line: -max(value for _, value in line.points))
    named = by_height[:_MOST]
    rows = -(-len(named) // 2) + (len(lines) > _MOST)
    # The space for a name below the axis is the legend's.
    plot = height - 24 - rows * _LEGEND + 16
    axes = Axes((span.start, span.end), _range(panel, lines), panel.title, width, plot)
    axes.grid("", "", _clock(span), _y_texts(axes.y, panel.unit))
    for bound in panel.thresholds:
        if axes.y[0] <= bound <= axes.y[1]:
            left, y = axes.at(span.start, bound)
            right, _ = axes.at(span.end, bound)
            axes.parts.append(
                f'<line class="bound" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/>'
            )
    # The same name has the same colour in panels of the same names.
    colours = {line: at % len(_COLOURS) for at, line in enumerate(sorted(lines, key=_name))}
    for line in reversed(by_height):
        for run in _runs(line.points, span.step):
            axes.line(f"c{colours[line]}", run, line.name)
    keys = [(line, colours[line]) for line in named]
    legend = list(_legend(keys, len(lines), panel.unit, width, height - rows * _LEGEND))
    return (
        f'<rect class="panel" width="{width}" height="{height}" rx="3"/>'
        f'<text class="title" x="10" y="20">{escape(panel.title)}</text>'
        f'<g transform="translate(0,16)">{"".join(axes.parts)}</g>{"".join(legend)}'
    )


def _range(panel: Panel, lines: Sequence[Line]) -> tuple[float, float]:
    values = [value for line in lines for _, value in line.points] or [0.0]
    if panel.soft_low is not None:
        values.append(panel.soft_low)
    low = min(values) if panel.low is None else panel.low
    high = max(values) if panel.high is None else panel.high
    if high <= low:
        return low, low + 1
    room = (high - low) * 0.05
    return (
        low - (room if panel.low is None else 0),
        high + (room if panel.high is None else 0),
    )


def _y_texts(y: tuple[float, float], unit: str) -> list[tuple[float, str]]:
    by, behind = units.scale(unit, max(map(abs, y)))
    return [(v * by, f"{v:,.6g}{behind}") for v in ticks(y[0] / by, y[1] / by, 5)]


def _clock(span: Span) -> Iterator[tuple[float, str]]:
    every = next(
        (each for each in (60, 120, 300, 900, 1800) if (span.end - span.start) / each <= 8),
        3600,
    )
    first = -(-span.start // every) * every
    for at in range(int(first), int(span.end) + 1, every):
        yield at, f"{datetime.fromtimestamp(at, UTC):%H:%M}"


def _runs(
    points: Sequence[tuple[float, float]], step: float
) -> Iterator[list[tuple[float, float]]]:
    """Give points between which none is missing, without those on a level line."""
    run: list[tuple[float, float]] = []
    for before, each in pairwise([points[0], *points]):
        if each[0] - before[0] > 1.5 * step:
            yield run
            run = []
        if len(run) > 1 and run[-2][1] == run[-1][1] == each[1]:
            run.pop()
        run.append(each)
    yield run


def _legend(
    named: Sequence[tuple[Line, int]], count: int, unit: str, width: int, top: int
) -> Iterator[str]:
    for number, (line, colour) in enumerate(named):
        x = 12 + (number % 2) * (width // 2)
        y = top + number // 2 * _LEGEND + 4
        last = units.text(line.points[-1][1], unit)
        yield (
            f'<rect class="f{colour}" x="{x}" y="{y - 5}" width="12" height="3"/>'
            f'<text x="{x + 18}" y="{y}">{escape(_short(line.name, last))}</text>'
        )
    if count > len(named):
        y = top + -(-len(named) // 2) * _LEGEND + 4
        yield f'<text x="30" y="{y}">and {count - len(named)} more</text>'


def _name(line: Line) -> str:
    return line.name


def _short(name: str, value: str) -> str:
    room = _NAME - len(value)
    return f"{name}: {value}" if len(name) <= room else f"…{name[1 - room :]}: {value}"
