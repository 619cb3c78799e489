import json
from datetime import UTC, datetime
from pkgutil import resolve_name
from typing import get_args

import numpy as np
import orjson
import polars as pl
import pytest

from flows.messages import alert_messages, decision_messages, reject_messages
from flows.streams import PAYMENTS
from operators.decisions.decider import Decider
from operators.decisions.thresholds import Thresholds, fixed
from operators.decisions.words import PLAIN
from operators.records.batches import Progress, RawBatch
from operators.records.columns import QUARANTINE_COLUMNS
from operators.records.quarantine import quarantined
from operators.records.raw import refused
from operators.records.rejects import Refusal, Stage
from operators.records.tables import COORDINATES, TIME
from operators.rules.rule import alert_columns

ALERT = {
    "alert_id": "velocity@1/payments/2/17", "rule_id": "velocity", "rule_version": 1,
    "rule_status": "live",
    "payment_id": "p-1", "card_id": "kärte",
    "event_time": datetime(2024, 5, 1, 12, 0, 0, 123456, UTC),
    "severity": "high", "action": "review", "score": 75.5, "reason": "5 payments",
    "source_topic": "payments",
    "source_partition": 2, "source_offset": 17,
}  # fmt: skip


def alerts(**changes) -> pl.DataFrame:
    return pl.DataFrame([ALERT | changes], schema=alert_columns("payment_id", "card_id"))


def test_an_alert_is_json_keyed_by_its_card_with_its_id_and_its_record():
    (message,) = alert_messages(alerts(), "card_id")
    assert message.id == "velocity@1/payments/2/17"
    assert message.source == ("payments", 2, 17)
    assert message.key == "kärte".encode()
    assert message.headers == ()
    assert json.loads(message.value) == ALERT | {"event_time": "2024-05-01T12:00:00.123456Z"}


def test_a_score_that_json_has_no_number_for_is_null():
    for score in (float("nan"), float("inf"), None):
        assert (
            json.loads(alert_messages(alerts(score=score), "card_id")[0].value)["score"] is None
        )


def test_a_time_that_is_in_no_calendar_goes_out_as_its_number():
    """Of a stream whose contract lets any time pass."""
    far = alerts().with_columns(event_time=pl.Series([2**62]).cast(pl.Datetime("us", "UTC")))
    (message,) = alert_messages(far, "card_id")
    assert json.loads(message.value) == ALERT | {"event_time": 2**62}


def test_no_alerts_and_no_rejects_are_no_messages():
    assert alert_messages(alerts().clear(), "card_id") == []
    assert reject_messages(pl.DataFrame(schema=QUARANTINE_COLUMNS)) == []


def rejects(stamp=1_714_564_800_123, headers=(("h", b"\xff"), ("none", None)), schema_id="7"):
    raw = RawBatch(
        Progress("payments", 2, 4, 17), np.array([17]), np.array([stamp]),
        [b"key"], [b"\0value"], [headers and list(headers)],
    )  # fmt: skip
    refusal = Refusal(0, "decode", "truncated", "3 bytes left", schema_id)
    return quarantined("payments", refused([raw], [refusal]))


def test_a_reject_goes_out_as_it_came_with_the_reason_in_headers():
    (message,) = reject_messages(rejects())
    assert (message.key, message.value) == (b"key", b"\0value")
    assert message.id == "truncated/payments/2/17"
    assert message.source == ("payments", 2, 17)
    assert message.originals == (("h", b"\xff"), ("none", None))
    assert dict(message.headers) == {
        "millstream.stage": b"decode",
        "millstream.code": b"truncated",
        "millstream.fingerprint": b"1:8688cd131c7c8ff5",
        "millstream.attempts": b"1",
        "millstream.schema_id": b"7",
        "millstream.timestamp": b"2024-05-01T12:00:00.123000+00:00",
        "__connect.errors.topic": b"payments",
        "__connect.errors.partition": b"2",
        "__connect.errors.offset": b"17",
        "__connect.errors.connector.name": b"millstream",
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.class.name": b"operators.avro.decode.Decoder",
        "__connect.errors.exception.class.name": b"operators.records.rejects.Refusal",
        "__connect.errors.exception.message": b"3 bytes left",
        "__streams.errors.exception": b"operators.records.rejects.Refusal",
        "__streams.errors.message": b"3 bytes left",
        "__streams.errors.topic": b"payments",
        "__streams.errors.partition": b"2",
        "__streams.errors.offset": b"17",
        "kafka_dlt-exception-fqcn": b"operators.records.rejects.Refusal",
        "kafka_dlt-exception-message": b"3 bytes left",
        "kafka_dlt-original-topic": b"payments",
        "kafka_dlt-original-partition": b"\0\0\0\x02",
        "kafka_dlt-original-offset": b"\0\0\0\0\0\0\0\x11",
        "kafka_dlt-original-timestamp": (1_714_564_800_123).to_bytes(8, "big"),
    }


def test_a_header_of_the_record_with_one_of_our_names_stays_and_ours_comes_after_it():
    theirs = ("__connect.errors.stage", b"TASK_PUT")
    (message,) = reject_messages(rejects(headers=(theirs,)))
    stages = [pair for pair in message.all_headers() if pair[0] == theirs[0]]
    assert stages == [theirs, (theirs[0], b"VALUE_CONVERTER")]


@pytest.mark.parametrize("stage", get_args(Stage))
def test_every_stage_is_one_of_connects_by_a_class_of_ours(stage):
    (message,) = reject_messages(rejects().with_columns(stage=pl.lit(stage)))
    headers = dict(message.headers)
    # org.apache.kafka.connect.runtime.errors.Stage
    assert headers["__connect.errors.stage"].decode() in {
        "TASK_POLL", "TASK_PUT", "TRANSFORMATION", "KEY_CONVERTER", "VALUE_CONVERTER",
        "HEADER_CONVERTER", "KAFKA_PRODUCE", "KAFKA_CONSUME",
    }  # fmt: skip
    for name in ("class.name", "exception.class.name"):
        assert resolve_name(headers[f"__connect.errors.{name}"].decode())


def test_what_a_record_does_not_have_is_empty_or_left_out():
    (message,) = reject_messages(rejects(stamp=2**63 - 1, headers=None, schema_id=None))
    found = dict(message.headers)
    assert found["millstream.schema_id"] == found["millstream.timestamp"] == b""
    assert "kafka_dlt-original-timestamp" not in found
    assert message.originals == ()


def test_two_reasons_for_one_record_are_two_messages():
    frame = pl.concat([rejects(), rejects().with_columns(code=pl.lit("rule_failed:velocity"))])
    ids = [message.id for message in reject_messages(frame)]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("year", [2026, 200_000])
def test_plain_approvals_are_sent_as_each_alone_would_be(year: int) -> None:
    first = 1_800_000_000_000_000 if year == 2026 else 6_000_000_000_000_000_000
    n = 7
    events = pl.DataFrame(
        {
            "source_topic": "payments", "source_partition": 0, "source_offset": range(n),
            "payment_id": ["p", "", '"quoted"', "ü\n\t\\", "\u2028", "\x07", "x" * 300],
            "card_id": [f"card {number}" for number in range(n)],
            "event_time": [first + number % 3 * 1_000 for number in range(n)],
            "model_score": [0.25, 0.1, 1e-9, 0.0, 0.3333333333333333, None, 0.49],
            "listed": ["", None, "watch:w:card_id", "", "", "", ""],
        },
        {**{name: PAYMENTS.decisions.columns[name] for name in COORDINATES},
         "payment_id": pl.String, "card_id": pl.String, "event_time": TIME,
         "model_score": pl.Float64, "listed": pl.String},
    )  # fmt: skip
    at = fixed(Thresholds(review=50, block=150))
    decider = Decider("payment_id", "card_id", at, lambda _: (), every=True, model="m@1")
    decisions = decider.decide(events, pl.DataFrame(schema=PAYMENTS.alerts.columns))
    assert (decisions["sentence"] == PLAIN).sum() == n - 1
    found = decision_messages(decisions, "card_id")
    # With another sentence none is taken for plain.
    other = decisions.with_columns(sentence=pl.col("sentence") + "!")
    alone = decision_messages(other, "card_id")
    for one, each in zip(found, alone, strict=True):
        told = orjson.loads(each.value or b"")
        told["sentence"] = told["sentence"][:-1]
        assert orjson.loads(one.value or b"") == told
        assert (one.id, one.source, one.key) == (each.id, each.source, each.key)
