"""Pictures of a report as SVG, drawn of their numbers alone; colours are the page's."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any, Final

from ops.backtest.report import Pictures

_WIDTH: Final = 720
_HEIGHT: Final = 300
_LEFT: Final = 64
_RIGHT: Final = 16
_TOP: Final = 24
_BOTTOM: Final = 44
_SHOWN: Final = 12
"""How many rules are named beside their points."""


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from `low` to `high`, `most` of them at the most, evenly apart."""
    span = max(high - low, 1e-12)
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(each for each in (1, 2, 5, 10, 20) if span / (step * each) < most)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass
class Axes:
    """A picture's two axes, and what has been drawn."""

    x: tuple[float, float]
    y: tuple[float, float]
    label: str
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is."""
        (x0, x1), (y0, y1) = self.x, self.y
        across = (x - x0) / ((x1 - x0) or 1)
        up = (y - y0) / ((y1 - y0) or 1)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    def grid(
        self, x_label: str, y_label: str, x_texts: Iterable[tuple[float, str]] | None = None
    ) -> None:
        """Draw lines, and what they are."""
        for value in ticks(*self.y):
            left, y = self.at(self.x[0], value)
            self.parts.append(
                f'<line class="grid" x1="{left:.1f}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/><text x="{left - 8:.1f}" y="{y + 4:.1f}" '
                f'text-anchor="end">{value:,.10g}</text>'
            )
        for value, text in x_texts or ((v, f"{v:,.10g}") for v in ticks(*self.x)):
            x, _ = self.at(value, 0)
            self.parts.append(
                f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
                f"{escape(text)}</text>"
            )
        self.parts.append(
            f'<text class="label" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">'
            f'{escape(x_label)}</text><text class="label" x="4" y="12">{escape(y_label)}</text>'
        )

    def line(self, kind: str, points: Sequence[tuple[float, float]], name: str) -> None:
        """Draw a line through points."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*each) for each in points))
        self.parts.append(
            f'<polyline class="line {kind}" points="{places}"><title>{escape(name)}</title>'
            "</polyline>"
        )

    def bar(self, kind: str, x: tuple[float, float], y: tuple[float, float], name: str) -> None:
        """Draw a bar."""
        left, bottom = self.at(x[0], y[0])
        right, top = self.at(x[1], y[1])
        self.parts.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}"><title>{escape(name)}</title></rect>'
        )

    def svg(self, style: str = "") -> str:
        """Return the picture; with a `style` it is a file of its own."""
        alone = own = ""
        if style:
            size = f'width="{_WIDTH}" height="{_HEIGHT}"'
            alone = f'xmlns="http://www.w3.org/2000/svg" {size} '
            own = f"<style>{style}</style>"
        return (
            f'<svg {alone}viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{escape(self.label)}">{own}{"".join(self.parts)}</svg>'
        )


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points with a corner before each: the value holds up to the next."""
    corners = [corner for (_, y), (x, z) in pairwise(points) for corner in ((x, y), (x, z))]
    return [*points[:1], *corners]


def precision_recall(pictures: Pictures) -> str:
    """Draw the precision at each recall, of all rules together, and each rule as a point."""
    axes = Axes((0, 1), (0, 1), "Precision by recall")
    axes.grid("recall", "precision")
    for kind, (name, (recall, precision)) in zip(
        ("these", "live"), pictures.curves.items(), strict=False
    ):
        points = list(zip(recall.tolist(), precision.tolist(), strict=True))
        if points:
            axes.line(kind, [(0.0, points[0][1]), *points], name)
    lowest = -math.inf
    named = sorted(pictures.points.items(), key=lambda each: (-each[1][1], each[1][0]))
    for number, (name, (found, right)) in enumerate(named):
        x, y = axes.at(found, right)
        axes.parts.append(
            f'<circle class="these" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(name)}: '
            f"recall {found:.3f}, precision {right:.3f}</title></circle>"
        )
        if number < _SHOWN:
            lowest = max(lowest + 14, y + 14)
            end, gap = ("start", 8) if found < 0.7 else ("end", -8)
            axes.parts.append(
                f'<text x="{x + gap:.1f}" y="{lowest:.1f}" text-anchor="{end}">'
                f"{escape(name)}</text>"
            )
    return axes.svg()


def alerts_by_day(days: Sequence[dict[str, Any]], labelled: bool, live: bool) -> str:
    """Draw the alerts of each day, those on frauds below the others, and the live rules'."""
    most = max(max(day["alerts"], day["live_alerts"] * live) for day in days)
    axes = Axes((0, len(days)), (0, max(most, 1)), "Alerts by day")
    every = max(len(days) // 8, 1)
    texts = [(at + 0.5, day["day"][5:]) for at, day in enumerate(days) if at % every == 0]
    axes.grid("day", "alerts", texts)
    for at, day in enumerate(days):
        frauds, alerts = day["fraud_alerts"], day["alerts"]
        name = f"{day['day']}: {alerts:,} alerts"
        width = (at + 0.1, at + 0.9)
        if not labelled:
            axes.bar("these", width, (0, alerts), name)
            continue
        name += f", {frauds:,} on frauds"
        axes.bar("these", width, (0, frauds), name)
        axes.bar("wrong", width, (frauds, alerts), name)
    if live:
        points = [(at + 0.5, float(day["live_alerts"])) for at, day in enumerate(days)]
        axes.line("live", points, "live rules")
    return axes.svg()


def money_by_threshold(pictures: Pictures, minor: int) -> str:
    """Draw what is stopped, rightly and wrongly, if all from a score on is.

    `minor` is how many minor units are one.
    """
    scores = pictures.thresholds[::-1].tolist()
    if not scores:
        return ""
    stopped = (pictures.stopped[::-1] / minor).tolist()
    wrongly = (pictures.wrongly[::-1] / minor).tolist()
    high = max(max(stopped), max(wrongly), 1)
    # From the lowest threshold, which stops all, to just above the highest, which stops nothing.
    end = scores[-1] + max((scores[-1] - scores[0]) * 0.02, 1)
    axes = Axes((scores[0], end), (0, high), "Money by threshold")
    axes.grid("stopped from this score on", pictures.currency)
    # At a threshold between two scores it is that of the higher one.
    for kind, name, values in (
        ("these", "frauds stopped", stopped),
        ("wrong", "wrongly stopped", wrongly),
    ):
        places = [scores[0], *scores]
        points = list(zip(places, [*values, 0.0], strict=True))
        axes.line(kind, [*_stairs(points), (end, 0.0)], name)
    return axes.svg()
