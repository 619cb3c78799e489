"""The command ``millstream``: what people run beside a flow."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

# As in flows/__init__.py this is for Polars' first import; a tool may use every core.
os.environ.setdefault("POLARS_MAX_THREADS", str(os.cpu_count() or 1))

from flows import settings as settings_  # behind the setting
from ops import demo, local_cli, query, rules_cli, streams_cli, tables_cli
from ops.dlq import cli as dlq_cli
from ops.doctor import cli as doctor_cli
from ops.schemas import cli as schemas_cli
from ops.simulate import cli as simulate_cli
from ops.status import cli as status_cli
from ops.verify import cli as verify_cli


def parser() -> argparse.ArgumentParser:
    """Return the parser with every sub-command."""
    top = argparse.ArgumentParser(
        prog="millstream", description="What people run beside a Millstream flow."
    )
    top.add_argument("--version", action="version", version=version("millstream"))
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in (
        demo, local_cli, simulate_cli, verify_cli, status_cli, doctor_cli, query, streams_cli,
        rules_cli, schemas_cli, dlq_cli, tables_cli,
    ):  # fmt: skip
        module.add_parser(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end with its exit code."""
    args = parser().parse_args(arguments)
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
        from flows import ending  # what runs flows takes a while to import

        line = ending.known(error)
        if line is None:
            raise
        settings_.refuse(line, 1)


if __name__ == "__main__":
    main()
