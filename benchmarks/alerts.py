"""What rules, features and a model cost: the alerts flow with all of them, in turns.

The flow reads payments and a label of each, a week after it, works out every feature, those of the
drafts and those from labels too, and evaluates 20 live rules: the stream's own and the drafts. It
does so without a model, with that of the drafts, and with 20 narrower rules more, in turns on the
same records; ratios are over the events per CPU-second without model and more rules. Events are
payments alone, in which what their labels cost is in, and the start too; `records_per_cpu_second`
counts payments and labels.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.against import spread
from benchmarks.figures import add_benchmark, add_json, at_least_one
from benchmarks.labels import fill_labels
from benchmarks.runs import BenchmarkError, Code, run_flow
from benchmarks.topics import EMPTY, PARTITIONS, send, simulated
from flows.settings import PREFIX
from flows.streams import LABELS, PAYMENTS
from flows.streams.models import drafts_of
from ops.local import start_broker
from ops.topics import create_topic

_PER_CARD: Final = 50
_NO_LABELS: Final = f"{EMPTY}.labels"
_RULES: Final = 20
_MORE: Final = 20

PLAIN, MODEL, MORE = "rules", "model", "more_rules"


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``alerts``."""
    parser = add_benchmark(
        subparsers,
        "alerts",
        "the alerts flow with all features, a model, and more rules, in turns",
        __doc__,
    )
    parser.add_argument("--turns", type=at_least_one, default=2, metavar="N")
    parser.add_argument("--events", type=at_least_one, default=1_000_000, metavar="N")
    parser.add_argument("--epoch", type=at_least_one, default=5, metavar="SECONDS")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure, telling each turn as it is there; then print medians and spreads."""
    with tempfile.TemporaryDirectory() as work, start_broker() as bootstrap:
        ways = _ways(Path(work))
        # As many days whatever the number, so that there are labels.
        made = simulated(PAYMENTS, args.events, max(args.events // _PER_CARD, 1))
        for empty in (EMPTY, _NO_LABELS):
            create_topic(bootstrap, empty, PARTITIONS)
        events = send(bootstrap, PAYMENTS.name, made)
        labels = fill_labels(bootstrap, made.events)

        def once(way: str, topic: str = PAYMENTS.name, labels: str = LABELS.name) -> float:
            more = {**ways[way], f"{PREFIX}LABELS_TOPIC": labels}
            return run_flow(Code(), "alerts", bootstrap, topic, args.epoch, more=more).cpu_s

        start = once(MODEL, EMPTY, _NO_LABELS)
        turns = []
        for number in range(args.turns):
            first = number % len(ways)
            used = {way: once(way) for way in [*ways, *ways][first : first + len(ways)]}
            turns.append(_turn(events, labels, {way: used[way] for way in ways}))
            if not args.json:
                print(_LINE.format(**turns[-1]), flush=True)
    found: dict[str, Any] = {
        "events": events,
        "labels": labels,
        "start_cpu_seconds": start,
        "turns": turns,
        **{name: spread([turn[name] for turn in turns]) for name in turns[0]},
    }
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{events:,} payments, {labels:,} labels, start {start:.2f} CPU-s; medians:")
    for name in turns[0]:
        each = found[name]
        print("{:24}{median:12,.3f} ({lowest:,.3f} to {highest:,.3f})".format(name, **each))


_LINE: Final = (
    f"{{{PLAIN}:10,.0f}} with {_RULES} rules, {{{MODEL}:10,.0f}} with a model too, "
    f"{{{MORE}:10,.0f}} with {_MORE} rules more"
)


def _turn(events: int, labels: int, used: dict[str, float]) -> dict[str, float]:
    """Return events per CPU-second of each way, and what can be said of these beside each other."""
    plain = used[PLAIN]
    return {
        **{way: events / each for way, each in used.items()},
        "records_per_cpu_second": (events + labels) / plain,
        "model_ratio": plain / used[MODEL],
        "model_us_per_event": 1e6 * (used[MODEL] - plain) / events,
        "more_rules_ratio": plain / used[MORE],
    }


def _ways(work: Path) -> dict[str, dict[str, str]]:
    """Return the settings of each way to run the flow, with its files in a folder."""
    drafts = drafts_of(PAYMENTS)
    if drafts is None or not (drafts / "model.onnx").is_file():
        raise BenchmarkError("the drafts have no model.onnx: millstream model train writes one")
    found = {}
    for name, size in ((PLAIN, _RULES), (MODEL, _RULES), (MORE, _RULES + _MORE)):
        folder = work / name
        shutil.copytree(drafts / "features", folder / "features")
        for rule in islice(_rules(drafts), size):
            (folder / f"{rule['id']}.yaml").write_text(yaml.safe_dump(rule), "utf-8")
        found[name] = {f"{PREFIX}RULES": str(folder)}
    found[MODEL][f"{PREFIX}MODEL"] = str(drafts / "model.onnx")
    return found


def _rules(drafts: Path) -> Iterator[dict[str, Any]]:
    """Yield the stream's rules and the drafts, all live, and then narrower ones without end."""
    assert PAYMENTS.rules is not None  # drafts are beside them
    files = [*sorted(PAYMENTS.rules.glob("*.yaml")), *sorted(drafts.glob("*.yaml"))]
    rules = [yaml.safe_load(path.read_text("utf-8")) | {"status": "live"} for path in files]
    yield from rules
    for rule, number in zip(cycle(rules), count(1)):
        when = f"({rule['when']}) AND amount_minor >= {500 * number}"
        yield rule | {"id": f"{rule['id']}_{number}", "when": when}
