"""Dashboards as pictures: what is drawn of a panel, and that those of the docs are of today's."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.dashboards.asked import DASHBOARDS, Line, Panel, Span, dashboard, filled
from benchmarks.dashboards.drawn import picture
from benchmarks.dashboards.units import text
from tests.pages import ROOT
from tests.tools import tool

SPAN = Span(1_000_020.0, 1_000_320.0, 60.0, 15.0)
PANEL = Panel("Refused & late", "ops", (8, 8, 8, 8), [], 0.0, None, None, [])
STEADY = Line("a", [(SPAN.start + 60 * n, 5.0) for n in range(6)])


def drawn(panel: Panel, *lines: Line) -> tuple[list[str], list[str]]:
    """Return a picture's texts, and the points of its lines."""
    made = ET.fromstring(picture("Flows", "drawn", [(panel, lines)], SPAN))
    space = "{http://www.w3.org/2000/svg}"
    texts = [str(each.text) for each in made.iter(f"{space}text")]
    return texts, [each.attrib["points"] for each in made.iter(f"{space}polyline")]


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0, "ops", "0/s"), (1_234.0, "ops", "1.23 k/s"), (0.986, "percentunit", "98.6%"),
        (5 * 2.0**20, "bytes", "5 MiB"), (1_500.0, "Bps", "1.5 kB/s"), (0.25, "s", "250 ms"),
        (90.0, "s", "1.5 min"), (2_000_000.0, "short", "2 M"), (999.7, "short", "1,000"),
        (0.0, "s", "0 s"),
    ],
)  # fmt: skip
def test_values_have_their_unit(value: float, unit: str, said: str) -> None:
    assert text(value, unit) == said


def test_grafana_s_variables_are_filled_in() -> None:
    assert SPAN.rate_interval == 75
    asked = filled('rate(x{job=~"$job"}[$__rate_interval])', SPAN.rate_interval)
    assert asked == 'rate(x{job=~".*"}[75s])'


def test_a_panel_has_its_title_its_lines_and_their_last_values() -> None:
    texts, lines = drawn(PANEL, STEADY, Line("b", [(SPAN.start, 1.0), (SPAN.end, 2_000.0)]))
    assert {"Flows", "drawn", "Refused & late", "a: 5/s", "b: 2 k/s"} <= set(texts)
    # What is level needs two points; between those of b five are missing.
    assert sorted(len(each.split()) for each in lines) == [1, 1, 2]


def test_more_lines_than_have_room_are_counted() -> None:
    texts, lines = drawn(PANEL, *[replace(STEADY, name=f"n{n}") for n in range(11)])
    assert len(lines) == 11
    assert "and 3 more" in texts


def test_a_bound_is_drawn_where_it_is_in_sight() -> None:
    bounded = replace(PANEL, thresholds=[0.95], unit="percentunit", low=None, soft_low=0.9)
    for panel, seen in ((bounded, True), (replace(bounded, soft_low=0.96), False)):
        made = picture("", "", [(panel, [Line("a", [(SPAN.start, 1.0)])])], SPAN)
        assert ('class="bound"' in made) is seen


@pytest.mark.slow
def test_they_are_drawn_of_flows_that_run(tmp_path: Path) -> None:
    tool("prometheus")
    command = ["-m", "benchmarks", "dashboards", "--minutes", "1", "--folder", str(tmp_path)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    assert {path.stem for path in tmp_path.iterdir()} == {path.stem for path in DASHBOARDS}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_docs_have_a_picture_of_every_panel(path: Path) -> None:
    file = ROOT / "docs" / "dashboards" / f"{path.stem}.svg"
    assert file.stat().st_size < 300_000
    texts = [each.text for each in ET.parse(file).iter("{http://www.w3.org/2000/svg}text")]
    title, panels = dashboard(path)
    assert [title, *(panel.title for panel in panels)] == [
        each for each in texts if each in {title, *(panel.title for panel in panels)}
    ], "python -m benchmarks dashboards"
    assert any("not by Grafana" in str(each) for each in texts)
