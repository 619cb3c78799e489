"""``millstream dlq replay``: a plan, and with --send what it says."""

import argparse
import os
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from flows import settings as settings_
from flows.kafka_settings import kafka_settings
from operators.avro import Lookup
from ops.dlq.became import NOWHERE
from ops.dlq.canary import FINE, awaited
from ops.dlq.filters import Filters, opened, root_of
from ops.dlq.quarantine import Place, Quarantine, QuarantineError, open_quarantines
from ops.dlq.records import count, name_of
from ops.dlq.replay import Plan, begin, finish, plan
from ops.dlq.replays import Replays
from ops.dlq.sought import Sought
from ops.progress import bar


def replay(args: argparse.Namespace, sought: Sought, lookup: Lookup) -> dict[str, Any]:
    """Plan, and send if that is asked for; return what is to be told. Raises QuarantineError."""
    root, filters, quarantines = root_of(args), Filters.of(args), opened(args)
    config = kafka_settings(os.environ)
    if args.send and not config.get("bootstrap.servers"):
        settings_.refuse(f"{settings_.PREFIX}KAFKA_BOOTSTRAP_SERVERS is not set", 2)
    told: dict[str, Any] = {"unfinished": Replays(root).unfinished(), "finished": []}
    told |= {"canary": [], "stopped": None}
    if args.send:
        told["finished"] += [
            _finish(root, args, each, config)[0] for each in told["unfinished"]
        ]
        told["unfinished"] = []
    plans = []
    with bar("rejects", count(quarantines, filters), args.json) as shown:
        left = args.limit
        for each in quarantines:
            plans.append(plan(root, each, filters, sought, lookup, left, shown,
                              attempts=args.attempts))  # fmt: skip
            left = None if left is None else max(left - plans[-1].chosen.height, 0)
    told["outcomes"] = [line for each in plans for line in each.histogram()]
    if args.sandbox is not None:
        told["sandbox"] = _try_out(root, args.sandbox, plans, lookup)
    told["versions"] = {each.quarantine.name: each.version for each in plans}
    if args.send:
        for plan_ in plans:
            if plan_.chosen.height and told["stopped"] is None:
                _send(root, args, plan_, config, told, vars(filters) | vars(sought))
    return told


def _try_out(root: str, sandbox: Path, plans: list[Plan], lookup: Lookup) -> dict[str, int]:
    from ops.dlq.sandbox import (
        can_be_tried,
        try_out,
    )  # all of a flow, which nothing else here needs

    some = [each for each in plans if each.chosen.height]
    joined = [each.quarantine.name for each in some if not can_be_tried(each.quarantine.stream)]
    if joined:
        raise QuarantineError(
            f"--sandbox: records of {', '.join(joined)} are made something of together with other "
            "streams', which a sandbox has not: name another --stream; without --sandbox, replay "
            "says what would become of each"
        )
    found: dict[str, int] = {}
    for each in some:
        found |= try_out(root, sandbox, each, lookup)
    return found


def _send(
    root: str,
    args: argparse.Namespace,
    plan_: Plan,
    config: dict[str, str],
    told: dict[str, Any],
    asked: dict[str, Any],
) -> None:
    """Send what a plan has chosen, some of it first if that is asked for."""
    asked = asked | {"stream": args.stream}
    if args.canary is not None:
        few = plan_.canary(args.canary)
        name = begin(root, few, config, asked, args.why)
        finished, places = _finish(root, args, name, config)
        told["finished"].append(finished)
        stream = plan_.quarantine.stream
        found = awaited(root, stream, places.values(), args.wait)
        counts = found["outcome"].value_counts().sort("count", "outcome", descending=True)
        told["canary"] += [{"stream": stream.name, **line} for line in counts.to_dicts()]
        told["stopped"] = _stopped(found, stream.name)
        plan_ = plan_.without(few)
    if plan_.chosen.height and told["stopped"] is None:
        name = begin(root, plan_, config, asked, args.why)
        told["finished"].append(_finish(root, args, name, config)[0])


def _stopped(found: pl.DataFrame, stream: str) -> str | None:
    """Return why nothing more is sent behind a canary, None if all is well."""
    bad = found.filter(~pl.col("outcome").is_in(FINE))
    if not bad.height:
        return None
    refused = bad.filter(pl.col("outcome") != NOWHERE)
    what = f"{bad.height:,} of {found.height:,} records that were sent first are"
    if refused.height:
        first = name_of(refused.row(0, named=True))
        return f"{what} not good, and no others were sent: look at one with dlq show {first}"
    return (
        f"{what} in no table yet, and no others were sent: start the flow that reads {stream}, or "
        "wait for it, and run replay --send again"
    )


def _finish(
    root: str, args: argparse.Namespace, name: str, config: dict[str, str]
) -> tuple[dict[str, Any], dict[Place, Place]]:
    everything: dict[str, Quarantine] = {q.name: q for q in open_quarantines(root, None)}
    replays = Replays(root)
    mine = replays.claimed().filter(replay=name)
    with bar("sent", mine.height, args.json) as shown:
        places, claimed = finish(root, name, everything, config, args.rate, shown)
    replays.done(name, mine["stream"][0], places)
    return {"replay": name, "sent": len(places), "claimed": claimed}, places


def show(told: dict[str, Any]) -> None:
    """Print what a replay did, or would do."""
    table = Table("stream", "outcome", "count", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for each in told["outcomes"]:
        table.add_row(each["stream"], each["outcome"], f"{each['count']:,}")
    console = Console(highlight=False)
    console.print(table)
    for name, rows in told.get("sandbox", {}).items():
        if rows:
            print(f"sandbox: {rows:,} rows in {name}")
    for each in told["unfinished"]:
        print(f"replay {each} was ended on its way: --send goes on with it")
    for each in told["canary"]:
        print(f"canary of {each['stream']}: {each['count']:,} {each['outcome']}")
    for each in told["finished"]:
        print(f"replay {each['replay']}: {each['sent']:,} of {each['claimed']:,} sent")
