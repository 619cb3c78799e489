"""What a load needs, worked out by hand, and numbers that are none."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from ops import capacity, cli

ROOT = Path(__file__).parents[2]
DAY = timedelta(days=1)


def test_it_is_what_comes_out_by_hand() -> None:
    found = capacity.needs(
        1_000, 38_640, cards=2**20, terminals=2**20, ids=DAY, keep=10 * DAY,
        epoch=timedelta(seconds=10),
    )  # fmt: skip
    assert found["cores"] == pytest.approx(1.0)
    assert found["redis_cores"] == pytest.approx(38_640 * 3.5e-6 / 0.7)
    # 124 MiB of state, three times, and the process.
    assert found["memory_gib"] == pytest.approx((2_230 + 372) / 1024)
    assert found["recovery_gib"] == pytest.approx(372 / 1024)
    assert found["redis_gib"] == pytest.approx(86_400_000 * 44 / 2**30)
    assert found["tables_gib_a_day"] == pytest.approx(86_400_000 * 151 / 2**30)
    assert found["tables_gib"] == pytest.approx(10 * found["tables_gib_a_day"])
    assert found["files_a_day_before_compaction"] == 9 * 8_640
    assert found["hours_to_make_state_of_silver"] == pytest.approx(2.4)


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
        f"{capacity.PROCESS_MIB:,} MiB",
        f"{capacity.SILVER_ROWS_PER_CPU_SECOND:,} rows per core",
    ):
        assert figure in pages, figure
