"""A quarantine for tests of what people do with rejects, and what they do, in few words."""

from pathlib import Path
from typing import Any

import polars as pl
from deltalake import write_deltalake

from flows.streams import PAYMENTS
from operators.avro.framing import ID_HEADER
from operators.records.tables import STAMPS
from ops.dlq.discards import mark
from ops.dlq.edits import Edits, edited
from ops.dlq.filters import Filters
from ops.dlq.quarantine import PLACE, Quarantine, open_quarantines
from ops.dlq.replays import Replays
from ops.dlq.sought import Sought

COUNT = 6
CODES = ("malformed", "rule_failed:a", "rule_failed:b")
KINDS = PAYMENTS.quarantine.schema


def no_lookup(_: Any) -> Any:
    raise AssertionError("nothing is decoded here")


def made(folder: Path) -> str:
    """Make a quarantine: a malformed record at each offset, and a rule's two at 0."""
    rows = [
        {
            "source_topic": "payments", "source_partition": 0, "source_offset": offset,
            "stage": "decode" if code == "malformed" else "rule", "code": code, "message": code,
            "fingerprint": f"1:{CODES.index(code):016}", "attempts": 1, "value": b"%d" % offset,
            "headers": [{"key": ID_HEADER, "value": b"x"}, {"key": "own", "value": b"1"}],
        }
        for offset in range(COUNT)
        for code in (CODES if offset == 0 else CODES[:1])
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=KINDS).with_columns(
        pl.lit("1").alias("flow_version"),
        pl.lit(0).cast(STAMPS["written_at"]).alias("written_at"),
    )
    write_deltalake(str(folder / "quarantine" / "payments"), frame)
    return str(folder)


def opened(root: str) -> Quarantine:
    (found,) = open_quarantines(root, None)
    return found


def rows(root: str, *offsets: int) -> pl.DataFrame:
    sql = "SELECT * FROM rows WHERE stage <> 'rule' AND state <> '' ORDER BY source_offset"
    found = opened(root).query(sql)
    return found.filter(pl.col("source_offset").is_in(list(offsets)))


def save(root: str, value: bytes | None, *offsets: int) -> str:
    chosen = rows(root, *offsets).select(*PLACE, "fingerprint", original="value").with_columns(
        pl.lit(value, pl.Binary).alias("value"), pl.lit("[]").alias("changes")
    )  # fmt: skip
    return Edits(root).save("payments", chosen, "patch", {}, "because")


def put(root: str, sql: str, *, discarded: bool = True) -> int:
    filters = Filters(where=sql, discarded=not discarded)
    _, count = mark(root, [opened(root)], filters, {}, "x", Sought(), no_lookup,
                    discarded=discarded)  # fmt: skip
    return count


def claim(root: str, *offsets: int) -> str:
    chosen = edited(rows(root, *offsets), Edits(root).of("payments"))
    return Replays(root).claim("payments", chosen, {("payments", 0): 7}, {}, None, 3)
