"""``millstream dlq discard`` and ``restore``: rejects put aside, and taken back."""

import argparse
from dataclasses import replace

from flows import settings as settings_
from operators.avro import Lookup
from ops.dlq.discards import mark
from ops.dlq.filters import Filters, opened, root_of
from ops.dlq.lines import dump
from ops.dlq.records import at
from ops.dlq.sought import Sought


def run(args: argparse.Namespace, sought: Sought, lookup: Lookup) -> int:
    """Discard, or restore, what is meant; return the exit code. Raises QuarantineError."""
    filters = Filters.of(args)
    if args.record:
        filters = replace(filters, where=at(args.record))
    if not (filters or sought or args.stream):
        settings_.refuse("name a record or a filter; to mean all, --where true", 2)
    asked = vars(filters) | vars(sought) | {"stream": args.stream}
    filters = replace(filters, discarded=not args.discards)
    name, rejects = mark(
        root_of(args),
        opened(args),
        filters,
        asked,
        args.why,
        sought,
        lookup,
        discarded=args.discards,
    )  # fmt: skip
    if args.json:
        return dump({"discard": name, "rejects": rejects})
    print(f"{rejects:,} rejects {'discarded' if args.discards else 'restored'}")
    return 0
