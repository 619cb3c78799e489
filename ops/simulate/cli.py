"""``millstream simulate``: payments with known frauds and troubles, to Kafka."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from flows.kafka_settings import kafka_problems, kafka_settings
from ops.simulate.chargebacks import Chargebacks, simulate_chargebacks
from ops.simulate.params import Params, Troubles
from ops.simulate.produce import ProduceError, produce
from ops.simulate.replay import COLUMNS, replay_file
from ops.simulate.simulation import Simulation, simulate
from ops.topics import create_topic


def add_parser(subparsers: Any) -> None:
    """Add the command ``simulate`` to what `ArgumentParser.add_subparsers` returned.

    It sets `func`: it takes the parsed arguments and returns the exit code.
    """
    default = Params()
    parser = subparsers.add_parser(
        "simulate",
        help="write simulated or recorded payments to Kafka",
        description="Write card payments with known frauds and known troubles to Kafka. "
        "Settings named MILLSTREAM_KAFKA_* are passed to the producer.",
    )
    size = parser.add_argument_group("what to write")
    amount = size.add_mutually_exclusive_group()
    amount.add_argument("--payments", type=int, metavar="N", help="this many payments")
    amount.add_argument("--days", type=int, metavar="D", help="this many days (default: 30)")
    size.add_argument("--customers", type=int, default=default.customers, metavar="N")
    size.add_argument("--terminals", type=int, default=default.terminals, metavar="N")
    size.add_argument("--radius", type=float, default=default.radius, metavar="UNITS")
    size.add_argument("--cards", type=int, default=1, metavar="N", help="cards per customer")
    size.add_argument(
        "--start", type=_instant, default=default.start, metavar="TIME", help="ISO, UTC"
    )
    size.add_argument("--seed", type=int, default=default.seed)
    size.add_argument(
        "--version-2-share", type=float, default=default.version_2_share, metavar="S"
    )
    size.add_argument(
        "--file", type=Path, help="replay this parquet file instead: " + ", ".join(COLUMNS)
    )
    size.add_argument(
        "--since", type=_instant, metavar="TIME", help="with --file: from here on"
    )

    size.add_argument(
        "--chargebacks", type=float, default=0.0, metavar="SHARE",
        help="charge back this share of the frauds, and a few other payments",
    )  # fmt: skip

    trouble = parser.add_argument_group("troubles", "shares of the payments, from 0 to 1")
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
    ends.add_argument("--topic", default=os.environ.get("MILLSTREAM_TOPIC", "payments"))
    ends.add_argument(
        "--chargebacks-topic",
        default=os.environ.get("MILLSTREAM_CHARGEBACKS_TOPIC", "chargebacks"),
    )
    ends.add_argument("--partitions", type=int, default=default.partitions, metavar="N")
    ends.add_argument(
        "--rate", type=float, metavar="N", help="records per second (default: all)"
    )
    ends.add_argument(
        "--live", action="store_true", help="with --rate: payments happen now, at that rate"
    )
    ends.add_argument(
        "--truth", type=Path, metavar="PATH", help="write the truth here, as parquet"
    )
    ends.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Simulate or replay, write the truth, produce; returns 0, 1 (failed) or 2 (options)."""
    try:
        if not args.bootstrap:
            raise ValueError(
                "no --bootstrap, and MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is not set"
            )
        if args.rate is not None and args.rate <= 0:
            raise ValueError(f"--rate is {args.rate:g}, not above 0")
        if args.live and (args.rate is None or args.file):
            raise ValueError("--live needs --rate, and no --file")
        if args.truth and not args.truth.absolute().parent.is_dir():
            raise ValueError(f"--truth: no folder {args.truth.absolute().parent}")
        if problems := kafka_problems(os.environ):
            raise ValueError("\n".join(problems))
        began = time.monotonic()
        simulation = _make(args)
        chargebacks = simulate_chargebacks(
            simulation.payments, args.chargebacks, partitions=args.partitions, seed=args.seed
        )
    except (ValueError, OSError) as error:
        print(f"millstream simulate: {error}", file=sys.stderr)
        return 2
    made = time.monotonic() - began
    try:
        if args.truth:
            simulation.truth.write_parquet(args.truth)
        settings = kafka_settings(os.environ)
        create_topic(args.bootstrap, args.topic, args.partitions, settings)
        with _bar(len(simulation.records), args.json) as progress:
            took = produce(
                simulation, args.bootstrap, args.topic, args.rate, progress, settings
            )
        if len(chargebacks.records):
            create_topic(args.bootstrap, args.chargebacks_topic, args.partitions, settings)
            produce(chargebacks, args.bootstrap, args.chargebacks_topic, settings=settings)
    except KafkaException as error:
        print(f"millstream simulate: {args.bootstrap}: {error.args[0].str()}", file=sys.stderr)
        return 1
    except (ProduceError, ValueError, OSError) as error:
        print(f"millstream simulate: {error}", file=sys.stderr)
        return 1
    _report(simulation, chargebacks, args, made, took)
    return 0


def _make(args: argparse.Namespace) -> Simulation:
    if args.file:
        if args.days is not None:
            raise ValueError("--days is not for --file: use --since and --payments")
        if args.partitions < 1:
            raise ValueError(f"--partitions is {args.partitions}, not 1 or more")
        return replay_file(args.file, args.partitions, args.payments, args.since)
    if args.since is not None:
        raise ValueError("--since is only for --file")
    given = {entry.name: getattr(args, entry.name) for entry in fields(Troubles)}
    base = Troubles() if args.troubles else Troubles.none()
    troubles = replace(
        base, **{name: share for name, share in given.items() if share is not None}
    )
    return simulate(
        Params(
            customers=args.customers,
            terminals=args.terminals,
            radius=args.radius,
            days=30 if args.days is None else args.days,
            payments=args.payments,
            start=datetime.now(UTC) if args.live else args.start,
            pace=args.rate if args.live else None,
            seed=args.seed,
            partitions=args.partitions,
            cards_per_customer=args.cards,
            version_2_share=args.version_2_share,
            troubles=troubles,
        )
    )


def _instant(text: str) -> datetime:
    """Return an ISO time, UTC unless it says otherwise."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


@contextmanager
def _bar(total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show progress on a terminal; elsewhere nothing."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("records", total=total)
        yield lambda done: bar.update(task, completed=done)


def _report(
    simulation: Simulation,
    chargebacks: Chargebacks,
    args: argparse.Namespace,
    made: float,
    took: float,
) -> None:
    truth = simulation.truth
    kinds = dict(truth.group_by("kind").len().sort("len", descending=True).iter_rows())
    summary = {
        "topic": args.topic,
        "records": len(truth),
        "payments": len(simulation.payments),
        "frauds": int(simulation.payments["is_fraud"].sum()),
        "kinds": kinds,
        "chargebacks": len(chargebacks.records),
        "simulated_seconds": round(made, 3),
        "produced_seconds": round(took, 3),
        "truth": str(args.truth) if args.truth else None,
    }
    if args.json:
        print(json.dumps(summary))
        return
    rate = len(truth) / took if took else 0
    print(f"{len(truth):,} records to {args.topic} in {took:.1f} s ({rate:,.0f}/s)")
    print(f"{summary['payments']:,} payments, {summary['frauds']:,} frauds")
    print(", ".join(f"{kind} {count:,}" for kind, count in kinds.items()))
    if len(chargebacks.records):
        print(f"{len(chargebacks.records):,} chargebacks to {args.chargebacks_topic}")
    if args.truth:
        print(f"the truth about each record: {args.truth}")
