"""Rows that are looked up in a table which other engines tend, and that may be away."""

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from operators.connectors.delta import lookup
from operators.connectors.delta.errors import StorageUnavailableError
from operators.records.tables import COORDINATES, STAMPS, Table

LATE = Table(
    "gold/late", {**COORDINATES, "step": pl.String()}, compared=("source_offset", "step")
)


def rows(*found: tuple[int, str]) -> pl.DataFrame:
    made = [("t", 0, offset, step) for offset, step in found]
    return pl.DataFrame(made, schema=LATE.columns, orient="row")


@pytest.fixture
def root(tmp_path) -> str:
    for offset in range(4):
        stamped = rows((offset, "minute")).with_columns(
            pl.lit(None, kind).alias(name) for name, kind in STAMPS.items()
        )
        write_deltalake(str(tmp_path / LATE.name), stamped, mode="append")
    return str(tmp_path)


ASKED = rows((1, "minute"), (1, "hour"), (3, "minute"), (9, "minute"))
LACKING = [(1, "hour"), (9, "minute")]


def test_what_a_table_lacks_is_told_also_behind_a_compaction_and_a_vacuum(root):
    for tend in (lambda table: None, lambda table: table.optimize.compact()):
        table = DeltaTable(f"{root}/{LATE.name}")
        tend(table)
        table.vacuum(0, dry_run=False, enforce_retention_duration=False)
        (found,) = lookup.lacking(root, LATE, [ASKED])
        assert sorted(found["source_offset", "step"].rows()) == LACKING
    assert lookup.lacking(root, LATE, []) == []


def failing(real, errors):
    """Return a function that raises each error once, and then does what the real one does."""

    def called(*args):
        if errors:
            raise errors.pop()
        return real(*args)

    return called


def test_a_table_that_cannot_be_opened_for_a_moment_is_opened_again(root, monkeypatch):
    errors = [StorageUnavailableError("503")] * 2
    monkeypatch.setattr(lookup, "open_table", failing(lookup.open_table, errors))
    monkeypatch.setattr(lookup.time, "sleep", lambda _: None)
    (found,) = lookup.lacking(root, LATE, [ASKED.head(2), ASKED[2:]])
    assert sorted(found["source_offset", "step"].rows()) == LACKING


@pytest.mark.parametrize("times", [2, 6])
def test_storage_that_fails_is_asked_again_and_then_told_in_one_line(root, times, monkeypatch):
    errors = [OSError("503 SlowDown")] * times
    monkeypatch.setattr(lookup, "read", failing(lookup.read, errors))
    monkeypatch.setattr(lookup.time, "sleep", lambda _: None)
    if times < 6:
        (found,) = lookup.lacking(root, LATE, [ASKED])
        assert sorted(found["source_offset", "step"].rows()) == LACKING
    else:
        with pytest.raises(StorageUnavailableError, match="503 SlowDown"):
            lookup.lacking(root, LATE, [ASKED])
