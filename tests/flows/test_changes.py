"""Changes of customers and of terminals: tables that are what the set of changes comes to."""

import random
from pathlib import Path

import polars as pl
from confluent_kafka import Producer

from flows import settings as settings_
from flows.streams import CUSTOMERS, TERMINALS, Stream
from operators.records.tables import BUCKET, STAMPS
from ops.local import Stack
from ops.topics import create_topic
from ops.verify import verify
from ops.verify.against import against
from tests import topics
from tests.flows.changes import Record, customer, customers, terminal
from tests.operators.changes.oracle import current, history, sorted_rows
from tests.ops.reports import broken
from tests.running import Flow, run


def send(stack: Stack, topic: str, records: list[Record]) -> None:
    """Send records, each to the partition of its key."""
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    for key, value in records:
        producer.produce(topic, value, key)
    assert producer.flush(30) == 0


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_delta(str(folder / "tables" / name))


def expected(stream: Stream, silver: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that the changes in silver come to, by the brute force of the oracle."""
    assert stream.changes is not None
    columns = [*stream.changes.columns(stream.fields)]
    rows = silver.select(*columns, "^source_.*$").to_dicts()
    oracle = history if stream.changes.keeps == "history" else current
    schema = {n: kind for n, kind in stream.merged.columns.items() if n != BUCKET}
    return sorted_rows(pl.DataFrame(oracle(rows, stream.changes.by), schema=schema))


def test_customers_are_as_their_database_says_whatever_is_killed(
    stack: Stack, tmp_path: Path
) -> None:
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    environ["MILLSTREAM_REDIS_URL"] = "redis://127.0.0.1:1/0"  # nobody asks for it
    settings = settings_.load(environ)
    topic = settings.of(CUSTOMERS).topic
    rng = random.Random(5)
    create_topic(stack.bootstrap, topic, 2)
    made = customers(900, rng)
    bad = [
        customer(1, 1, 1, country="Belgium"), (b"x", b"{"), (b"x", b'{"op": "t"}'),
        customer(1, None, 1), (b"", None), customer(1, 1, 1, customer_id=None),
    ]  # fmt: skip
    send(stack, topic, made[:500] + bad)
    # Between the commit of a table and the recovery store's.
    flow = Flow(
        "customers", environ, tmp_path, at="operators.connectors.delta.writer.write:kill"
    )
    assert flow.wait() == -9
    send(stack, topic, made[500:])
    run("customers", environ | topics.TO_THE_END, tmp_path)
    silver = table(tmp_path, "silver/customers")
    assert silver.height == len(made)
    found = table(tmp_path, "gold/customers").drop(BUCKET, *STAMPS)
    want = expected(CUSTOMERS, silver)
    assert sorted_rows(found.select(want.columns)).equals(want)
    assert found["deleted"].any()
    assert (
        found.filter("is_current").height
        == found.filter("is_current")["customer_id"].n_unique()
    )
    codes = table(tmp_path, "quarantine/customers")["code"].sort().to_list()
    assert codes == [
        "country_code", "malformed", "malformed", "no_key", "no_sequence", "unknown_op"
    ]  # fmt: skip
    assert broken(verify(settings)) == []

    # The store and the table are lost; the topic could be compacted by now. Silver has it all.
    for lost in ("customers", "tables/gold/customers"):
        (tmp_path / lost).rename(tmp_path / f"lost-{lost.replace('/', '-')}")
    rebuilt = run("customers", environ | topics.TO_THE_END, tmp_path)
    assert "rows of silver/customers are read first" in rebuilt.said()
    again = table(tmp_path, "gold/customers").drop(BUCKET, *STAMPS)
    assert sorted_rows(again.select(want.columns)).equals(want)

    # Bronze has what a compacted topic has no more, and makes the same.
    anew = {
        "MILLSTREAM_BACKFILL_FROM": environ["MILLSTREAM_DELTA_ROOT"],
        "MILLSTREAM_DELTA_ROOT": str(tmp_path / "anew"),
    }
    run("customers", environ | topics.TO_THE_END | anew, tmp_path / "backfill")
    found = against(environ["MILLSTREAM_DELTA_ROOT"], str(tmp_path / "anew"))
    assert broken(found) == []
    assert sorted(each.name.split(":")[0] for each in found.checks) == sorted(
        each.name for each in CUSTOMERS.all_tables
    )

    gone = table(tmp_path, "gold/customers").with_columns(pl.lit("LOW").alias("segment"))
    gone.write_delta(str(tmp_path / "tables" / "gold" / "customers"), mode="overwrite")
    assert broken(verify(settings)) == [
        "gold/customers equals what silver's changes come to, row for row"
    ]


def test_terminals_are_as_their_owners_sent_them_last(stack: Stack, tmp_path: Path) -> None:
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    settings = settings_.load(environ)
    topic = settings.of(TERMINALS).topic
    create_topic(stack.bootstrap, topic, 2)
    late = terminal(1, 2, 20)
    made = [
        terminal(1, 1, 10), terminal(1, 3, 30, merchant_category="7995"), late, late,
        terminal(2, 1, 10), terminal(2, 2, 20, status="CLOSED"),
        terminal(3, 1, 10), (b"terminal-3", None),
        terminal(4, 1, 10), terminal(4, 2, 20, status="CLOSED"), terminal(4, 3, 30),
        terminal(5, 1, 10, country="?"),
    ]  # fmt: skip
    send(stack, topic, made)
    run("terminals", environ | topics.TO_THE_END, tmp_path)
    found = table(tmp_path, "gold/terminals").sort("terminal_id")
    assert found.select("terminal_id", "version", "merchant_category", "deleted").rows() == [
        ("terminal-1", 3, "7995", False),
        ("terminal-2", None, None, True),
        ("terminal-3", None, None, True),
        ("terminal-4", 3, "5411", False),
    ]
    want = expected(TERMINALS, table(tmp_path, "silver/terminals"))
    assert sorted_rows(found.select(want.columns)).equals(want)
    assert broken(verify(settings)) == []
