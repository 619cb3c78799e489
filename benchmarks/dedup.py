"""Dedup: Redis' CPU time and memory, and the flow's CPU time, per event."""

import argparse
import time
from typing import Any, Final

import numpy as np
import polars as pl
from redis import Redis

from benchmarks.figures import add_json, show
from operators.connectors.redis.client import connect
from operators.connectors.redis.dedup_store import RedisDedupStore
from ops.local import start_redis

_BATCHES: Final = (500, 2_000, 20_000)


def add_parser(subparsers: Any) -> None:
    """Add the benchmark ``dedup``."""
    parser = subparsers.add_parser(
        "dedup", help="Redis' CPU and memory, the flow's CPU", description=__doc__
    )
    parser.add_argument("--events", type=int, default=400_000, metavar="N", help="of each row")
    parser.add_argument("--duplicates", type=float, default=0.01, metavar="SHARE")
    add_json(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> None:
    """Measure batches of several sizes, each on an empty server, then a replay of them."""
    figures: dict[str, float] = {}
    for batch in _BATCHES:
        figures |= measure(args.events, args.duplicates, batch)
    show(figures, args.json)


def measure(events: int, duplicates: float, batch: int) -> dict[str, float]:
    """Return figures of events in an hour with UUIDs for ids, a share of them sent again."""
    luck = np.random.default_rng(7)
    numbers = np.arange(events)
    again = np.flatnonzero(luck.random(events) < duplicates)
    numbers[again] = numbers[np.maximum(again - luck.integers(1, 3_000, len(again)), 0)]
    ids = _uuids(events)[numbers]
    hours, partitions = np.full(events, 470_000), np.arange(events) // batch % 4
    offsets = np.arange(events)
    with start_redis() as url, connect(url, 5) as client:
        seen = RedisDedupStore(client, "benchmark", 3_600)
        seen.first(ids[:1], hours[:1], partitions[:1], offsets[:1])
        memory = client.info("memory")["used_memory"]
        figures = {}
        for what in ("", " replay"):
            redis_before, flow_before = _cpu(client), time.process_time()
            for start in range(0, events, batch):
                rows = slice(start, start + batch)
                seen.first(ids[rows], hours[rows], partitions[rows], offsets[rows])
            flow = time.process_time() - flow_before
            figures[f"redis_us_per_event{what} batch {batch}"] = (
                (_cpu(client) - redis_before) / events * 1e6
            )
            figures[f"flow_us_per_event{what} batch {batch}"] = flow / events * 1e6
        grown = client.info("memory")["used_memory"] - memory
        figures[f"bytes_per_key batch {batch}"] = grown / len(np.unique(numbers))
    return figures


def _uuids(n: int) -> pl.Series:
    """Return ids of 36 characters, as most producers make them."""
    words = np.random.default_rng(11).integers(0, 2**63, (n, 2)).view(np.uint8)
    text = words.tobytes().hex()
    frame = pl.Series([text[32 * i : 32 * i + 32] for i in range(n)])
    cuts = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
    parts = pl.DataFrame({str(at): frame.str.slice(at, size) for at, size in cuts})
    return parts.select(pl.concat_str(pl.all(), separator="-")).to_series()


def _cpu(client: Redis) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])
