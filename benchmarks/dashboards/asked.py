"""Grafana's dashboards as they are declared, and what Prometheus answers their panels."""

import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.runs import ROOT, BenchmarkError

DASHBOARDS: Final = sorted((ROOT / "k8s" / "watching" / "dashboards").glob("*.json"))


@dataclass(frozen=True)
class Panel:
    """What a dashboard says of a panel; its box is in Grafana's grid of 24 columns."""

    title: str
    unit: str
    box: tuple[int, int, int, int]
    targets: Sequence[tuple[str, str]]
    """Each query with the name of its lines."""

    low: float | None
    soft_low: float | None
    """The lowest value that is shown unless there is a lower one."""

    high: float | None
    thresholds: Sequence[float]
    """Where a line is drawn."""


@dataclass(frozen=True, eq=False)
class Line:
    """What a query has of one series: times in s since 1970, and values."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Span:
    """From when to when Prometheus is asked, at every so many s, of what it scrapes so often."""

    start: float
    end: float
    step: float
    scrape: float

    @property
    def rate_interval(self) -> int:
        """Return Grafana's `$__rate_interval` in s: four scrapes at least."""
        return math.ceil(max(self.step + self.scrape, 4 * self.scrape))


def dashboard(path: Path) -> tuple[str, list[Panel]]:
    """Return a dashboard's title and panels."""
    read = json.loads(path.read_text("utf-8"))
    return read["title"], [_panel(each) for each in read["panels"]]


def _panel(read: Mapping[str, Any]) -> Panel:
    grid, defaults = read["gridPos"], read["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    drawn = custom.get("thresholdsStyle", {}).get("mode", "off") != "off"
    steps = defaults.get("thresholds", {}).get("steps", [])
    return Panel(
        read["title"],
        defaults["unit"],
        (grid["x"], grid["y"], grid["w"], grid["h"]),
        [(each["expr"], each["legendFormat"]) for each in read["targets"]],
        defaults.get("min"),
        custom.get("axisSoftMin"),
        defaults.get("max"),
        [each["value"] for each in steps if drawn and each["value"] is not None],
    )


def filled(expr: str, rate_interval: int = 60) -> str:
    """Return a query with Grafana's variables filled in, for all jobs."""
    return expr.replace("$job", ".*").replace("$__rate_interval", f"{rate_interval}s")


def lines(prometheus: str, panel: Panel, span: Span) -> list[Line]:
    """Ask what a panel shows; raises BenchmarkError if Prometheus does not answer."""
    found = []
    for expr, legend in panel.targets:
        answer = get(
            prometheus,
            "query_range",
            query=filled(expr, span.rate_interval),
            start=f"{span.start:.3f}",
            end=f"{span.end:.3f}",
            step=f"{span.step:g}",
        )
        for series in answer["result"]:
            name = _named(legend, series["metric"])
            points = [(float(at), float(value)) for at, value in series["values"]]
            found.append(Line(name, [each for each in points if math.isfinite(each[1])]))
    return [each for each in found if each.points]


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda label: labels.get(label[1], ""), legend).strip()


def get(prometheus: str, what: str, **parameters: str) -> Any:
    """Return what Prometheus' API says; raises BenchmarkError if it refuses or is not there."""
    url = f"{prometheus}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise BenchmarkError(f"{parameters}: {error.read().decode()}") from error
    except OSError as error:
        raise BenchmarkError(f"{prometheus} does not answer: {error}") from error
