"""``millstream backfill``: a stream's tables made anew under another root, of bronze or Kafka."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from deltalake import DeltaTable

from flows import settings as settings_
from flows.backfilling import ends_of
from flows.settings import PREFIX, Settings
from flows.streams import ENRICHMENTS, LABELS, PAYMENTS, STREAMS, Stream
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import reaching
from operators.connectors.kafka import client as kafka
from operators.errors import KnownError
from ops.progress import bar
from ops.run_flow import run_flow

_LINE_SECONDS: Final = 30
# An epoch begins each part of what is read and ends the last one, and few records need no long one.
_FEW, _SHORT_EPOCH = 1_000_000, 1

_STOPPED: Final = (
    "it is made anew in place: stop the flow, move its tables and its recovery directory away, and "
    "start it: it reads its topics from their beginning, as far as they reach"
)
_ASIDE: Final = (
    f"its flow sends nothing: run it once more as it is, with {PREFIX}DELTA_ROOT naming another "
    "root and a recovery directory of its own (-r)"
)
_OTHERS: Final = {
    LABELS.name: f"its tables are made with those of {PAYMENTS.name}: backfill {PAYMENTS.name}",
    **{each.name: _ASIDE for each in ENRICHMENTS},
    "enforce": _STOPPED,
}
"""What has no bronze, and how it is made anew."""


@dataclass(frozen=True)
class _Plan:
    """What is read: how many `records`, of `bronze` or else the topic.

    What is `cut` is not all of bronze, and nothing behind it. `lacking` are the first offsets, by
    topic and partition, of those that Kafka has no more all of.
    """

    bronze: bool
    records: int
    cut: bool = False
    lacking: Mapping[tuple[str, int], int] = field(default_factory=dict)


def add_parser(subparsers: Any) -> None:
    """Add the command ``backfill``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "backfill",
        help="make a stream's tables anew under another root, from bronze",
        description="Run a stream's flow, as it is today, over all that bronze has under "
        "MILLSTREAM_DELTA_ROOT, and then over what the topic has behind it, into tables under "
        "another root; over the topic alone where there is no bronze. It sends no messages; the "
        "tables that are there are only read, also while their own flow writes them. One that was "
        "interrupted goes on where it was.",
    )
    names = [each.name for each in STREAMS if each.name not in _OTHERS]
    parser.add_argument("stream", choices=[*names, *_OTHERS], metavar="STREAM",
                        help=", ".join(names))  # fmt: skip
    parser.add_argument("--into", required=True, metavar="ROOT", help="of the new tables")
    parser.add_argument(
        "--days", nargs=2, type=date.fromisoformat, metavar=("FIRST", "LAST"),
        help="of event time in UTC, both included: read no further than these take, and nothing "
        "of the topic",
    )  # fmt: skip
    parser.add_argument(
        "--from-topic", action="store_true", help="read the topic, and no bronze"
    )
    parser.add_argument(
        "--silver-alone", action="store_true", help="and its duplicates, and no other table"
    )
    parser.add_argument(
        "--state", type=Path, metavar="FOLDER",
        help="for its log and its recovery store; default: backfill-STREAM",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run it; returns 0, 1 where the flow could not go on, or 2 for settings."""
    if args.stream in _OTHERS:
        settings_.refuse(f"{args.stream} has no bronze, and {_OTHERS[args.stream]}", 2)
    (stream,) = (each for each in STREAMS if each.name == args.stream)
    _refuse_days(args, stream)
    given = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    try:
        live = settings_.load().delta_root
        bronze = stream.alone and not args.from_topic and _has_bronze(live, stream)
        if args.days and not bronze:
            raise KnownError(
                f"there is no {stream.bronze.name} under {live}, which tells where days end: name "
                f"the root of the tables that are to be made anew with {PREFIX}DELTA_ROOT"
            )
        own = {
            f"{PREFIX}DELTA_ROOT": args.into,
            f"{PREFIX}BACKFILL_FROM": live,
            f"{PREFIX}BACKFILL_OF": "bronze" if bronze else "topic",
            f"{PREFIX}BACKFILL_SILVER_ALONE": str(args.silver_alone).lower(),
            f"{PREFIX}STOP_AT_END": "true",
        }
        if args.days:
            behind = datetime.combine(args.days[1], datetime.min.time(), UTC)
            own[f"{PREFIX}BACKFILL_TO"] = (behind + timedelta(days=1)).isoformat()
        settings = settings_.load(given | own)
    except settings_.SettingsError as error:
        settings_.refuse(error, 2)
    except KnownError as error:
        settings_.refuse(error, 1)
    folder: Path = args.state or Path(f"backfill-{stream.name}")
    began = time.monotonic()
    try:
        plan = _planned(settings, settings.stream(stream), bronze=bronze)
        if not args.json:
            _say_plan(plan, stream, live)
        (folder / "state").mkdir(parents=True, exist_ok=True)
        what = f"backfill of {stream.name}"
        with bar(what, plan.records, args.json, _LINE_SECONDS) as progress:
            status = run_flow(
                given | own, folder.absolute(), plan.records, progress, stream.name,
                # Here, as settings may name files by where the command is given.
                Path.cwd(), _SHORT_EPOCH if plan.records < _FEW else None,
            )  # fmt: skip
    except KnownError as error:
        settings_.refuse(error, 1)
    if status:
        last = (folder / "flow.log").read_text(errors="replace").strip().splitlines()[-1:]
        print(*last, f"the flow ended with status {status}: see {folder / 'flow.log'}, and run "
              "this again to go on", sep="\n", file=sys.stderr)  # fmt: skip
        return 1
    _say_end(args, stream, plan, time.monotonic() - began)
    return 0


def _refuse_days(args: argparse.Namespace, stream: Stream) -> None:
    if not stream.alone and (args.days or args.silver_alone):
        settings_.refuse(
            f"{stream.name} is made of topics, which do not tell where days end, and all at once",
            2,
        )
    if args.days is None:
        return
    if args.days[1] < args.days[0]:
        settings_.refuse("--days: the last day is before the first", 2)
    if args.from_topic:
        settings_.refuse("--days: where days end in the topic only bronze's tables tell", 2)
    if stream.changes:
        settings_.refuse(
            f"--days: {stream.merged.name} is what all changes come to, of whatever day", 2
        )


def _has_bronze(root: str, stream: Stream) -> bool:
    uri = table_uri(root, stream.bronze.name)
    with reaching(uri):
        return DeltaTable.is_deltatable(uri)


def _planned(settings: Settings, stream: Stream, *, bronze: bool) -> _Plan:
    """Return what is read; raises KnownError where that cannot be, or nobody says."""
    own, root = settings.of(stream), settings.backfill_from or ""
    if bronze:
        uri = table_uri(root, stream.bronze.name)
        ends = ends_of(settings, own, stream)
        with reaching(uri):
            return _Plan(bronze, _rows(DeltaTable(uri), own.topic, ends), bool(ends))
    timeout, records = settings.start_timeout.total_seconds(), 0
    lacking: dict[tuple[str, int], int] = {}
    for topic in [own.topic, *([] if stream.alone else [settings.topic])]:
        parts = kafka.wait_for_partitions(settings.kafka, topic, timeout)
        firsts = kafka.first_offsets(settings.kafka, topic, parts, timeout)
        ends = kafka.end_offsets(settings.kafka, topic, parts, timeout)
        records += sum(ends[p] - firsts[p] for p in parts)
        lacking |= {(topic, p): first for p, first in sorted(firsts.items()) if first}
    return _Plan(bronze, records, lacking=lacking)


def _rows(handle: DeltaTable, topic: str, ends: Mapping[int, int]) -> int:
    """Return how many rows a table has, up to the last offsets of some partitions."""
    if not ends:
        return int(handle.count())
    name = topic.replace("'", "''")
    behind = " OR ".join(
        f"(source_partition = {p} AND source_offset > {last})" for p, last in ends.items()
    )
    sql = f"SELECT count(*) FROM rows WHERE source_topic = '{name}' AND NOT ({behind})"  # noqa: S608 # our own words
    return int(query(handle, sql).item())


def _say_plan(plan: _Plan, stream: Stream, live: str) -> None:
    if plan.bronze:
        return
    without = f", and of no {stream.bronze.name} under {live}" if stream.alone else ""
    print(f"{stream.name}: of what Kafka has{without}")
    for (topic, partition), first in plan.lacking.items():
        print(f"{topic}/{partition} begins at offset {first:,}: the new tables lack what was "
              "before, and what is made of it, such as features, is of what there is")  # fmt: skip


def _say_end(args: argparse.Namespace, stream: Stream, plan: _Plan, seconds: float) -> None:
    days: Sequence[date] = args.days or ()
    if args.json:
        told = {
            "stream": stream.name,
            "into": args.into,
            "of": "bronze" if plan.bronze else "topic",
            "days": [each.isoformat() for each in days] or None,
            "records": plan.records,
            "begins": {f"{topic}/{p}": first for (topic, p), first in plan.lacking.items()},
            "seconds": seconds,
            "records_per_second": plan.records / seconds,
        }
        json.dump(told, sys.stdout)
        print()
        return
    read = f"{plan.records:,} records of bronze" if plan.bronze else f"{plan.records:,} offsets"
    behind = ", and what the topic has behind them," if plan.bronze and not plan.cut else ""
    print(f"{stream.name}: {read}{behind} in {seconds:,.0f} s. "
          f"Compare: millstream verify --against {args.into}")  # fmt: skip
    if days:
        what = "What came behind these days is not in it" if plan.cut else "More was needed"
        print(f"{what}: take these days alone, by millstream tables switch --to {args.into} "
              f"--days {days[0]} {days[1]}")  # fmt: skip
