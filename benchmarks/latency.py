"""From a payment's production to that of its alert and its decision: the time at a steady rate.

On Apache Kafka where there is Java and Maven (or on the brokers of KAFKA_BOOTSTRAP_SERVERS), else
on the local broker, which takes longer to hand a record on the more of them it has.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import polars as pl

from benchmarks.figures import add_json, show
from benchmarks.topics import brokers
from flows.settings import load
from operators.connectors.kafka.client import headers_of, read_to_end
from operators.connectors.kafka.outgoing import SOURCE_HEADER
from ops.local import local_stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from tests.running import listens, wait_until

PARTITIONS: Final = 4
_WARM_SECONDS: Final = 5.0
_PLACE: Final = {"source_partition": pl.Int32, "source_offset": pl.Int64}


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``latency``."""
    parser = subparsers.add_parser(
        "latency", help="event to alert and to decision at 10,000 events/s", description=__doc__
    )
    parser.add_argument(
        "--flow",
        choices=("alerts", "payments"),
        default="alerts",
        help="which sends them",
    )
    parser.add_argument(
        "--tables", action="store_true", help="the payments flow runs beside that of the alerts"
    )
    parser.add_argument("--epoch", type=int, default=10, metavar="SECONDS")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="how long")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    others = ["payments"] if args.tables and args.flow == "alerts" else []
    show(
        latencies(10_000, args.seconds, 1_000_000, args.epoch, args.flow, others),
        args.json,
    )


def latencies(
    rate: float, seconds: int, cards: int, epoch: int, flow: str, others: list[str]
) -> dict[str, Any]:
    """Produce at `rate` events/s for `seconds` to a flow that alerts; return quantiles in ms.

    They are of alerts, and of decisions to review or to block, as a plain approval is no message.
    `others` run beside it and send none. Payments happen as they are produced: their event time
    is now. Both times are Kafka's CreateTime on this machine's clock, in whole ms. The first 5 s,
    in which the flows get warm, are left out.
    """
    with _servers() as environ, tempfile.TemporaryDirectory() as work:
        settings = load(environ)
        bootstrap = settings.kafka["bootstrap.servers"]
        create_topic(bootstrap, settings.topic, PARTITIONS)
        every = {**os.environ, **environ, "BYTEWAX_SNAPSHOT_INTERVAL": str(epoch)}
        silent = {**every, "MILLSTREAM_SEND_ALERTS": "false"}
        flows = [
            subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", f"flows.{name}", "-r", f"{work}/{name}"],
                env=silent if name in others else every,
                cwd=work,
            )
            for name in (flow, *others)
        ]
        try:
            for process in flows:
                wait_until(partial(listens, process.pid))
            made = simulate(
                Params(
                    payments=int(rate * seconds),
                    customers=cards // 20,
                    cards_per_customer=20,
                    partitions=PARTITIONS,
                    pace=rate,
                    start=datetime.now(UTC),
                )
            )
            produce(made, bootstrap, settings.topic, rate)
            time.sleep(2)  # for the flow to read the last of them
            for process in flows:
                process.send_signal(signal.SIGTERM)
            for process in flows:
                if process.wait(60):
                    raise RuntimeError(f"a flow ended with {process.returncode}")
        finally:
            for process in flows:
                process.kill()
        both = settings.kafka, settings.topic
        alerts = delays(*both, settings.alerts_topic)["took"]
        decisions = delays(*both, settings.decisions_topic)["took"]
    return {
        "rate": rate,
        "epoch_s": epoch,
        **_quantiles("alert", alerts),
        **_quantiles("decision", decisions),
    }


def delays(
    config: dict[str, str], topic: str, sent_to: str, warm: float = _WARM_SECONDS
) -> pl.DataFrame:
    """Return of each message of a flow's its record's place, and the ms that it `took`.

    Those of the first seconds, in which the flow gets `warm`, are left out.
    """
    produced = _produced(config, topic)
    settled = pl.col("produced") > pl.col("produced").min() + 1_000 * warm
    both = _sent(config, sent_to).join(produced.filter(settled), on=list(_PLACE))
    return both.select(*_PLACE, took=pl.col("sent") - pl.col("produced"))


def _quantiles(name: str, took: pl.Series) -> dict[str, Any]:
    return {
        f"{name}s": len(took),
        **{f"{name}_p{q}_ms": took.quantile(q / 100, "higher") for q in (50, 90, 99)},
        f"{name}_max_ms": took.max(),
    }


@contextlib.contextmanager
def _servers() -> Iterator[dict[str, str]]:
    """Run Kafka and Redis for the length of a block; yield the flows' settings."""
    with local_stack() as stack, brokers() as bootstrap:
        yield stack.env() | {"MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap}


def _produced(config: dict[str, str], topic: str) -> pl.DataFrame:
    """Return when each record was produced, in ms."""
    rows = [
        (message.partition(), message.offset(), message.timestamp()[1])
        for message in read_to_end(config, topic, dict.fromkeys(range(PARTITIONS), 0))
    ]
    return pl.DataFrame(rows, {**_PLACE, "produced": pl.Int64}, orient="row")


def _sent(config: dict[str, str], topic: str) -> pl.DataFrame:
    """Return when each message of a flow's was produced, in ms, and of which record it is."""
    rows = []
    for message in read_to_end(config, topic, dict.fromkeys(range(PARTITIONS), 0)):
        source = headers_of(message)[SOURCE_HEADER].decode().rsplit("/", 2)
        rows.append((int(source[1]), int(source[2]), message.timestamp()[1]))
    return pl.DataFrame(rows, {**_PLACE, "sent": pl.Int64}, orient="row")
