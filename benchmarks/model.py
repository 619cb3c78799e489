"""What a model costs: the alerts flow with one and without, in turns on the same records.

The trees are those of the drafts' model, whose six inputs are taken from columns that the
payments always have, so that few score high: what is decided of those has its own cost. A pair's
ratio is the events per CPU-second with the model over those without; starts are in both.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.against import spread
from benchmarks.figures import add_json, at_least_one
from benchmarks.runs import BenchmarkError, Code, run_flow
from benchmarks.topics import EMPTY, fill
from flows.settings import PREFIX
from flows.streams import PAYMENTS
from flows.streams.models import drafts_of
from operators.model import card_of, read_card
from ops.local import start_broker

_KEYS: Final = 20_000
_INPUTS: Final = (
    "amount_minor",
    "amount_minor / card_amount_minor_mean",
    "card_count_10m - 1",
    "3600 * card_count_24h",
    "2000000 + card_count_1h",
    "0 * card_payments_before",
)
_READ: Final = (
    "card_amount_minor_mean", "card_count_10m", "card_count_1h", "card_count_24h",
    "card_payments_before",
)  # fmt: skip


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``model``."""
    parser = subparsers.add_parser(
        "model",
        help="the alerts flow with a model and without, in turns",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pairs", type=at_least_one, default=3, metavar="N")
    parser.add_argument("--events", type=at_least_one, default=1_000_000, metavar="N")
    parser.add_argument("--epoch", type=at_least_one, default=5, metavar="SECONDS")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure, telling each pair as it is there; then print the median and the spread."""
    with tempfile.TemporaryDirectory() as folder, start_broker() as bootstrap:
        settings = {f"{PREFIX}MODEL": str(_model(Path(folder)))}
        topic, events = fill(bootstrap, PAYMENTS, args.events, _KEYS)

        def once(*, scored: bool, topic: str = topic) -> float:
            more = settings if scored else {}
            return run_flow(Code(), "alerts", bootstrap, topic, args.epoch, more=more).cpu_s

        once(scored=True, topic=EMPTY)
        pairs = []
        for number in range(args.pairs):
            used = {
                scored: once(scored=scored) for scored in (number % 2 == 0, number % 2 == 1)
            }
            pairs.append(
                {
                    "with_model": events / used[True],
                    "without": events / used[False],
                    "ratio": used[False] / used[True],
                }
            )
            if not args.json:
                rates = "{with_model:12,.0f} with {without:12,.0f} without, {ratio:.3f}"
                print(rates.format(**pairs[-1]), flush=True)
    ratio = spread([pair["ratio"] for pair in pairs])
    if args.json:
        print(json.dumps({"events": events, "pairs": pairs, "ratio": ratio}, indent=2))
    else:
        print("ratio: median {median:.3f} ({lowest:.3f} to {highest:.3f})".format(**ratio))


def _model(folder: Path) -> Path:
    """Write the drafts' model with inputs that need no features of drafts; return its file."""
    drafts = drafts_of(PAYMENTS)
    if drafts is None or not (drafts / "model.onnx").is_file():
        raise BenchmarkError("the drafts have no model.onnx: millstream model train writes one")
    path, card = folder / "model.onnx", read_card(drafts / "model.onnx")
    definitions = PAYMENTS.features.definitions
    stated = {
        "inputs": dict(zip(card.inputs, _INPUTS, strict=True)),
        "features": {name: definitions[name] for name in _READ},
    }
    path.write_bytes((drafts / "model.onnx").read_bytes())
    card_of(path).write_text(card.model_copy(update=stated).dump(), "utf-8")
    return path
