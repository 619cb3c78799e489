"""The commands of ``millstream dlq`` that look at rejects; each returns its status."""

import argparse
import sys
from typing import Any

from operators.avro.explain import Explained
from ops.dlq import groups, lines, shown
from ops.dlq.became import tell
from ops.dlq.filters import Filters, opened, root_of
from ops.dlq.lines import dump
from ops.dlq.records import Sought, count, find, headers_of, newest
from ops.dlq.streams import explainer_of, lookup, lookup_or_why, named
from ops.progress import bar


def summary(args: argparse.Namespace) -> int:
    """Print a line for each kind."""
    found = groups.groups(opened(args), Filters.of(args))
    if args.json:
        return dump(found)
    lines.show_groups(found)
    return 0


def list_(args: argparse.Namespace) -> int:
    """Print the newest rejects."""
    quarantines, filters, sought = opened(args), Filters.of(args), Sought.of(args)
    total = count(quarantines, filters) if sought else 0
    with bar("rejects", total, args.json or not sought) as told:
        found = newest(quarantines, filters, args.limit, sought, lookup, told)
    rows = found.to_dicts()
    tell(root_of(args), rows)
    if args.json:
        return dump(rows)
    lines.show_list(rows)
    return 0


def _found(args: argparse.Namespace) -> tuple[list[dict[str, Any]], Explained]:
    rows = find(root_of(args), opened(args), args.record)
    first = rows[0]
    explainer = explainer_of(named(first["stream"]), lookup_or_why)
    return rows, explainer.explain([first["value"]], [headers_of(first)])[0]


def show(args: argparse.Namespace) -> int:
    """Print all about one record."""
    rows, found = _found(args)
    tell(root_of(args), rows)
    if args.json:
        return dump(shown.to_json(rows, found))
    shown.show(rows, found)
    return 0


def decode(args: argparse.Namespace) -> int:
    """Print a record's value; 1 if not all of it decodes."""
    _, found = _found(args)
    dump(shown.decoded(found) if args.json else found.record)
    if found.broken is None:
        return 0
    if not args.json:
        print(f"millstream: byte {found.broken.at}: {found.broken.why}", file=sys.stderr)
    return 1


def why(args: argparse.Namespace) -> int:
    """Print what made rejects one kind."""
    found, releases = groups.why(opened(args), args.fingerprint)
    if args.json:
        return dump({"groups": found, "releases": releases})
    lines.show_why(found, releases)
    return 0
