"""What a load needs, worked out by hand, and numbers that are none."""

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from flows.streams import PAYMENTS
from ops import capacity, cli

ROOT = Path(__file__).parents[2]
DAY = timedelta(days=1)


def test_it_is_what_comes_out_by_hand() -> None:
    found = capacity.needs(
        1_000, 70_210, cards=10**6, terminals=10**6, ids=DAY, keep=10 * DAY,
        epoch=timedelta(seconds=10),
    )  # fmt: skip
    assert found["cores"] == pytest.approx(1.0)
    assert found["redis_cores"] == pytest.approx(70_210 * 1.5e-6 / 0.7)
    # 220 MB of state, three times, and the process.
    assert found["memory_gib"] == pytest.approx((1_467 + 660) * 1e6 / 2**30)
    assert found["recovery_gib"] == pytest.approx(660e6 / 2**30)
    assert found["redis_gib"] == pytest.approx(86_400_000 * 44 / 2**30)
    daily = 86_400_000 * 146.1 + 61_000 + 1_830_000
    assert found["tables_gib_a_day"] == pytest.approx(daily / 2**30)
    assert found["tables_gib"] == pytest.approx(10 * found["tables_gib_a_day"])
    assert found["files_a_day_before_compaction"] == 14 * 8_640
    assert found["hours_to_make_state_of_silver"] == pytest.approx(2.4)


def test_every_table_of_the_flow_and_every_window_counts() -> None:
    tables = capacity.TABLE_BYTES_PER_EVENT | capacity.TABLE_BYTES_A_DAY
    assert tables.keys() == {each.name for each in PAYMENTS.all_tables}
    assert not capacity.TABLE_BYTES_PER_EVENT.keys() & capacity.TABLE_BYTES_A_DAY.keys()
    assert len(PAYMENTS.all_tables) == capacity.TABLES
    kept = capacity.STATE_BYTES_PER_CARD | capacity.STATE_BYTES_PER_TERMINAL
    # Of windows by category and country there are few.
    assert kept.keys() == {"features", *PAYMENTS.windows} - {"category_hour"}


def test_a_machine_twice_as_fast_needs_half_the_cores(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = []
    for rate in ("50000", "100000"):
        with pytest.raises(SystemExit, match="0"):
            cli.main(["capacity", "--rate", "2000", "--cpu-rate", rate, "--json"])
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["cores"] == pytest.approx(2 * said[1]["cores"])
    assert said[0]["cores"] == pytest.approx(6_000 / 50_000 / 0.7)
    assert said[0]["memory_gib"] == said[1]["memory_gib"]


def test_numbers_that_are_none_are_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(
            ["capacity", "--rate", "0", "--cards", "-1", "--keep", "soon", "--epoch", "0s"]
        )
    said = capsys.readouterr().err
    for name in ("--rate is 0.0", "--cards is -1", "--keep: 'soon'", "--epoch is 0s"):
        assert name in said


def test_its_figures_are_those_of_the_pages() -> None:
    pages = "".join(
        (ROOT / "docs" / name).read_text() for name in ("benchmarks.md", "upgrades.md")
    )
    for figure in (
        f"{capacity.EVENTS_PER_CPU_SECOND:,} events per CPU-second",
        f"{capacity.REDIS_US_PER_EVENT} in Redis",
        f"{capacity.REDIS_BYTES_PER_ID} bytes a key",
        f"It took {capacity.PROCESS_MB:,} MB at most",
        f"{capacity.SILVER_ROWS_PER_CPU_SECOND:,} rows per core",
        "Ten features of 1 M cards in\nfour partitions are "
        f"{capacity.STATE_BYTES_PER_CARD['features']} MB",
        *(f"{size:,} a day" for size in capacity.TABLE_BYTES_A_DAY.values() if size),
    ):
        assert figure in pages, figure
    (sizes,) = re.findall(r"^## Sizes\n(.*?)^## ", pages, re.MULTILINE | re.DOTALL)
    told = re.findall(r"^\| `(\S+)` \| [\d.]+ \| ([\d.]+) \|$", sizes, re.MULTILINE)
    assert {name: float(size) for name, size in told} == capacity.TABLE_BYTES_PER_EVENT
    windows = {name: int(size) for name, size in re.findall(r"`(\w+)` (\d+)", sizes)}
    kept = capacity.STATE_BYTES_PER_CARD | capacity.STATE_BYTES_PER_TERMINAL
    assert windows | {"features": 88} == kept


def test_its_figures_are_those_of_the_last_measurement_that_is_recorded() -> None:
    """What `make bench` writes: whoever measures anew and puts it here mends the calculator."""
    last = json.loads((ROOT / "benchmarks" / "results" / "latest.json").read_text())
    for figure, measured in (
        (capacity.EVENTS_PER_CPU_SECOND, "events_per_cpu_second"),
        (capacity.REDIS_US_PER_EVENT, "redis_us_per_event"),
        (capacity.PROCESS_MB, "peak_memory_mb"),
    ):
        assert figure == pytest.approx(last[measured], rel=0.01), measured


def test_sizes_are_what_the_benchmark_measures() -> None:
    command = [sys.executable, "-m", "benchmarks", "sizes", "--json"]
    few = ["--events", "60000", "--cards", "20000", "--keys", "20000"]
    done = subprocess.run([*command, *few], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name, size in capacity.TABLE_BYTES_PER_EVENT.items():
        # Of a few alerts a file is mostly what every file has.
        if size > 2:
            assert found[f"{name}: bytes a record"] == pytest.approx(size, rel=0.3), name
        assert found[f"{name}: rows a record"] > 0, name
    for name, size in (
        capacity.STATE_BYTES_PER_CARD | capacity.STATE_BYTES_PER_TERMINAL
    ).items():
        if name != "features":
            assert found[f"state of {name}: bytes a key"] == pytest.approx(size, rel=0.25)
