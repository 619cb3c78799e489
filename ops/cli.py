"""The command ``millstream``: what people run beside a flow."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

# As in flows/__init__.py this is for Polars' first import; a tool may use every core.
os.environ.setdefault("POLARS_MAX_THREADS", str(os.cpu_count() or 1))

COMMANDS: Final = {
    "demo": ("ops.demo", "payments from Kafka to tables on this machine"),
    "local": (
        "ops.local_cli",
        "a Kafka broker, a Redis server and a schema registry on this machine",
    ),
    "simulate": ("ops.simulate.cli", "write simulated or recorded events to Kafka"),
    "verify": ("ops.verify.cli", "prove that the tables are exact"),
    "status": ("ops.status.cli", "how far each flow is, and what is open"),
    "health": ("ops.health", "what a process of a flow is at, for probes"),
    "doctor": ("ops.doctor.cli", "try all that a flow needs, and say what to mend"),
    "capacity": ("ops.capacity", "what a load needs, by figures that were measured"),
    "query": ("ops.query", "run SQL on the tables"),
    "bi": ("ops.bi.cli", "views for BI, a shell with them, a report with pictures"),
    "streams": ("ops.streams_cli", "list the streams that are declared"),
    "lineage": (
        "ops.lineage",
        "of what tables and columns are made, and what comes of a field",
    ),
    "rules": ("ops.rules_cli", "check rules, run them on history, change them"),
    "lists": ("ops.control.lists_cli", "block, allow and watch lists"),
    "thresholds": ("ops.control.thresholds_cli", "numbers that decisions are made by"),
    "model": ("ops.model.cli", "train a model that scores events, look at one"),
    "decisions": ("ops.decisions.cli", "why a payment was blocked, or was not"),
    "schemas": ("ops.schemas.cli", "check schemas, compare them, publish them"),
    "dlq": ("ops.dlq.cli", "look into what was refused"),
    "backfill": ("ops.backfill", "make a stream's tables anew under another root, from bronze"),
    "forget": ("ops.forget.cli", "delete a person's rows from every table"),
    "tables": ("ops.tables_cli", "look at tables, and maintain them beside their flows"),
}
"""Each command's module, which has `add_parser`, and what it says there that the command is."""


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        # What reads metadata takes a tenth of a small command's start.
        from importlib.metadata import version

        print(version("millstream"))
        parser.exit()


def parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser with every sub-command, and the arguments of one alone.

    What the others need to be imported for theirs takes seconds.
    """
    top = argparse.ArgumentParser(
        prog="millstream", description="What people run beside a Millstream flow."
    )
    top.add_argument("--version", action=_Version, nargs=0, help="show the version, and end")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, what) in COMMANDS.items():
        if name == command:
            import_module(module).add_parser(commands)
        else:
            commands.add_parser(name, help=what)
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    # Before a command there are only options that end it all.
    args = parser(given[0] if given else "").parse_args(given)
    try:
        sys.exit(args.func(args))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Someone piped us into head; pointing stdout elsewhere keeps the exit quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # any of the libraries': `known` tells faults of ours apart
        # What none of the commands expects: a line where it is known, else a fault of ours.
        from flows import ending, settings  # what runs flows takes a while to import

        line = ending.known(error)
        if line is None:
            raise
        settings.refuse(line, 1)


if __name__ == "__main__":
    main()
