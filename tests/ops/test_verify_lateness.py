"""verify and both flows where windows are re-opened: an allowed lateness, and late events."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Consumer, TopicPartition
from polars.testing import assert_frame_equal

from flows import settings as settings_
from flows.tables import WINDOWED
from operators.windows import newest
from ops.local import Stack
from ops.query import query
from ops.simulate import Params, Troubles, produce, simulate, simulate_chargebacks
from ops.topics import create_topic
from ops.verify import Report, verify

TOPIC = "with-lateness"
FLOWS = ("payments", "chargebacks")


@pytest.fixture
def environ(stack: Stack, tmp_path: Path) -> dict[str, str]:
    return stack.env() | {
        "MILLSTREAM_TOPIC": TOPIC,
        "MILLSTREAM_ALERTS_TOPIC": f"{TOPIC}.alerts",
        "MILLSTREAM_DLQ_TOPIC": f"{TOPIC}.dlq",
        "MILLSTREAM_CHARGEBACKS_TOPIC": f"{TOPIC}.back",
        "MILLSTREAM_CHARGEBACKS_DLQ_TOPIC": f"{TOPIC}.back.dlq",
        "MILLSTREAM_CHARGEBACKS_WITHIN": "6h",
        "MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables"),
        "MILLSTREAM_ALLOWED_LATENESS": "2h",
        # Small, so that windows close and open again.
        "MILLSTREAM_BATCH_SIZE": "50",
        "BYTEWAX_SNAPSHOT_INTERVAL": "1",
    }


def start(flow: str, environ: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    state = folder / f"state-{flow}"
    state.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "bytewax.run", f"flows.{flow}", "-r", str(state)],
        env={**os.environ, **environ}, cwd=state, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(stack: Stack, group: str, topic: str, records: pl.DataFrame) -> bool:
    """Tell whether the group commits the topic's end, which a flow does behind an epoch."""
    client = Consumer({"bootstrap.servers": stack.bootstrap, "group.id": group})
    ends = dict(records.group_by("partition").len().iter_rows())
    places = [TopicPartition(topic, partition) for partition in ends]
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            found = client.committed(places, 10)
            if all(place.offset == ends[place.partition] for place in found):
                return True
            time.sleep(0.3)
        return False
    finally:
        client.close()


def broken(report: Report) -> list[str]:
    return [check.name for check in report.checks if not check.ok]


def test_the_books_balance_while_windows_are_open_and_at_the_end(
    stack: Stack, environ: dict[str, str], tmp_path: Path
) -> None:
    troubles = Troubles(late=0.1, out_of_order=0.1)
    made = simulate(
        Params(
            payments=2_000,
            customers=30,
            terminals=30,
            radius=50,  # else few customers have a terminal
            pace=0.02,  # of each a payment in 25 minutes or so: sessions of one and of more
            partitions=2,
            troubles=troubles,
        )
    )
    frauds = made.payments.with_columns(is_fraud=pl.lit(value=True))
    back = simulate_chargebacks(frauds, 0.2, within=timedelta(hours=6), partitions=2)
    for topic, records in ((TOPIC, made), (f"{TOPIC}.back", back)):
        create_topic(stack.bootstrap, topic, 2)
        produce(records, stack.bootstrap, topic)
    root = environ["MILLSTREAM_DELTA_ROOT"]
    settings = settings_.load(environ)
    for flow in FLOWS:
        group = settings.consumer_group + ("-outcomes" if flow == "chargebacks" else "")
        process = start(flow, environ, tmp_path)
        try:
            assert wait_for(stack, group, TOPIC, made.records)
            assert flow == "payments" or wait_for(stack, group, f"{TOPIC}.back", back.records)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 0, output
    assert broken(verify(settings)) == []
    settled = pl.read_delta(f"{root}/gold/payment_outcomes").height
    for name in ("terminal_minute", "category_hour", "card_sessions"):
        revised = pl.scan_delta(f"{root}/gold/{name}").select(pl.col("revision").max())
        assert revised.collect().item() > 0, f"windows of {name} opened again"

    for flow in FLOWS:
        process = start(flow, environ | {"MILLSTREAM_STOP_AT_END": "true"}, tmp_path)
        output, _ = process.communicate(timeout=90)
        assert process.returncode == 0, output
    assert broken(verify(settings)) == []
    assert pl.read_delta(f"{root}/gold/payment_outcomes").height > settled > 0
    for name, windows_of in WINDOWED.items():
        rows = query(root, f"SELECT * FROM gold_{name}")  # a name of ours
        every = query(root, f"SELECT * FROM gold_{name}_revisions")
        assert every.height > rows.height
        assert_frame_equal(rows, newest(every, windows_of(0)), check_row_order=False)
    late = pl.scan_delta(f"{root}/gold/late").select("step").unique().collect()
    assert late.height == 3
