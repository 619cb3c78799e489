"""Which history: the options that name events and labels, and what they come to."""

import argparse
import os
from datetime import date
from pathlib import Path
from typing import Any, Final

from flows import settings as settings_
from flows.streams import CHARGEBACKS, PAYMENTS, Stream
from ops.backtest.labels import Labels, labels_of_file
from ops.backtest.labels_of_tables import labels_of_tables
from ops.backtest.past import Past, past_of_silver
from ops.backtest.recorded import past_of_files

_ROOT: Final = f"{settings_.PREFIX}DELTA_ROOT"


def add_history(parser: Any) -> None:
    """Add the options that name events and labels."""
    parser.add_argument("--root", help=f"the tables' folder, instead of {_ROOT}")
    parser.add_argument(
        "--version", type=int, metavar="N",
        help="silver as it was at a version",
    )  # fmt: skip
    parser.add_argument(
        "--labels-version", type=int, metavar="N",
        help="silver/chargebacks as it was at a version (default: with --version as of when "
        "silver had that one, else the newest)",
    )  # fmt: skip
    parser.add_argument(
        "--input", type=Path, action="append", metavar="PARQUET",
        help="payments of a file instead: transaction_id, event_time, customer_id, terminal_id, "
        "amount and, if it has labels, is_fraud; may be given several times, for the files of "
        "one history",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=Path, metavar="PARQUET",
        help="which are frauds: the id and is_fraud, as simulate --truth writes them (default: "
        "what came with the file, or labels say, or was charged back)",
    )  # fmt: skip


def refuse_history(args: argparse.Namespace) -> None:
    """Raise ValueError for options of `add_history` that do not go together, or name nothing."""
    if args.input and args.stream != PAYMENTS.name:
        raise ValueError(f"--input is a file of payments, not of {args.stream}")
    if args.input and (args.version is not None or args.root):
        raise ValueError("--input is a file: --version and --root are of tables")
    if args.labels_version is not None and (args.input or args.labels):
        raise ValueError("--labels-version is of chargebacks: --input and --labels are files")
    if not args.input and not (args.root or os.environ.get(_ROOT)):
        raise ValueError(f"name the tables' folder, with --root or {_ROOT}, or a file, --input")
    for name, path in (
        *(("input", each) for each in args.input or ()),
        ("labels", args.labels),
    ):
        if path and not path.is_file():
            raise ValueError(f"--{name}: no file {path}")


def past_of(args: argparse.Namespace, stream: Stream, topic: str) -> Past:
    """Return the events that the options name.

    Raises OSError, ValueError and NoPastError as `past_of_files` and `past_of_silver` do.
    """
    if args.input:
        return past_of_files(args.input)
    return past_of_silver(_root(args), stream, topic, args.version)


def labels_of(args: argparse.Namespace, stream: Stream, past: Past) -> Labels | None:
    """Return the labels that the options name or that came with the events, None without any.

    Raises LabelsError and OSError as `labels_of_file` does.
    """
    if args.labels:
        return labels_of_file(args.labels, stream)
    if past.labels is not None or args.input or stream.name != PAYMENTS.name:
        return past.labels
    found = labels_of_tables(_root(args), stream, args.labels_version, past.by)
    if found is None and past.by is not None:
        past.notes.append(
            f"{CHARGEBACKS.silver.name} was not there when silver had that version: "
            "--labels-version names a version of it"
        )
    return found


def day(text: str) -> date:
    """Return a day (UTC) of a command line."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-06-30") from None


def _root(args: argparse.Namespace) -> str:
    return str(args.root or os.environ[_ROOT])
