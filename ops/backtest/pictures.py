"""Pictures of a backtest's report."""

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Any, Final

from ops.axes import Axes
from ops.backtest.report import Pictures

_SHOWN: Final = 12
"""How many rules are named beside their points."""


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
