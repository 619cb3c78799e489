"""The commands of docs/benchmarks.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import parser
from benchmarks.rejects import SHARES, troubles
from benchmarks.topics import simulated
from flows.streams import PAYMENTS

ROOT = Path(__file__).parents[2]
NAMES = (
    "roofline",
    "against",
    "alerts",
    "backfill",
    "backtest",
    "commits",
    "latency",
    "rejects",
    "dedup",
    "dlq",
    "enforce",
    "windows",
    "joins",
    "nexmark",
    "slices",
    "sizes",
)


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_explains_itself_and_is_told_of(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args([name, "--help"])
    assert "--json" in capsys.readouterr().out
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert re.search(rf"`{name}`|python -m benchmarks {name}\b", text)


def test_make_bench_runs_commands_that_are_there():
    recipe = (ROOT / "Makefile").read_text("utf-8")
    assert set(re.findall(r"-m benchmarks (\w+)", recipe)) == {"roofline"} <= set(NAMES)


@pytest.mark.parametrize("share", SHARES)
def test_so_many_records_are_bad_as_a_share_says(share):
    made = simulated(PAYMENTS, 5_000, 100, troubles(share))
    bad = made.truth["place"].eq("quarantine").mean()
    assert bad == pytest.approx(share, rel=0.3)


def test_dedup_measures_both_sides_and_the_memory():
    figures = json.loads(run("dedup", "--events", "20000", "--json"))
    for name in ("redis_us_per_event", "flow_us_per_event", "bytes_per_key"):
        assert all(figures[each] > 0 for each in figures if each.startswith(name))
        assert f"{name} batch 2000" in figures


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["windows", "--keys", "100", "--only", "tumbling", "--scale", "0"],
        ["joins", "--keys", "100", "--events", "40000"],
        ["nexmark", "--events", "20000"],
        ["backtest", "--payments", "20000", "--turns", "1"],
    ],
)
def test_those_without_a_broker_measure(arguments):
    found = json.loads(run(*arguments, "--json"))
    figures = found[0] if isinstance(found, list) else found
    rates = [value for name, value in figures.items() if "cpu_s" in name or "CPU-" in name]
    assert rates
    assert all(rate > 0 for rate in rates)
