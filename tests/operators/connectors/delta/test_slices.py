"""Tables that slices of a flow write side by side, each with a fence of its own."""

from datetime import timedelta

import polars as pl
import pytest
from deltalake import DeltaTable

from operators.connectors.delta import commits
from operators.connectors.delta.accounts import recorded
from operators.connectors.delta.errors import FencedError
from operators.connectors.delta.restoring import restore
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.table import Fence, table_uri
from operators.records.batches import Progress
from tests.field.tables import checkpoint_of_spark, limit_transactions
from tests.operators.connectors.delta_flow import ROWS, Flow, held

IDENTITIES = {"t": "cluster/id"}


class Slice:
    """One of two slices, of partition 0 or 1."""

    def __init__(self, root, number: int, state=None) -> None:
        self.number = number
        sink = DeltaSink(
            str(root),
            [ROWS],
            flow="f",
            flow_version="1",
            partitions=[("t", number)],
            identities=IDENTITIES,
            slice_=f"{number}/2",
        )
        self.part = sink.build_part("s", ROWS.name, state)

    def epoch(self, last: int) -> dict:
        """Write two rows, the last of them at an offset."""
        rows = [("t", self.number, at, at, at % 2) for at in (last - 1, last)]
        self.part.write_batch([pl.DataFrame(rows, schema=ROWS.columns, orient="row")])
        self.part.write_batch([Progress("t", self.number, 1, last)])
        return self.part.snapshot()


def handle(root) -> DeltaTable:
    return DeltaTable(table_uri(str(root), ROWS.name))


def fence(root, *partitions: int) -> dict:
    return recorded(handle(root), Fence("f", [("t", p) for p in partitions])).offsets


@pytest.fixture
def slices(tmp_path):
    """Two of them, opened before the other had written anything; each has."""
    both = Slice(tmp_path, 0), Slice(tmp_path, 1)
    for each in both:
        each.epoch(1)
    return both


def test_none_is_in_the_others_way(tmp_path, slices, caplog):
    for last in (3, 5, 7):
        for each in slices:
            each.epoch(last)
    assert "commit failed" not in caplog.text
    assert held(tmp_path) == [(p, at) for p in (0, 1) for at in range(8)]
    # As the whole flow would go on.
    assert fence(tmp_path, 0, 1) == {("t", 0): 7, ("t", 1): 7}


def test_a_second_copy_of_a_slice_is_refused(tmp_path, slices):
    copy = Slice(tmp_path, 1)
    slices[1].epoch(3)
    slices[0].epoch(3)
    with pytest.raises(FencedError, match="another copy of it writes to the same tables"):
        copy.epoch(5)


def test_a_whole_flow_beside_a_slice_is_refused_also_of_a_partition_that_was_empty(tmp_path):
    Slice(tmp_path, 0).epoch(1)
    flow, slice_ = Flow(tmp_path), Slice(tmp_path, 1)
    for at in (2, 3):
        flow.rows(0, at)
        flow.progress(0, at)
        flow.parts[ROWS.name].snapshot()
        if at == 2:
            # Neither this commit nor the next is in the other's way.
            slice_.epoch(1)
    flow.rows(1, 0, 1)
    flow.progress(1, 1)
    with pytest.raises(FencedError, match="was told f/t/1 under this flow: another copy"):
        flow.parts[ROWS.name].snapshot()


def test_what_a_slice_has_committed_is_dropped_from_its_replay(tmp_path, slices):
    state = slices[1].epoch(3)
    slices[1].epoch(5)
    slices[0].epoch(3)
    again = Slice(tmp_path, 1, state)
    for last in (5, 7):
        again.epoch(last)
    assert held(tmp_path) == [(0, at) for at in range(4)] + [(1, at) for at in range(8)]


def test_where_transactions_are_dropped_each_slices_commits_tell_its_own(tmp_path, slices):
    slices[0].epoch(3)
    slices[0].epoch(5)
    limit_transactions(tmp_path, ROWS.name)
    assert checkpoint_of_spark(tmp_path, ROWS.name, timedelta(days=8)) == 0
    assert fence(tmp_path, 0, 1) == {("t", 0): 5, ("t", 1): 1}
    again = Slice(tmp_path, 1)
    again.epoch(1)
    again.epoch(3)
    assert held(tmp_path) == [(0, at) for at in range(6)] + [(1, at) for at in range(4)]


def test_a_restore_is_seen_by_the_slice_that_has_not_gone_on(tmp_path, slices):
    version = handle(tmp_path).version()
    for each in slices:
        each.epoch(3)
    handle(tmp_path).restore(version)
    # By a process that runs on.
    slices[0].epoch(5)
    Slice(tmp_path, 0)
    for refuse in (lambda: Slice(tmp_path, 1), lambda: whole(tmp_path)):
        with pytest.raises(FencedError, match=f"restored to its version {version}"):
            refuse()


def whole(root) -> None:
    places = [("t", 0), ("t", 1)]
    sink = DeltaSink(str(root), [ROWS], flow="f", flow_version="1", partitions=places)
    sink.build_part("s", ROWS.name, None)


def test_one_with_its_fence_is_gone_on_from_by_each(tmp_path, slices):
    version = handle(tmp_path).version()
    for each in slices:
        each.epoch(3)
    assert commits.newest_fence(handle(tmp_path), "f")["f/t/0"] == 3
    restore(str(tmp_path), ROWS, "f", version, "1")
    assert fence(tmp_path, 0, 1) == {("t", 0): 1, ("t", 1): 1}
    for number in (0, 1):
        again = Slice(tmp_path, number)
        for last in (1, 3):
            again.epoch(last)
    whole(tmp_path)
    assert held(tmp_path) == [(p, at) for p in (0, 1) for at in range(4)]
