"""The books: where each record of the source topic went, and what was made of it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from flows.settings import Settings
from flows.tables import (
    ALERTS,
    BRONZE,
    DUPLICATES,
    LATE,
    QUARANTINE,
    SILVER,
    SILVER_COLUMNS,
    WINDOWED,
    windowed_table,
)  # fmt: skip
from flows.wiring import micros
from operators.connectors.accounts import recorded
from operators.connectors.delta import Fence, table_uri
from operators.connectors.kafka import wait_for_partitions
from operators.connectors.reading import query, read
from operators.rules import RuleSet, load_rules
from ops.verify.chargebacks import check_chargebacks
from ops.verify.report import Check, Report, only_once
from ops.verify.topics import reject_ids, sent_once, source_records, still_there
from ops.verify.windows import check_windows

_PLACE = ["source_partition", "source_offset"]
_STAGES = ["decode", "contract"]


class MissingTableError(RuntimeError):
    """A table is not there: no flow has written under this root."""


class _Tables:
    """The tables, each pinned to the version it had when it was first looked at."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._handles: dict[str, DeltaTable] = {}

    def handle(self, name: str) -> DeltaTable:
        if name not in self._handles:
            uri = table_uri(self._root, name)
            if not DeltaTable.is_deltatable(uri):
                raise MissingTableError(f"there is no table {uri}; has the flow run?")
            self._handles[name] = DeltaTable(uri)
        return self._handles[name]

    def read(self, name: str, columns: Mapping[str, pl.DataType] | list[str]) -> pl.DataFrame:
        return read(self.handle(name), columns)

    def height(self, name: str) -> int:
        return int(query(self.handle(name), "SELECT count(*) FROM rows").item())


def verify(
    settings: Settings,
    truth: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Report:
    """Read topics and tables and check that they agree; `told` hears what is being done.

    The chargebacks flow's are checked as well if they are there. `truth` is what a simulation
    wrote beside its topic. Raises MissingTableError, and KafkaUnavailableError where the topics
    cannot be read.
    """
    tables = _Tables(settings.delta_root)
    told("reading the source topic")
    source = source_records(
        settings.kafka,
        settings.topic,
        lambda n: told(f"reading the source topic: {n:,} records"),
    )
    told("comparing bronze with the topic")
    value_hash = pl.col("value").hash().alias("value_hash")
    bronze = tables.read(BRONZE.name, [*_PLACE, "value"]).with_columns(value_hash).drop("value")
    still = still_there(source, bronze)
    checks = [
        only_once(
            "every record of the topic is in bronze, once",
            source,
            still,
            deleted=bronze.height - still.height,
        )
    ]

    told("looking for each record's one place")
    silver = tables.read(SILVER.name, [*_PLACE])
    duplicates = tables.read(DUPLICATES.name, [*_PLACE])
    rejects = tables.read(QUARANTINE.name, [*_PLACE, "stage", "code"])
    refused = rejects.filter(pl.col("stage").is_in(_STAGES))
    places = {"silver": silver, "duplicates": duplicates, "quarantine": refused.select(_PLACE)}
    placed = pl.concat(
        [rows.with_columns(place=pl.lit(place)) for place, rows in places.items()]
    )
    checks.append(
        only_once(
            "bronze = silver + duplicates + quarantine, each record in one place",
            bronze.select(_PLACE),
            placed,
        )
    )
    if truth is not None:
        checks.append(_check_truth(pl.read_parquet(truth), placed))

    told("working out the windows anew from silver")
    lateness = micros(settings.allowed_lateness)
    partitions = [
        (settings.topic, p) for p in wait_for_partitions(settings.kafka, settings.topic, 10)
    ]
    panes = {name: tables.handle(windowed_table(name, lateness).name) for name in WINDOWED}
    fence = Fence("payments", partitions)
    checks += check_windows(
        tables.handle(SILVER.name),
        tables.handle(LATE.name),
        panes,
        bound=micros(settings.out_of_orderness),
        lateness=lateness,
        watermarks={name: recorded(handle, fence).watermark for name, handle in panes.items()},
    )

    told("evaluating the rules anew on silver")
    alerts = tables.read(ALERTS.name, ALERTS.columns)
    checks += _check_alerts(settings, tables, alerts, rejects)
    told("reading the alert and dead-letter topics")
    letters = reject_ids(tables.read(QUARANTINE.name, ["code", "source_topic", *_PLACE]))
    checks += [
        sent_once(f"{topic} holds every {what}, once", settings.kafka, topic, ids)
        for topic, what, ids in (
            (settings.alerts_topic, "alert of gold/alerts", alerts.select(id="alert_id")),
            (settings.dlq_topic, "reject of quarantine", letters),
        )
    ]
    checks += check_chargebacks(settings, tables.handle(SILVER.name), told)
    counts = {
        "events": source.height,
        "unique": silver.height,
        "duplicates": duplicates.height,
        "rejected": refused.height,
        "late": tables.height(LATE.name),
        "windows": sum(tables.height(windowed_table(name, lateness).name) for name in WINDOWED),
        "alerts": alerts.height,
    }
    by_rule = alerts.group_by("rule_id").len().sort("rule_id")
    return Report(checks, counts, dict(by_rule.iter_rows()))


def _check_truth(truth: pl.DataFrame, placed: pl.DataFrame) -> Check:
    expected = truth.select(
        pl.col("partition").cast(pl.Int32).alias("source_partition"),
        pl.col("sequence").cast(pl.Int64).alias("source_offset"),
        "place",
    )
    return only_once("every record is where the simulation's truth has it", expected, placed)


def _check_alerts(
    settings: Settings, tables: _Tables, alerts: pl.DataFrame, rejects: pl.DataFrame
) -> list[Check]:
    repeated = alerts.group_by("alert_id").len("times").filter(pl.col("times") > 1)
    rules = RuleSet(load_rules(settings.rules), SILVER_COLUMNS, "payment_id", "card_id")
    verdict = rules.evaluate(tables.read(SILVER.name, SILVER_COLUMNS))
    failed = rejects.filter(pl.col("stage") == "rule").select(*_PLACE, "code")
    expected = [
        failure.event.select(*_PLACE, pl.lit(f"rule_failed:{failure.rule.id}").alias("code"))
        for failure in verdict.failures
    ]
    return [
        Check.of("no alert id is there twice", alerts.height, repeated),
        only_once(
            "gold/alerts equals the rules on silver, row for row", verdict.alerts, alerts
        ),
        only_once(
            "every payment that a rule failed on is in quarantine, once",
            pl.concat([failed.clear(), *expected]),
            failed,
        ),
    ]
