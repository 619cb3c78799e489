"""Payments with their customer and their terminal as of then, by a loop over all that there is."""

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable

from flows import settings as settings_
from flows.streams import CUSTOMERS, ENRICHED, PAYMENTS, TERMINALS
from ops.doctor.examine import examine
from ops.local import Stack
from ops.topics import create_topic
from ops.verify import verify
from tests import topics
from tests.field.topic import payment
from tests.flows.changes import NOON, Record, customer, terminal
from tests.ops.reports import broken, spoil
from tests.running import Flow, run

BOUND = timedelta(seconds=30)
SECONDS = 600
TABLE, LATE = "gold/payments_enriched", "gold/late_for_payments_enriched"
ROWS = f"{TABLE} equals silver's payments with customers and terminals as of then, row for row"


Sent = tuple[int, bytes, bytes | None]
"""At which second, key and value."""


def made(rng: random.Random) -> dict[str, list[Sent]]:
    """Payments and changes of 600 s: some late, twice, of nobody, or of what is gone."""

    def time(second: int) -> int:
        return second - rng.choice([0, 0, 0, 20, 29, 70])

    def sent(second: int, *records: Record) -> list[Sent]:
        return [(second, key, value) for key, value in records]

    customers: list[Sent] = []
    terminals: list[Sent] = []
    for second in range(0, SECONDS, 2):
        op = rng.choice("ccuuuud")
        one = customer(rng.randrange(30), second, time(second), op=op, segment=f"S{second}")
        customers += sent(second, *([one, (one[0], None)] if op == "d" else [one]))
        customers += sent(second, one) if rng.random() < 0.1 else []
        status = rng.choice(["OPEN", "OPEN", "PAUSED", "CLOSED"])
        other = terminal(rng.randrange(20), second, time(second), status=status)
        terminals += sent(second, other)
        terminals += sent(second, (other[0], None)) if rng.random() < 0.05 else []
    paid = []
    for n in range(1_000):
        second = n * SECONDS // 1_000
        value = payment(
            n,
            event_time=NOON + timedelta(seconds=time(second)),
            customer_id=f"customer-{rng.randrange(33)}",
            terminal_id=f"terminal-{rng.randrange(22)}",
        )
        paid += sent(second, *[(b"%d" % (n % 7), value)] * rng.choice([1] * 9 + [2]))
    return {PAYMENTS.name: paid, CUSTOMERS.name: customers, TERMINALS.name: terminals}


def send(stack: Stack, topic: str, records: list[Sent]) -> None:
    """Send records as they come, those of a key to one of two partitions."""
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    for second, key, value in records:
        at = int(NOON.timestamp() + second) * 1_000
        producer.produce(topic, value, key, partition=sum(key) % 2, timestamp=at)
    assert producer.flush(30) == 0


Rows = list[dict[str, Any]]


def judged(rows: pl.DataFrame) -> tuple[Rows, Rows]:
    """The records of a stream that take part, and those behind their partition's watermark."""
    newest: dict[int, datetime] = {}
    in_time: Rows = []
    late: Rows = []
    for row in rows.sort("source_partition", "source_offset").iter_rows(named=True):
        largest = newest.get(row["source_partition"], row["event_time"])
        newest[row["source_partition"]] = max(largest, row["event_time"])
        # Debezium's tombstones have no time of their own.
        if "segment" not in row or row["change_sequence"] is not None:
            (in_time if row["event_time"] >= largest - BOUND else late).append(row)
    return in_time, late


def as_of(states: Rows, key: str, asking: dict[str, Any], *columns: str) -> list[Any]:
    """What the newest state of a row was at a time, nulls for none."""
    known = [
        each for each in states
        if each[key] == asking[key] and each["event_time"] <= asking["event_time"]
    ]  # fmt: skip
    if not known:
        return [None] * len(columns)
    last = max(
        known, key=lambda e: (e["event_time"], e["source_partition"], e["source_offset"])
    )
    return [None if last["deleted"] else last[column] for column in columns]


def test_payments_have_their_customer_and_terminal_as_of_then_whatever_is_killed(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    settings, records = settings_.load(environ), made(random.Random(11))
    of = {each.name: settings.of(each).topic for each in ENRICHED.streams}
    for name, topic in of.items():
        create_topic(stack.bootstrap, topic, 2)
        send(stack, topic, records[name][: len(records[name]) // 2])
    # Between the commit of a table and the recovery store's.
    flow = Flow(
        "enriched", environ, tmp_path, at="operators.connectors.delta.writer.write:kill"
    )
    assert flow.wait() == -9
    for name, topic in of.items():
        send(stack, topic, records[name][len(records[name]) // 2 :])
    run("enriched", environ | topics.TO_THE_END, tmp_path, "-w", "2")
    for name in of:
        run(name, environ | topics.TO_THE_END, tmp_path)

    root = environ["MILLSTREAM_DELTA_ROOT"]
    silver = {name: pl.read_delta(f"{root}/silver/{name}") for name in of}
    found, missed = (pl.read_delta(f"{root}/{name}") for name in (TABLE, LATE))
    took, late = zip(*(judged(silver[name]) for name in of), strict=True)
    paid, customers, terminals = took
    columns = [
        "payment_id", "customer_segment", "customer_as_of", "terminal_version", "terminal_as_of",
    ]  # fmt: skip
    assert sorted(found.select(columns).rows()) == sorted(
        (
            each["payment_id"],
            *as_of(customers, "customer_id", each, "segment", "event_time"),
            *as_of(terminals, "terminal_id", each, "version", "event_time"),
        )
        for each in paid
    )
    for column in ("customer_as_of", "terminal_as_of"):
        assert 100 < found[column].null_count() < found.height - 100
    assert all(len(each) > 10 for each in late)
    places = ["source_topic", "source_partition", "source_offset"]
    assert sorted(missed.select(places).rows()) == sorted(
        tuple(each[name] for name in places) for rows in late for each in rows
    )
    assert broken(verify(settings)) == []
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    assert [
        each for each in examine([], [tmp_path / "enriched"]) if each.state == "wrong"
    ] == []

    spoil(f"{root}/{TABLE}", "lost")
    spoil(f"{root}/{LATE}", "twice")
    DeltaTable(f"{root}/{TABLE}").update(
        updates={"customer_segment": "'x'"}, predicate="customer_segment IS NOT NULL"
    )
    assert broken(verify(settings)) == [
        f"{LATE} holds every record that was late for the join, once",
        ROWS,
    ]
