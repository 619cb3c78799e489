"""Spark works on a table that a flow writes and that is maintained at the same time."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from deltalake import DeltaTable

from operators.connectors.delta import maintenance
from operators.connectors.delta.reading import read
from operators.errors import KnownError
from tests.operators.connectors.delta_flow import ROWS, Flow
from tests.servers.kafka import missing_own
from tests.servers.spark import Spark, SparkError, spark

EPOCH_S = 0.5
THEIRS = 40
"""Rows that Spark adds, of a topic of its own."""


@contextmanager
def beside(*works: Callable[[int], None]) -> Iterator[None]:
    """Do works again and again, each in a thread of its own, for the length of a block."""
    ended, problems = threading.Event(), []

    def run(work: Callable[[int], None]) -> None:
        number = 0
        while not ended.wait(EPOCH_S):
            try:
                work(number)
            except BaseException as error:
                problems.append(error)
                raise
            number += 1

    threads = [threading.Thread(target=run, args=(each,)) for each in works]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        ended.set()
        for each in threads:
            each.join()
    assert not problems


def until_done(engine: Spark, statement: str) -> int:
    """Run a statement again as long as others come in between; return how often that was."""
    for refused in range(60):
        try:
            engine.sql(statement)
        except SparkError as error:
            assert "DELTA_CONCURRENT" in str(error), error  # noqa: PT017 # all others end it
        else:
            return refused
    raise AssertionError(f"refused time and again: {statement}")


@pytest.mark.slow
@pytest.mark.skipif(missing_own() is not None, reason=str(missing_own()))
def test_no_row_is_lost_or_doubled(tmp_path):
    root = str(tmp_path / "tables")
    uri = f"{root}/{ROWS.name}"
    flows, done = [], Counter[str]()

    def epoch(number: int) -> None:
        if not flows:
            flows.append(Flow(root))  # whose thread it is
        (flow,) = flows
        flow.rows(0, 2 * number, 2 * number + 1)
        flow.progress(0, 2 * number + 1)
        flow.snapshot()
        done["epochs"] = number + 1

    does: list[Callable[[], object]] = []

    def maintain(_: int) -> None:
        if not does:
            return
        try:
            does.pop(0)()
            done["maintained"] += 1
        except KnownError as error:
            # Of those that rewrite the same rows one has to be the second.
            assert "Commit failed" in str(error) or "Failed to commit" in str(error), error  # noqa: PT017
            done["maintenance refused"] += 1

    table = f"delta.`{uri}`"
    Flow(root)
    with spark(tmp_path) as engine:
        values = ", ".join(f"('spark', 0, {n}, {n}, {n % 2})" for n in range(THEIRS))
        columns = "source_topic, source_partition, source_offset, n, day"
        statements = (
            f"INSERT INTO {table} ({columns}) VALUES {values}",
            f"DELETE FROM {table} WHERE source_topic = 'spark' AND n < 10",
            f"OPTIMIZE {table}",
            f"MERGE INTO {table} AS t USING (SELECT explode(sequence(5, 24)) AS k) AS s "
            "ON t.source_topic = 'spark' AND t.source_offset = s.k "
            "WHEN MATCHED THEN UPDATE SET n = t.n + 1000 WHEN NOT MATCHED THEN "
            f"INSERT ({columns}) VALUES ('spark', 0, s.k, s.k, s.k % 2)",
            f"UPDATE {table} SET n = n + 1 WHERE source_topic = 't' AND source_offset < 4",
        )
        with beside(epoch, maintain):
            for statement in statements:
                # Once a statement: of two that rewrite the same rows for ever none ends.
                does += [
                    lambda: maintenance.compact(root, ROWS, 2**20),
                    lambda: maintenance.z_order(root, ROWS, ["n"], 2**20),
                    lambda: maintenance.vacuum(root, ROWS, maintenance.SHORTEST),
                    lambda: maintenance.checkpoint(root, ROWS),
                ]
                done["refused"] += until_done(engine, statement)
        (found,) = engine.sql(f"SELECT count(*) AS n FROM {table}")
    assert done["maintained"] > 0

    expected = [("spark", n, n) for n in range(5, 10)]
    expected += [("spark", n, n + 1000) for n in range(10, 25)]
    expected += [("spark", n, n) for n in range(25, THEIRS)]
    expected += [("t", n, 10 * n + (n < 4)) for n in range(2 * done["epochs"])]

    def held() -> list[tuple[str, int, int]]:
        rows = read(DeltaTable(uri), ["source_topic", "source_offset", "n"])
        return sorted(rows.rows())

    assert held() == sorted(expected), done
    assert found["n"] == len(expected)
    # Files that are no part of it go, and the flow goes on.
    maintenance.vacuum(root, ROWS, timedelta(0), orphans=True)
    maintenance.checkpoint(root, ROWS)
    flow = Flow(root)
    flow.rows(0, 2 * done["epochs"])
    flow.progress(0, 2 * done["epochs"])
    flow.snapshot()
    assert held() == sorted([*expected, ("t", 2 * done["epochs"], 20 * done["epochs"])])
