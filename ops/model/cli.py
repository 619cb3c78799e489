"""``millstream model``: training of a model that scores events, and a look at one."""

import argparse
import hashlib
import json
import sys
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from flows import settings as settings_
from flows.streams import PAYMENTS, STREAMS, Stream
from flows.streams.models import drafts_of
from operators.columns.durations import micros
from operators.features import FeatureError
from operators.model import ModelCard, ModelError, ModelSpec, card_of, read_card, read_spec
from ops.backtest.history import add_history, day, labels_of, past_of, refuse_history
from ops.backtest.labels import (
    DELAY,
    LabelsError,
    no_labels,
)
from ops.backtest.past import NoPastError
from ops.backtest.words import figure
from ops.progress import bar

_ROOT: Final = f"{settings_.PREFIX}DELTA_ROOT"
_EPOCH: Final = date(1970, 1, 1)


def add_parser(subparsers: Any) -> None:
    """Add the command ``model``; its sub-commands' `func` return the exit code."""
    parser = subparsers.add_parser(
        "model", help="train a model that scores events, look at one", description="Models."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    train = commands.add_parser(
        "train",
        help="train gradient-boosted trees, and write them as ONNX with a card beside",
        description="Train gradient-boosted trees on what silver has, or on a file of recorded "
        "payments, with the flow's own features. The last days say how many trees are enough and "
        "which score is an alert; the days behind --to, if there are any, what it is all worth.",
    )
    train.add_argument("out", type=Path, metavar="ONNX", help="the file to write")
    train.add_argument(
        "--spec", type=Path, metavar="YAML",
        help="its name, version, description and inputs (default: the drafts' model.yml)",
    )  # fmt: skip
    train.add_argument(
        "--rules", type=Path, metavar="FOLDER",
        help="the rules' folder with the features that its inputs read (default: the drafts)",
    )  # fmt: skip
    train.add_argument(
        "--stream", choices=[each.name for each in STREAMS if each.rules],
        default=PAYMENTS.name, help="whose events these are (default: %(default)s)",
    )  # fmt: skip
    train.add_argument("--from", type=day, dest="first", metavar="DAY", required=True)
    train.add_argument("--to", type=day, dest="last", metavar="DAY", required=True)
    train.add_argument(
        "--held", type=int, default=14, metavar="DAYS",
        help="how many of the last days are held back at first (default: %(default)s)",
    )  # fmt: skip
    train.add_argument("--test-to", type=day, metavar="DAY", help="test on the days up to this")
    add_history(train)
    train.add_argument("--json", action="store_true", help="print the card as JSON")
    train.set_defaults(func=train_model)
    show = commands.add_parser("show", help="what a model is, and how good it was")
    show.add_argument("model", type=Path, metavar="ONNX")
    show.add_argument("--json", action="store_true", help="print the card as JSON")
    show.set_defaults(func=show_model)


def show_model(args: argparse.Namespace) -> int:
    """Print a model's card; returns 0, or ends with 2."""
    try:
        card = read_card(args.model)
        if hashlib.sha256(args.model.read_bytes()).hexdigest() != card.sha256:
            raise ModelError(f"{args.model} is not the file that its card is of")
    except (ModelError, OSError) as error:
        settings_.refuse(error, 2)
    _print(card, args.json)
    return 0


def train_model(args: argparse.Namespace) -> int:
    """Write a model and its card; returns 0, or ends with 1 (the world) or 2 (options)."""
    try:
        import lightgbm
        import onnx  # noqa: F401 # what is missing is to be said before an hour's work
    except ImportError:
        settings_.refuse("training needs lightgbm and onnx: pip install 'millstream[train]'", 2)
    try:
        (declared,) = (each for each in STREAMS if each.name == args.stream)
        own = settings_.declared(declared)
        folder = args.rules or drafts_of(declared)
        stream = declared.with_rules(folder)
        spec = _spec(args, declared, stream)
        spans = _spans(args)
        refuse_history(args)
        past = past_of(args, stream, own.topic)
        labels = labels_of(args, stream, past)
        if labels is None:
            raise LabelsError(no_labels(stream))
    except (settings_.SettingsError, FeatureError, ModelError, ValueError) as error:
        settings_.refuse(error, 2)
    except (OSError, NoPastError) as error:
        settings_.refuse(error, 1)
    # Behind what most commands do not need.
    from ops.model.examples import examples
    from ops.model.onnx_trees import to_onnx
    from ops.model.train import train

    with bar(stream.name, past.total, args.json) as told:
        try:
            found = examples(
                past,
                stream,
                spec,
                labels,
                micros(own.out_of_orderness),
                list(spans.values()),
                told,
            )
        except ValueError as error:
            settings_.refuse(error, 1)
    split = dict(zip(spans, found, strict=True))
    lacking = [name for name, each in split.items() if not each.fraud.any()]
    if lacking:
        settings_.refuse(f"there is no fraud in the days of {', '.join(lacking)}", 1)
    first, last = train(split["earlier"], split["held"], split["all"])
    content = to_onnx(last.booster, len(spec.inputs))
    scores: dict[str, dict[str, Any]] = {}
    for name, trees in (("earlier", first), ("held", first), ("test", last)):
        if name in split:
            made = split[name].scores(trees.score(split[name].inputs), last.threshold)
            scores[name] = {"from": _text(spans[name][0]), "to": _text(spans[name][1]), **made}
    definitions = stream.features.definitions
    card = ModelCard(
        **spec.model_dump(),
        stream=stream.name,
        features={
            name: definitions[name] for name in sorted(spec.reads() & definitions.keys())
        },
        sha256=hashlib.sha256(content).hexdigest(),
        threshold=last.threshold,
        trained={
            "on": past.source
            if not args.input
            else ", ".join(each.name for each in args.input),
            "labels": labels.source if not args.input else "is_fraud",
            "from": str(args.first),
            "to": str(args.last),
            "events": len(split["all"].fraud),
            "frauds": int(np.count_nonzero(split["all"].fraud)),
            "trees": last.rounds,
            "by": f"lightgbm {version(lightgbm.__name__)}",
        },
        scores=scores,
    )
    try:
        args.out.write_bytes(content)
        card_of(args.out).write_text(card.dump(), "utf-8")
    except OSError as error:
        settings_.refuse(error, 1)
    _print(card, args.json)
    return 0


def _spec(args: argparse.Namespace, declared: Stream, stream: Stream) -> ModelSpec:
    drafts = drafts_of(declared)
    path = args.spec or (drafts and drafts / "model.yml")
    if path is None:
        raise ModelError(f"--spec: {declared.name} has no model of its own: name a file")
    spec = read_spec(path)
    if problems := spec.problems(stream.featured):
        raise ModelError("\n".join(f"{path}: {each}" for each in problems))
    return spec


def _spans(args: argparse.Namespace) -> dict[str, tuple[int, int]]:
    """Return the days of each split, with what labels take between the earlier and the held."""
    first, last = _number(args.first), _number(args.last)
    held = last - args.held + 1
    if args.held < 1 or held - DELAY <= first:
        raise ValueError(
            f"--from {args.first} to --to {args.last} is too short to hold the last {args.held} "
            f"days back, and {DELAY} days before them, in which labels come"
        )
    spans = {"earlier": (first, held - DELAY - 1), "held": (held, last), "all": (first, last)}
    if args.test_to is not None:
        if args.test_to <= args.last:
            raise ValueError(f"--test-to {args.test_to} is not behind --to {args.last}")
        spans["test"] = (last + 1, _number(args.test_to))
    return spans


def _print(card: ModelCard, as_json: bool) -> None:
    if as_json:
        json.dump(card.model_dump(), sys.stdout, indent=2)
        print()
        return
    console = Console()
    console.print(f"{card.name} {card.version}: {card.description.strip()}", highlight=False)
    told = ", ".join(f"{name} {value}" for name, value in card.trained.items())
    console.print(f"trained {told}; an alert from {card.threshold} on", highlight=False)
    table = Table("input", "of an event", box=None, pad_edge=False)
    for name, sql in card.inputs.items():
        table.add_row(name, sql)
    console.print(table)
    table = Table("split", "days", "AP", "AUC", "CP@100", box=None, pad_edge=False)
    for name, each in card.scores.items():
        names = ("average_precision", "auc_roc", "card_precision_100")
        table.add_row(
            name, f"{each['from']} to {each['to']}", *(figure(each[n]) for n in names)
        )
    console.print(table)


def _number(of: date) -> int:
    return (of - _EPOCH).days


def _text(number: int) -> str:
    return str(_EPOCH + timedelta(days=number))
