"""``millstream forget``: a person's rows out of every table."""

import argparse
import json
import sys
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Final

from rich.console import Console
from rich.table import Table as Shown

from flows import settings as settings_
from operators.connectors.delta import maintenance
from operators.privacy import KeyRing
from operators.records.tables import COORDINATES
from ops.dlq.acts import Acts, new_name
from ops.dlq.filters import add_root, root_of
from ops.dlq.roles import need
from ops.dlq.streams import known_streams
from ops.forget import ledger
from ops.forget.person import Part, Person, Search, tags_of
from ops.progress import bar
from ops.schemas.draft import registry_lookup

_DEST: Final = "field "
"""Before a field's name, so that no option of another meaning has it."""
_OPTIONS: Final = ("--root", "--json", "--yes", "--why", "--vacuum", "--help")
_STAYS: Final = """\
What is not deleted by this: the records on the source topic and the messages on topics of alerts,
decisions and dead letters (until Kafka's retention), what a flow keeps of the last days (until its
horizons are over, or its recovery directory is moved away), ids in Redis (until DEDUP_TTL), and
entries of lists that name the person (millstream lists remove)."""


def add_parser(subparsers: Any) -> None:
    """Add the command ``forget``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "forget",
        help="delete a person's rows from every table",
        description="Delete the rows of a person, whoever has a value in a field that is tagged, "
        "from every table: records, duplicates and what was refused of them, windows by the "
        "person, alerts, decisions, edits. Without --yes it only counts. Flows may run; what "
        "they write of the person later is for another run. verify still balances.",
        epilog=_STAYS,
    )
    add_root(parser)
    person = parser.add_mutually_exclusive_group(required=True)
    taken: set[str] = set()
    for name in tagged():
        person.add_argument(
            _option(name, taken),
            dest=_DEST + name,
            metavar="VALUE",
            help=f"whose {name} this is; - reads it from standard input".replace("%", "%%"),
        )
    parser.add_argument("--yes", action="store_true", help="delete, and not only count")
    parser.add_argument("--why", metavar="TEXT", help="the reason, for ops/audit")
    parser.add_argument(
        "--vacuum",
        action="store_true",
        help="delete files that are no part of these tables any more, too, so that no older "
        "version has the person: who reads one of those fails",
    )
    parser.set_defaults(func=run)


def _option(field: str, taken: set[str]) -> str:
    """Return the option of a field, which no other one has; it is taken then."""
    short = f"--{field.removesuffix('_id').replace('_', '-')}"
    free = short not in {*taken, *_OPTIONS}
    found = short if free else f"--field-{field.replace('_', '-')}"
    taken.add(found)
    return found


def tagged() -> list[str]:
    """Return the fields that are tagged in any stream or enforced topic, by their names.

    Ends the process with 2 for files of topics that are wrong.
    """
    try:
        fields = [name for each in known_streams() for name in tags_of(each)]
    except settings_.SettingsError as error:
        settings_.refuse(error, 2)
    return list(dict.fromkeys(fields))


def run(args: argparse.Namespace) -> int:
    """Count a person's rows, and delete them with --yes; returns 0."""
    need("operator" if args.yes else "viewer")
    if args.vacuum and not args.yes:
        settings_.refuse("--vacuum deletes: it needs --yes", 2)
    root, name = (
        root_of(args),
        next(n for n in tagged() if getattr(args, _DEST + n) is not None),
    )
    value = getattr(args, _DEST + name)
    value = sys.stdin.readline().rstrip("\n") if value == "-" else value
    if not value:
        settings_.refuse(f"the value of {name} is empty", 2)
    try:
        settings = settings_.privacy_settings()
        lookup = registry_lookup()
    except (settings_.SettingsError, ValueError) as error:
        settings_.refuse(error, 2)
    with ExitStack() as stack:
        told = _status(stack, args.json)
        found = Search(root, settings, lookup, told).person(name, value)
    told_ = _told(found)
    if args.yes:
        named, token = new_name(), _token(settings.key_ring, name, value)
        told_ |= {"forget": named}
        deleted = forget(root, found, named, vacuumed=args.vacuum, quiet=args.json)
        asked = {"field": name, "token": token, "tables": deleted}
        if deleted:
            Acts(root).note("forget", told_["records"], asked, args.why)
    if args.json:
        json.dump(told_, sys.stdout, indent=2)
        print()
    else:
        _show(told_, yes=args.yes)
    return 0


def forget(
    root: str, found: Person, named: str, *, vacuumed: bool = False, quiet: bool = True
) -> dict[str, int]:
    """Delete what there is of a person; return by table how many rows that were.

    The ledger has it first. Silver goes last: by it the rest is found again if this is cut short.
    With `vacuumed` files go, too, that are no part of these tables any more. Raises OwnedError and
    StorageUnavailableError.
    """
    for stream, places in found.records.items():
        ledger.note(root, named, stream, places)
    silvers = {each.silver.name for each in known_streams()}
    parts = sorted(found.parts, key=lambda each: each.table.name in silvers)
    gone: Counter[str] = Counter()
    with bar("tables", len(parts), quiet) as done:
        for number, part in enumerate(parts, 1):
            for where in part.predicates():
                gone[part.table.name] += maintenance.delete(root, part.table, where)
            if vacuumed:
                maintenance.vacuum(root, part.table, timedelta(0))
            done(number)
    return dict(gone)


def _status(stack: ExitStack, quiet: bool) -> Any:
    if quiet or not sys.stderr.isatty():
        return lambda _: None
    return stack.enter_context(Console(stderr=True).status("looking")).update


def _token(ring: KeyRing, name: str, value: str) -> str | None:
    """Return what stands for the person in the audit: nothing, where there is no key."""
    return ring.oldest.token(name, value) if ring else None


def _told(found: Person) -> dict[str, Any]:
    return {
        "forget": None,
        "records": sum(places.height for places in found.records.values()),
        "tables": [
            {"table": part.table.name, "rows": part.rows, "partitions": _partitions(part)}
            for part in found.parts
        ],
        "shared": found.shared,
    }


def _partitions(part: Part) -> dict[str, int]:
    """Return how many of a part's records are of which partition."""
    counted = part.places.group_by(list(COORDINATES)[:2]).len().sort(list(COORDINATES)[:2])
    return {f"{topic}/{number}": rows for topic, number, rows in counted.iter_rows()}


def _show(told: dict[str, Any], *, yes: bool) -> None:
    console = Console(highlight=False)
    if not told["tables"]:
        console.print("no table has anything of this person")
        return
    table = Shown("table", "rows", "records by partition", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for each in told["tables"]:
        by = ", ".join(f"{name}: {rows:,}" for name, rows in each["partitions"].items())
        table.add_row(each["table"], f"{each['rows']:,}", by)
    console.print(table)
    if told["shared"]:
        console.print(
            f"{told['shared']:,} values of other fields are somebody else's too: windows by these "
            "stay"
        )
    console.print("deleted" if yes else "nothing is deleted: --yes does")
    if yes:
        console.print(_STAYS)
