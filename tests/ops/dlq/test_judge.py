from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from flows.streams import CUSTOMERS, PAYMENTS
from operators.connectors.registry.schema_source import open_registry
from operators.records.columns import RAW_COLUMNS
from ops.dlq.judge import JUDGED, judge_of
from tests.field.topic import payment
from tests.flows.changes import customer

NOW = datetime.now(UTC)


def reject(offset: int, value: bytes | None, stamp: datetime | None, partition: int = 0) -> Any:
    return {
        "source_topic": "payments", "source_partition": partition, "source_offset": offset,
        "kafka_timestamp": stamp, "key": b"k", "value": value, "headers": [],
    }  # fmt: skip


def test_rejects_are_judged_as_of_their_own_time_by_what_is_known_today():
    soon = NOW - timedelta(hours=2)
    rows = [
        reject(9, payment(1, event_time=soon), None, 1),
        reject(8, payment(2, event_time=NOW + timedelta(days=1)), None, 1),
        reject(7, payment(3, event_time=soon), soon),
        # When it came it was far ahead of the clock, and that it has come true mends nothing.
        reject(6, payment(4, event_time=soon), soon - timedelta(hours=1)),
        reject(5, payment(5, currency="eur"), NOW),
        reject(4, None, NOW),
    ]
    judge = judge_of(PAYMENTS, open_registry("", {}))
    found = judge(pl.DataFrame(rows, schema=RAW_COLUMNS))
    assert dict(found.schema) == JUDGED
    hour = int(soon.timestamp()) // 3600
    assert found.sort("source_offset").select("source_offset", "code", "event_id").rows() == [
        (4, "null_value", None), (5, "currency_format", None), (6, "event_time_range", None),
        (7, None, "payment-3"), (8, "event_time_range", None), (9, None, "payment-1"),
    ]  # fmt: skip
    assert set(found["event_hour"].drop_nulls()) == {hour}
    assert judge(pl.DataFrame(schema=RAW_COLUMNS)).is_empty()


def test_changes_of_one_row_are_no_repetition_of_each_other():
    sent = [customer(1, 1, 0), customer(1, 2, 1), customer(1, 3, 2, country="Belgium")]
    sent.append((sent[0][0], None))
    rows = [
        reject(n, value, NOW) | {"key": key, "source_topic": "customers"}
        for n, (key, value) in enumerate(sent)
    ]
    found = judge_of(CUSTOMERS, open_registry("", {}))(pl.DataFrame(rows, schema=RAW_COLUMNS))
    assert found.sort("source_offset").select("code", "event_id").rows() == [
        (None, "customers/0/0"), (None, "customers/0/1"), ("country_code", None),
        (None, "customers/0/3"),
    ]  # fmt: skip
