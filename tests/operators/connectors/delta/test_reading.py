"""Reading tables: while one is read the process's other threads go on."""

import threading
import time
from itertools import pairwise
from pathlib import Path

import polars as pl
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from operators.connectors.delta.reading import query, streamed

# Work for the engine alone: 144 million pairs of rows.
PAIRS = "SELECT count(*) AS n FROM rows AS a, rows AS b WHERE (a.n * b.n + a.n) % 7 = 3"


def test_no_other_thread_waits_for_a_query(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path), pl.DataFrame({"n": range(12_000)}))
    table = DeltaTable(str(tmp_path))
    over, beats = threading.Event(), [time.monotonic()]

    def beat() -> None:
        while not over.wait(0.002):
            beats.append(time.monotonic())

    other = threading.Thread(target=beat)
    other.start()
    try:
        for read in (
            lambda: query(table, PAIRS),
            lambda: next(streamed(QueryBuilder().register("rows", table), PAIRS)),
        ):
            began = time.monotonic()
            found = read()
            ended = time.monotonic()
            assert found["n"][0] > 0
            during = [began, *(each for each in beats if began < each < ended), ended]
            longest = max(b - a for a, b in pairwise(during))
            assert longest < 0.7 * (ended - began)
    finally:
        over.set()
        other.join()
