"""Clicks in Quix Streams 3.28: Parquet files and topics, as it has no Delta sink.

Needs ``quixstreams[avro,parquet]``, Apache Kafka and a schema registry.
"""

import os
from datetime import UTC, datetime, timedelta

from quixstreams import Application, State
from quixstreams.dataframe.windows import Collect, Sum
from quixstreams.models import SerializationContext
from quixstreams.models.serializers.avro import AvroDeserializer
from quixstreams.models.serializers.schema_registry import SchemaRegistryClientConfig
from quixstreams.sinks.community.file.local import LocalFileSink

MINUTE = timedelta(minutes=1)
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
registry = SchemaRegistryClientConfig(url=os.environ["SCHEMA_REGISTRY_URL"])
deserialize = AvroDeserializer(schema_registry_client_config=registry)
app = Application(
    broker_address=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
    consumer_group="clicks",
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
)
clicks = app.topic("clicks", value_deserializer="bytes")
dead_letters = app.topic("clicks.dlq", value_serializer="bytes")
late_clicks = app.topic("clicks.late", value_serializer="json")
late_producer = app.get_producer()


def table(name: str) -> LocalFileSink:
    return LocalFileSink(directory=f"tables/{name}", format="parquet")


def decode(value: bytes) -> dict:
    try:
        click = deserialize(value, SerializationContext(clicks.name, "value"))
    except Exception:  # fastavro lets through whatever it trips over
        return {"reason": "undecodable", "value": value}
    reason = refusal(click)
    return {"reason": reason, "value": value} if reason else click


def refusal(click: dict) -> str | None:
    ids = (click["click_id"], click["user_id"], click["campaign_id"])
    if not all(1 <= len(each.encode()) <= 64 for each in ids):
        return "id_length"
    if not 0 <= click["cost_minor"] <= 1_000_000:
        return "cost_range"
    return None if FIRST <= click["event_time"] < LAST else "event_time_range"


def mark(click: dict, state: State) -> dict:
    known = state.exists(click["click_id"])
    if not known:
        state.set(click["click_id"], True, ttl=timedelta(days=7))
    return click | {"duplicate": known}


def to_alert(click: dict) -> dict:
    cost, campaign = click["cost_minor"], click["campaign_id"]
    return {
        "rule_id": "costly_click",
        "click_id": click["click_id"],
        "user_id": click["user_id"],
        "severity": "medium",
        "score": min(100, cost / 100),
        "reason": f"a click for {cost} on campaign {campaign}",
    }


def keep_late(value, key, timestamp_ms, *_) -> bool:
    row = late_clicks.serialize(key=key, value=value, timestamp_ms=timestamp_ms)
    late_producer.produce(late_clicks.name, row.value, row.key, timestamp=timestamp_ms)
    return False


records = app.dataframe(clicks)
records.apply(lambda value: {"value": value}).sink(table("bronze"))
decoded = records.apply(decode)

refused = decoded.filter(lambda row: "reason" in row)
refused.sink(table("quarantine"))
refused = refused.set_headers(lambda row, *_: [("reason", row["reason"].encode())])
refused.apply(lambda row: row["value"]).to_topic(dead_letters)

good = decoded.filter(lambda row: "reason" not in row)
good = good.set_timestamp(lambda click, *_: int(click["event_time"].timestamp() * 1000))
marked = good.apply(mark, stateful=True)
marked.filter(lambda click: click["duplicate"]).sink(table("duplicates"))
silver = marked.filter(lambda click: not click["duplicate"]).drop("duplicate")
silver.sink(table("silver"))

alerts = silver.filter(lambda c: c["kind"] == "CLICK" and c["cost_minor"] > 2000)
alerts = alerts.apply(to_alert)
alerts.sink(table("alerts"))
alerts.to_topic(app.topic("clicks.alerts", value_serializer="json"))

counted = silver.apply(
    lambda click: {
        "click_id": click["click_id"],
        "campaign_id": click["campaign_id"],
        "user_id": click["user_id"],
        "cost_minor": click["cost_minor"],
        "impressions": int(click["kind"] == "IMPRESSION"),
        "clicks": int(click["kind"] == "CLICK"),
        "conversions": int(click["kind"] == "CONVERSION"),
    }
)
windows = counted.group_by("campaign_id").tumbling_window(
    5 * MINUTE, grace_ms=MINUTE / 2, on_late=keep_late
)
sums = {name: Sum(name) for name in ("impressions", "clicks", "conversions", "cost_minor")}
panes = windows.agg(**sums, users=Collect("user_id")).final()
panes = panes.apply(
    lambda pane, campaign, *_: {
        "campaign_id": campaign,
        **pane,
        "users": len(set(pane["users"])),
    },
    metadata=True,
)
panes.sink(table("campaign_5m"))

if __name__ == "__main__":
    app.run()
