"""What bad records cost: the payments flow where none, one in a hundred and half of them are bad.

Bad ones are of every kind that the simulator knows: cut, damaged, of an unknown schema, against the
contract, and so on, each as often beside the others as it has them. Each goes into the quarantine
and out as a dead letter. Topics of as many records take turns, and each share's events per
CPU-second is told beside that of the topic without: CPU time of the flow's processes, less what a
start takes.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from benchmarks.against import spread
from benchmarks.figures import add_benchmark, add_json, at_least_one, show
from benchmarks.revision import checked_out, commit_of
from benchmarks.runs import STREAMS, Code, Used, run_flow
from benchmarks.topics import EMPTY, fill
from flows.settings import PREFIX
from ops.local import start_broker
from ops.simulate import Troubles

SHARES: Final = (0.0, 0.01, 0.5)
_FLOW: Final = "payments"
_CARDS: Final = 20_000
_GOOD: Final = ("out_of_order", "late", "duplicate")
"""Troubles whose records are good."""


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``rejects``."""
    parser = add_benchmark(
        subparsers,
        "rejects",
        "the payments flow at 0, 1 and 50 per cent of bad records",
        __doc__,
    )
    parser.add_argument("--events", type=at_least_one, default=400_000, metavar="N")
    parser.add_argument("--runs", type=at_least_one, default=5, metavar="N")
    parser.add_argument("--epoch", type=at_least_one, default=5, metavar="SECONDS")
    parser.add_argument(
        "--revision", metavar="REV", help="another one's flow, by what git knows"
    )
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure and print the figures."""
    if args.revision is None:
        show(measure(Code(), args.events, args.runs, args.epoch), args.json)
        return
    with checked_out(commit_of(args.revision)) as code:
        show(measure(code, args.events, args.runs, args.epoch), args.json)


def measure(code: Code, events: int, runs: int, epoch: int) -> dict[str, float]:
    """Run the flow on a topic of each share in turns; return rates, and ratios to the first."""
    rates: dict[float, list[float]] = {share: [] for share in SHARES}
    walls: dict[float, list[float]] = {share: [] for share in SHARES}
    with start_broker() as bootstrap:
        topics = {share: _filled(bootstrap, events, share) for share in SHARES}

        def once(topic: str) -> Used:
            # At half of them the breaker would pause reading.
            ratio = {f"{PREFIX}MAX_REJECT_RATIO": "1"}
            return run_flow(code, _FLOW, bootstrap, topic, epoch, more=ratio)

        once(EMPTY)  # code is compiled, files are read
        for turn in range(runs):
            start = once(EMPTY)
            for share in SHARES if turn % 2 == 0 else reversed(SHARES):
                topic, count = topics[share]
                used = once(topic)
                rates[share].append(count / (used.cpu_s - start.cpu_s))
                walls[share].append(count / (used.wall_s - start.wall_s))
    return _figures(rates, walls)


def troubles(share: float) -> Troubles:
    """Return the simulator's troubles with so large a share of bad records."""
    usual = Troubles()
    bad = [each.name for each in fields(usual) if each.name not in _GOOD]
    total = sum(getattr(usual, name) for name in bad)
    return replace(usual, **{name: getattr(usual, name) * share / total for name in bad})


def _filled(bootstrap: str, events: int, share: float) -> tuple[str, int]:
    topic = f"{STREAMS[_FLOW].name}.{share:g}"
    return fill(
        bootstrap, STREAMS[_FLOW], events, _CARDS, topic=topic, troubles=troubles(share)
    )


def _figures(
    rates: Mapping[float, Sequence[float]], walls: Mapping[float, Sequence[float]]
) -> dict[str, float]:
    times = {f"{s:.0%} bad: events per second": statistics.median(walls[s]) for s in SHARES}
    return of_none(rates) | times


def of_none(rates: Mapping[float, Sequence[float]]) -> dict[str, float]:
    """Return medians of events per CPU-second by share, and ratios to those without bad ones."""
    found: dict[str, float] = {}
    none = rates[SHARES[0]]
    for share in rates:
        name = f"{share:.0%} bad"
        found[f"{name}: events per CPU-second"] = statistics.median(rates[share])
        if share:
            # Of runs beside each other.
            ratios = spread([one / all_ for one, all_ in zip(rates[share], none, strict=True)])
            found |= {f"{name}: of none, {which}": ratio for which, ratio in ratios.items()}
    return found
