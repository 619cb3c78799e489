"""What a flow makes of its topics at the start, against the tables that it finds."""

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from flows.sources import refuse_shorter
from flows.streams import PAYMENTS
from operators.connectors.delta.table import FencedError
from operators.event_time.frontier import Frontier
from ops.local import Stack, start_broker
from ops.simulate import Params, Troubles, produce, simulate
from ops.topics import create_topic
from tests import topics
from tests.running import Flow, run


@pytest.mark.parametrize("flow", ["payments", "chargebacks"])
def test_a_topic_made_anew_is_refused_and_its_records_are_not_dropped(
    stack: Stack, tmp_path: Path, flow: str
) -> None:
    """With the recovery store lost as well, only the tables know of the old topic.

    The new one is as long, so that no offset tells them apart.
    """
    name, records = tmp_path.name, topics.made(300, partitions=1)
    settings = topics.settings(stack, name, tmp_path) | topics.TO_THE_END
    topics.fill(stack.bootstrap, name, records, 1)
    run(flow, settings, tmp_path / "first")
    with start_broker() as other:
        topics.fill(other, name, records, 1)
        elsewhere = settings | {"MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": other}
        second = Flow(flow, elsewhere, tmp_path / "second")
        assert second.wait() == 1
    assert f"was made of another topic {name}" in second.said()


def test_latest_is_for_a_first_start_and_not_for_one_behind_tables(
    stack: Stack, tmp_path: Path
) -> None:
    """The recovery store is gone, and a table that only the topic can fill."""
    name = tmp_path.name
    settings = topics.settings(stack, name, tmp_path) | {"MILLSTREAM_STOP_AT_END": "true"}
    create_topic(stack.bootstrap, name, 1)
    made = simulate(Params(payments=300, partitions=1, troubles=Troubles.none()))
    for part in made.records.iter_slices(150):
        produce(replace(made, records=part), stack.bootstrap, name)
        run("payments", settings, tmp_path)
        shutil.rmtree(tmp_path / "payments")
        shutil.rmtree(tmp_path / "tables" / PAYMENTS.duplicates.name)
        settings |= {"MILLSTREAM_START": "latest"}
    silver = pl.read_delta(str(tmp_path / "tables" / PAYMENTS.silver.name))
    assert sorted(silver["source_offset"]) == list(range(300))


def test_a_topic_that_has_lost_its_end_is_refused() -> None:
    """As after an unclean leader election; or where brokers give topics no ids."""
    held = [Frontier({("payments", 0): 5, ("payments", 1): 9}), Frontier({("payments", 0): 7})]
    refuse_shorter("payments", {0: 8, 1: 10}, held)
    refuse_shorter("others", {0: 0, 1: 0}, held)
    with pytest.raises(
        FencedError, match="partition 0 ends at 7, but offset 7 is in the tables"
    ):
        refuse_shorter("payments", {0: 7, 1: 10}, held)
