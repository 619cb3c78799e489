"""Definitions and settings that change under tables and a recovery store that are there."""

import random
import shutil
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable

from flows import settings as settings_
from flows.settings import PREFIX
from flows.streams import CLICKS
from ops.local import Stack
from ops.topics import create_topic
from ops.verify import verify
from tests import redefined, topics
from tests.flows.clicks import START, click
from tests.ops.reports import broken
from tests.running import Flow

STOP = {f"{PREFIX}STOP_AT_END": "true"}
FEATURE = """\
name: user_clicks
version: 1
description: What the user has clicked on before, and was shown.
by: user_id
aggregate: count
"""
# One table has the epoch then, others perhaps not, and the recovery store never.
KILLED = "operators.connectors.delta.writer.sync_commit:kill"


class Clicks:
    """A topic of clicks, a third of them up to ten minutes behind, and the flow that reads it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.folder, self.luck = folder, random.Random(11)
        self.environ = topics.settings(stack, folder.name, folder)
        self.bootstrap, self.topic = stack.bootstrap, f"{folder.name}.clicks"
        create_topic(stack.bootstrap, self.topic, 2)
        self.sent = 0

    def send(self, count: int) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for number in range(self.sent, self.sent + count):
            back = self.luck.randrange(600) if number % 3 == 2 else 0
            when = START + timedelta(seconds=2 * number - back)
            value = click(number, event_time=max(when, START))
            producer.produce(self.topic, value, partition=self.luck.randrange(2))
        assert producer.flush(20) == 0
        self.sent += count

    def run(self, status: int = 0, name: str = "", at: str = "", **settings: str) -> str:
        """Run the flow to the topic's end; return what it has said."""
        self.environ |= {PREFIX + key: value for key, value in settings.items()}
        flow = Flow("clicks", STOP | self.environ, self.folder, redefined=name, at=at)
        assert flow.wait() == status, flow.said()
        said = flow.said().rpartition("flow of Millstream")[2]
        assert "Traceback" not in said
        return said

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_delta(str(self.folder / "tables" / name))

    def verify(self) -> dict[str, int]:
        """Look that the books balance; return what was not compared, by the check."""
        report = verify(settings_.load(STOP | self.environ))
        assert broken(report) == []
        return {check.name: check.deleted for check in report.checks if check.deleted}

    def once(self) -> None:
        """Look that each click is counted in its window, or late for it, once."""
        counts = self.table("gold/campaign_5m").select("impressions", "clicks", "conversions")
        late = self.table("gold/late_clicks").height
        silver = self.table("silver/clicks")
        assert counts.sum().sum_horizontal().item() + late == silver.height == self.sent
        marks = silver.sort("source_offset").group_by("source_partition").agg("watermark")
        assert all(each.is_sorted() for each in marks["watermark"])


@pytest.fixture
def clicks(stack: Stack, tmp_path: Path) -> Clicks:
    return Clicks(stack, tmp_path)


def rows_of(clicks: Clicks, name: str) -> int:
    there = DeltaTable.is_deltatable(str(clicks.folder / "tables" / name))
    return clicks.table(name).height if there else 0


def test_out_of_orderness_grows_and_shrinks_behind_a_stop_and_a_kill(clicks: Clicks) -> None:
    clicks.send(600)
    clicks.run()
    assert clicks.verify() == {}
    clicks.send(600)
    before = {each.name: rows_of(clicks, each.name) for each in CLICKS.all_tables}
    clicks.run(-9, at=KILLED, CLICKS_OUT_OF_ORDERNESS="6m")
    # Whichever was the first.
    assert any(rows_of(clicks, name) > rows for name, rows in before.items())
    clicks.run(CLICKS_OUT_OF_ORDERNESS="10s")
    assert clicks.verify() == {}
    # More than what a record is behind: nothing is late by it, but for what was closed before.
    # The stream's first feature takes the watermark to another step.
    clicks.send(600)
    rules = clicks.folder / "rules"
    shutil.copytree(str(CLICKS.rules), rules)
    (rules / "features").mkdir()
    (rules / "features" / "user_clicks.yaml").write_text(FEATURE)
    said = clicks.run(
        CLICKS_OUT_OF_ORDERNESS="11m", CLICKS_RULES=str(rules), CLOSE_WINDOWS_AT_END="true"
    )
    assert "feature user_clicks of clicks is new: state is made anew" in said
    assert clicks.verify() == {
        "silver/clicks' features are what the clicks before make them": 1_200
    }
    clicks.once()


def test_an_aggregate_is_added_and_another_removed_and_none_changed(clicks: Clicks) -> None:
    clicks.send(600)
    clicks.run()
    clicks.send(600)
    said = clicks.run(name="aggregate_added")
    assert (
        "aggregate dearest of window campaign_5m is new; "
        "aggregate users of window campaign_5m is gone: state is made anew" in said
    )
    (line,) = clicks.run(1, name="aggregate_changed").splitlines()[-1:]
    assert line.startswith(
        "millstream: table gold/campaign_5m has rows of another definition (aggregate dearest): "
        "give the aggregate another name"
    )
    clicks.run(name="aggregate_added", CLOSE_WINDOWS_AT_END="true")
    rows = clicks.table("gold/campaign_5m").sort("window_end")
    old = rows["dearest"].is_null()
    assert 0 < old.sum() < rows.height
    assert old.to_list() == sorted(old, reverse=True)
    assert old.to_list() == rows["users"].is_not_null().to_list()
    with redefined.declared(redefined.aggregate_added()):
        name = "gold/campaign_5m equals silver's windows, row for row"
        assert clicks.verify() == {name: old.sum()}
        table = DeltaTable(clicks.folder / "tables" / "gold" / "campaign_5m")
        table.update(
            updates={"dearest": "NULL"}, predicate=f"window_end = '{rows['window_end'][-1]}'"
        )
        assert broken(verify(settings_.load(STOP | clicks.environ))) == [name]


def test_another_lateness_is_refused_until_the_tables_of_the_old_are_moved_away(
    clicks: Clicks,
) -> None:
    clicks.send(600)
    clicks.run()
    (line,) = clicks.run(1, CLICKS_ALLOWED_LATENESS="5m").splitlines()[-1:]
    assert line == (
        "millstream: the lateness of the tables gold/campaign_5m, gold/late_clicks was another: "
        "move these tables away, and start: they are filled again from silver; or take the old "
        "one back"
    )
    clicks.run(CLICKS_ALLOWED_LATENESS="0s")
    # What it says to do.
    for name in ("campaign_5m", "late_clicks"):
        shutil.move(clicks.folder / "tables" / "gold" / name, clicks.folder / name)
    clicks.send(600)
    said = clicks.run(CLICKS_ALLOWED_LATENESS="5m", CLOSE_WINDOWS_AT_END="true")
    assert "lateness is defined anew: state is made anew" in said
    assert clicks.verify() == {}
    assert clicks.table("gold/campaign_5m")["revision"].max() == 1
