"""verify and both flows where windows are re-opened: an allowed lateness, and late events."""

import signal
from functools import partial
from pathlib import Path

import polars as pl
from confluent_kafka import Consumer, TopicPartition
from polars.testing import assert_frame_equal

from flows import settings as settings_
from flows.streams import PAYMENTS
from operators.windows import newest
from ops.local import Stack
from ops.query import query
from ops.simulate import Troubles
from ops.verify import verify
from tests import topics
from tests.ops.reports import broken
from tests.running import Flow, run, wait_until

TOPIC = "with-lateness"
FLOWS = ("payments", "chargebacks")


def at_the_end(stack: Stack, group: str, topic: str, records: pl.DataFrame) -> bool:
    """Tell whether the group has committed the topic's end, which a flow does behind an epoch."""
    client = Consumer({"bootstrap.servers": stack.bootstrap, "group.id": group})
    ends = dict(records.group_by("partition").len().iter_rows())
    try:
        found = client.committed([TopicPartition(topic, each) for each in ends], 10)
        return all(place.offset == ends[place.partition] for place in found)
    finally:
        client.close()


def test_the_books_balance_while_windows_are_open_and_at_the_end(
    stack: Stack, tmp_path: Path
) -> None:
    troubles = Troubles(late=0.1, out_of_order=0.1)
    # Of each card a payment in 25 minutes or so: sessions of one and of more.
    records = topics.made(2_000, partitions=2, cards=30, pace=0.02, troubles=troubles)
    topics.fill(stack.bootstrap, TOPIC, records, 2)
    environ = topics.settings(stack, TOPIC, tmp_path) | {
        "MILLSTREAM_ALLOWED_LATENESS": "2h",
        # Small, so that windows close and open again.
        "MILLSTREAM_BATCH_SIZE": "50",
    }
    settings = settings_.load(environ)
    root = settings.delta_root
    for flow in FLOWS:
        group = settings.consumer_group + ("-outcomes" if flow == "chargebacks" else "")
        process = Flow(flow, environ, tmp_path)
        read = [""] if flow == "payments" else ["", ".back"]
        try:
            for suffix in read:
                made = records[suffix].records
                wait_until(partial(at_the_end, stack, group, TOPIC + suffix, made))
            assert process.tell(signal.SIGINT) == 0, process.said()
        finally:
            process.kill()
    assert broken(verify(settings)) == []
    settled = pl.read_delta(f"{root}/gold/payment_outcomes").height
    for name in ("terminal_minute", "category_hour", "card_sessions"):
        revised = pl.scan_delta(f"{root}/gold/{name}").select(pl.col("revision").max())
        assert revised.collect().item() > 0, f"windows of {name} opened again"

    for flow in FLOWS:
        run(flow, environ | topics.TO_THE_END, tmp_path)
    assert broken(verify(settings)) == []
    assert pl.read_delta(f"{root}/gold/payment_outcomes").height > settled > 0
    for name, windows in PAYMENTS.windows.items():
        rows = query(root, f"SELECT * FROM gold_{name}")  # a name of ours
        every = query(root, f"SELECT * FROM gold_{name}_revisions")
        assert every.height > rows.height
        assert_frame_equal(rows, newest(every, windows), check_row_order=False)
    late = pl.scan_delta(f"{root}/gold/late").select("step").unique().collect()
    assert late.height == len(PAYMENTS.windows)
