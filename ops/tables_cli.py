"""``millstream tables``: look at tables, and maintain them beside their flows."""

import argparse
import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final

from deltalake import DeltaTable

from flows import settings as settings_
from flows.enforced.loading import enforced_tables, upkeeps
from flows.streams import writers
from operators.connectors.delta import maintenance
from operators.connectors.delta.commits import newest_commits
from operators.connectors.delta.look import look
from operators.connectors.delta.ordering import z_order
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.restoring import restore
from operators.connectors.delta.switching import is_timed, switch
from operators.connectors.delta.table import reaching
from operators.errors import KnownError
from operators.records.tables import Table
from ops import lifecycle
from ops.begins import refuse_later
from ops.retaining import add_options, keep_of, retained
from ops.show_rows import show_rows

_MB: Final = 2**20


def add_parser(subparsers: Any) -> None:
    """Add the command ``tables``; each sub-command sets `func`, which returns the exit code."""
    parser = subparsers.add_parser(
        "tables",
        help="look at tables, and maintain them beside their flows",
        description="Look at tables under MILLSTREAM_DELTA_ROOT, and maintain them. Flows may run, "
        "and others read, but for restore. One at a time maintains a table.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, text in (
        ("info", _info, "what each has, and how it is maintained"),
        ("compact", _compact, "put small files together"),
        ("zorder", _zorder, "rewrite files so that rows of equal values are together"),
        ("vacuum", _vacuum, "delete files that are no part of it any more"),
        ("retain", _retain, "delete rows that are older than is declared"),
        ("checkpoint", _checkpoint, "sum its log up, and delete what is too old of it"),
        ("history", _history, "its newest commits"),
        ("restore", _restore, "bring it back to an earlier version"),
        ("switch", _switch, "replace its rows by those that a backfill has made anew"),
        ("lifecycle", None, "print a bucket's rules for days that are seldom read"),
    ):
        command = commands.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + "."
        )
        one = name in ("history", "restore")
        command.add_argument(
            "tables", nargs=1 if one else "*", metavar="TABLE",
            help="such as silver/payments" + ("" if one else "; by default all that are there"),
        )  # fmt: skip
        command.add_argument("--root", help="instead of MILLSTREAM_DELTA_ROOT")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(func=_guarded, run=run)
        if name in ("compact", "zorder"):
            command.add_argument(
                "--target-mb",
                type=int,
                metavar="N",
                help="size of a file; as declared by default",
            )
        if name == "zorder":
            command.add_argument(
                "--by", metavar="COLUMNS", help="with commas; as declared by default"
            )
            command.add_argument(
                "--whole",
                action="store_true",
                help="also what has not changed since the last time",
            )
        if name == "vacuum":
            command.add_argument(
                "--keep", metavar="DURATION", help="at least 1h; as declared by default, 1d"
            )
            command.add_argument(
                "--orphans", action="store_true", help="also files that no commit ever named"
            )
        if name == "retain":
            add_options(command)
        if name == "lifecycle":
            lifecycle.add_options(command)
        if name == "history":
            command.add_argument("--limit", type=int, default=20, metavar="N")
        if name == "switch":
            command.add_argument("--to", required=True, metavar="ROOT", help="where they are")
            command.add_argument(
                "--days", nargs=2, type=date.fromisoformat, metavar=("FIRST", "LAST"),
                help="of event time in UTC, both included; all by default",
            )  # fmt: skip
        if name == "restore":
            to = command.add_mutually_exclusive_group(required=True)
            to.add_argument("--version", type=int, metavar="N")
            to.add_argument("--time", type=datetime.fromisoformat, metavar="TIME")


def _guarded(args: argparse.Namespace) -> int:
    root = args.root or os.environ.get(f"{settings_.PREFIX}DELTA_ROOT")
    if not root:
        settings_.refuse("no --root, and MILLSTREAM_DELTA_ROOT is not set", 2)
    known = writers() | enforced_tables()
    args.upkeep_of = upkeeps()
    for name in args.tables:
        if name not in known:
            settings_.refuse(f"there is no table {name}: {', '.join(known)}", 2)
    try:
        if args.run is None:
            # Of declarations alone.
            return lifecycle.show(args, root)
        chosen = [each for name, (each, _) in known.items() if name in (args.tables or known)]
        there = [each for each in chosen if _is_there(root, each)]
        for name in args.tables:
            if name not in [each.name for each in there]:
                settings_.refuse(f"there is no table {name} under {root}", 1)
        if not there:
            settings_.refuse(f"no tables under {root}: name their folder with --root", 1)
        return int(args.run(args, root, there))
    except lifecycle.LifecycleError as error:
        settings_.refuse(error, 2)
    except KnownError as error:
        settings_.refuse(error, 1)


def _is_there(root: str, table: Table) -> bool:
    uri = table_uri(root, table.name)
    with reaching(uri):
        return DeltaTable.is_deltatable(uri)


def _each(
    args: argparse.Namespace, tables: Sequence[Table], do: Callable[[Table], dict[str, Any]]
) -> int:
    return show_rows(args, [{"table": each.name, **do(each)} for each in tables])


# --- the commands --------------------------------------------------------------------------


def _info(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    flows = {name: flow for name, (_, flow) in (writers() | enforced_tables()).items()}

    def told(table: Table) -> dict[str, Any]:
        found, upkeep = look(root, table, flows[table.name], []), args.upkeep_of(table.name)
        assert found is not None  # noqa: S101 # it is there
        return {
            "flow": flows[table.name],
            "version": found.version,
            "rows": found.rows,
            "files": found.files,
            "to_compact": found.small(upkeep.target),
            "MB": found.size / _MB,
            "written": found.written,
            "newest": found.newest,
            "target_MB": upkeep.target // _MB,
            "keep_days": upkeep.keep / timedelta(days=1),
            "retention_days": upkeep.retention and upkeep.retention / timedelta(days=1),
            "z_order": list(upkeep.z_order),
        }

    return _each(args, tables, told)


def _compact(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    def done(table: Table) -> dict[str, Any]:
        return dict(vars(maintenance.compact(root, table, _target(args, table))))

    return _each(args, tables, done)


def _zorder(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    def columns(table: Table) -> list[str]:
        return args.by.split(",") if args.by else list(args.upkeep_of(table.name).z_order)

    for each in tables:
        unknown = [name for name in columns(each) if name not in each.schema]
        if unknown and args.tables:
            settings_.refuse(f"{each.name} has no column {', '.join(unknown)}", 2)
    meant = [each for each in tables if columns(each) and {*columns(each)} <= {*each.schema}]
    if not meant:
        settings_.refuse("no order is declared of these tables: name columns with --by", 2)

    def done(table: Table) -> dict[str, Any]:
        target = _target(args, table)
        result = z_order(root, table, columns(table), target, whole=args.whole)
        return {"by": columns(table), **vars(result)}

    return _each(args, meant, done)


def _target(args: argparse.Namespace, table: Table) -> int:
    if args.target_mb is not None and args.target_mb < 1:
        settings_.refuse(f"--target-mb is {args.target_mb}, not 1 or more", 2)
    return int(args.target_mb * _MB if args.target_mb else args.upkeep_of(table.name).target)


def _vacuum(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    keep = keep_of(args)
    if keep is not None and keep < maintenance.SHORTEST:
        settings_.refuse(
            f"--keep is {args.keep}: readers may be at files that went less than 1h ago", 2
        )

    def done(table: Table) -> dict[str, Any]:
        kept = keep or args.upkeep_of(table.name).keep
        gone = maintenance.vacuum(root, table, kept, orphans=args.orphans)
        return {"kept": str(kept), "deleted": len(gone)}

    return _each(args, tables, done)


def _retain(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    return show_rows(args, retained(args, root, tables))


def _checkpoint(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    def done(table: Table) -> dict[str, Any]:
        return {"version": maintenance.checkpoint(root, table, args.upkeep_of(table.name).keep)}

    return _each(args, tables, done)


def _history(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    (table,) = tables
    uri = table_uri(root, table.name)
    with reaching(uri):
        found = newest_commits(DeltaTable(uri), max(args.limit, 1))
    return show_rows(
        args,
        [
            {
                "version": each.version, "at": each.at, "operation": each.operation,
                "by": each.flow or each.engine, "release": each.release, "run": each.run,
                "epoch": each.epoch, "rows": each.rows,
                **({"fence": dict(each.fence), "before": dict(each.before)} if args.json else {}),
            }
            for each in found
        ],
    )  # fmt: skip


def _switch(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    span = None
    if args.days is not None:
        first, last = (datetime(d.year, d.month, d.day, tzinfo=UTC) for d in args.days)
        if last < first:
            settings_.refuse("--days: the last day is before the first", 2)
        span = first, last + timedelta(days=1)
    flows = {name: flow for name, (_, flow) in (writers() | enforced_tables()).items()}
    if not args.tables:
        # Those with rows there, but for bronze, which the others were made anew of, and of days
        # those that have any.
        of = [each for each in tables if not each.name.startswith("bronze/")]
        of = [each for each in of if span is None or is_timed(each)]
        found = {each.name: look(args.to, each, flows[each.name], []) for each in of}
        tables = [each for each in of if (one := found[each.name]) and one.rows]

    def done(table: Table) -> dict[str, Any]:
        flow = flows[table.name]
        made = switch(root, table, flow, args.to, version("millstream"), span)
        return {"flow": flow, "version": made}

    if not tables:
        settings_.refuse(f"none of the tables under {root} is under {args.to}", 1)
    if span is None:
        refuse_later(root, args.to, list(tables))
    status = _each(args, tables, done)
    if not args.json:
        print(
            "Start their flows with empty recovery directories: they add what the tables lack"
        )
    return status


def _restore(args: argparse.Namespace, root: str, tables: Sequence[Table]) -> int:
    (table,) = tables
    flow = (writers() | enforced_tables())[table.name][1]
    to = args.version
    if to is None:
        to = args.time if args.time.tzinfo else args.time.replace(tzinfo=UTC)
    found = restore(root, table, flow, to, version("millstream"))
    if not args.json:
        print(
            f"{table.name} is as of version {found}, and accounts for what it did then. Start the "
            f"{flow} flow with an empty recovery directory: it adds what the table lacks"
        )
        return 0
    return show_rows(args, [{"table": table.name, "flow": flow, "version": found}])
