"""``millstream dlq``: the quarantine by kinds, and each record of it explained."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from flows import settings as settings_
from operators.avro import Lookup, SchemaId
from operators.avro.explain import Explained, explain
from operators.connectors.registry import schema_source as registry
from ops.dlq import lines, replay_cli, shown
from ops.dlq.export import FORMATS, export
from ops.dlq.filters import Filters, add_filters, add_root, opened, root_of
from ops.dlq.groups import groups, why
from ops.dlq.quarantine import QuarantineError
from ops.dlq.records import Sought, count, find, headers_of, newest, parse_place
from ops.progress import bar
from ops.query import one_line
from schemas import AvroSchema


def add_parser(subparsers: Any) -> None:
    """Add the command ``dlq``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser(
        "dlq",
        help="look into what was refused",
        description="Rejects, as the quarantine has them: by kinds, as a list, and each record "
        "explained. Values of records are shown by show, decode and export alone.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made = _adder(commands)

    each = made(_summary, "summary", "a line for each kind of rejects",
                "A line per fingerprint: how many, first and last, why, in which partitions, and "
                "the newest record of it, for show.")  # fmt: skip
    add_filters(each)

    each = made(_list, "list", "the newest rejects", "The newest rejects, one a line.")
    add_filters(each)
    _add_sought(each)
    each.add_argument("--limit", type=_positive, default=20, metavar="N",
                      help="how many at the most (default: %(default)s)")  # fmt: skip

    record = "its coordinates, such as payments/0/1234"
    each = made(_show, "show", "all about one record, byte for byte",
                "All about one record: why it was refused, its headers, and its value explained: "
                "which bytes are which field, where they break and what the schema expects "
                "there. Schemas are those of MILLSTREAM_SCHEMA_REGISTRY.")  # fmt: skip
    each.add_argument("record", type=_place, metavar="TOPIC/PARTITION/OFFSET", help=record)

    each = made(_decode, "decode", "a record's value as JSON",
                "The value as JSON, as far as it decodes; exit status 1 if that is not "
                "all of it. With --json also where it broke.")  # fmt: skip
    each.add_argument("record", type=_place, metavar="TOPIC/PARTITION/OFFSET", help=record)

    each = made(_why, "why", "what made rejects one kind",
                "What the rejects of a fingerprint have in common, which is all that it is made "
                "of: numbers, times and ids are taken out of the message.")  # fmt: skip
    each.add_argument("fingerprint", metavar="FINGERPRINT", help="as summary has it")

    each = made(_replay, "replay", "send what is good by now again", replay_cli.DESCRIPTION)
    add_filters(each)
    _add_sought(each)
    replay_cli.add_options(each)

    each = made(_export, "export", "rejects with their records, as a file",
                "Write rejects with keys, values and headers to a file, as Parquet or as JSON "
                "lines (bytes in hex), by its name.")  # fmt: skip
    each.add_argument("file", type=Path, metavar=f"FILE.{{{','.join(f[1:] for f in FORMATS)}}}")
    add_filters(each)
    _add_sought(each)
    each.add_argument("--decoded", action="store_true",
                      help="add the value as JSON, as far as it decodes")  # fmt: skip


def _adder(commands: Any) -> Callable[..., argparse.ArgumentParser]:
    def add(
        func: Callable[[argparse.Namespace], int], name: str, help_: str, description: str
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=help_, description=description
        )
        add_root(parser)
        parser.set_defaults(func=lambda args: _told(func, args))
        return parser

    return add


def _add_sought(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "in decoded fields (each value is looked into; those that rules failed on have none here)"
    )
    group.add_argument(
        "--contains", metavar="TEXT", help="any field has this in it, in any case"
    )
    group.add_argument("--id", help="the event's id is this")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return int(text)


def _place(text: str) -> tuple[str, int, int]:
    try:
        return parse_place(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _told(func: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    try:
        return func(args)
    except settings_.SettingsError as error:
        settings_.refuse(error, 2)
    except QuarantineError as error:
        settings_.refuse(one_line(error), 1)
    except OSError as error:
        settings_.refuse(error, 1)


@cache
def _lookup() -> Lookup:
    settings = settings_.registry_settings()
    try:
        return registry.ask_registry(
            settings.schema_registry.get_secret_value(), settings.registry_config
        )
    except ValueError as error:
        raise settings_.SettingsError(f"{settings_.PREFIX}SCHEMA_REGISTRY: {error}") from error


def _lookup_or_why(schema_id: SchemaId) -> AvroSchema:
    """Find a schema; a registry that does not answer is a reason why there is none."""
    try:
        return _lookup()(schema_id)
    except registry.RegistryUnavailableError as error:
        raise KeyError(schema_id, f"could not be had: {error}") from error


def _summary(args: argparse.Namespace) -> int:
    found = groups(opened(args), Filters.of(args))
    if args.json:
        return _dump(found)
    lines.show_groups(found)
    return 0


def _list(args: argparse.Namespace) -> int:
    quarantines, filters, sought = opened(args), Filters.of(args), _sought(args)
    total = count(quarantines, filters) if sought else 0
    with bar("rejects", total, args.json or not sought) as told:
        found = newest(quarantines, filters, args.limit, sought, _lookup, told)
    rows = found.to_dicts()
    if args.json:
        return _dump(rows)
    lines.show_list(rows)
    return 0


def _found(args: argparse.Namespace) -> tuple[list[dict[str, Any]], Explained]:
    rows = find(root_of(args), opened(args), args.record)
    first = rows[0]
    return rows, explain(first["value"], headers_of(first), _lookup_or_why)


def _show(args: argparse.Namespace) -> int:
    rows, found = _found(args)
    if args.json:
        return _dump(shown.to_json(rows, found))
    shown.show(rows, found)
    return 0


def _decode(args: argparse.Namespace) -> int:
    _, found = _found(args)
    _dump(shown.decoded(found) if args.json else found.record)
    if found.broken is None:
        return 0
    if not args.json:
        print(f"millstream: byte {found.broken.at}: {found.broken.why}", file=sys.stderr)
    return 1


def _why(args: argparse.Namespace) -> int:
    found, releases = why(opened(args), args.fingerprint)
    if args.json:
        return _dump({"groups": found, "releases": releases})
    lines.show_why(found, releases)
    return 0


def _replay(args: argparse.Namespace) -> int:
    told = replay_cli.replay(args, _sought(args), _lookup())
    if args.json:
        return _dump(told)
    replay_cli.show(told)
    return 0


def _export(args: argparse.Namespace) -> int:
    if args.file.suffix not in FORMATS:
        settings_.refuse(f"{args.file}: name it .parquet or .jsonl", 2)
    quarantines, filters, sought = opened(args), Filters.of(args), _sought(args)
    with bar("rejects", count(quarantines, filters), args.json) as told:
        written = export(quarantines, filters, sought, _lookup(), args.file, decoded=args.decoded,
                         told=told)  # fmt: skip
    if args.json:
        return _dump({"file": str(args.file), "rejects": written})
    print(f"{written:,} rejects in {args.file}")
    return 0


def _sought(args: argparse.Namespace) -> Sought:
    return Sought(args.contains, args.id)


def _dump(found: Any) -> int:
    json.dump(found, sys.stdout, indent=2, default=_as_json)
    print()
    return 0


def _as_json(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value)} is not JSON")
