"""Spark works on tables that a flow writes and that are maintained at the same time."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import polars as pl
import pytest
from deltalake import DeltaTable

from flows import settings as settings_
from flows.streams import PAYMENTS
from operators.connectors.delta import maintenance
from operators.errors import KnownError
from ops.verify import verify
from tests.compare import Difference, read_tables
from tests.field.topic import Field, payments
from tests.running import wait_until
from tests.servers.spark import Spark, SparkError, missing, spark

SILVER = PAYMENTS.silver
IN_ONE_PLACE = "bronze/payments = silver + duplicates + quarantine, each record in one place"


@contextmanager
def beside(work: Callable[[int], None], pause: float, number: int) -> Iterator[None]:
    """Do work again and again, numbered from there on, for the length of a block."""
    ended, problems = threading.Event(), []

    def run() -> None:
        nonlocal number
        try:
            while not ended.wait(pause):
                work(number)
                number += 1
        except BaseException as error:
            problems.append(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not problems


def run_once(*works: Callable[[], object]) -> None:
    """Do maintenance; of two that rewrite the same files one is the second."""
    for work in works:
        try:
            work()
        except KnownError as error:
            assert "ommit" in str(error), error  # noqa: PT017


def until_done(engine: Spark, statement: str) -> None:
    """Run a statement again where maintenance came in between, which is all that refuses it."""
    for _ in range(20):
        try:
            engine.sql(statement)
        except SparkError as error:
            assert "[DELTA_CONCURRENT_" in str(error), error  # noqa: PT017
            assert "a concurrent WRITE" not in str(error), error  # noqa: PT017
        else:
            return
    raise AssertionError(f"refused time and again: {statement}")


@pytest.mark.slow
@pytest.mark.skipif(missing() is not None, reason=str(missing()))  # no Java or Maven
def test_no_row_is_lost_or_doubled(local: Field) -> None:
    live = settings_.load(local.settings)
    root, sent = live.delta_root, Counter[str]()
    silver = f"delta.`{root}/{SILVER.name}`"
    local.create()

    def send(number: int) -> None:
        local.send(*payments(10 * number, 10 * number + 9))
        sent["records"] = 10 * number + 10

    def maintain() -> None:
        run_once(
            lambda: maintenance.compact(root, SILVER, 2**20),
            lambda: maintenance.vacuum(root, SILVER, maintenance.SHORTEST),
            lambda: maintenance.checkpoint(root, SILVER),
        )

    def height() -> int:
        """Return how many records were read; bronze is nobody's here but the flow's."""
        there = DeltaTable.is_deltatable(f"{root}/{PAYMENTS.bronze.name}")
        return local.table(PAYMENTS.bronze.name).height if there else 0

    with spark(local.folder) as engine, ThreadPoolExecutor(1) as pool:

        def work(*statements: str) -> None:
            """Let Spark and maintenance work while the flow writes what comes, and stop it."""
            flow, seen = local.flow(), height()
            with beside(send, 0.2, sent["records"] // 10):
                wait_until(lambda: height() >= seen + 50)
                for statement in statements:
                    # Once each: of two that rewrite all files for ever none ends.
                    maintained = pool.submit(maintain)
                    until_done(engine, statement)
                    maintained.result()
                # As a crash does: its replay finds the fence behind all that was changed.
                flow.kill()
                flow, seen = local.flow(), height()
                wait_until(lambda: height() >= seen + 50)
            wait_until(lambda: height() == sent["records"])
            assert flow.tell(signal.SIGTERM) == 0, flow.said()

        work(f"OPTIMIZE {silver}", f"OPTIMIZE {silver} ZORDER BY (card_id)", f"VACUUM {silver}")
        assert [check for check in verify(live).checks if not check.ok] == []
        work(
            f"INSERT INTO {silver} BY NAME SELECT 'spark' AS source_topic, "
            f"* EXCEPT (source_topic) FROM {silver} WHERE source_offset < 5",
            f"DELETE FROM {silver} WHERE source_offset BETWEEN 10 AND 29",
            f"UPDATE {silver} SET country = 'XX' WHERE source_offset BETWEEN 30 AND 39",
            f"MERGE INTO {silver} AS s USING (SELECT explode(sequence(40, 49)) AS k) AS t "
            "ON s.source_offset = t.k "
            "WHEN MATCHED THEN UPDATE SET merchant_category = '0000'",
        )
        # With no mercy, while no file of a flow is under way.
        engine.sql("SET spark.databricks.delta.retentionDurationCheck.enabled = false")
        engine.sql(f"VACUUM {silver} RETAIN 0 HOURS")
        local.send(*payments(sent["records"], sent["records"] + 9))
        flow = local.flow(STOP_AT_END="true")
        assert flow.wait() == 0, flow.said()
        (found,) = engine.sql(f"SELECT count(*) AS n FROM {silver}")

    other = local.flow("payments", "clean", STOP_AT_END="true", DELTA_ROOT=f"{root}-reference")
    assert other.wait() == 0, other.said()
    expected = read_tables(live.model_copy(update={"delta_root": f"{root}-reference"}))
    assert expected[SILVER.name].height == sent["records"] + 10
    expected[SILVER.name] = changed(expected[SILVER.name])
    assert found["n"] == expected[SILVER.name].height
    difference = Difference.of(expected, read_tables(live))
    assert difference.differences == 0, difference.examples
    # What was deleted is missed, what nobody sent is found, and nothing else.
    places = {check.name: check.offending for check in verify(live).checks}
    assert places[IN_ONE_PLACE] == 25


def changed(rows: pl.DataFrame) -> pl.DataFrame:
    """Return silver as Spark's statements leave it."""
    at = pl.col("source_offset")
    more = rows.filter(at < 5).with_columns(source_topic=pl.lit("spark"))
    rows = rows.filter(~at.is_between(10, 29)).with_columns(
        country=pl.when(at.is_between(30, 39)).then(pl.lit("XX")).otherwise("country"),
        merchant_category=pl.when(at.is_between(40, 49))
        .then(pl.lit("0000"))
        .otherwise("merchant_category"),
    )
    rows = pl.concat([rows, more])
    return rows.sort(rows.columns, nulls_last=True)
