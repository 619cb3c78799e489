"""What analysts say of payments, and since when, held to a loop over their labels."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.streams import CHARGEBACKS, PAYMENTS
from flows.streams.labels import LABELS
from operators.records.tables import Table
from ops.backtest.labels import LabelsError
from ops.backtest.labels_of_tables import labels_of_tables

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = (START - datetime(1970, 1, 1, tzinfo=UTC)).days
IDS = ["a", "b", "c", "d"]

said = st.tuples(st.sampled_from(IDS), st.integers(0, 9), st.booleans())


def write(root: Path, table: Table, rows: list[tuple], names: list[str]) -> None:
    frame = pl.DataFrame(
        [*map(list, zip(*rows, strict=True))] if rows else [[]] * len(names),
        {name: table.columns[name] for name in names},
    )
    write_deltalake(root / table.name, frame, mode="overwrite")


def label(root: Path, labels: list[tuple[str, int, bool]]) -> None:
    rows = [
        (each, START + timedelta(days=day), "FRAUD" if fraud else "GENUINE", 0, place)
        for place, (each, day, fraud) in enumerate(labels)
    ]
    place = ["source_partition", "source_offset"]
    write(root, LABELS.silver, rows, ["payment_id", "event_time", "verdict", *place])


def charge(root: Path, charged: list[tuple[str, int, bool]]) -> None:
    rows = [(each, START + timedelta(days=day), fraud) for each, day, fraud in charged]
    write(root, CHARGEBACKS.silver, rows, ["payment_id", "event_time", "fraud"])


def of(charged: list[tuple[str, int, bool]], labels: list[tuple[str, int, bool]]) -> dict:
    """Return whether each payment is a fraud and since which day, one label after the other."""
    found: dict[str, tuple[bool, int]] = {}
    for each, day, fraud in sorted(charged, key=lambda row: (not row[2], row[1])):
        found.setdefault(each, (fraud, day))
    told: dict[str, tuple[bool, int]] = {}
    for each, day, fraud in sorted(labels, key=lambda row: row[1]):
        if each not in told or told[each][0] != fraud:
            told[each] = fraud, day
    return found | told


@settings(max_examples=40)
@given(st.lists(said, max_size=9), st.lists(said, max_size=5))
def test_the_newest_label_counts_since_it_was_first_said_and_else_what_was_charged_back(
    tmp_path_factory: pytest.TempPathFactory, labels: list, charged: list
) -> None:
    root = tmp_path_factory.mktemp("root")
    label(root, labels)
    charge(root, charged)
    found = labels_of_tables(str(root), PAYMENTS)
    assert found is not None
    fraud, known, there = found.look_up(pl.Series(IDS), np.zeros(4, np.int64))
    expected = of(charged, labels)
    assert {name for name, each in zip(IDS, there, strict=True) if each} == expected.keys()
    for name, is_fraud, day in zip(IDS, fraud, known, strict=True):
        if name in expected:
            assert (is_fraud, day - FIRST) == expected[name]
        else:
            assert not is_fraud


def test_either_table_is_enough_and_each_is_as_it_was_by_a_time(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert labels_of_tables(root, PAYMENTS) is None
    label(tmp_path, [("a", 1, True)])
    by = datetime.now(UTC) + timedelta(milliseconds=5)
    while datetime.now(UTC) <= by:
        pass
    label(tmp_path, [("a", 1, True), ("a", 5, False), ("b", 2, True)])
    charge(tmp_path, [("c", 3, True)])
    then, now = labels_of_tables(root, PAYMENTS, by=by), labels_of_tables(root, PAYMENTS)
    assert then is not None
    assert now is not None
    assert then.source == "silver/labels at version 0, the last of 2026-01-02"
    assert now.source == (
        "silver/labels at version 1, the last of 2026-01-06, "
        "else silver/chargebacks at version 0, the last of 2026-01-04"
    )
    days = np.zeros(3, np.int64)
    assert then.look_up(pl.Series(["a", "b", "c"]), days)[0].tolist() == [True, False, False]
    assert now.look_up(pl.Series(["a", "b", "c"]), days)[0].tolist() == [False, True, True]
    # A log that begins later cannot tell.
    table = DeltaTable(tmp_path / LABELS.silver.name)
    table.create_checkpoint()
    (tmp_path / LABELS.silver.name / "_delta_log" / f"{0:020}.json").unlink()
    with pytest.raises(LabelsError, match="leave --version out, or name its labels"):
        labels_of_tables(root, PAYMENTS, by=by)
