"""``millstream decisions``: why an event was approved, reviewed or blocked."""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isnan
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from flows import settings as settings_
from flows.streams import STREAMS
from operators.connectors.delta.errors import StorageUnavailableError
from operators.connectors.kafka.client import KafkaUnavailableError
from operators.control.changes import Change
from operators.decisions.words import PLAIN, number
from operators.features import FeatureError
from operators.rules.rules import RuleError
from ops.decisions.explain import Explained, UnknownEventError, explain


def add_parser(subparsers: Any) -> None:
    """Add the command ``decisions``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser(
        "decisions",
        help="why a payment was blocked, or was not",
        description="Decisions on events.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "explain",
        help="replay one decision from the tables",
        description="Show a decision as it is recorded, make it again of what the tables have of "
        "it, and say what today's rules and thresholds would decide, if they are others. Exit "
        "status 1 if no table has the event, or the tables make another decision of it.",
    )
    command.add_argument("id", metavar="PAYMENT_ID", help="the event's id")
    command.add_argument(
        "--stream",
        choices=[each.name for each in STREAMS if each.decides],
        default=STREAMS[0].name,
        help="whose event it is (default: %(default)s)",
    )
    command.add_argument("--json", action="store_true", help="print a JSON object")
    command.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Explain a decision; returns 0, 1 (unknown, or not the same) or 2 (settings)."""
    (declared,) = (each for each in STREAMS if each.name == args.stream)
    try:
        settings = settings_.load()
        found = explain(settings, settings.stream(declared), args.id)
    except (settings_.SettingsError, FeatureError, RuleError) as error:
        settings_.refuse(error, 2)
    except (UnknownEventError, StorageUnavailableError, KafkaUnavailableError) as error:
        settings_.refuse(error, 1)
    if args.json:
        json.dump(as_json(found), sys.stdout, indent=2, default=_text)
        print()
    else:
        show(found, args.id, Console(highlight=False, soft_wrap=True))
    return 0 if found.same or not (found.known and found.comparable) else 1


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def as_json(found: Explained) -> dict[str, Any]:
    """Return it as JSON values; a decision is null where there is none of a plain approval."""
    return {
        "event": dict(found.event),
        "recorded": _opened(found.recorded),
        "replayed": _opened(found.replayed),
        "same": found.same,
        "decided": found.known,
        "comparable": found.comparable,
        "inputs": found.inputs
        and {name: None if isnan(each) else each for name, each in found.inputs.items()},
        "versions": {
            name: change
            and {
                "offset": change.offset,
                "name": change.name,
                "who": change.who,
                "why": change.why,
                "begins": datetime.fromtimestamp(change.begins / 1e6, UTC),
            }
            for name, change in found.versions.items()
        },
        "shadow": [
            {name: each[name] for name in ("rule_id", "rule_version", "score", "reason")}
            for each in found.shadow
        ],
        "changed": {
            name: {"was": was, "is": now} for name, (was, now) in found.changed.items()
        },
        "today": _opened(found.today),
    }


def _opened(decision: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    hits = [{**hit, "values": orjson.loads(hit["values"])} for hit in decision["hits"] or ()]
    return {**decision, "hits": hits}


def sentence_of(decision: Mapping[str, Any] | None) -> str:
    """Return what a decision says of itself."""
    return PLAIN if decision is None else str(decision["sentence"])


def show(found: Explained, name: str, console: Console) -> None:
    """Print a decision, what it was made of, and what today's rules would make of the event."""
    event = found.event
    place = "/".join(str(event[f"source_{n}"]) for n in ("topic", "partition", "offset"))
    console.print(f"{name} of {event['event_time']:%Y-%m-%d %H:%M:%S} UTC, {place}")
    decision = found.recorded
    if not found.known:
        console.print("There were no decisions yet. By today's rules it is:")
        decision = found.today
    console.print(sentence_of(decision), markup=False)
    if decision is not None and (decision["hits"] or decision["model_share"]):
        console.print(_hits(decision))
    if decision is not None and decision["model"]:
        console.print(f"By model {decision['model']}", markup=False)
    for column, change in found.versions.items() if found.known else ():
        if change is not None:
            console.print(_as_of(column, change), markup=False)
    if found.inputs:
        told = (
            f"{name} {'unknown' if isnan(each) else number(each, 4)}"
            for name, each in found.inputs.items()
        )
        console.print(f"The model was given {', '.join(told)}.", markup=False)
    for each in found.shadow:
        text = f"In shadow: {each['rule_id']} {number(each['score'] or 0)} ({each['reason']})"
        console.print(text, markup=False)
    if found.known and found.same:
        console.print("[green]✓[/] the tables make the same of it again")
    elif found.known and not found.comparable:
        console.print("A crash has kept what it was made of from the tables.")
    elif found.known:
        console.print("[red]✗[/] the tables make another of it:")
        console.print(sentence_of(found.replayed), markup=False)
    for what, (was, now) in found.changed.items() if found.known else ():
        console.print(f"{what} was {was or 'not there'}, is {now or 'gone'}", markup=False)
    if found.changed and found.known:
        console.print(f"Today: {sentence_of(found.today)}", markup=False)


def _as_of(column: str, change: Change) -> str:
    since = datetime.fromtimestamp(change.begins / 1e6, UTC)
    what, ended = column.partition("_")[0], " ends" if change.content is None else ""
    return (
        f"{what.capitalize()} as of change {change.offset}: {change.name}{ended}, "
        f"from {since:%Y-%m-%d %H:%M:%S} UTC, by {change.who} ({change.why})"
    )


def _hits(decision: Mapping[str, Any]) -> Table:
    table = Table("rule", "version", "action", "score", "share", "values", box=None)
    for hit in decision["hits"] or ():
        values = ", ".join(f"{n} {value}" for n, value in orjson.loads(hit["values"]).items())
        table.add_row(
            hit["rule_id"],
            str(hit["rule_version"]),
            hit["action"],
            number(hit["score"]),
            f"{hit['share']:.0%}",
            values,
        )
    if decision["model_share"]:
        share = decision["model_share"] / decision["score"]
        score = f"model_score {number(decision['model_score'], 4)}"
        name, _, version = (decision["model"] or "the model").partition(", ")[0].partition("@")
        table.add_row(name, version, "", number(decision["model_share"]), f"{share:.0%}", score)
    return table
