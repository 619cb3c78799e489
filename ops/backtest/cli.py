"""``millstream rules backtest``: rules on history, before they go live."""

import argparse
import json
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
from ops.backtest.history import add_history, day, labels_of, past_of, refuse_history
from ops.backtest.labels import (
    DAY,
    Labels,
    LabelsError,
    no_labels,
)
from ops.backtest.page import write_page
from ops.backtest.past import NoPastError, NoVersionError, Past
from ops.backtest.report import Report, report
from ops.backtest.run import Side, run
from ops.backtest.show import show
from ops.progress import bar

_ROOT: Final = f"{settings_.PREFIX}DELTA_ROOT"
_NONE: Final = "none"
_WARM: Final = 30
"""How many days of the past are enough for what looks back further, too."""

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
    days.add_argument("--from", type=day, dest="first", metavar="DAY", help="from this one on")
    days.add_argument("--to", type=day, dest="last", metavar="DAY", help="up to this one")
    past = parser.add_argument_group("which history")
    add_history(past)
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
        past = past_of(args, stream, own.topic)
        labels = labels_of(args, stream, past)
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
        int((each - date(1970, 1, 1)).days) if each else usual
        for each, usual in zip((args.first, args.last), _EVER, strict=True)
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
    cold = _cold(stream, days[0] - outcome.first) if args.input else []
    unknown = [no_labels(stream)] if labels is None else []
    about = {
        "stream": stream.name,
        "source": past.source,
        "labels": None if labels is None else labels.source,
        "notes": [*past.notes, *cold, *unknown],
        "read": past.total,
        "seconds": round(time.monotonic() - began, 3),
    }
    return report(
        about, outcome, side, sides[1] if len(sides) > 1 else None, days, bool(labels)
    )


def _cold(stream: Stream, before: int) -> list[str]:
    """Return what there is to say of files that begin only so many days before those judged."""
    longest = max((each.horizon_us for each in stream.features.all_stated), default=0)
    if before >= min(-(-longest // DAY), _WARM):
        return []
    return [
        f"features look back up to {-(-longest // DAY)} days, and here know {before} before the "
        "first that is judged, so that rules and model find less than in a flow: give the files "
        "of earlier months too, with --input again, and choose days with --from and --to"
    ]


def _refuse(args: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together, or name nothing."""
    if args.first and args.last and args.first > args.last:
        raise ValueError(f"--from {args.first} is behind --to {args.last}")
    refuse_history(args)
    model = Path(args.model) if args.model and args.model != _NONE else None
    if model and not model.is_file():
        raise ValueError(f"--model: no file {model}")
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
