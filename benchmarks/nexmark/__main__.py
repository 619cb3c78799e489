"""``python -m benchmarks.nexmark``: events per CPU-second of each query."""

import time
from typing import Any

import flows  # noqa: F401 # one Polars thread, as in a worker
from benchmarks.nexmark.events import Params, activations, events
from benchmarks.nexmark.queries import QUERIES

SIZE = 80_000


def rates(params: Params) -> dict[str, Any]:
    """Return each query's events per CPU-second, all events counted."""
    made = list(activations(events(params), params, SIZE))
    found = {}
    for name, query in QUERIES.items():
        run, results = query(params.partitions), 0
        began = time.process_time()
        for batches in made:
            result = run.advance(batches)
            results += 0 if result is None else result.height
        found[f"{name}: events/CPU-s"] = params.events / (time.process_time() - began)
        found[f"{name}: results"] = results
    return found


if __name__ == "__main__":
    for figure, value in rates(Params(events=5_000_000)).items():
        print(f"{figure:30}{value:>14,.0f}")
