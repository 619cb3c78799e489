"""The chargebacks flow by one worker, by threads, by processes: the chaos bench has payments."""

from pathlib import Path

import polars as pl

from flows.settings import load
from ops.local import Stack, start_redis
from tests import topics
from tests.compare import Difference, read_tables
from tests.running import Flow
from tests.servers.ports import lasting_port

PARTITIONS = 3


def test_its_tables_are_the_same_row_for_row_however_many_workers_make_them(
    stack: Stack, tmp_path: Path
) -> None:
    name = tmp_path.name
    topics.fill(stack.bootstrap, name, topics.made(2_000, PARTITIONS), PARTITIONS)

    def settings(folder: Path, redis: str = "redis://nowhere") -> dict[str, str]:
        return topics.settings(stack, name, folder) | {
            "MILLSTREAM_REDIS_URL": redis,
            "MILLSTREAM_CHARGEBACKS_DLQ_TOPIC": f"{name}.{folder.name}.dlq",
            **topics.TO_THE_END,
            "MILLSTREAM_BATCH_SIZE": "100",
        }

    def tables(folder: Path, *workers: list[str]) -> dict[str, pl.DataFrame]:
        """Run a flow with nothing shared but its input, a process for each of `workers`."""
        with start_redis() as url:
            flows = [
                Flow("chargebacks", settings(folder, url), folder, *arguments)
                for arguments in workers
            ]
            for flow in flows:
                assert flow.wait() == 0, flow.said()
        return read_tables(load(settings(folder)), "chargebacks")

    expected = tables(tmp_path / "one", [])
    empty = {table for table, frame in expected.items() if not frame.height}
    assert empty == {"gold/chargeback_schema_drift"}, "every other table has something"
    assert expected["gold/payment_outcomes"].height > 1_500
    addresses = ";".join(f"127.0.0.1:{lasting_port()}" for _ in range(2))
    difference = Difference()
    for found in (
        tables(tmp_path / "threads", ["-w", "2"]),
        tables(tmp_path / "processes", *(["-i", i, "-a", addresses] for i in "01")),
    ):
        for table, frame in found.items():
            difference.add(table, expected[table], frame)
    assert difference.examples == []
