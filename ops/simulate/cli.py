"""``millstream simulate``: events of a stream with known troubles, to Kafka."""

import argparse
import json
import os
import sys
import time
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from flows import settings as settings_
from flows.kafka_settings import kafka_problems, kafka_settings
from flows.streams import CHARGEBACKS, PAYMENTS, STREAMS, Stream
from ops.progress import bar
from ops.simulate.choices import PAYMENTS_ALONE, make
from ops.simulate.params import Delivery, Troubles
from ops.simulate.payments import Params
from ops.simulate.payments.chargebacks import simulate_chargebacks
from ops.simulate.payments.replay import COLUMNS
from ops.simulate.produce import ProduceError, produce
from ops.simulate.simulation import Simulation
from ops.topics import create_topic


def add_parser(subparsers: Any) -> None:
    """Add the command ``simulate`` to what `ArgumentParser.add_subparsers` returned.

    It sets `func`: it takes the parsed arguments and returns the exit code.
    """
    default = Delivery()
    parser = subparsers.add_parser(
        "simulate",
        help="write simulated or recorded events to Kafka",
        description="Write card payments with known frauds and known troubles to Kafka, or events "
        "of another stream, made of what its schema and its contract say. Settings named "
        "MILLSTREAM_KAFKA_* are passed to the producer.",
    )
    parser.add_argument(
        "--stream", choices=[each.name for each in STREAMS if each.alone and not each.changes],
        default=PAYMENTS.name, help="whose events (default: %(default)s)",
    )  # fmt: skip
    size = parser.add_argument_group("what to write")
    amount = size.add_mutually_exclusive_group()
    amount.add_argument(
        "--records", "--payments", type=int, dest="records", metavar="N",
        help="this many events, each counted once (default: 10000; of payments, --days)",
    )  # fmt: skip
    amount.add_argument(
        "--days", type=int, metavar="D", help="this many days of payments (default: 30)"
    )
    size.add_argument(
        "--start", type=_instant, default=default.start, metavar="TIME", help="ISO, UTC"
    )
    size.add_argument("--seed", type=int, default=default.seed)
    _add_payments(parser.add_argument_group("of payments alone"))

    trouble = parser.add_argument_group("troubles", "shares of the events, from 0 to 1")
    trouble.add_argument("--troubles", action=argparse.BooleanOptionalAction, default=True)
    for entry in fields(Troubles):
        flag = "--" + entry.name.replace("_", "-")
        trouble.add_argument(
            flag, type=float, metavar="SHARE", help=f"default: {entry.default}"
        )

    ends = parser.add_argument_group("where to")
    ends.add_argument(
        "--bootstrap", default=os.environ.get("MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS")
    )
    ends.add_argument("--topic", help="default: the stream's own, as its flow reads it")
    ends.add_argument("--partitions", type=int, default=default.partitions, metavar="N")
    ends.add_argument(
        "--rate", type=float, metavar="N", help="records per second (default: all)"
    )
    ends.add_argument(
        "--live", action="store_true", help="with --rate: events happen now, at that rate"
    )
    ends.add_argument(
        "--truth", type=Path, metavar="PATH", help="write the truth here, as parquet"
    )
    ends.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(func=run)


def _add_payments(group: Any) -> None:
    """Add the options of `PAYMENTS_ALONE` that are not there; what is not given is None."""
    usual = Params()
    for name, kind, metavar, text in (
        ("customers", int, "N", f"default: {usual.customers}"),
        ("terminals", int, "N", f"default: {usual.terminals}"),
        ("radius", float, "UNITS", f"default: {usual.radius}"),
        ("cards", int, "N", f"cards per customer (default: {usual.cards_per_customer})"),
        ("version-2-share", float, "S", f"default: {usual.version_2_share}"),
        ("file", Path, "PARQUET", "replay this file instead: " + ", ".join(COLUMNS)),
        ("since", _instant, "TIME", "with --file: from here on"),
        ("chargebacks", float, "SHARE", "charge back this share of the frauds, and a few others"),
        ("chargebacks-topic", str, "TOPIC", "default: as the chargebacks flow reads it"),
    ):  # fmt: skip
        group.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)


def run(args: argparse.Namespace) -> int:
    """Simulate or replay, write the truth, produce; returns 0, 1 (failed) or 2 (options)."""
    try:
        (stream,) = (each for each in STREAMS if each.name == args.stream)
        _refuse(args, stream)
        began = time.monotonic()
        topic = args.topic or settings_.declared(stream).topic
        made = make(stream, args)
        charged = None
        if args.chargebacks is not None:
            charged = simulate_chargebacks(
                made.events, args.chargebacks, partitions=args.partitions, seed=args.seed
            )
            more = args.chargebacks_topic or settings_.declared(CHARGEBACKS).topic
    except (ValueError, OSError) as error:
        print(f"millstream simulate: {error}", file=sys.stderr)
        return 2
    seconds = time.monotonic() - began
    try:
        if args.truth:
            made.truth.write_parquet(args.truth)
        settings = kafka_settings(os.environ)
        create_topic(args.bootstrap, topic, args.partitions, settings)
        with bar("records", len(made.records), args.json) as progress:
            took = produce(made, args.bootstrap, topic, args.rate, progress, settings)
        back = 0
        if charged is not None and (back := len(charged.records)):
            create_topic(args.bootstrap, more, args.partitions, settings)
            produce(charged, args.bootstrap, more, settings=settings)
    except KafkaException as error:
        print(f"millstream simulate: {args.bootstrap}: {error.args[0].str()}", file=sys.stderr)
        return 1
    except (ProduceError, ValueError, OSError) as error:
        print(f"millstream simulate: {error}", file=sys.stderr)
        return 1
    summary = _summary(stream, topic, made) | {
        "simulated_seconds": round(seconds, 3),
        "produced_seconds": round(took, 3),
        "truth": str(args.truth) if args.truth else None,
    }
    if stream is PAYMENTS:
        summary["chargebacks"] = back
    if args.json:
        print(json.dumps(summary))
        return 0
    _show(summary, stream)
    if back:
        print(f"{back:,} chargebacks to {more}")
    return 0


def _refuse(args: argparse.Namespace, stream: Stream) -> None:
    """Raise ValueError for options that do not go together, or with the stream."""
    if not args.bootstrap:
        raise ValueError("no --bootstrap, and MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is not set")
    if args.rate is not None and args.rate <= 0:
        raise ValueError(f"--rate is {args.rate:g}, not above 0")
    if args.live and (args.rate is None or args.file):
        raise ValueError("--live needs --rate, and no --file")
    if args.truth and not args.truth.absolute().parent.is_dir():
        raise ValueError(f"--truth: no folder {args.truth.absolute().parent}")
    given = [name for name in PAYMENTS_ALONE if getattr(args, name) is not None]
    if given and stream is not PAYMENTS:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ValueError(f"only for payments: {names}")
    if problems := kafka_problems(os.environ):
        raise ValueError("\n".join(problems))


def _instant(text: str) -> datetime:
    """Return an ISO time, UTC unless it says otherwise."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _summary(stream: Stream, topic: str, made: Simulation) -> dict[str, Any]:
    kinds = made.truth.group_by("kind").len().sort("len", descending=True)
    frauds = {"frauds": int(made.events["is_fraud"].sum())} if stream is PAYMENTS else {}
    return {
        "topic": topic,
        "records": len(made.truth),
        stream.name: len(made.events),
        **frauds,
        "kinds": dict(kinds.iter_rows()),
    }


def _show(summary: dict[str, Any], stream: Stream) -> None:
    records, took = summary["records"], summary["produced_seconds"]
    rate = records / took if took else 0
    print(f"{records:,} records to {summary['topic']} in {took:.1f} s ({rate:,.0f}/s)")
    frauds = f", {summary['frauds']:,} frauds" if "frauds" in summary else ""
    print(f"{summary[stream.name]:,} {stream.name}{frauds}")
    print(", ".join(f"{kind} {count:,}" for kind, count in summary["kinds"].items()))
    if summary["truth"]:
        print(f"the truth about each record: {summary['truth']}")
