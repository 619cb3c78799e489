"""``millstream dlq``: the quarantine by kinds, and each record of it explained."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from flows.environment import SettingsError, refuse
from operators.connectors.delta.errors import one_line
from ops.dlq import options
from ops.dlq.filters import add_discarded, add_filters, add_one, add_root, place, positive
from ops.dlq.quarantine import QuarantineError
from ops.dlq.roles import need


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

    each = made("looking:summary", "summary", "a line for each kind of rejects",
                "A line per fingerprint: how many, first and last, why, in which partitions, and "
                "the newest record of it, for show.")  # fmt: skip
    add_filters(each)
    add_discarded(each)

    each = made(
        "looking:list_", "list", "the newest rejects", "The newest rejects, one a line."
    )
    add_filters(each)
    add_discarded(each)
    _add_sought(each)
    each.add_argument("--limit", type=positive, default=20, metavar="N",
                      help="how many at the most (default: %(default)s)")  # fmt: skip

    record = "its coordinates, such as payments/0/1234"
    each = made("explaining:show", "show", "all about one record, byte for byte",
                "All about one record: why it was refused, its headers, and its value explained: "
                "which bytes are which field, where they break and what the schema expects "
                "there. Schemas are those of MILLSTREAM_SCHEMA_REGISTRY.")  # fmt: skip
    each.add_argument("record", type=place, metavar="TOPIC/PARTITION/OFFSET", help=record)

    each = made("explaining:decode", "decode", "a record's value as JSON",
                "The value as JSON, as far as it decodes; exit status 1 if that is not "
                "all of it. With --json also where it broke.")  # fmt: skip
    each.add_argument("record", type=place, metavar="TOPIC/PARTITION/OFFSET", help=record)

    each = made("looking:why", "why", "what made rejects one kind",
                "What the rejects of a fingerprint have in common, which is all that it is made "
                "of: numbers, times and ids are taken out of the message.")  # fmt: skip
    each.add_argument("fingerprint", metavar="FINGERPRINT", help="as summary has it")

    each = made("acting:edit", "edit", "change records before they are sent again", options.EDIT,
                lambda args: "operator" if args.save else "viewer")  # fmt: skip
    add_one(each)
    add_filters(each)
    _add_sought(each)
    options.add_edit(each)

    each = made("acting:approve", "approve", "approve what somebody has edited", options.APPROVE,
                lambda args: "approver" if args.save else "viewer")  # fmt: skip
    options.add_approve(each)

    for name, text, more in (
        ("discard", "put rejects aside", "Put rejects aside: no command means them any more but "
         "those that say so. Nothing is deleted, and restore takes it back."),
        ("restore", "take discards back", "Take discards back: the rejects are as they were."),
    ):  # fmt: skip
        each = made("acting:mark", name, text, more, lambda _: "operator")
        each.set_defaults(discards=name == "discard")
        add_one(each)
        add_filters(each)
        _add_sought(each)
        options.add_why(each)

    each = made("acting:replay", "replay", "send what is good by now again", options.REPLAY,
                lambda args: "operator" if args.send else "viewer")  # fmt: skip
    add_filters(each)
    _add_sought(each)
    options.add_replay(each)

    each = made("acting:export", "export", "rejects with their records, as a file",
                "Write rejects with keys, values and headers to a file, as Parquet or as JSON "
                "lines (bytes in hex), by its name. ops/audit has who did it.")  # fmt: skip
    each.add_argument(
        "file", type=Path, metavar=f"FILE.{{{','.join(f[1:] for f in options.FORMATS)}}}"
    )
    add_filters(each)
    add_discarded(each)
    _add_sought(each)
    each.add_argument("--decoded", action="store_true",
                      help="add the value as JSON, as far as it decodes")  # fmt: skip
    each.add_argument("--why", metavar="TEXT", help="the reason, for ops/audit")


def _adder(commands: Any) -> Callable[..., argparse.ArgumentParser]:
    def add(
        does: str,
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
            # What the others need takes a while to import.
            module, _, function = does.partition(":")
            return _told(getattr(import_module(f"ops.dlq.{module}"), function), args)

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
    except SettingsError as error:
        refuse(error, 2)
    except QuarantineError as error:
        refuse(one_line(error), 1)
    except OSError as error:
        refuse(error, 1)
