"""Definitions that change while tables and a recovery store are there."""

import random
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import write_deltalake

from flows import settings as settings_
from flows.definitions import (
    StateChangedError,
    as_today,
    definitions,
    refuse_or_set_aside,
    refuse_two_kinds_of_rows,
)
from flows.streams import CLICKS, CUSTOMERS, PAYMENTS
from flows.tables import defined
from operators.connectors.delta.table import open_table
from operators.records.tables import Table
from operators.windows import Intake
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
        ({"aggregate n of window a": None}, "aggregate n of window a is new: state is made"),
        ({"aggregate m of window a": "x"}, "aggregate m of window a is gone: state is made"),
        # Those of a window that is new or gone are.
        (
            {
                "window a": None,
                "aggregate n of window a": None,
                "window c": "x",
                "aggregate n of window c": "x",
            },
            "window a is new; window c is gone: state is",
        ),
    ],
)
def test_what_has_changed_is_said_and_the_store_set_aside(before, line, tmp_path):
    now = {
        "key groups": "8", "window a": "version 5: a", "feature a of s": "2: x",
        "aggregate n of window a": "count",
    }  # fmt: skip
    said = refuse_or_set_aside("f", before, now, Tables(), lambda: tmp_path)
    assert said.startswith(line)
    assert said.endswith(f"kept in {tmp_path}")


def test_what_tables_cannot_make_anew_is_refused():
    def never() -> None:
        raise AssertionError("set aside")

    now = {"window a": "now", "aggregate n of window a": "sum", "lookup": "now"}
    for before, tables, words in (
        ({"window a": "then"}, Tables("a"), "give the window another name"),
        ({"aggregate n of window a": "count"}, Tables("a"), "give the aggregate another name"),
        ({"window a": None}, Tables("a", can_warm=False), "Start with an empty recovery dir"),
        (
            {"lookup": "x"},
            Tables(can_warm=False),
            "lookup is defined anew: .* Start with an empty",
        ),
    ):
        with pytest.raises(StateChangedError, match=words):
            refuse_or_set_aside("f", before, now, tables, never)
    # What is kept of features tells itself what it lacks, if there were any and still are.
    none = Tables(can_warm=False)
    feature = "feature a of s"
    with_it = now | {feature: "2: x"}
    assert refuse_or_set_aside("f", {feature: "1: x"}, with_it, none, never) is None
    more = with_it | {"feature b of s": "1: x"}
    assert refuse_or_set_aside("f", {"feature b of s": None}, more, none, never) is None
    for first_or_last, then in (({feature: None}, with_it), ({feature: "1: x"}, now)):
        with pytest.raises(StateChangedError, match="Start with an empty recovery dir"):
            refuse_or_set_aside("f", first_or_last, then, none, never)


@pytest.mark.parametrize("name", ["within", "lookup"])
def test_a_join_of_another_time_to_wait_or_lookup_is_refused_with_what_is_to_be_moved_away(
    tmp_path, name
):
    table = Table("gold/o", {"n": pl.Int64()}, fixed={"lateness": "0", name: "6"})
    root = str(tmp_path)
    handle = open_table(root, table)
    other = replace(table, fixed={"lateness": "0", name: "7"})
    # Without rows it may be another.
    refuse_two_kinds_of_rows(root, [other])
    rows = pl.DataFrame({"n": [1], "flow_version": [None], "written_at": [None]}, table.schema)
    write_deltalake(handle, rows, mode="append")
    refuse_two_kinds_of_rows(root, [table])
    with pytest.raises(StateChangedError) as refused:
        refuse_two_kinds_of_rows(root, [other])
    assert str(refused.value) == (
        f"the {name} of the tables gold/o was another: move these tables and the recovery "
        "directory away, and start: they are filled again from the topics; or take the old one back"
    )


def test_changes_that_are_declared_otherwise_are_refused(tmp_path):
    root, own = str(tmp_path), settings_.load(SETTINGS).of(CUSTOMERS)
    silver, gold = (
        {each.name: each for each in defined(CUSTOMERS, own, None)}[name]
        for name in ("silver/customers", "gold/customers")
    )
    for table in (silver, gold):
        rows = pl.DataFrame(schema=table.schema).clear(1)
        if table is gold:
            rows = rows.with_columns(bucket=pl.lit(0, pl.Int64))
        write_deltalake(open_table(root, table), rows, mode="append")
    refuse_two_kinds_of_rows(root, [silver, gold])
    assert CUSTOMERS.changes is not None
    for other, named in (
        (replace(CUSTOMERS.changes, buckets=8), "gold/customers"),
        (
            replace(CUSTOMERS.changes, sequence="source.pos"),
            "gold/customers and silver/customers",
        ),
    ):
        changed = defined(replace(CUSTOMERS, changes=other), own, None)
        with pytest.raises(StateChangedError) as refused:
            refuse_two_kinds_of_rows(root, changed)
        assert str(refused.value).startswith(
            f"the rows of {named} are of changes that were decl"
        )


SETTINGS = {
    "MILLSTREAM_REDIS_URL": "redis://nowhere",
    "MILLSTREAM_DELTA_ROOT": "nowhere",
    "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "nowhere",
}


def test_a_definition_is_the_same_text_in_every_process():
    settings = settings_.load(SETTINGS)
    found = definitions(settings, PAYMENTS, CLICKS, own=PAYMENTS)
    windows = {f"window {name}" for name in PAYMENTS.windows}
    aggregates = {
        f"aggregate {n} of window {w}"
        for w in PAYMENTS.windows
        for n in PAYMENTS.windows[w].aggregates
    }
    features = {f"feature {name} of payments" for name in PAYMENTS.features.definitions}
    assert found.keys() == {"key groups", "lateness", *windows, *aggregates, *features}
    assert not any(re.search("0x[0-9a-f]{6}", text) for text in found.values())
    late = settings.model_copy(update={"allowed_lateness": timedelta(minutes=5)})
    assert definitions(late, PAYMENTS, CLICKS, own=PAYMENTS) == found | {
        "lateness": "300000000"
    }
    assert definitions(settings, PAYMENTS, grouped=False).keys() == features


def test_what_the_release_before_wrote_of_windows_is_understood():
    windows = {"a": CLICKS.windows["campaign_5m"], "s": PAYMENTS.windows["card_sessions"]}
    stream = replace(CLICKS, windows=windows)
    now = definitions(settings_.load(SETTINGS), stream, own=stream)
    then = {
        name: text
        for name, text in now.items()
        if not name.startswith(("aggregate ", "window ", "lateness"))
    }
    # One text each.
    then |= {
        f"window {n}": f"version {Intake.VERSION}: {each!r}" for n, each in windows.items()
    }
    assert as_today(then, now) == now
    assert as_today(now, now) == now
    assert as_today({}, now) == {}
    fewer = {n: a for n, a in windows["a"].aggregates.items() if n != "clicks"}
    then["window a"] = f"version {Intake.VERSION}: {replace(windows['a'], aggregates=fewer)!r}"
    known = as_today(then, now)
    assert now.keys() - known.keys() == {"aggregate clicks of window a"}
    assert known.items() <= now.items()


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
        "millstream: table gold/campaign_5m has rows of another definition (window): give the "
        "window another name"
    )
    # What it says to do.
    to_the_end = {name.removeprefix("MILLSTREAM_"): v for name, v in topics.TO_THE_END.items()}
    said = ends(0, "window_renamed", KEY_GROUPS="5", **to_the_end)
    assert "window campaign_10m is new; window campaign_5m is gone: state is made anew" in said

    with redefined.declared(redefined.window_renamed()):
        report = verify(settings_.load(environ | topics.TO_THE_END))
    assert broken(report) == []
    assert report.alerts == {"costly_click": 1}
    late = pl.read_delta(str(tmp_path / "tables" / "gold" / "late_clicks"))
    steps = set(late["step"].unique())
    assert steps == {"campaign_5m", "campaign_10m", "user_sessions"}
