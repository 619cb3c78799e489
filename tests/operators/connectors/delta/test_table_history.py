"""Rows come in the order of their partitions' offsets, whatever became of the table's files."""

import random
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from operators.connectors.delta import table_history
from operators.connectors.delta.errors import StorageUnavailableError
from operators.connectors.delta.table_history import TableHistory, in_order

COLUMNS = {
    "source_topic": pl.String(),
    "source_partition": pl.Int32(),
    "source_offset": pl.Int64(),
    "day": pl.Int32(),
}
PARTITIONS = {0: range(0, 900), 1: range(5_000, 5_400, 3), 4: range(7)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two topics, partitioned by something that mixes up the offsets."""
    folder, luck = tmp_path_factory.mktemp("history"), random.Random(1)
    places = [("it's", p, o) for p, offsets in PARTITIONS.items() for o in offsets]
    places += [("other", 0, o) for o in range(100)]
    # Roughly in the order of offsets, as commits are.
    places.sort(key=lambda place: place[2] % 5_000 + luck.randrange(200))
    for at in range(0, len(places), 150):
        topic, partition, offset = zip(*places[at : at + 150], strict=True)
        days = [luck.randrange(3) for _ in topic]
        rows = pl.DataFrame([topic, partition, offset, days], schema=COLUMNS)
        rows.write_delta(
            str(folder / "t"), mode="append", delta_write_options={"partition_by": ["day"]}
        )
    return folder


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("rows", [60, 100_000])
def test_all_rows_come_in_order_and_once(root, rows, compacted, monkeypatch):
    monkeypatch.setattr(table_history, "ROWS", rows)
    if compacted:
        # Nothing is left of the order of commits.
        table = DeltaTable(root / "t")
        shuffled = pl.read_delta(table).sample(fraction=1, shuffle=True, seed=2)
        shuffled.write_delta(table, mode="overwrite")
        table.optimize.compact()
    found: dict[int, list[int]] = {}
    columns = {n: t for n, t in COLUMNS.items() if n != "day"} | {"later": pl.Int32()}
    for partition, each in in_order(str(root), "t", "it's", columns, 50):
        assert 0 < each.height <= 50
        assert dict(each.schema) == columns
        assert each["later"].null_count() == each.height
        assert each["source_partition"].unique().to_list() == [partition]
        found.setdefault(partition, []).extend(each["source_offset"])
    assert found == {p: list(offsets) for p, offsets in PARTITIONS.items()}


def test_a_partition_is_read_from_behind_an_offset_up_to_another(root, monkeypatch):
    monkeypatch.setattr(table_history, "ROWS", 100)
    history = TableHistory(str(root), "t", "it's", COLUMNS)
    asked = {0: (99, 650), 1: (5_100, 5_101), 2: (-1, 9), 4: (6, 6)}
    assert history.begin(asked) == {0: 551}
    assert history.begin({}) == {}
    found = []
    while (rows := history.take(0, 40)).height:
        found += rows["source_offset"].to_list()
    assert found == list(range(100, 651))
    assert all(history.take(p, 40).equals(history.empty) for p in (0, 1, 2, 4))


def test_memory_is_bounded_by_a_window(root, monkeypatch):
    monkeypatch.setattr(table_history, "ROWS", 90)
    sizes = []
    read = table_history.read

    def reading(*args, **named):
        rows = read(*args, **named)
        sizes.append(rows.height)
        return rows

    monkeypatch.setattr(table_history, "read", reading)
    assert (
        sum(rows.height for _, rows in in_order(str(root), "t", "it's", COLUMNS, 1_000))
        == 1_041
    )
    assert max(sizes) <= 2 * 90


def test_a_table_that_is_compacted_and_vacuumed_meanwhile_is_read_on(tmp_path, monkeypatch):
    monkeypatch.setattr(table_history, "ROWS", 60)
    columns = {n: t for n, t in COLUMNS.items() if n != "day"}
    for first in range(0, 900, 100):
        rows = {
            "source_topic": "t",
            "source_partition": 0,
            "source_offset": range(first, first + 100),
        }
        pl.DataFrame(rows, schema=columns).write_delta(str(tmp_path / "t"), mode="append")
    table = DeltaTable(tmp_path / "t")
    newest, that = (
        TableHistory(str(tmp_path), "t", "t", columns, version)
        for version in (None, table.version())
    )
    for history in (newest, that):
        history.begin({0: (-1, 899)})
        assert history.take(0, 10)["source_offset"].to_list() == list(range(10))
    table.optimize.compact()
    assert table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    rest = [offset for _, rows in newest.in_turns([0], 50) for offset in rows["source_offset"]]
    assert rest == list(range(10, 900))
    with pytest.raises(StorageUnavailableError):
        list(that.in_turns([0], 50))
