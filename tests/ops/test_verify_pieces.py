"""Pieces have each row of some tables once, and no more than they may."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.connectors.delta.reading import read
from ops.verify.pieces import pieces
from ops.verify.report import Check, summed

PLACE = {"source_partition": pl.Int32, "source_offset": pl.Int64}

places = st.sets(st.tuples(st.integers(0, 4), st.integers(0, 60)), max_size=40)


def table(folder: Path, rows: set[tuple[int, int]]) -> DeltaTable:
    frame = pl.DataFrame(sorted(rows), PLACE, orient="row")
    write_deltalake(str(folder), frame)
    return DeltaTable(folder)


@settings(max_examples=30, deadline=None)
@given(places, places, st.integers(1, 70))
def test_each_row_is_in_one_piece_of_all_tables(
    tmp_path_factory: pytest.TempPathFactory, one: set, other: set, most: int
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    tables = [table(folder / "one", one), table(folder / "other", other)]
    made = list(pieces(tables, most))
    assert made
    for each, rows in zip(tables, (one, other), strict=True):
        found = [read(each, PLACE, piece.sql) for piece in made]
        assert max(rows.height for rows in found) <= most
        assert sorted(row for rows in found for row in rows.rows()) == sorted(rows)
        # What is read and what is in memory are cut alike.
        whole = read(each, PLACE)
        for piece, rows_ in zip(made, found, strict=True):
            assert piece.of(whole).sort(*PLACE).equals(rows_.sort(*PLACE))
    # Few are together: no two that follow each other would be one.
    ranges: dict[int, list[int]] = {}
    for partition, offset in one | other:
        ranges.setdefault(partition, []).append(offset)
    need = sum(max(each) - min(each) + 1 for each in ranges.values())
    assert len(made) <= 2 * (need // most + 1)


def test_checks_of_pieces_are_one_check_of_all() -> None:
    rows = [{"place": n} for n in range(8)]
    parts = [Check("c", 5, 8, rows, 1, "why"), Check("c", 2, 0), Check("c", 9, 8, rows, 2)]
    assert summed(parts) == Check("c", 16, 16, [*rows, *rows[:2]], 3, "why")
