"""Up to where tables bring state, whatever a crash or people have left of them."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.warming import Warming, warming
from operators.records.batches import Progress
from operators.records.tables import COORDINATES, TIME, Ledger, Table

RECORDS = Table("records", COORDINATES)
GOOD = Table("good", COORDINATES)
AGAIN = Table("again", COORDINATES)
REFUSED = Table("refused", {**COORDINATES, "stage": pl.String()})
ALERTS = Table("alerts", COORDINATES)
PANES = Table("panes", {"window_end": TIME}, fenced="by window")
TABLES = [RECORDS, GOOD, AGAIN, REFUSED, ALERTS, PANES]
LEDGER = Ledger(RECORDS, GOOD, AGAIN, REFUSED, others=(ALERTS,))


class Tables:
    """What a flow writes of a topic with two partitions, epoch by epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.next = {0: 0, 1: 0}
        self.open()

    def open(self) -> None:
        self.sink = DeltaSink(
            str(self.folder),
            TABLES,
            flow="f",
            flow_version="0",
            partitions=[("t", 0), ("t", 1)],
        )
        self.writers = {
            table.name: self.sink.build_part("", table.name, None) for table in TABLES
        }

    def epoch(
        self, mark: int, crash: tuple[Table, ...] = (), **counts: tuple[int, int]
    ) -> None:
        """Commit so many records of both partitions to tables; `crash` are those that lack it."""
        rows: dict[str, list[tuple[str, int, int]]] = {table.name: [] for table in TABLES}
        for name, each in counts.items():
            for partition, count in enumerate(each):
                for _ in range(count):
                    place = ("t", partition, self.next[partition])
                    self.next[partition] += 1
                    rows[name].append(place)
                    rows["records"].append(place)
        progress = [Progress("t", p, 2, self.next[p] - 1, mark + p) for p in (0, 1)]
        for table in TABLES:
            if table in crash:
                continue
            frame = pl.DataFrame(rows[table.name], schema=COORDINATES, orient="row")
            if table is REFUSED:
                frame = frame.with_columns(stage=pl.lit("decode"))
            if table is PANES:
                frame = pl.DataFrame({"window_end": [mark]}).cast(TIME)
            self.writers[table.name].write_batch([*progress, frame])
            if frame.height:
                self.writers[table.name].snapshot()

    def warming(self, firsts: dict[int, int] | None = None) -> Warming | None:
        """Ask with a topic that has nothing any more, or begins at `firsts`."""

        def has(offsets: Mapping[int, int]) -> bool:
            return firsts is not None and all(firsts[p] <= o for p, o in offsets.items())

        return warming(str(self.folder), LEDGER, TABLES, self.sink.fence, "t", has)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    made = Tables(tmp_path)
    made.epoch(100, good=(3, 2), refused=(0, 1))
    made.epoch(200, good=(4, 0), again=(1, 0))
    return made


def test_tables_that_have_all_epochs_bring_state_to_the_last(tables):
    # Of the newest epoch nobody knows whether all the others have it.
    assert tables.warming() == Warming({0: 7, 1: 2}, {0: 2, 1: 2})
    tables.epoch(300, refused=(0, 2))
    assert tables.warming() == Warming({0: 7, 1: 4}, {0: 7, 1: 2})
    tables.open()
    assert tables.warming() == Warming({0: 7, 1: 4}, {0: 7, 1: 2})


def test_the_newest_epoch_is_read_again_where_the_topic_still_has_it(tables):
    assert tables.warming({0: 3, 1: 3}) == Warming({0: 2, 1: 2}, {0: 2, 1: 2})
    assert tables.warming({0: 4, 1: 0}).until == {0: 7, 1: 2}


@pytest.mark.parametrize("lacking", [GOOD, REFUSED])
def test_an_epoch_that_a_table_lacks_is_read_from_the_topic(tables, lacking):
    tables.epoch(300, crash=(lacking, PANES), good=(5, 5), refused=(1, 0))
    assert tables.warming() == Warming({0: 7, 1: 2}, {0: 7, 1: 2})


def test_of_two_crashes_in_a_row_silver_tells_how_far_all_are(tables):
    # In bronze alone; its replay in shorter epochs of which only the first is whole.
    tables.epoch(300, crash=(GOOD, PANES), good=(5, 5))
    tables.next = {0: 8, 1: 3}
    tables.epoch(250, crash=(RECORDS,), good=(2, 2))
    tables.next = {0: 13, 1: 8}
    tables.epoch(400, crash=(GOOD, PANES), good=(3, 3))
    assert tables.warming({0: 0, 1: 0}).until == {0: 9, 1: 4}
    assert tables.warming().until == {0: 9, 1: 4}


def test_without_rows_or_with_a_table_gone_the_topic_is_read(tables, tmp_path):
    assert Tables(tmp_path / "new").warming() is None
    for table in (*LEDGER.others, RECORDS, GOOD, AGAIN, REFUSED):
        away = tmp_path / "away"
        shutil.move(tmp_path / table.name, away)
        assert tables.warming() is None, table.name
        shutil.move(away, tmp_path / table.name)
    shutil.rmtree(tmp_path / "panes")
    assert tables.warming().until == {0: 7, 1: 2}


def test_a_table_that_was_made_anew_and_lacks_what_it_had_is_not_trusted(
    tables, tmp_path, caplog
):
    tables.epoch(300, good=(1, 1))
    shutil.rmtree(tmp_path / "again")
    tables.open()
    assert tables.warming() is None
    assert "good, again and refused lack records that records has" in caplog.text


def test_records_that_were_deleted_because_they_were_old_do_not_matter(tables):
    tables.writers["records"]._handle.delete("source_offset < 2")
    tables.open()
    assert tables.warming().until == {0: 7, 1: 2}


def test_the_first_epoch_alone_may_lack_anything(tmp_path):
    made = Tables(tmp_path)
    made.epoch(100, crash=(GOOD,), good=(3, 2), refused=(0, 1))
    assert made.warming() is None
    made.open()
    made.next = {0: 0, 1: 0}
    made.epoch(100, good=(3, 2), refused=(0, 1))
    assert made.warming({0: 0, 1: 0}) == Warming({0: 2, 1: 2}, {})
