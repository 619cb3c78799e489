"""A join that is defined anew under tables and a recovery store that are there."""

import shutil
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from flows import settings as settings_
from flows.streams.chargebacks import LATE
from operators.records.tables import STAMPS
from ops.local import Stack
from ops.verify import verify
from tests import topics
from tests.ops.reports import broken
from tests.running import Flow, run

OUTCOMES = "gold/payment_outcomes"


def outcomes(folder: Path) -> pl.DataFrame:
    rows = pl.read_delta(str(folder / "tables" / OUTCOMES)).drop(STAMPS)
    return rows.sort("source_partition", "source_offset", "chargeback_id")


def test_another_time_to_join_in_is_refused_and_what_it_says_to_do_makes_the_outcomes_anew(
    stack: Stack, tmp_path: Path
) -> None:
    name, made = tmp_path.name, topics.made(1_000, partitions=2)
    topics.fill(stack.bootstrap, name, made, 2)
    environ = topics.settings(stack, name, tmp_path) | topics.TO_THE_END
    run("payments", environ, tmp_path)
    run("chargebacks", environ, tmp_path)
    before = outcomes(tmp_path)
    environ |= {"MILLSTREAM_CHARGEBACKS_WITHIN": "1h"}
    flow = Flow("chargebacks", environ, tmp_path)
    assert flow.wait() == 1
    line = flow.said().splitlines()[-1]
    assert "move these tables and the recovery directory away, and start" in line, line
    for table in (OUTCOMES, LATE.name):
        assert table in line
        shutil.move(tmp_path / "tables" / table, tmp_path / table.replace("/", "."))
    shutil.move(tmp_path / "chargebacks", tmp_path / "before")
    run("chargebacks", environ, tmp_path)
    assert broken(verify(settings_.load(environ))) == []
    fewer = outcomes(tmp_path)
    paid = [column for column in fewer.columns if not column.startswith("chargeback_")]
    assert_frame_equal(
        fewer.select(paid[:4]).unique(), before.select(paid[:4]).unique(), check_row_order=False
    )
    assert 0 < fewer["chargeback_id"].count() < before["chargeback_id"].count()
