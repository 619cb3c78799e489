"""What other engines and people do to tables, as their logs show it."""

import json
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from flows.streams import PAYMENTS
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read

PROPERTY = "delta.setTransactionRetentionDuration"


def names() -> list[str]:
    return [table.name for table in PAYMENTS.all_tables]


def limit_transactions(folder: Path, name: str) -> None:
    """Set how long Spark keeps transactions, as `ALTER TABLE … SET TBLPROPERTIES` does."""
    DeltaTable(folder / name).alter.set_table_properties({PROPERTY: "interval 7 days"})


def checkpoint_of_spark(folder: Path, name: str, later: timedelta = timedelta(0)) -> int:
    """Write the checkpoint that Spark would `later`; returns how many transactions it keeps.

    Spark's InMemoryLogReplay leaves out transactions that were updated before the retention, and
    those that do not say when. Otherwise its checkpoints are deltalake's.
    """
    table = DeltaTable(folder / name)
    table.create_checkpoint()
    log = folder / name / "_delta_log"
    file = log / f"{table.version():020}.checkpoint.parquet"
    actions = pl.read_parquet(file)
    since = (time.time() + later.total_seconds() - timedelta(days=7).total_seconds()) * 1000
    txn = pl.col("txn")
    updated = txn.struct.field("lastUpdated").fill_null(0)
    kept = actions.filter(txn.struct.field("appId").is_null() | (updated > since))
    kept.write_parquet(file)
    hint = log / "_last_checkpoint"
    told = json.loads(hint.read_text()) | {"size": kept.height}
    hint.write_text(json.dumps({n: v for n, v in told.items() if n in ("version", "size")}))
    return kept.filter(txn.struct.field("appId").is_not_null()).height


def clean_up_log(folder: Path, name: str) -> None:
    """Delete the commits before a checkpoint, as engines do once they are old."""
    log = folder / name / "_delta_log"
    version = json.loads((log / "_last_checkpoint").read_text())["version"]
    for commit in log.glob("*.json"):
        if int(commit.stem) < version:
            commit.unlink()


def filled(root: str, name: str, rows: int) -> DeltaTable | None:
    """Return a table once it has so many rows, in a folder of any name."""
    uri = table_uri(root, name)
    if not DeltaTable.is_deltatable(uri):
        return None
    table = DeltaTable(uri)
    return table if read(table, ["source_offset"]).height >= rows else None
