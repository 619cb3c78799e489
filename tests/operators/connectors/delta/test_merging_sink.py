"""Tables that changes merge into: one commit of rows and frontier, whatever crashes meanwhile."""

import random
from datetime import timedelta

import polars as pl
import pytest
from deltalake import DeltaTable

from operators.changes import Changes, merging
from operators.connectors.delta.maintenance import vacuum
from operators.connectors.delta.ordering import z_order
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.table import FencedError, table_uri
from operators.records.batches import Progress
from operators.records.tables import BUCKET, STAMPS, Table
from tests.operators.changes.made import BY, COLUMNS, FIELDS, change
from tests.operators.changes.oracle import current, history, sorted_rows

ORACLES = {"current": current, "history": history}


def table(keeps: str, buckets: int = 4) -> Table:
    kept = merging(Changes(BY, "version", keeps, buckets=buckets), FIELDS)
    return Table("gold/customers", kept.columns, partition_by=(BUCKET,), merging=kept)


class Run:
    """A run of a flow that writes the table, from where the recovery store is."""

    def __init__(self, root, merged: Table, state=None) -> None:
        places = [("customers", 0), ("customers", 1)]
        sink = DeltaSink(
            str(root), [merged], flow="customers", flow_version="1", partitions=places
        )
        self.part = sink.build_part("s", merged.name, state)
        offsets = {p: offset for _, p, offset in state["offsets"]} if state else {}
        self.next = {p: offsets.get(p, -1) + 1 for p in (0, 1)}

    def take(self, made: list[dict], partition: int, count: int) -> bool:
        mine = [each for each in made if each["source_partition"] == partition]
        some = mine[self.next[partition] :][:count]
        if not some:
            return False
        self.part.write_batch([pl.DataFrame(some, schema=COLUMNS)])
        self.next[partition] += len(some)
        self.part.write_batch([Progress("customers", partition, 2, self.next[partition] - 1)])
        return True


def held(root, merged: Table) -> pl.DataFrame:
    return pl.read_delta(table_uri(str(root), merged.name))


@pytest.mark.parametrize("keeps", ORACLES)
def test_crashes_anywhere_leave_what_the_changes_come_to(tmp_path, keeps):
    rng, merged = random.Random(3), table(keeps)
    made = [
        change(n, rng.randrange(4), rng.choice([None, *range(12)]), rng.randrange(60),
               deleted=rng.random() < 0.2)
        for n in range(90)
    ]  # fmt: skip
    state, crashed, rewound = None, 0, 0
    while True:
        run = Run(tmp_path, merged, state)
        for _ in range(rng.randrange(1, 3)):
            some = [run.take(made, rng.randrange(2), rng.randrange(1, 25)) for _ in range(2)]
            if rng.random() < 0.2:
                crashed += 1
                break
            after = run.part.snapshot()
            if rng.random() < 0.3:
                # The table has it, and the recovery store does not.
                rewound += 1
                break
            state = after
            if rng.random() < 0.3:
                z_order(str(tmp_path), merged, ["segment"], target=2**20)
        else:
            if not any(some) and run.next == {0: 45, 1: 45}:
                break
    assert crashed > 0
    assert rewound > 1
    expected = pl.DataFrame(
        ORACLES[keeps](made, BY),
        schema={n: t for n, t in merged.columns.items() if n != BUCKET},
    )
    found = held(tmp_path, merged).drop(BUCKET, *STAMPS)
    assert sorted_rows(found.select(expected.columns)).equals(sorted_rows(expected))


def test_a_commit_writes_the_buckets_of_what_changes_and_no_others(tmp_path):
    merged = table("history", buckets=64)
    run = Run(tmp_path, merged)
    everyone = [change(2 * n, 0, 1, n) | {"customer_id": f"c{n}"} for n in range(500)]
    run.take(everyone, 0, 500)
    state = run.part.snapshot()
    before = set(DeltaTable(table_uri(str(tmp_path), merged.name)).file_uris())
    assert len(before) == 64
    again = Run(tmp_path, merged, state)
    again.take([*everyone, change(1000, 0, 2, 0) | {"customer_id": "c7"}], 0, 1)
    again.part.snapshot()
    after = set(DeltaTable(table_uri(str(tmp_path), merged.name)).file_uris())
    assert len(before - after) == len(after - before) == 1
    assert held(tmp_path, merged).height == 501


def test_maintenance_between_commits_is_taken_for_what_it_is_and_another_owner_too(tmp_path):
    merged = table("current")
    made = [change(2 * n, n, n, n) for n in range(30)]
    one, other = Run(tmp_path, merged), Run(tmp_path, merged)
    one.take(made, 0, 5)
    one.part.snapshot()
    # Behind the back of a writer that has the table open.
    assert z_order(str(tmp_path), merged, ["segment"], target=2**20).removed > 0
    one.take(made, 0, 5)
    one.part.snapshot()
    # What commits have replaced is no part of the table.
    assert len(vacuum(str(tmp_path), merged, timedelta(0))) > 1
    other.take(made, 0, 7)
    with pytest.raises(FencedError, match="another copy"):
        other.part.snapshot()
    expected = pl.DataFrame(
        current(made[:10], BY), schema={n: t for n, t in merged.columns.items() if n != BUCKET}
    )
    found = held(tmp_path, merged).drop(BUCKET, *STAMPS).select(expected.columns)
    assert sorted_rows(found).equals(sorted_rows(expected))
