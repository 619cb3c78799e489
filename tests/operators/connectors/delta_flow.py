"""Tables of a flow and a run of it, to write them epoch by epoch."""

import polars as pl
from deltalake import DeltaTable

from operators.connectors.delta.sink import DeltaSink
from operators.connectors.delta.table import Fence, open_table, table_uri
from operators.event_time.frontier import Frontier
from operators.records.batches import NO_WATERMARK, Progress
from operators.records.tables import COORDINATES, TIME, Table

ROWS = Table(
    "silver/rows", {**COORDINATES, "n": pl.Int64(), "day": pl.Int64()}, partition_by=("day",)
)
PANES = Table(
    "gold/panes", {"window_end": TIME, "n": pl.Int64()}, fenced="by window", lateness=5
)
PLACES = [("t", 0), ("t", 1)]


def sink(root) -> DeltaSink:
    return DeltaSink(
        str(root), [ROWS, PANES], flow="f", flow_version="1.2.3", partitions=PLACES
    )


class Flow:
    """A run of a flow: the sink's two partitions, each told of everyone's progress."""

    def __init__(self, root, state=None) -> None:
        self.root = root
        made = sink(root)
        state = state or {}
        self.parts = {n: made.build_part("s", n, state.get(n)) for n in made.list_parts()}

    def rows(self, partition: int, *offsets: int) -> None:
        frame = pl.DataFrame(
            [("t", partition, offset, offset * 10, offset % 2) for offset in offsets],
            schema=ROWS.columns, orient="row",
        )  # fmt: skip
        self.parts[ROWS.name].write_batch([frame])

    def panes(self, *ends: int) -> None:
        frame = pl.DataFrame(
            {"window_end": ends, "n": ends}, schema={"window_end": pl.Int64, "n": pl.Int64}
        )
        self.parts[PANES.name].write_batch([frame.cast({"window_end": TIME})])

    def progress(self, partition: int, offset: int, watermark: int = NO_WATERMARK) -> None:
        for part in self.parts.values():
            part.write_batch([Progress("t", partition, 2, offset, watermark)])

    def snapshot(self) -> dict:
        return {name: part.snapshot() for name, part in self.parts.items()}


def held(root) -> list[tuple[int, int]]:
    frame = pl.read_delta(table_uri(str(root), ROWS.name))
    return sorted(frame.select("source_partition", "source_offset").rows())


def held_panes(root) -> list[int]:
    return sorted(pl.read_delta(table_uri(str(root), PANES.name))["n"].to_list())


def fence(root, table=ROWS) -> Frontier:
    return Fence("f", PLACES).read(open_table(str(root), table))


def versions(root) -> int:
    return DeltaTable(table_uri(str(root), ROWS.name)).version()
