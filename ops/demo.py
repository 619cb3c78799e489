"""``millstream demo``: payments from Kafka to exact tables on this machine, in one command."""

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows import settings as settings_
from flows.secret_files import with_settings
from operators.connectors.registry import schema_source as registry
from ops.local import Stack, local_stack
from ops.processes import ServerError
from ops.run_flow import run_flow
from ops.simulate import Params, ProduceError, Simulation, produce, replay_file, simulate
from ops.topics import create_topic
from ops.verify import Report, verify
from ops.verify.cli import show

PARTITIONS: Final = 4
TRY: Final = (
    "SELECT rule_id, rule_status, severity, count(*) AS alerts, "
    "count(DISTINCT card_id) AS cards FROM gold_alerts "
    "GROUP BY rule_id, rule_status, severity ORDER BY alerts DESC"
)


def add_parser(subparsers: Any) -> None:
    """Add the command ``demo``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "demo",
        help="payments from Kafka to tables on this machine",
        description="Start a Kafka broker and a Redis server on this machine, simulate payments "
        "(or replay a file), run the payments flow until it has read them all, prove its "
        "tables, and stop everything again. Settings of the environment hold, but for "
        "where Kafka, Redis and the tables are. Exit status 0 only if the books balance.",
    )
    parser.add_argument(
        "--payments", type=int, default=100_000, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, metavar="PARQUET", help="replay this file instead")
    parser.add_argument(
        "--folder", type=Path, default=Path("demo"), help="default: %(default)s"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; returns 0, 1 (something failed or the books don't balance), 2 (options)."""
    console = Console(stderr=args.json)
    folder = args.folder.absolute()
    try:
        made = _records(args, console)
        _clear(folder)
    except (ValueError, OSError) as error:
        settings_.refuse(error, 2)
    try:
        with local_stack(folder) as stack:
            return _demo(stack, made, console, args)
    except settings_.SettingsError as error:
        settings_.refuse(error, 2)
    except (ServerError, ProduceError, OSError, RuntimeError) as error:
        settings_.refuse(error, 1)


def _records(args: argparse.Namespace, console: Console) -> Simulation:
    with console.status("making payments"):
        if args.file:
            return replay_file(args.file, PARTITIONS)
        return simulate(Params(payments=args.payments, seed=args.seed, partitions=PARTITIONS))


def _clear(folder: Path) -> None:
    """Empty the folder of an earlier demo, and refuse to empty any other."""
    mark = folder / "made-by-millstream-demo"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise ValueError(
            f"{folder} is not empty and not an earlier demo's; name another --folder"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()


def _demo(stack: Stack, made: Simulation, console: Console, args: argparse.Namespace) -> int:
    # The flow and its verification have to go by the same settings. Those of Kafka are for
    # another cluster than the one started here.
    own = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(settings_.PREFIX)
        and not name.startswith(f"{settings_.PREFIX}KAFKA_")
    }
    to_the_end = {"MILLSTREAM_STOP_AT_END": "true", "MILLSTREAM_CLOSE_WINDOWS_AT_END": "true"}
    environ = with_settings(own, stack.env()) | to_the_end
    settings = settings_.load(environ)
    ids = registry.register("", {}, "payment", settings.topic)
    console.print(f"broker {stack.bootstrap}, Redis {stack.redis_url}, schemas "
                  + ", ".join(f"payment/{v} (id {i})" for v, i in ids.items()))  # fmt: skip
    create_topic(stack.bootstrap, settings.topic, PARTITIONS)
    truth = stack.folder / "truth.parquet"
    made.truth.write_parquet(truth)
    total = len(made.records)
    with _bar(console) as bar:
        produce(made, stack.bootstrap, settings.topic, progress=bar("producing", total))
        began = time.monotonic()
        status = run_flow(environ, stack.folder, total, bar("running the flow", total))
        took = time.monotonic() - began
    if status:
        console.print(f"the flow ended with status {status}; see {stack.folder / 'flow.log'}")
        return 1
    with console.status("verifying") as doing:
        report = verify(settings, truth, lambda text: doing.update(text))
    if args.json:
        print(
            json.dumps(
                report.to_json() | {"seconds": took, "tables": settings.delta_root}, default=str
            )
        )
    else:
        _show(report, took, settings.delta_root, console)
    return 0 if report.ok else 1


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    columns = (
        TextColumn("{task.description:18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def add(text: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(text, total=total)
            return lambda done: progress.update(task, completed=done)

        yield add


def _show(report: Report, took: float, root: str, console: Console) -> None:
    counts = report.counts
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("events", "unique", "duplicates", "rejected", "late", "windows", "alerts"):
        table.add_row(name, f"{counts[name]:,}")
    for rule, alerts in report.alerts.items():
        table.add_row(f"  {rule}", f"{alerts:,}")
    table.add_row("rate", f"{counts['events'] / took:,.0f} events/s, start-up included")
    console.print(table)
    show(report, console)
    balance = (
        "[green]The books balance.[/]" if report.ok else "[red]The books do not balance.[/]"
    )
    console.print(f"{balance} Tables: {root}")
    command, shown = (shlex.quote(os.path.relpath(each)) for each in (sys.argv[0], root))
    console.print(
        f'Try: {command} query --root {shown} "{TRY}"',
        markup=False,
        soft_wrap=True,
    )
