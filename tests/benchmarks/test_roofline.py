"""The roofline on real servers, small: every figure and every piece, the file and the picture."""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import roofline as measured
from benchmarks.picture import roofline
from benchmarks.pieces import PIECES
from benchmarks.roofline import quantiles

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_it_measures_the_flow_and_each_piece_on_the_same_records(tmp_path):
    size = ("--payments", "2000", "--runs", "1", "--latency", "0")
    command = [sys.executable, "-m", "benchmarks", "roofline", *size]
    done = subprocess.run(
        [*command, "--results", str(tmp_path), "--json"],
        cwd=ROOT,
        # Settings of whoever runs it are not those of the flow that is measured.
        env={**os.environ, "MILLSTREAM_NOTHING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "latest.json").read_text("utf-8")
    found = json.loads(text)
    assert json.loads(done.stdout) == found
    assert found["events"] >= 2000
    assert list(found["pieces"]) == list(PIECES)
    assert all(each > 0 for each in found["pieces"].values())
    limit = found["limit_events_per_cpu_second"]
    assert sum(found["pieces"].values()) == pytest.approx(1e6 / limit)
    assert found["ratio_to_limit"] == pytest.approx(found["events_per_cpu_second"] / limit)
    for name in ("events_per_second", "redis_us_per_event", "peak_memory_mb"):
        assert found[name] > 0
    for name in ("commit_ms", "epoch_ms"):
        assert 0 < found[name]["p50"] <= found[name]["p99"]
    # An epoch's commits are side by side.
    assert found["commit_ms"]["p99"] <= found["epoch_ms"]["p99"]
    assert found["alert_latency_ms"] is None
    assert {"processor", "cores", "memory_gb"} <= found["machine"].keys()
    assert {"python", "bytewax", "polars"} <= found["versions"].keys()
    assert socket.gethostname() not in text
    assert str(ROOT) not in text
    names = " ".join(ElementTree.parse(tmp_path / "roofline.svg").getroot().itertext())
    assert all(piece in names for piece in PIECES)


@pytest.mark.parametrize(("limit", "status"), [(1_000, 0), (700, 1)])
def test_the_guard_ends_with_1_where_the_flow_is_slower_beside_its_pieces_than_it_was(
    tmp_path, monkeypatch, limit, status
):
    recorded = {
        "events": 10_000,
        "events_per_cpu_second": 800,
        "limit_events_per_cpu_second": 1_000,
        "start_cpu_seconds": 0.5,
    }
    (tmp_path / "latest.json").write_text(json.dumps(recorded), "utf-8")
    # Of runs a tenth as long, of which the start is more: (1 s of 1.25 s, of 0.7 s).
    now = {"events": 1_000, "events_per_cpu_second": 571, "start_cpu_seconds": 0.5}
    now["limit_events_per_cpu_second"] = 1_000 * 1_000 / limit
    monkeypatch.setattr(measured, "measure", lambda *_: now)
    parser = argparse.ArgumentParser()
    measured.add_parser(parser.add_subparsers())
    words = ["roofline", "--guard", "--payments", "1000", "--results", str(tmp_path)]
    args = parser.parse_args(words)
    if status:
        with pytest.raises(SystemExit, match=r"0\.56 of its pieces' limit, .* with 0\.83"):
            args.func(args)
    else:
        args.func(args)
    assert [each.name for each in tmp_path.iterdir()] == ["latest.json"]


def test_the_picture_has_a_bar_for_each_piece_where_the_one_before_ends():
    picture = ElementTree.fromstring(roofline({"a": 1.0, "b & c": 3.0}, 8.0))
    bars = [each for each in picture.iter() if each.tag.endswith("rect")]
    a, b, whole = ((float(each.get("x", 0)), float(each.get("width", 0))) for each in bars)
    assert b[0] == pytest.approx(a[0] + a[1], abs=0.2)
    assert (a[0], b[1], whole[1]) == pytest.approx((whole[0], 3 * a[1], 8 * a[1]), abs=0.5)
    assert "whole flow 8.00 µs, 50% of it in the pieces" in picture.itertext()


def test_quantiles_are_values_that_were_there():
    assert quantiles([4, 1, 3, 2]) == {"p50": 2, "p99": 4}
    assert quantiles([7]) == {"p50": 7, "p99": 7}
