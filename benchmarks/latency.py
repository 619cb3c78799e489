"""From a payment's production to its alert's: the time at a steady rate."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from typing import Any

import polars as pl

from benchmarks.figures import add_json, show
from flows.settings import load
from flows.tables import SILVER
from operators.connectors.delta import table_uri
from operators.connectors.kafka import headers_of, read_to_end
from operators.connectors.kafka_sink import SOURCE_HEADER
from ops.local import local_stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``latency``."""
    parser = subparsers.add_parser(
        "latency", help="event to alert at 10,000 events/s", description=__doc__
    )
    parser.add_argument("--epoch", type=int, default=10, metavar="SECONDS")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    show(event_to_alert(10_000, 40, 1_000_000, args.epoch), args.json)


def event_to_alert(rate: float, seconds: int, cards: int, epoch: int) -> dict[str, Any]:
    """Produce at `rate` events/s for `seconds` to a running flow; return quantiles in ms.

    Payments happen as they are produced: their event time is now. Both times are Kafka's
    CreateTime on this machine's clock, in whole ms. The first 5 s, while the flow starts, are
    left out.
    """
    made = simulate(
        Params(
            payments=int(rate * seconds),
            customers=cards // 20,
            cards_per_customer=20,
            pace=rate,
            start=datetime.now(UTC),
        )
    )
    with local_stack() as stack, tempfile.TemporaryDirectory() as work:
        create_topic(stack.bootstrap, "payments", 4)
        environ = {**os.environ, **stack.env(), "BYTEWAX_SNAPSHOT_INTERVAL": str(epoch)}
        command = [sys.executable, "-m", "bytewax.run", "flows.payments", "-r", f"{work}/state"]
        process = subprocess.Popen(command, env=environ, cwd=work)
        try:
            produce(made, stack.bootstrap, "payments", rate)
            time.sleep(2)  # for the flow to read the last of them
            process.send_signal(signal.SIGTERM)
            if process.wait(60):
                raise RuntimeError(f"the flow ended with {process.returncode}")
        finally:
            process.kill()
        settings = load(stack.env())
        alerts = _alerts(settings.kafka, settings.alerts_topic)
        place = ["source_partition", "source_offset"]
        silver = pl.read_delta(
            table_uri(settings.delta_root, SILVER.name), columns=[*place, "kafka_timestamp"]
        ).with_columns(produced=pl.col("kafka_timestamp").dt.epoch("ms"))
    settled = pl.col("produced") > pl.col("produced").min() + 5_000
    both = alerts.join(silver.filter(settled), on=place)
    took = both["alerted"] - both["produced"]
    return {
        "rate": rate,
        "epoch_s": epoch,
        "alerts": len(took),
        **{f"p{q}_ms": took.quantile(q / 100, "higher") for q in (50, 90, 99)},
        "max_ms": took.max(),
    }


def _alerts(config: dict[str, str], topic: str) -> pl.DataFrame:
    rows = []
    for message in read_to_end(config, topic, dict.fromkeys(range(4), 0)):
        source = headers_of(message)[SOURCE_HEADER].decode().rsplit("/", 2)
        rows.append((int(source[1]), int(source[2]), message.timestamp()[1]))
    schema = {"source_partition": pl.Int32, "source_offset": pl.Int64, "alerted": pl.Int64}
    return pl.DataFrame(rows, schema, orient="row")
