"""Against tables that the sink has written."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from operators.connectors.delta.committed_ids import CommittedIds
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.table import table_uri
from operators.connectors.redis.dedup_ids import Seen
from operators.records.batches import Progress
from operators.records.tables import COORDINATES, TIME, Table
from tests.examples import examples

EVENTS = Table(
    "silver/events",
    {**COORDINATES, "n": pl.String(), "event_time": TIME, "event_date": pl.Date()},
    partition_by=("event_date",),
)
PLACES = [("t", 0), ("t", 1), ("other", 0)]
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = int(NOON.timestamp()) // 3600

Row = tuple[str, int, int, int]
"""An id, its event's hour, partition and offset."""


class Flow:
    """A flow's table of events, and what is known of it."""

    def __init__(self, root) -> None:
        made = DeltaSink(str(root), [EVENTS], flow="f", flow_version="1", partitions=PLACES)
        self._part = made.build_part("s", EVENTS.name, None)
        self.ids = CommittedIds(str(root), EVENTS.name, made.fence, "t", "n")

    def commit(self, *rows: Row) -> None:
        frame = pl.DataFrame(
            [
                ("t", partition, offset, name, NOON + timedelta(hours=hour - HOUR, minutes=59))
                for name, hour, partition, offset in rows
            ],
            schema=[*COORDINATES, "n", "event_time"],
            orient="row",
        ).with_columns(event_date=pl.col("event_time").dt.date())
        self._part.write_batch([frame.cast(EVENTS.columns)])
        for _, _, partition, offset in rows:
            self._part.write_batch([Progress("t", partition, 2, offset)])
        self._part.snapshot()

    def reach(self, topic: str, partition: int, offset: int) -> None:
        self._part.write_batch([Progress(topic, partition, 2, offset)])


def rows(parts: Iterable[Seen]) -> list[Row]:
    return sorted(
        row
        for part in parts
        for row in zip(
            part.ids,
            part.hours.tolist(),
            part.partitions.tolist(),
            part.offsets.tolist(),
            strict=True,
        )
    )


@pytest.fixture
def flow(tmp_path) -> Flow:
    return Flow(tmp_path)


def test_a_table_that_is_not_there_or_empty_has_committed_nothing(tmp_path, flow):
    for ids in (flow.ids, CommittedIds(str(tmp_path), "none", flow.ids._fence, "t")):
        assert ids.committed() == {}
        assert ids.newest() is None
        assert rows(ids.first([HOUR])) == rows(ids.latest()) == []


def test_it_sees_what_is_committed_after_it_has_looked(flow):
    flow.commit(("a", HOUR, 0, 5))
    assert rows(flow.ids.first([HOUR])) == [("a", HOUR, 0, 5)]
    flow.commit(("b", HOUR + 1, 0, 6))
    assert rows(flow.ids.first([HOUR + 1])) == [("b", HOUR + 1, 0, 6)]
    assert flow.ids.newest() == HOUR + 1


def test_offsets_are_those_of_its_own_topic(flow):
    flow.reach("other", 0, 99)
    flow.commit(("a", HOUR, 0, 5), ("b", HOUR, 1, 3))
    assert flow.ids.committed() == {0: 5, 1: 3}


def test_the_newest_hour_is_known_without_statistics(tmp_path, flow):
    flow.commit(("a", HOUR, 0, 5))
    DeltaTable(table_uri(str(tmp_path), EVENTS.name)).alter.set_table_properties(
        {"delta.dataSkippingNumIndexedCols": "0"}
    )
    bare = Flow(tmp_path)
    bare.commit(("b", HOUR, 0, 6))
    assert bare.ids.newest() == HOUR


def test_the_latest_are_those_of_the_last_two_commits_at_least(flow):
    for offset in range(6):
        flow.commit((f"id{offset}", HOUR, 0, offset))
    latest = rows(flow.ids.latest())
    assert latest[-2:] == [("id4", HOUR, 0, 4), ("id5", HOUR, 0, 5)]
    assert len(latest) < 6


@examples(1 / 4)
@given(
    st.lists(st.lists(st.integers(-30, 30), min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(st.integers(-31, 31), max_size=3),
)
def test_the_first_of_any_hours_are_their_rows_whatever_the_commits(
    tmp_path_factory, commits, asked
):
    flow, everything, offset = Flow(tmp_path_factory.mktemp("t")), [], 0
    for commit in commits:
        made = []
        for hour in commit:
            made.append((f"id{offset}", HOUR + hour, offset % 2, offset))
            offset += 1
        flow.commit(*made)
        everything += made
    hours = [HOUR + hour for hour in asked]
    assert rows(flow.ids.first(hours)) == sorted(r for r in everything if r[1] in hours)
    assert flow.ids.newest() == max(hour for _, hour, _, _ in everything)
