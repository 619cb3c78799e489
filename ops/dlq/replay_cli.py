"""``millstream dlq replay``: a plan, and with --send what it says."""

import argparse
import os
from typing import Any

from rich.console import Console
from rich.table import Table

from flows import settings as settings_
from flows.kafka_settings import kafka_settings
from operators.avro import Lookup
from ops.dlq.filters import Filters, opened, root_of
from ops.dlq.quarantine import Quarantine, open_quarantines
from ops.dlq.records import Sought, count
from ops.dlq.replay import begin, finish, plan
from ops.dlq.replays import Replays
from ops.progress import bar

DESCRIPTION = (
    "Say what would become of rejects by today's schemas and contract, and with --send send those "
    "that would be good to their topic again, each once, with its key, value and headers: a "
    "running flow then takes them as any other record. Needs MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS. "
    "A replay that was ended on its way is gone on with first."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what replay has beside filters."""
    parser.add_argument("--send", action="store_true", help="do it; without, this is a dry run")
    parser.add_argument("--limit", type=_positive, metavar="N", help="send N at the most")
    parser.add_argument("--rate", type=_positive, metavar="R", help="records a second")
    parser.add_argument("--why", metavar="TEXT", help="the reason, for ops/audit")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def replay(args: argparse.Namespace, sought: Sought, lookup: Lookup) -> dict[str, Any]:
    """Plan, and send if that is asked for; return what is to be told. Raises QuarantineError."""
    root, filters, quarantines = root_of(args), Filters.of(args), opened(args)
    config = kafka_settings(os.environ)
    if args.send and not config.get("bootstrap.servers"):
        settings_.refuse(f"{settings_.PREFIX}KAFKA_BOOTSTRAP_SERVERS is not set", 2)
    told: dict[str, Any] = {"unfinished": Replays(root).unfinished(), "finished": []}
    if args.send:
        told["finished"] += [_finish(root, args, each, config) for each in told["unfinished"]]
        told["unfinished"] = []
    plans = []
    with bar("rejects", count(quarantines, filters), args.json) as shown:
        left = args.limit
        for each in quarantines:
            plans.append(plan(root, each, filters, sought, lookup, left, shown))
            left = None if left is None else max(left - plans[-1].chosen.height, 0)
    told["outcomes"] = [line for each in plans for line in each.histogram()]
    told["versions"] = {each.quarantine.stream.name: each.version for each in plans}
    if args.send:
        told["finished"] += [
            _finish(root, args, begin(root, each, config, vars(filters), args.why), config)
            for each in plans
            if each.chosen.height
        ]
    return told


def _finish(
    root: str, args: argparse.Namespace, name: str, config: dict[str, str]
) -> dict[str, Any]:
    everything: dict[str, Quarantine] = {q.stream.name: q for q in open_quarantines(root, None)}
    replays = Replays(root)
    total = replays.claimed().filter(replay=name).height
    with bar("sent", total, args.json) as shown:
        sent, claimed = finish(root, name, everything, config, args.rate, shown)
    replays.done(name, sent)
    return {"replay": name, "sent": sent, "claimed": claimed}


def show(told: dict[str, Any]) -> None:
    """Print what a replay did, or would do."""
    table = Table("stream", "outcome", "count", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for each in told["outcomes"]:
        table.add_row(each["stream"], each["outcome"], f"{each['count']:,}")
    console = Console(highlight=False)
    console.print(table)
    for each in told["unfinished"]:
        print(f"replay {each} was ended on its way: --send goes on with it")
    for each in told["finished"]:
        print(f"replay {each['replay']}: {each['sent']:,} of {each['claimed']:,} sent")
