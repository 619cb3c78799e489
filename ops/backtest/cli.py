"""``millstream rules backtest``: rules on history, before they go live."""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from polars.exceptions import InvalidOperationError
from rich.console import Console

from flows import settings as settings_
from flows.streams import PAYMENTS, STREAMS, Stream
from flows.streams.models import drafts_of, with_model
from flows.streams.settings import StreamSettings
from operators.columns.durations import micros
from operators.decisions.thresholds import load_thresholds
from operators.features import FeatureError
from operators.rules.rule import Rule
from operators.rules.rules import RuleError, RuleSet, load_rules
from operators.rules.status import LIVE
from ops.backtest.labels import (
    DAY,
    Labels,
    LabelsError,
    labels_of_chargebacks,
    labels_of_file,
    no_labels,
)
from ops.backtest.page import write_page
from ops.backtest.past import NoPastError, NoVersionError, Past, past_of_file, past_of_silver
from ops.backtest.report import Report, report
from ops.backtest.run import Side, run
from ops.backtest.show import show
from ops.progress import bar

_ROOT: Final = f"{settings_.PREFIX}DELTA_ROOT"
_NONE: Final = "none"
_EVER: Final = (-1_000_000, 1_000_000)
"""Days before and after all others."""


def add_parser(commands: Any) -> None:
    """Add the command ``backtest`` to those of ``rules``; its `func` returns the exit code."""
    parser = commands.add_parser(
        "backtest",
        help="run rules over history, and say what they are worth",
        description="Run the rules of a folder over what silver has, or over a file of recorded "
        "payments, with the flow's own features and rules, and say what they find, what that is "
        "worth, and what changes against the live rules.",
    )
    parser.add_argument(
        "--rules", type=Path, metavar="FOLDER",
        help="the candidates, whatever their status, with features in its folder features "
        "(default: all of the flow's own folder; of a file --input also the drafts beside it, as "
        "if they were live, and their model)",
    )  # fmt: skip
    parser.add_argument(
        "--model", metavar="ONNX",
        help="a model beside the candidates, or none (default: the flow's own)",
    )  # fmt: skip
    parser.add_argument(
        "--stream", choices=[each.name for each in STREAMS if each.rules],
        default=PAYMENTS.name, help="whose rules these are (default: %(default)s)",
    )  # fmt: skip
    days = parser.add_argument_group("which days (UTC); features know all that came before")
    days.add_argument("--from", type=_day, dest="first", metavar="DAY", help="from this one on")
    days.add_argument("--to", type=_day, dest="last", metavar="DAY", help="up to this one")
    past = parser.add_argument_group("which history")
    past.add_argument("--root", help=f"the tables' folder, instead of {_ROOT}")
    past.add_argument("--version", type=int, metavar="N", help="silver as it was at a version")
    past.add_argument(
        "--input", type=Path, metavar="PARQUET",
        help="payments of a file instead: transaction_id, event_time, customer_id, terminal_id, "
        "amount and, if it has labels, is_fraud",
    )  # fmt: skip
    past.add_argument(
        "--labels", type=Path, metavar="PARQUET",
        help="which are frauds: the id and is_fraud, as simulate --truth writes them (default: "
        "what came with the file, or was charged back)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    parser.set_defaults(func=backtest)


def backtest(args: argparse.Namespace) -> int:
    """Print the report; returns 0, or ends with 1 (the world) or 2 (options)."""
    began = time.monotonic()
    try:
        _refuse(args)
        (stream,) = (each for each in STREAMS if each.name == args.stream)
        own = settings_.declared(stream)
        if own.control_topic is not None and not args.input:
            # Silver has which lists its rows were on; of a file nobody knows.
            stream = replace(stream, controlled=True)
        side, live = _sides(stream, args, own)
        past = _past(args, stream, own.topic)
        labels = _labels(args, stream, past)
    except (
        settings_.SettingsError, FeatureError, RuleError, LabelsError, NoVersionError, ValueError,
        InvalidOperationError,
    ) as error:  # fmt: skip
        settings_.refuse(error, 2)
    except (OSError, NoPastError) as error:
        settings_.refuse(error, 1)
    if not past.total:
        settings_.refuse(f"{past.source} has no {stream.name}", 1)
    made = _report(args, side, live, past, labels, micros(own.out_of_orderness), began)
    if args.html:
        try:
            write_page(args.html, made)
        except OSError as error:
            settings_.refuse(error, 1)
    if args.json:
        json.dump(made.to_json(), sys.stdout, indent=2)
        print()
    else:
        show(made, Console())
    return 0


def _report(
    args: argparse.Namespace,
    side: Side,
    live: Side,
    past: Past,
    labels: Labels | None,
    bound: int,
    began: float,
) -> Report:
    first, last = (
        int((day - date(1970, 1, 1)).days) if day else usual
        for day, usual in zip((args.first, args.last), _EVER, strict=True)
    )
    sides = [side] if side is live else [side, live]
    stream = side.stream
    with bar(stream.name, past.total, args.json) as told:
        outcome = run(past, sides, labels, bound, first * DAY, (last + 1) * DAY, told)
    days = range(max(first, outcome.first), min(last, outcome.last) + 1)
    if not len(outcome.events.day):
        there = " to ".join(str(np.datetime64(d, "D")) for d in (outcome.first, outcome.last))
        settings_.refuse(
            f"{past.source} has {stream.name} of {there}, none of the days that --from and --to "
            "leave: name others",
            1,
        )
    about = {
        "stream": stream.name,
        "source": past.source,
        "labels": None if labels is None else labels.source,
        "notes": [*past.notes, *([no_labels(stream)] if labels is None else [])],
        "read": past.total,
        "seconds": round(time.monotonic() - began, 3),
    }
    return report(
        about, outcome, side, sides[1] if len(sides) > 1 else None, days, bool(labels)
    )


def _refuse(args: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together, or name nothing."""
    if args.first and args.last and args.first > args.last:
        raise ValueError(f"--from {args.first} is behind --to {args.last}")
    if args.input and args.stream != PAYMENTS.name:
        raise ValueError(f"--input is a file of payments, not of {args.stream}")
    if args.input and (args.version is not None or args.root):
        raise ValueError("--input is a file: --version and --root are of tables")
    if not args.input and not (args.root or os.environ.get(_ROOT)):
        raise ValueError(f"name the tables' folder, with --root or {_ROOT}, or a file, --input")
    model = Path(args.model) if args.model and args.model != _NONE else None
    for name, path in (("input", args.input), ("labels", args.labels), ("model", model)):
        if path and not path.is_file():
            raise ValueError(f"--{name}: no file {path}")
    if args.rules and not args.rules.is_dir():
        raise ValueError(f"--rules: {args.rules} is no folder")
    if args.html and not args.html.absolute().parent.is_dir():
        raise ValueError(f"--html: no folder {args.html.absolute().parent}")


def _sides(stream: Stream, args: argparse.Namespace, own: StreamSettings) -> tuple[Side, Side]:
    """Return the candidates, or all rules of the live folder, and the live rules.

    Both are one where all of that are live for all, and there is no model. Recorded events
    are for trying out what no flow has to work out yet, so that drafts count on these.
    """
    folder = own.rules
    assert folder is not None  # noqa: S101 # of a stream with rules
    rules = load_rules(folder)
    those = [each for each in rules if each.status == LIVE]
    live = _side(stream, folder, those, own, live=True, model=own.model)
    drafts = drafts_of(stream) if args.input and stream.owns(folder) else None
    model = _model(args, own, drafts)
    if args.rules is not None:
        return _side(stream, args.rules, load_rules(args.rules), own, model=model), live
    if drafts is not None:
        rules = [*rules, *load_rules(drafts)]
        return _side(stream, drafts, rules, own, model=model, drafts=True), live
    if all(each.standing == LIVE for each in rules) and model is own.model is None:
        return live, live
    return _side(stream, folder, rules, own, model=model), live


def _model(args: argparse.Namespace, own: StreamSettings, drafts: Path | None) -> Path | None:
    if args.model is not None:
        return None if args.model == _NONE else Path(args.model)
    if own.model is not None or drafts is None or args.rules is not None:
        return own.model
    beside = drafts / "model.onnx"
    return beside if beside.is_file() else None


def _side(
    stream: Stream,
    folder: Path,
    rules: list[Rule],
    own: StreamSettings,
    *,
    live: bool = False,
    model: Path | None = None,
    drafts: bool = False,
) -> Side:
    found = with_model(stream.with_rules(folder), model)
    held = RuleSet(rules, found.columns, found.id, found.key)
    # Those of the candidates, if they have their own.
    thresholds = load_thresholds(folder, own.rules, stream.rules) if stream.decides else None
    return Side(found, held, live, drafts, thresholds)


def _past(args: argparse.Namespace, stream: Stream, topic: str) -> Past:
    if args.input:
        return past_of_file(args.input)
    return past_of_silver(_root(args), stream, topic, args.version)


def _root(args: argparse.Namespace) -> str:
    return str(args.root or os.environ[_ROOT])


def _labels(args: argparse.Namespace, stream: Stream, past: Past) -> Labels | None:
    if args.labels:
        return labels_of_file(args.labels, stream)
    if past.labels is not None or args.input or stream.name != PAYMENTS.name:
        return past.labels
    return labels_of_chargebacks(_root(args))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-06-30") from None
