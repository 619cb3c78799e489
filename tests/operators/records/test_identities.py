"""What is sent again is one record with what it is sent again of, whatever is killed meanwhile."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.records import identities as module
from operators.records.batches import Batch, Progress, RawBatch
from operators.records.columns import ORIGIN_HEADER
from operators.records.identities import ORIGIN, Identities, repeated_columns
from operators.records.tables import TIME

Record = tuple[str | None, int | None, bool]
"""An id, how far behind it the reject is that it is sent again of, and whether it is good."""


def expected(records: list[Record]) -> dict[int, int | None]:
    """Return of each good record the one that it repeats, None of one that counts."""
    found: dict[int, int | None] = {}
    passed: list[int] = []
    for at, (id_, back, good) in enumerate(records):
        if not good:
            continue
        # That of a topic that was made anew may be ahead.
        origin = None if back is None else at - back if back > 0 else -1
        first = None
        for other in passed:
            its_id, its_back, _ = records[other]
            if id_ is not None and its_id == id_ and first is None:
                behind = origin is not None and (origin < other or its_back is not None)
                first = other if its_back is not None or behind else None
        if first is None:
            passed.append(at)
        found[at] = first
    return found


class Table:
    """Silver, as far as it is committed."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[str | None, bool]] = {}
        self.reached, self.asked = -1, 0

    def again(self, partition: int) -> Mapping[Any, int]:
        return self._first(lambda at, again: again)

    def between(
        self, partition: int, ids: list[Any], after: int, before: int
    ) -> Mapping[Any, list[int]]:
        self.asked += 1
        found: dict[Any, list[int]] = {}
        for at, (id_, _) in sorted(self.rows.items()):
            if id_ in ids and after < at < before:
                found.setdefault(id_, []).append(at)
        return found

    def committed(self, partition: int) -> int:
        return self.reached

    def _first(self, which: Any) -> dict[Any, int]:
        found: dict[Any, int] = {}
        for at, (id_, again) in sorted(self.rows.items()):
            if id_ is not None and which(at, again):
                found.setdefault(id_, at)
        return found


def batch(records: list[Record], start: int, end: int) -> tuple[RawBatch, Batch]:
    """Return some of the records as they came, and as they were decoded."""
    progress = Progress("t", 0, 1, end - 1)
    headers = [
        None if back is None else [(ORIGIN_HEADER, f"t/0/{at - back}".encode())]
        for at, (_, back, _) in enumerate(records[start:end], start)
    ]
    raw = RawBatch(
        progress, np.arange(start, end), np.zeros(end - start, np.int64),
        [None] * (end - start), [b""] * (end - start), headers,
    )  # fmt: skip
    good = [at for at in range(start, end) if records[at][2]]
    kinds = {
        "source_topic": pl.String(), "source_partition": pl.Int32(), "source_offset": pl.Int64(),
        "kafka_timestamp": TIME, "id": pl.String(),
    }  # fmt: skip
    rows = [("t", 0, at, None, records[at][0]) for at in good]
    return raw, Batch(progress, pl.DataFrame(rows, kinds, orient="row"))


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.sampled_from([None, None, None, 1, 2, 5, -3, 999]),
        st.sampled_from([True, True, True, False]),
    ),
    max_size=25,
)


def test_what_the_table_has_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 10)
    table, records = Table(), [("a", None, True)] * 100
    identities = Identities("id", table)
    for at in range(0, 100, 5):
        identities.split(*batch(records, at, at + 5))
        table.reached = at
    kept = identities._partitions[0].recent
    assert sum(len(offsets) for offsets, _ in kept) <= 15


@given(RECORDS, st.data())
@settings(max_examples=300, deadline=None)
def test_what_repeats_what_is_a_function_of_the_records(records: Any, data: Any) -> None:
    table, told = Table(), dict[int, int | None]()
    identities, at, pending = Identities("id", table), 0, dict[int, Any]()
    snapshot = 0
    while at < len(records):
        end = data.draw(st.integers(at + 1, len(records)))
        good, again = identities.split(*batch(records, at, end))
        origins = dict(good.frame.select("source_offset", ORIGIN).iter_rows())
        found: dict[int, int | None] = dict.fromkeys(origins)
        if again is not None:
            assert again.columns == list(repeated_columns("id", pl.String()))
            found |= dict(again.select("source_offset", "first_offset").iter_rows())
        assert all(told.get(place, first) == first for place, first in found.items())
        told |= found
        pending |= {place: (records[place][0], origins[place] is not None) for place in origins}
        at = end
        if data.draw(st.booleans()):
            table.rows |= pending
            table.reached = at - 1
            pending = {}
            # The table is committed before the state is.
            snapshot = at if data.draw(st.booleans()) else snapshot
        if data.draw(st.integers(0, 3)) == 0:
            identities, at, pending = Identities("id", table), snapshot, {}
            if data.draw(st.booleans()):
                at = table.reached + 1
    assert told == expected(records)


def test_a_table_is_asked_once_for_all_that_a_batch_sends_again():
    table = Table()
    table.rows = {at: (f"{at % 30}", False) for at in range(60)}
    table.reached = 59
    records: list[Record] = [(f"{at % 30}", None, True) for at in range(60)]
    # Sent again of what was there before the table's two of that id, and of between them.
    records += [(f"{n}", 61 + n if n % 2 else 50, True) for n in range(30)]
    made, found = Identities("id", table).split(*batch(records, 60, 90))
    assert (table.asked, len(made)) == (1, 0)
    assert found is not None
    assert found["first_offset"].to_list() == [n if n % 2 else n + 30 for n in range(30)]
