"""``millstream streams``: what is declared."""

import argparse
import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table

import schemas
from flows import settings as settings_
from flows.streams import STREAMS, Stream
from operators.changes import Changes
from operators.features import FeatureError
from operators.rules.rules import RuleError, load_rules
from operators.rules.status import said


def add_parser(subparsers: Any) -> None:
    """Add the command ``streams``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "streams",
        help="list the streams that are declared",
        description="List every stream with its topic, its record and the record's schema "
        "versions, the id that makes an event, its features and its rules with their versions, "
        "statuses and owners, its windows and its tables. Topics, features and rules are as "
        "declared, or as the environment sets them.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the list; returns 0, or 2 for features or rules that cannot be read."""
    try:
        found = [_told(each) for each in STREAMS]
    except (FeatureError, RuleError) as error:
        settings_.refuse(error, 2)
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return 0
    table = Table(box=None, show_header=False, pad_edge=False)
    for each in found:
        rules = [
            f"{rule} v{told['version']}{said(told['status'], told['rollout'], told['owner'])}"
            for rule, told in each["rule_details"].items()
        ]
        versions = ", ".join(map(str, each["versions"]))
        table.add_row(f"[bold]{each['stream']}[/]")
        for name, text in (
            ("topic", each["topic"]),
            ("record", f"{each['record']}, versions {versions}"),
            ("id, key", f"{each['id']}, {each['key']}"),
            ("features", ", ".join(each["features"])),
            ("windows", ", ".join(each["windows"])),
            ("changes", each["changes"]),
            ("rules", ", ".join(rules)),
            ("tables", "\n".join(each["tables"])),
        ):
            table.add_row(f"  {name}", text or "none")
    Console().print(table, highlight=False)
    return 0


def _told(stream: Stream) -> dict[str, Any]:
    own = settings_.declared(stream)
    stream = stream.with_rules(own.rules)
    rules = load_rules(own.rules) if own.rules else []
    return {
        "stream": stream.name,
        "topic": own.topic,
        "record": stream.record,
        "versions": list(schemas.versions(stream.record)),
        "id": stream.id,
        "key": stream.key,
        "features": stream.features.definitions,
        "windows": list(stream.windows),
        "changes": _said_of(stream.changes),
        "rules": {each.id: each.version for each in rules},
        "rule_details": {each.id: each.details for each in rules},
        "tables": [table.name for table in stream.all_tables],
    }


def _said_of(changes: Changes | None) -> str:
    if changes is None:
        return ""
    form = "in Debezium's envelope" if changes.enveloped else "plain"
    return (
        f"of {', '.join(changes.by)} by {changes.sequence}, {form}; {changes.keeps} is kept, in "
        f"{changes.buckets} buckets"
    )
