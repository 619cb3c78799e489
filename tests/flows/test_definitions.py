"""Definitions that change while tables and a recovery store are there."""

import random
import re
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from flows import settings as settings_
from flows.definitions import StateChangedError, definitions, refuse_or_set_aside
from flows.streams import CLICKS, PAYMENTS
from ops.local import Stack
from ops.topics import create_topic
from ops.verify import verify
from tests import redefined, topics
from tests.flows.clicks import START, click
from tests.ops.reports import broken
from tests.running import Flow


class Tables:
    def __init__(self, *with_rows: str, can_warm: bool = True) -> None:
        self._with_rows, self._can_warm = with_rows, can_warm

    def can_warm(self) -> bool:
        return self._can_warm

    def has_rows(self, window: str) -> bool:
        return window in self._with_rows


@pytest.mark.parametrize(
    ("before", "line"),
    [
        ({"key groups": "16"}, "key groups were 16 and are 8: state is made anew"),
        ({"window a": None, "window c": "x"}, "window a is new; window c is gone: state is"),
        ({"window a": "version 4: a"}, "window a is defined anew: state is made anew"),
        ({"feature a of s": "1: x"}, "feature a of s is defined anew: state is made"),
    ],
)
def test_what_has_changed_is_said_and_the_store_set_aside(before, line, tmp_path):
    now = {"key groups": "8", "window a": "version 5: a", "feature a of s": "2: x"}
    said = refuse_or_set_aside("f", before, now, Tables(), lambda: tmp_path)
    assert said.startswith(line)
    assert said.endswith(f"kept in {tmp_path}")


def test_what_tables_cannot_make_anew_is_refused():
    def never() -> None:
        raise AssertionError("set aside")

    now = {"window a": "now"}
    for before, tables, words in (
        ({"window a": "then"}, Tables("a"), "give the window another name"),
        ({"window a": None}, Tables("a", can_warm=False), "Start with an empty recovery dir"),
    ):
        with pytest.raises(StateChangedError, match=words):
            refuse_or_set_aside("f", before, now, tables, never)
    # What is kept of features tells itself what it lacks.
    feature = {"feature a of s": "1: x"}
    assert refuse_or_set_aside("f", feature, now, Tables(can_warm=False), never) is None


def test_a_definition_is_the_same_text_in_every_process_and_lateness_is_none_of_it():
    settings = settings_.load(
        {
            "MILLSTREAM_REDIS_URL": "redis://nowhere",
            "MILLSTREAM_DELTA_ROOT": "nowhere",
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "nowhere",
        }
    )
    found = definitions(settings, PAYMENTS, CLICKS, own=PAYMENTS)
    assert {name for name in found if not name.startswith("feature ")} == {
        "key groups", "window terminal_minute", "window category_hour", "window card_sessions",
    }  # fmt: skip
    features = {f"feature {name} of payments" for name in PAYMENTS.features.definitions}
    assert features == {name for name in found if name.startswith("feature ")}
    assert not any(re.search("0x[0-9a-f]{6}", text) for text in found.values())
    late = settings.model_copy(update={"allowed_lateness": timedelta(minutes=5)})
    assert definitions(late, PAYMENTS, CLICKS, own=PAYMENTS) == found
    assert definitions(settings, PAYMENTS, grouped=False).keys() == features


def test_a_new_window_gets_its_past_and_a_changed_one_a_name_of_its_own(
    stack: Stack, tmp_path: Path
) -> None:
    luck, topic = random.Random(3), f"{tmp_path.name}.clicks"
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    create_topic(stack.bootstrap, topic, 2)
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    for number in range(1_500):
        late = (
            {"event_time": START + timedelta(seconds=2 * number)} if number % 40 == 39 else {}
        )
        if number == 700:
            late = {"kind": "CLICK", "cost_minor": 2_500}
        producer.produce(topic, click(number, **late), partition=luck.randrange(2))
    assert producer.flush(20) == 0

    def ends(status: int, name: str = "", **settings: str) -> str:
        own = {f"MILLSTREAM_{key}": value for key, value in settings.items()}
        flow = Flow("clicks", environ | own, tmp_path, redefined=name)
        assert flow.wait() == status, flow.said()
        return flow.said().rpartition("flow of Millstream")[2]

    assert "aside" not in ends(0, **{"STOP_AT_END": "true"})
    # Fewer key groups as well.
    said = ends(0, "window_added", STOP_AT_END="true", KEY_GROUPS="5")
    assert "key groups were 16 and are 5; window user_sessions is new: state is made" in said
    assert len(list((tmp_path / "clicks").glob("aside-*/part-*.sqlite3"))) == 1

    (line,) = ends(1, "window_changed", KEY_GROUPS="5").splitlines()[-1:]
    assert line.startswith(
        "millstream: window campaign_5m is defined anew. The table of window"
    )
    assert "give the window another name" in line
    # What it says to do.
    to_the_end = {name.removeprefix("MILLSTREAM_"): v for name, v in topics.TO_THE_END.items()}
    said = ends(0, "window_renamed", KEY_GROUPS="5", **to_the_end)
    assert "window campaign_10m is new; window campaign_5m is gone: state is made anew" in said

    windows = dict(CLICKS.windows)
    try:
        CLICKS.windows.clear()
        CLICKS.windows.update(redefined.window_renamed())
        report = verify(settings_.load(environ | topics.TO_THE_END))
    finally:
        CLICKS.windows.clear()
        CLICKS.windows.update(windows)
    assert broken(report) == []
    assert report.alerts == {"costly_click": 1}
    late = pl.read_delta(str(tmp_path / "tables" / "gold" / "late_clicks"))
    steps = set(late["step"].unique())
    assert steps == {"campaign_5m", "campaign_10m", "user_sessions"}
