"""Enforcing: events per CPU-second of the whole flow, by format and share of bad records.

Topics of as many records, none, one in a hundred and half of them bad, take turns, and each
share's events per CPU-second is told beside that of the topic without: CPU time of the flow's
process, less what a start takes. With --against each turn has another revision's flow as well, on
the same topics, beside this tree's.

With --delay, how long an event takes to its consumer of the validated topic, at 10,000 events/s on
Apache Kafka where there is Java and Maven, else on the local broker. With --bare the limit of the
first: what the client alone takes to consume as many messages and to produce each again, and the
flow with a table alone.
"""

import argparse
import secrets
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Producer, TopicPartition

from benchmarks.against import spread
from benchmarks.enforce_delay import delay
from benchmarks.enforce_topic import (
    NAME,
    PARTITIONS,
    STATED,
    declare,
    records,
    send,
    settings,
)
from benchmarks.figures import add_benchmark, add_json, at_least_one, show
from benchmarks.rejects import SHARES, of_none
from benchmarks.revision import checked_out, commit_of
from benchmarks.runs import Code, run_alone
from benchmarks.topics import EMPTY
from operators.connectors.kafka.client import consumer
from operators.connectors.kafka.outgoing import RECORD_HEADER
from ops.local import start_broker
from ops.topics import create_topic


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``enforce``."""
    parser = add_benchmark(
        subparsers, "enforce", "events per CPU-second of flows.enforce", __doc__
    )
    parser.add_argument("--events", type=at_least_one, default=400_000, metavar="N")
    parser.add_argument("--runs", type=at_least_one, default=3, metavar="N")
    parser.add_argument("--epoch", type=at_least_one, default=10, metavar="SECONDS")
    parser.add_argument("--format", choices=tuple(STATED), action="append", dest="formats")
    parser.add_argument(
        "--share", type=float, choices=SHARES, action="append", dest="shares",
        help="of these alone, beside none; all if it is not given",
    )  # fmt: skip
    parser.add_argument("--against", metavar="REV", help="another one, by what git knows")
    parser.add_argument(
        "--delay", type=int, metavar="SECONDS", help="the time at a steady rate, instead"
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        help="the client without the flow, and the flow without a validated topic, instead",
    )
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    found: dict[str, float] = {}
    shares = sorted({0.0, *(args.shares or SHARES)})
    for name in args.formats or STATED:
        if args.delay:
            found |= delay(name, 10_000, args.delay, args.epoch)
        elif args.bare:
            found |= bare(name, args.events, args.epoch)
        elif args.against is None:
            found |= rates([Code()], name, shares, args.events, args.runs, args.epoch)
        else:
            with checked_out(commit_of(args.against)) as other:
                both = [Code(), other]
                found |= rates(both, name, shares, args.events, args.runs, args.epoch)
    show(found, args.json)


def rates(
    codes: Sequence[Code],
    name: str,
    shares: Sequence[float],
    events: int,
    runs: int,
    epoch: int,
) -> dict[str, float]:
    """Run the flow of each of one or two codes on a topic of each share, in turns.

    Returns the first one's events per CPU-second, their ratios to those of the topic without bad
    records, and to the second one's.
    """
    took: dict[tuple[int, float], list[float]] = {}
    with start_broker() as bootstrap:
        create_topic(bootstrap, EMPTY, PARTITIONS)
        topics = {share: f"{NAME}.{share:g}" for share in shares}
        for share, topic in topics.items():
            send(bootstrap, records(name, events, share), topic)
        for code in codes:
            _cpu(code, bootstrap, name, EMPTY, epoch)  # code is compiled, files are read
        for turn in range(runs):
            order = list(enumerate(codes))
            for number, code in order if turn % 2 == 0 else reversed(order):
                start = _cpu(code, bootstrap, name, EMPTY, epoch)
                for share in shares if turn % 2 == 0 else reversed(shares):
                    used = _cpu(code, bootstrap, name, topics[share], epoch) - start
                    took.setdefault((number, share), []).append(events / used)
    mine = {share: took[0, share] for share in shares}
    found = of_none(mine)
    if len(codes) > 1:
        for share in shares:
            pairs = zip(mine[share], took[1, share], strict=True)
            ratios = spread([ours / theirs for ours, theirs in pairs])
            found |= {f"{share:.0%} bad: of the other, {each}": r for each, r in ratios.items()}
    return {f"{name}, {what}": value for what, value in found.items()}


def bare(name: str, events: int, epoch: int) -> dict[str, float]:
    """Return events per CPU-second of the client alone, and of the flow with a table alone."""
    with start_broker() as bootstrap:
        send(bootstrap, records(name, events, 0.0), NAME)
        for topic in (EMPTY, "copied"):
            create_topic(bootstrap, topic, PARTITIONS)
        alone, start = (
            _cpu(Code(), bootstrap, name, topic, epoch, "validated: false\n")
            for topic in (NAME, EMPTY)
        )
        took = {
            "consumed": _copied(bootstrap, events, None),
            "consumed and produced": _copied(bootstrap, events, "copied"),
            "table alone": alone - start,
        }
        return {f"{name} {what}": round(events / used) for what, used in took.items()}


def _copied(bootstrap: str, events: int, to: str | None) -> float:
    """Consume all messages, produce each `to` a topic, and return the CPU seconds."""
    own = {"bootstrap.servers": bootstrap, "queue.buffering.max.messages": 0}
    producer = Producer({**own, "enable.idempotence": True, "linger.ms": 1})
    client = consumer({"bootstrap.servers": bootstrap}, "bare")
    client.assign([TopicPartition(NAME, p, 0) for p in range(PARTITIONS)])
    used, left = time.process_time(), events
    while left > 0:
        messages = [m for m in client.consume(2_000, 0.1) if m.error() is None]
        left -= len(messages)
        for m in messages if to is not None else ():
            header = b"%d" % m.offset()
            place = m.partition(), None, None, m.timestamp()[1]
            producer.produce(to, m.value(), m.key(), *place, [(RECORD_HEADER, header)])
        producer.poll(0)
    producer.flush()
    used = time.process_time() - used
    client.close()
    return used


def _cpu(
    code: Code, bootstrap: str, name: str, topic: str, epoch: int, more: str = ""
) -> float:
    """Return the CPU seconds of the flow on a topic, with topics and tables of its own."""
    mine = f"{topic}.{secrets.token_hex(4)}"
    more = more or f"validated: {mine}.validated\n"
    with tempfile.TemporaryDirectory(prefix="millstream-") as work:
        folder = Path(work, "enforced")
        declare(folder, name, f"topic: {topic}\ndlq: {mine}.dlq\n{more}")
        environ = settings(bootstrap, Path(work), folder)
        return run_alone(code, "enforce", environ, Path(work, "run"), epoch)[1]
