"""Flows whose Redis comes back empty between two runs."""

import signal
from pathlib import Path

import polars as pl
import pytest

from ops.local import Stack, start_redis
from ops.simulate import produce
from tests import topics
from tests.running import Flow, run, wait_until

PARTITIONS = 2


@pytest.mark.parametrize(
    ("flow", "suffix", "firsts", "others"),
    [
        ("payments", "", "silver/payments", ("silver/duplicates", "quarantine/payments")),
        (
            "chargebacks",
            ".back",
            "silver/chargebacks",
            ("silver/chargeback_duplicates", "quarantine/chargebacks"),
        ),
    ],
)
def test_what_is_sent_again_is_known_from_the_table(
    stack: Stack, tmp_path: Path, flow: str, suffix: str, firsts: str, others: tuple[str, str]
) -> None:
    def rows(*tables: str) -> int:
        paths = [tmp_path / "tables" / table for table in tables]
        found = [path for path in paths if (path / "_delta_log").exists()]
        return sum(pl.scan_delta(str(p)).select(pl.len()).collect().item() for p in found)

    name, records = tmp_path.name, topics.made(1_000, PARTITIONS)
    settings = topics.settings(stack, name, tmp_path)
    topics.fill(stack.bootstrap, name, records, PARTITIONS)
    sent = records[suffix].records.height
    with start_redis() as url:
        first = Flow(flow, settings | {"MILLSTREAM_REDIS_URL": url}, tmp_path)
        wait_until(lambda: rows(firsts, *others) == sent)
        assert first.tell(signal.SIGTERM) == 0, first.said()
    before = rows(firsts)
    produce(records[suffix], stack.bootstrap, name + suffix)
    with start_redis() as url:
        bounded = {"MILLSTREAM_REDIS_URL": url, "MILLSTREAM_STOP_AT_END": "true"}
        last = run(flow, settings | bounded, tmp_path)
    assert "filled from the table" in last.said()
    assert rows(firsts) == before > 0
    assert rows(firsts, *others) == 2 * sent
