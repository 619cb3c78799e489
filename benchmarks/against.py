"""Two revisions in turns: how many times the events per CPU-second of another this tree has.

A machine's speed changes by half within hours, so only runs beside each other tell code from
weather. Both read the same records from the same topic, each from its own files, with the
packages that it locks, and with new tables and an empty Redis each time. They take turns, each
first in every other pair, and a pair's ratio is this tree's events per CPU-second over the
other's: above 1 this tree is faster. CPU time is that of the flow's processes, without broker
and Redis; Redis' is a ratio of its own, and so is that of both together.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.figures import add_benchmark, add_json, at_least_one
from benchmarks.revision import checked_out, commit_of, this_tree
from benchmarks.runs import STREAMS, BenchmarkError, Code, Used, run_flow
from benchmarks.topics import EMPTY, fill
from ops.local import start_broker

_WHAT: Final = {"flow": "payments", "alerts": "alerts", "clicks": "clicks"}
_KEYS: Final = 20_000


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``against``."""
    parser = add_benchmark(
        subparsers, "against", "this tree against another revision, in turns", __doc__
    )
    parser.add_argument("revision", metavar="REV", help="what git knows it by")
    parser.add_argument("--pairs", type=at_least_one, default=5, metavar="N")
    parser.add_argument(
        "--what", choices=_WHAT, default="flow", help="the payments flow, or another one"
    )
    parser.add_argument("--events", type=at_least_one, default=1_000_000, metavar="N")
    parser.add_argument("--epoch", type=at_least_one, default=5, metavar="SECONDS")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure, telling each pair as it is there; then print the median and the spread."""
    commit, (head, dirty) = commit_of(args.revision), this_tree()
    flow = _WHAT[args.what]
    if dirty:
        print("this tree has changes that no commit has: they are measured", file=sys.stderr)
    with checked_out(commit) as other, start_broker() as bootstrap:
        if not (other.folder / "flows" / f"{flow}.py").exists():
            raise BenchmarkError(f"{args.revision} has no flows.{flow}")
        topic, events = fill(bootstrap, STREAMS[flow], args.events, _KEYS)

        def once(code: Code, topic: str = topic) -> Used:
            return run_flow(code, flow, bootstrap, topic, args.epoch)

        # Once before it counts: code is compiled, files are read.
        for code in (Code(), other):
            once(code, EMPTY)
        if not args.json:
            print(
                f"{'pair':>4} {'this tree':>12} {args.revision[:12]:>12}  ratio  Redis   both"
            )
        pairs = []
        for number, turns in enumerate(order(args.pairs, Code(), other), 1):
            used = {code: once(code) for code in turns}
            pairs.append(_pair(events, used[Code()], used[other]))
            if not args.json:
                print(_line(number, pairs[-1]), flush=True)
    found: dict[str, Any] = {
        "flow": flow,
        "events": events,
        "this": {"commit": head, "changed": dirty},
        "other": {"commit": commit},
        "pairs": pairs,
        "ratio": spread([pair["ratio"] for pair in pairs]),
        "redis_ratio": spread([pair["redis_ratio"] for pair in pairs]),
        "both_ratio": spread([pair["both_ratio"] for pair in pairs]),
    }
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for name, key in (("ratio", "ratio"), ("Redis", "redis_ratio"), ("both", "both_ratio")):
        each = found[key]
        low, high = each["lowest"], each["highest"]
        print(f"{name}: median {each['median']:.3f} ({low:.3f} to {high:.3f})")


def order(pairs: int, ours: Code, theirs: Code) -> Iterator[tuple[Code, Code]]:
    """Yield each pair's turns: who goes first changes, so that neither gains by a drift."""
    for number in range(pairs):
        yield (ours, theirs) if number % 2 == 0 else (theirs, ours)


def _pair(events: int, ours: Used, theirs: Used) -> dict[str, Any]:
    return {
        "this": _figures(events, ours),
        "other": _figures(events, theirs),
        "ratio": theirs.cpu_s / ours.cpu_s,
        "redis_ratio": theirs.redis_s / ours.redis_s,
        "both_ratio": (theirs.cpu_s + theirs.redis_s) / (ours.cpu_s + ours.redis_s),
    }


def _figures(events: int, used: Used) -> dict[str, float]:
    return {
        "events_per_cpu_second": events / used.cpu_s,
        "events_per_second": events / used.wall_s,
        "cpu_seconds": used.cpu_s,
        "redis_us_per_event": used.redis_s / events * 1e6,
        "peak_memory_mb": used.peak_mb,
    }


def _line(number: int, pair: dict[str, Any]) -> str:
    rates = (pair[side]["events_per_cpu_second"] for side in ("this", "other"))
    return (
        f"{number:4} " + " ".join(f"{rate:12,.0f}" for rate in rates)
        + "".join(f"  {pair[each]:5.3f}" for each in ("ratio", "redis_ratio", "both_ratio"))
    )  # fmt: skip


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """Return the median of ratios, the lowest and the highest."""
    return {
        "median": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }
