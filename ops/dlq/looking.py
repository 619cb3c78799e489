"""The commands of ``millstream dlq`` that look at many rejects; each returns its status."""

import argparse

import polars as pl

from ops.dlq import groups, lines
from ops.dlq.became import tell
from ops.dlq.filters import Filters, opened, root_of
from ops.dlq.lines import dump
from ops.dlq.quarantine import Quarantine
from ops.dlq.records import count, newest
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
    quarantines, filters = opened(args), Filters.of(args)
    if args.contains is None and args.id is None:
        rows = newest(quarantines, filters, args.limit).to_dicts()
    else:
        rows = _sought(args, quarantines, filters).to_dicts()
    tell(root_of(args), rows)
    if args.json:
        return dump(rows)
    lines.show_list(rows)
    return 0


def _sought(
    args: argparse.Namespace, quarantines: list[Quarantine], filters: Filters
) -> pl.DataFrame:
    # Behind what most runs do not need: what decodes takes a while to import.
    from ops.dlq.sought import Sought, newest_with
    from ops.dlq.streams import lookup

    total = count(quarantines, filters)
    with bar("rejects", total, args.json) as told:
        return newest_with(quarantines, filters, args.limit, Sought.of(args), lookup(), told)


def why(args: argparse.Namespace) -> int:
    """Print what made rejects one kind."""
    found, releases = groups.why(opened(args), args.fingerprint)
    if args.json:
        return dump({"groups": found, "releases": releases})
    lines.show_why(found, releases)
    return 0
