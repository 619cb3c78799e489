"""``millstream dlq``: the quarantine by kinds, and each record of it explained."""

import argparse
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from flows import settings as settings_
from operators.avro import Lookup, SchemaId
from operators.avro.explain import Explained
from operators.connectors.registry import schema_source as registry
from ops.dlq import discard_cli, edit_cli, edit_shown, lines, replay_cli, shown
from ops.dlq.became import tell
from ops.dlq.export import FORMATS, export
from ops.dlq.filters import (
    Filters,
    add_discarded,
    add_filters,
    add_one,
    add_root,
    opened,
    place,
    positive,
    root_of,
)
from ops.dlq.groups import groups, why
from ops.dlq.lines import dump
from ops.dlq.quarantine import QuarantineError
from ops.dlq.records import Sought, count, find, headers_of, newest
from ops.dlq.roles import need
from ops.dlq.streams import explainer_of, named, with_own
from ops.progress import bar
from ops.query import one_line
from schemas import AvroSchema


def add_parser(subparsers: Any) -> None:
    """Add the command ``dlq``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser(
        "dlq",
        help="look into what was refused",
        description="Rejects, as the quarantine has them: by kinds, as a list, and each record "
        "explained. Values of records are shown by show, decode, export, edit and approve alone.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    made = _adder(commands)

    each = made(_summary, "summary", "a line for each kind of rejects",
                "A line per fingerprint: how many, first and last, why, in which partitions, and "
                "the newest record of it, for show.")  # fmt: skip
    add_filters(each)
    add_discarded(each)

    each = made(_list, "list", "the newest rejects", "The newest rejects, one a line.")
    add_filters(each)
    add_discarded(each)
    _add_sought(each)
    each.add_argument("--limit", type=positive, default=20, metavar="N",
                      help="how many at the most (default: %(default)s)")  # fmt: skip

    record = "its coordinates, such as payments/0/1234"
    each = made(_show, "show", "all about one record, byte for byte",
                "All about one record: why it was refused, its headers, and its value explained: "
                "which bytes are which field, where they break and what the schema expects "
                "there. Schemas are those of MILLSTREAM_SCHEMA_REGISTRY.")  # fmt: skip
    each.add_argument("record", type=place, metavar="TOPIC/PARTITION/OFFSET", help=record)

    each = made(_decode, "decode", "a record's value as JSON",
                "The value as JSON, as far as it decodes; exit status 1 if that is not "
                "all of it. With --json also where it broke.")  # fmt: skip
    each.add_argument("record", type=place, metavar="TOPIC/PARTITION/OFFSET", help=record)

    each = made(_why, "why", "what made rejects one kind",
                "What the rejects of a fingerprint have in common, which is all that it is made "
                "of: numbers, times and ids are taken out of the message.")  # fmt: skip
    each.add_argument("fingerprint", metavar="FINGERPRINT", help="as summary has it")

    each = made(_edit, "edit", "change records before they are sent again", edit_cli.EDIT,
                lambda args: "operator" if args.save else "viewer")  # fmt: skip
    add_one(each)
    add_filters(each)
    _add_sought(each)
    edit_cli.add_edit(each)

    each = made(_approve, "approve", "approve what somebody has edited", edit_cli.APPROVE,
                lambda args: "approver" if args.save else "viewer")  # fmt: skip
    edit_cli.add_approve(each)

    for name, text, more in (
        ("discard", "put rejects aside", "Put rejects aside: no command means them any more but "
         "those that say so. Nothing is deleted, and restore takes it back."),
        ("restore", "take discards back", "Take discards back: the rejects are as they were."),
    ):  # fmt: skip
        each = made(_mark, name, text, more, lambda _: "operator")
        each.set_defaults(discards=name == "discard")
        add_one(each)
        add_filters(each)
        _add_sought(each)
        discard_cli.add_options(each)

    each = made(_replay, "replay", "send what is good by now again", replay_cli.DESCRIPTION,
                lambda args: "operator" if args.send else "viewer")  # fmt: skip
    add_filters(each)
    _add_sought(each)
    replay_cli.add_options(each)

    each = made(_export, "export", "rejects with their records, as a file",
                "Write rejects with keys, values and headers to a file, as Parquet or as JSON "
                "lines (bytes in hex), by its name.")  # fmt: skip
    each.add_argument("file", type=Path, metavar=f"FILE.{{{','.join(f[1:] for f in FORMATS)}}}")
    add_filters(each)
    add_discarded(each)
    _add_sought(each)
    each.add_argument("--decoded", action="store_true",
                      help="add the value as JSON, as far as it decodes")  # fmt: skip


def _adder(commands: Any) -> Callable[..., argparse.ArgumentParser]:
    def add(
        func: Callable[[argparse.Namespace], int],
        name: str,
        help_: str,
        description: str,
        needs: Callable[[argparse.Namespace], str] = lambda _: "viewer",
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(
            name, help=help_, description=description
        )
        add_root(parser)

        def run(args: argparse.Namespace) -> int:
            need(needs(args))
            return _told(func, args)

        parser.set_defaults(func=run)
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
        asked = registry.ask_registry(
            settings.schema_registry.get_secret_value(), settings.registry_config
        )
        return with_own(asked)
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
        return dump(found)
    lines.show_groups(found)
    return 0


def _list(args: argparse.Namespace) -> int:
    quarantines, filters, sought = opened(args), Filters.of(args), _sought(args)
    total = count(quarantines, filters) if sought else 0
    with bar("rejects", total, args.json or not sought) as told:
        found = newest(quarantines, filters, args.limit, sought, _lookup, told)
    rows = found.to_dicts()
    tell(root_of(args), rows)
    if args.json:
        return dump(rows)
    lines.show_list(rows)
    return 0


def _found(args: argparse.Namespace) -> tuple[list[dict[str, Any]], Explained]:
    rows = find(root_of(args), opened(args), args.record)
    first = rows[0]
    explainer = explainer_of(named(first["stream"]), _lookup_or_why)
    return rows, explainer.explain([first["value"]], [headers_of(first)])[0]


def _show(args: argparse.Namespace) -> int:
    rows, found = _found(args)
    tell(root_of(args), rows)
    if args.json:
        return dump(shown.to_json(rows, found))
    shown.show(rows, found)
    return 0


def _decode(args: argparse.Namespace) -> int:
    _, found = _found(args)
    dump(shown.decoded(found) if args.json else found.record)
    if found.broken is None:
        return 0
    if not args.json:
        print(f"millstream: byte {found.broken.at}: {found.broken.why}", file=sys.stderr)
    return 1


def _why(args: argparse.Namespace) -> int:
    found, releases = why(opened(args), args.fingerprint)
    if args.json:
        return dump({"groups": found, "releases": releases})
    lines.show_why(found, releases)
    return 0


def _edit(args: argparse.Namespace) -> int:
    told, status = edit_cli.edit(args, _sought(args), _lookup())
    if args.json:
        dump(told)
    else:
        edit_shown.show(told)
    return status


def _approve(args: argparse.Namespace) -> int:
    told = edit_cli.approve(args)
    if args.json:
        return dump(told)
    edit_shown.show_approval(told)
    return 0


def _mark(args: argparse.Namespace) -> int:
    return discard_cli.run(args, _sought(args), _lookup())


def _replay(args: argparse.Namespace) -> int:
    told = replay_cli.replay(args, _sought(args), _lookup())
    if args.json:
        dump(told)
    else:
        replay_cli.show(told)
    if told["stopped"]:
        print(f"millstream: {told['stopped']}", file=sys.stderr)
        return 1
    return 0


def _export(args: argparse.Namespace) -> int:
    if args.file.suffix not in FORMATS:
        settings_.refuse(f"{args.file}: name it .parquet or .jsonl", 2)
    quarantines, filters, sought = opened(args), Filters.of(args), _sought(args)
    with bar("rejects", count(quarantines, filters), args.json) as told:
        written = export(quarantines, filters, sought, _lookup(), args.file, decoded=args.decoded,
                         told=told)  # fmt: skip
    if args.json:
        return dump({"file": str(args.file), "rejects": written})
    print(f"{written:,} rejects in {args.file}")
    return 0


def _sought(args: argparse.Namespace) -> Sought:
    return Sought(args.contains, args.id)
