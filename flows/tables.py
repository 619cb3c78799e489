"""The payments flow's tables and windows."""

from typing import Any, Final

import polars as pl

import schemas
from operators.features import SCHEMA as FEATURES
from operators.records import RAW_COLUMNS, REJECT_COLUMNS
from operators.rules import ALERT_COLUMNS
from operators.steps.dedup import DUPLICATE_COLUMNS
from operators.steps.windows import LATE_COLUMNS
from operators.tables import COORDINATES, TIME, Table
from operators.windows import Aggregate, Windows

_MINUTE: Final = 60_000_000

_TYPES: Final[dict[str, pl.DataType]] = {
    "string": pl.String(),
    "long": pl.Int64(),
    "int": pl.Int32(),
    "double": pl.Float64(),
    "boolean": pl.Boolean(),
    "enum": pl.String(),
    "timestamp-micros": TIME,
}


def _column(avro: Any) -> pl.DataType:
    if isinstance(avro, list):
        return _column(next(branch for branch in avro if branch != "null"))
    if isinstance(avro, dict):
        return _TYPES[avro.get("logicalType") or avro["type"]]
    return _TYPES[avro]


PAYMENT_COLUMNS: Final[dict[str, pl.DataType]] = {
    field["name"]: _column(field["type"]) for field in schemas.latest("payment")["fields"]
}

SILVER_COLUMNS: Final[dict[str, pl.DataType]] = {
    **COORDINATES,
    "kafka_timestamp": TIME,
    **PAYMENT_COLUMNS,
    "watermark": TIME,
    **FEATURES,
}

BRONZE: Final = Table(
    "bronze/payments",
    {**RAW_COLUMNS, "ingest_date": pl.Date()},
    partition_by=("ingest_date",),
    scattered=("source_offset", "value"),
)
SILVER: Final = Table(
    "silver/payments",
    {**SILVER_COLUMNS, "event_date": pl.Date()},
    partition_by=("event_date",),
    scattered=(
        "source_offset",
        "payment_id",
        "event_time",
        "watermark",
        "card_amount_minor_mean",
        "card_moved_m",
    ),
)
DUPLICATES: Final = Table("silver/duplicates", DUPLICATE_COLUMNS)
QUARANTINE: Final = Table("quarantine/payments", REJECT_COLUMNS)
ALERTS: Final = Table("gold/alerts", ALERT_COLUMNS)
LATE: Final = Table("gold/late", LATE_COLUMNS)


def terminal_minute(lateness: int) -> Windows:
    """Return what is aggregated per terminal and minute; `lateness` in µs."""
    return Windows(
        by=("terminal_id",),
        size=_MINUTE,
        lateness=lateness,
        aggregates={
            "payments": Aggregate("count"),
            "amount_minor_sum": Aggregate("sum", "amount_minor"),
            "amount_minor_max": Aggregate("max", "amount_minor"),
            "cards": Aggregate("distinct", "card_id"),
        },
    )


def terminal_minute_table(lateness: int) -> Table:
    """Return the table of `terminal_minute`."""
    columns: dict[str, pl.DataType] = {
        "terminal_id": pl.String(),
        "window_start": TIME,
        "window_end": TIME,
        **{name: pl.Int64() for name in terminal_minute(lateness).aggregates},
    }
    return Table("gold/terminal_minute", columns, fenced="by window", lateness=lateness)


def tables(lateness: int) -> list[Table]:
    """Return every table of the flow; `lateness` is the windows' in µs."""
    return [
        BRONZE, SILVER, DUPLICATES, QUARANTINE, ALERTS, LATE, terminal_minute_table(lateness)
    ]  # fmt: skip
