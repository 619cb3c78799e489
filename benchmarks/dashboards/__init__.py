"""Grafana's dashboards as pictures, each drawn of what a real Prometheus answers its queries.

Two flows run for some minutes with much to do and something to bear (`watched`), and Prometheus
scrapes them. The pictures are drawn here and not by Grafana.
"""

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.dashboards.asked import DASHBOARDS, Span, dashboard, lines
from benchmarks.dashboards.drawn import picture
from benchmarks.dashboards.watched import SCRAPED_S, watched
from benchmarks.figures import add_benchmark, at_least_one
from benchmarks.runs import ROOT

_POINTS: Final = 150


def add_parser(subparsers: Any) -> None:
    """Add the command ``dashboards``."""
    parser = add_benchmark(
        subparsers,
        "dashboards",
        "the dashboards as pictures, of flows that run for some minutes",
        __doc__,
    )
    parser.add_argument("--minutes", type=at_least_one, default=10, metavar="N")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "docs" / "dashboards", help="default: %(default)s"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Run, draw, and name each picture."""
    with (
        tempfile.TemporaryDirectory(prefix="millstream-") as work,
        watched(Path(work), args.minutes * 60) as (prometheus, began),
    ):
        draw(prometheus, began, time.time(), args.folder)


def draw(prometheus: str, start: float, end: float, folder: Path) -> None:
    """Draw every dashboard of what Prometheus has from a time to another, in s since 1970."""
    step = max(SCRAPED_S, round((end - start) / _POINTS))
    span = Span(start, end, step, SCRAPED_S)
    note = (
        f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d %H:%M} to "
        f"{datetime.fromtimestamp(end, UTC):%H:%M} UTC. Drawn of the dashboard's own queries, as "
        "a Prometheus that scraped real flows answered them; not by Grafana."
    )
    folder.mkdir(parents=True, exist_ok=True)
    for path in DASHBOARDS:
        title, panels = dashboard(path)
        shown = [(panel, lines(prometheus, panel, span)) for panel in panels]
        made = folder / f"{path.stem}.svg"
        made.write_text(picture(title, note, shown, span), "utf-8")
        print(made)
