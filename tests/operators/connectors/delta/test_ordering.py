"""What is put in order again, and what is left as it is."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from operators.connectors.delta import maintenance, ordering
from operators.connectors.delta.maintenance import Rewritten
from operators.connectors.delta.ordering import z_order
from operators.connectors.delta.paths import table_uri
from operators.records.tables import Table

TABLE = Table(
    "silver/clicks",
    {"day": pl.Date(), "id": pl.Int64(), "card_id": pl.String(), "odd": pl.Boolean()},
    partition_by=("day",),
)
MONDAY, TUESDAY, WEDNESDAY = (date(2026, 3, each) for each in (2, 3, 4))
NOTHING = Rewritten(0, 0)
SIZE = 2**20


def add(root: Path, *days: date | None, table: Table = TABLE) -> None:
    """Add a commit of a row for each day, with one file a partition."""
    uri = table_uri(str(root), table.name)
    known = DeltaTable(uri).count() if DeltaTable.is_deltatable(uri) else 0
    rows = [(day, known + n, f"c{-n % 3}", n % 2 == 1) for n, day in enumerate(days)]
    write_deltalake(
        uri,
        pl.DataFrame(rows, table.columns, orient="row"),
        mode="append",
        partition_by=list(table.partition_by),
    )


def order(root: Path, *columns: str, table: Table = TABLE, whole: bool = False) -> Rewritten:
    return z_order(str(root), table, columns or ("card_id",), SIZE, whole=whole)


def handle(root: Path, table: Table = TABLE) -> DeltaTable:
    return DeltaTable(table_uri(str(root), table.name))


def ids(root: Path) -> list[int]:
    return sorted(pl.DataFrame(handle(root).to_pyarrow_table())["id"])


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Three days of two files each, put in order."""
    for _ in range(2):
        add(tmp_path, MONDAY, TUESDAY, WEDNESDAY)
    assert order(tmp_path) == Rewritten(6, 3)
    yield tmp_path
    assert ids(tmp_path) == [*range(handle(tmp_path).count())]


def test_what_nobody_has_written_to_is_left_as_it_is(root: Path) -> None:
    files, version = handle(root).file_uris(), handle(root).version()
    assert order(root) == NOTHING
    assert handle(root).file_uris() == files
    assert handle(root).version() == version


def test_a_day_that_has_got_rows_is_put_in_order_and_no_other(root: Path) -> None:
    before = {*handle(root).file_uris()}
    add(root, TUESDAY, TUESDAY)
    assert order(root) == Rewritten(2, 1)
    after = {*handle(root).file_uris()}
    assert {"day=2026-03-03" in each for each in before ^ after} == {True}
    assert order(root) == NOTHING


def test_a_day_whose_files_were_put_together_or_lost_rows_is_put_in_order(root: Path) -> None:
    add(root, MONDAY)
    assert maintenance.compact(str(root), TABLE, SIZE).removed == 2
    assert order(root) == Rewritten(1, 1)
    handle(root).delete("id = 6")
    assert order(root) == Rewritten(1, 1)
    assert order(root) == NOTHING


def test_another_order_another_size_and_the_whole_are_all_of_it(root: Path) -> None:
    assert order(root, "id") == Rewritten(3, 3)
    # It is in this order no more.
    assert order(root) == Rewritten(3, 3)
    assert z_order(str(root), TABLE, ["card_id"], 2 * SIZE) == Rewritten(3, 3)
    assert z_order(str(root), TABLE, ["card_id"], 2 * SIZE) == NOTHING
    assert order(root, whole=True) == Rewritten(3, 3)
    assert order(root) == NOTHING


def test_what_a_restore_brings_back_is_put_in_order_and_a_checkpoint_keeps_what_is(
    root: Path,
) -> None:
    first = handle(root).version()
    add(root, MONDAY)
    assert order(root) == Rewritten(2, 1)
    maintenance.checkpoint(str(root), TABLE)
    assert order(root) == NOTHING
    handle(root).restore(first)
    # Tuesday and Wednesday have the files of before, and Monday those of before its third row.
    assert order(root) == Rewritten(1, 1)


def test_what_a_flow_adds_meanwhile_is_not_taken_for_ordered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the commit, and between that and the one which tells of it."""
    add(root, MONDAY)
    sync, files = ordering.sync_commit, ordering._files

    def meanwhile(look: DeltaTable) -> None:
        sync(look)
        monkeypatch.setattr(ordering, "sync_commit", sync)
        add(root, MONDAY)

    def looked(look: DeltaTable) -> object:
        found = files(look)
        monkeypatch.setattr(ordering, "_files", files)
        add(root, TUESDAY)
        return found

    monkeypatch.setattr(ordering, "sync_commit", meanwhile)
    monkeypatch.setattr(ordering, "_files", looked)
    assert order(root) == Rewritten(2, 1)
    # Both days have a file more than was put in order.
    assert order(root) == Rewritten(4, 2)
    assert order(root) == NOTHING


def test_where_a_flow_is_in_the_way_of_telling_it_is_done_again_the_next_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "_LOOK", 0)
    add(root, MONDAY)
    assert order(root) == Rewritten(2, 1)
    monkeypatch.undo()
    assert order(root) == Rewritten(1, 1)
    assert order(root) == NOTHING


@pytest.mark.parametrize("keys", [(), ("day", "odd")])
def test_tables_of_no_partitions_and_of_several_columns(
    keys: tuple[str, ...], tmp_path: Path
) -> None:
    table = Table(TABLE.name, dict(TABLE.columns), partition_by=keys)
    for _ in range(2):
        add(tmp_path, MONDAY, MONDAY, TUESDAY, table=table)
    assert order(tmp_path, table=table).removed > 0
    assert order(tmp_path, table=table) == NOTHING
    add(tmp_path, TUESDAY, table=table)
    assert order(tmp_path, table=table).removed > 0
    assert order(tmp_path, table=table) == NOTHING
    assert ids(tmp_path) == [*range(7)]


def test_rows_without_a_day_are_put_in_order_as_others(tmp_path: Path) -> None:
    add(tmp_path, None, MONDAY)
    assert order(tmp_path) == Rewritten(2, 2)
    assert order(tmp_path) == NOTHING
    add(tmp_path, None)
    assert order(tmp_path).removed > 0
    assert order(tmp_path) == NOTHING
