"""The chargebacks flow whole: two topics in, killed now and then, every payment's outcome."""

import io
import random
import threading
import time
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
from confluent_kafka import Producer

import schemas
from operators.avro import Decoder
from operators.connectors.kafka.client import headers_of, read_to_end
from operators.connectors.kafka.outgoing import ID_HEADER
from operators.connectors.registry import schema_source as registry
from operators.contracts import load_contract
from ops.local import Stack, local_stack
from ops.simulate import Params, produce, simulate
from ops.simulate.encode import SCHEMA_HEADER
from ops.topics import create_topic
from tests import topics
from tests.running import Flow, run

HOUR = 3_600_000_000
WITHIN = 6 * HOUR
BOUND = 30_000_000
PARTITIONS = 2
KILLS = 6
TABLES = (
    "gold/payment_outcomes", "silver/chargebacks", "gold/late_for_outcomes",
    "quarantine/chargebacks", "silver/chargeback_duplicates", "gold/chargeback_data_quality",
)  # fmt: skip

Record = tuple[int, bytes]
"""A chargeback's partition and value."""


def chargebacks(payments: pl.DataFrame, rng: random.Random) -> list[Record]:
    """Chargebacks of some payments, some of them too late, twice, out of order, or broken."""
    schema = fastavro.parse_schema(schemas.load("chargeback", 1))
    frame = b"\0" + schemas.local_id("chargeback", 1).to_bytes(4, "big")
    raised = []
    for payment in payments.sample(fraction=0.1, seed=1).iter_rows(named=True):
        time_ = payment["event_time"].timestamp() + rng.uniform(-600, 1.3 * WITHIN / 1e6)
        raised.append((time_, payment))
    # Order as sent: by time, but for a delay that is mostly within the bound.
    raised.sort(key=lambda each: each[0] + rng.choice([0, 0, 10, 29, 120]))
    records = []
    for number, (time_, payment) in enumerate(raised):
        body = io.BytesIO()
        value = {
            "chargeback_id": f"cb{number}",
            "event_time": int(time_ * 1e6),
            "payment_id": payment["payment_id"] if rng.random() < 0.97 else f"unknown{number}",
            "card_id": payment["card_id"],
            "amount_minor": payment["amount_minor"],
            "currency": "EUR" if rng.random() < 0.98 else "euro",
            "reason_code": rng.choice(["10.4", "13.1"]),
            "fraud": rng.random() < 0.5,
        }
        fastavro.schemaless_writer(body, schema, value)
        record = (rng.randrange(PARTITIONS), frame + body.getvalue())
        records.append(record)
        if rng.random() < 0.05:
            records.append(record)
        if rng.random() < 0.01:
            records.append((0, b"no chargeback"))
    return records


def send(stack: Stack, records: list[Record], rate: float) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap, "enable.idempotence": True})
    for partition, value in records:
        producer.produce("chargebacks", value, partition=partition)
        producer.poll(0)
        time.sleep(1 / rate)
    producer.flush()


def good(record: str, values: list[bytes], headers: Any, check: Any) -> pl.DataFrame:
    """The good records with their row, as the flow's own decoder and contract see them."""
    decoder = Decoder(schemas.latest(record), registry.open_registry(""))
    decoded = decoder.decode(values, headers)
    unknown = pl.Series([None] * decoded.frame.height, dtype=pl.Int64)
    mask, *_ = check(decoded.frame, unknown)
    return decoded.frame.with_columns(row=pl.Series(decoded.rows)).filter(mask).sort("row")


def in_time(frame: pl.DataFrame, partitions: list[int], id_column: str) -> pl.DataFrame:
    """The first of each id, without those later than their partition's watermark."""
    where = pl.Series("partition", partitions)
    first = frame.with_columns(where.gather(frame["row"])).unique(
        [id_column, pl.col("event_time").dt.truncate("1h")], keep="first", maintain_order=True
    )
    largest = pl.col("event_time").cum_max().shift(1).over("partition")
    mark = largest - pl.duration(microseconds=BOUND)
    return first.filter((pl.col("event_time") >= mark).fill_null(True))


def expected(paid: pl.DataFrame, charged: pl.DataFrame) -> pl.DataFrame:
    chargebacks_ = charged.select(
        "payment_id", "chargeback_id", "reason_code", "fraud",
        chargeback_event_time="event_time", chargeback_amount_minor="amount_minor",
    )  # fmt: skip
    late_by = pl.col("chargeback_event_time") - pl.col("event_time")
    pairs = paid.join(chargebacks_, on="payment_id").filter(
        late_by.is_between(pl.duration(microseconds=0), pl.duration(microseconds=WITHIN))
    )
    alone = paid.join(pairs, on="payment_id", how="anti")
    return pl.concat([pairs, alone], how="diagonal")


def test_every_payment_has_its_outcome_once_whatever_the_kills(tmp_path: Path) -> None:
    rng = random.Random(5)
    made = simulate(
        Params(payments=8_000, customers=500, terminals=500, seed=5, partitions=PARTITIONS)
    )
    records = chargebacks(made.events, rng)
    with local_stack() as stack:
        for topic in ("payments", "chargebacks"):
            create_topic(stack.bootstrap, topic, PARTITIONS)
        senders = [
            threading.Thread(target=produce, args=(made, stack.bootstrap, "payments", 600.0)),
            threading.Thread(target=send, args=(stack, records, 60.0)),
        ]
        for sender in senders:
            sender.start()
        settings = stack.env() | {
            "MILLSTREAM_CHARGEBACKS_WITHIN": "6h",
            "MILLSTREAM_CHARGEBACKS_OUT_OF_ORDERNESS": "30s",
            "MILLSTREAM_CHARGEBACKS_GENUINE_AFTER": "2h",
        }
        for _ in range(KILLS):
            settings["MILLSTREAM_BATCH_SIZE"] = rng.choice(["50", "500"])
            flow = Flow("chargebacks", settings, tmp_path)
            time.sleep(rng.uniform(1.5, 3.5))
            assert flow.process.poll() is None, flow.said()
            flow.kill()
        for sender in senders:
            sender.join()
        del settings["MILLSTREAM_BATCH_SIZE"]
        run("chargebacks", settings | topics.TO_THE_END, tmp_path)
        root = stack.env()["MILLSTREAM_DELTA_ROOT"]
        tables = {name: pl.read_delta(f"{root}/{name}") for name in TABLES}
        ends, broker = {0: 0, 1: 0}, {"bootstrap.servers": stack.bootstrap}
        letters = list(read_to_end(broker, "chargebacks.dlq", ends))
        labelled = list(read_to_end(broker, "labels", ends))

    headers = [None if h is None else [(SCHEMA_HEADER, h)] for h in made.records["header"]]
    payments = good(
        "payment", made.records["value"].to_list(), headers, load_contract("payment").check
    )
    charged = good(
        "chargeback",
        [v for _, v in records],
        [None] * len(records),
        load_contract("chargeback").check,
    )
    paid_in = in_time(payments, made.records["partition"].to_list(), "payment_id")
    charged_in = in_time(charged, [p for p, _ in records], "chargeback_id")
    columns = ["payment_id", "event_time", "card_id", "amount_minor", "chargeback_id",
               "chargeback_event_time", "chargeback_amount_minor", "chargeback_reason_code",
               "chargeback_fraud"]  # fmt: skip
    outcomes = tables["gold/payment_outcomes"]
    wanted = expected(paid_in, charged_in).rename(
        {"reason_code": "chargeback_reason_code", "fraud": "chargeback_fraud"}
    )
    assert wanted["chargeback_id"].is_not_null().sum() > 200
    assert outcomes.select(columns).sort(columns).equals(wanted.select(columns).sort(columns))
    assert tables["silver/chargebacks"].height == charged["chargeback_id"].n_unique()
    assert tables["quarantine/chargebacks"].height == len(records) - charged.height
    refused = tables["quarantine/chargebacks"].select(
        pl.concat_str(
            "code", "source_topic", "source_partition", "source_offset", separator="/"
        )
    )
    sent = [headers_of(letter)[ID_HEADER].decode() for letter in letters]
    assert sorted(sent) == sorted(refused["code"]), "once each, whatever the kills"
    assert (
        tables["silver/chargeback_duplicates"].height
        == charged.height - charged["chargeback_id"].n_unique()
    )
    quality = tables["gold/chargeback_data_quality"]
    counts = quality.select("records", "missing", "valid", "duplicates", "refused").sum().row(0)
    others = ("silver/chargebacks", "silver/chargeback_duplicates", "quarantine/chargebacks")
    assert counts == (len(records), 0, *(tables[name].height for name in others))
    late = tables["gold/late_for_outcomes"].group_by("source_topic").len()
    assert (
        dict(late.iter_rows())["chargebacks"]
        == charged["chargeback_id"].n_unique() - charged_in.height
    )
    values = [message.value() for message in labelled]
    labels = good("label", values, [None] * len(values), load_contract("label").check)
    assert labels.height == labels["label_id"].n_unique() == len(labelled), "once each"
    # A fraud counts from its chargeback on; who has none within two hours is genuine until then.
    fraud = wanted.filter("chargeback_fraud").select(
        "payment_id", event_time="chargeback_event_time", verdict=pl.lit("FRAUD")
    )
    after = pl.duration(microseconds=2 * HOUR)
    paid = paid_in.select("payment_id", paid_at="event_time")
    soon = fraud.join(paid, on="payment_id").filter(
        pl.col("event_time") - pl.col("paid_at") <= after
    )
    genuine = paid.join(soon, on="payment_id", how="anti").select(
        "payment_id", event_time=pl.col("paid_at") + after, verdict=pl.lit("GENUINE")
    )
    both = set(fraud["payment_id"]) & set(genuine["payment_id"])
    assert both, "some turn out to be frauds later on"
    columns = ["payment_id", "event_time", "verdict"]
    whole = pl.concat([fraud, genuine]).select(columns).sort(columns)
    assert labels.select(columns).sort(columns).equals(whole)
    first = labels.sort("label_id").row(0, named=True)
    row = paid_in.row(by_predicate=pl.col("payment_id") == first["payment_id"], named=True)
    for name in ("card_id", "terminal_id", "amount_minor", "currency"):
        assert first[name] == row[name]
    assert first["paid_at"] == row["event_time"]
