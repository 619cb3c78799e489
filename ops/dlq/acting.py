"""The commands of ``millstream dlq`` that do something with rejects; each returns its status."""

import argparse
import sys

from flows import settings as settings_
from ops.dlq import discard_cli, edit_cli, edit_shown, options, replay_cli
from ops.dlq import export as files
from ops.dlq.acts import Acts
from ops.dlq.filters import Filters, opened, root_of
from ops.dlq.lines import dump
from ops.dlq.records import count
from ops.dlq.sought import Sought
from ops.dlq.streams import lookup
from ops.progress import bar


def edit(args: argparse.Namespace) -> int:
    """Change records, and keep that if it is asked for."""
    told, status = edit_cli.edit(args, Sought.of(args), lookup())
    if args.json:
        dump(told)
    else:
        edit_shown.show(told)
    return status


def approve(args: argparse.Namespace) -> int:
    """Show an edit, and approve it if that is asked for."""
    told = edit_cli.approve(args)
    if args.json:
        return dump(told)
    edit_shown.show_approval(told)
    return 0


def mark(args: argparse.Namespace) -> int:
    """Put rejects aside, or take that back."""
    return discard_cli.run(args, Sought.of(args), lookup())


def replay(args: argparse.Namespace) -> int:
    """Plan, and send if that is asked for; 1 if a canary has stopped it."""
    told = replay_cli.replay(args, Sought.of(args), lookup())
    if args.json:
        dump(told)
    else:
        replay_cli.show(told)
    if told["stopped"]:
        print(f"millstream: {told['stopped']}", file=sys.stderr)
        return 1
    return 0


def export(args: argparse.Namespace) -> int:
    """Write rejects to a file."""
    if args.file.suffix not in options.FORMATS:
        settings_.refuse(f"{args.file}: name it .parquet or .jsonl", 2)
    quarantines, filters, sought = opened(args), Filters.of(args), Sought.of(args)
    asked = vars(filters) | vars(sought)
    asked |= {"stream": args.stream, "decoded": args.decoded, "file": str(args.file)}

    def noted(records: int) -> None:
        Acts(root_of(args)).note("export", records, asked, args.why)

    with bar("rejects", count(quarantines, filters), args.json) as told:
        written = files.export(quarantines, filters, sought, lookup(), args.file,
                               decoded=args.decoded, told=told, noted=noted)  # fmt: skip
    if args.json:
        return dump({"file": str(args.file), "rejects": written})
    print(f"{written:,} rejects in {args.file}")
    return 0
