"""Tables that are made anew of bronze, compared with the flow's own, and taken in their place."""

import json
import shlex
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable

from flows import settings as settings_
from flows.streams import CHARGEBACKS, LABELS, PAYMENTS, writers
from ops import cli
from tests import topics
from tests.compare import Difference, read_table, read_tables, read_topic
from tests.field.topic import Field, payment, payments
from tests.pages import PAGES, blocks

ENDED = {"STOP_AT_END": "true", "CLOSE_WINDOWS_AT_END": "true"}


@pytest.fixture
def millstream(field, monkeypatch, capsys):
    """Run a command with the field's settings, in its folder: its status and what it said."""
    for name, value in field.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(field.folder)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        return (ended.value.code, *capsys.readouterr())

    return run


def expire(field: Field) -> None:
    """Delete all records of the topic, as retention does."""
    admin = AdminClient({"bootstrap.servers": field.bootstrap, "log_level": 0})
    places = [TopicPartition(field.topic, p, OFFSET_END) for p in range(2)]
    for done in admin.delete_records(places).values():
        done.result(30)


def test_they_are_those_of_the_flow_row_for_row_also_of_records_that_kafka_has_no_more(
    field, millstream
):
    field.create(2)
    bad, late = payment(7)[:20], payment(3, payment_id="late")
    field.send(*payments(0, 90), bad, None, *payments(5, 9), partition=0)
    field.send(*payments(100, 190), late, partition=1)
    assert field.flow(STOP_AT_END="true").wait() == 0
    expire(field)
    field.send(*payments(191, 260), bad, partition=0)
    field.send(*payments(261, 330), partition=1)
    assert field.flow(STOP_AT_END="true").wait() == 0
    live = settings_.load(field.settings)
    sent = read_topic(live, live.dlq_topic)

    (block,) = blocks("docs/backfill.md", "Backfill", "sh")
    backfill, compare, switch = (shlex.split(line)[1:] for line in block.splitlines())
    into = str(field.folder / "tables-anew")
    # It stops at a point of its own, and goes on there when it is run again.
    environ = {"DELTA_ROOT": into, "BACKFILL_FROM": live.delta_root, "STOP_AT_END": "true"}
    (field.folder / "backfill-payments").mkdir()
    killed = field.flow("payments", "backfill-payments", BATCH_SIZE="7", **environ)
    killed.kill()
    status, text, error = millstream(*backfill, "--json")
    assert status == 0, error
    assert json.loads(text)["records"] == 2 * 91 + 2 + 5 + 1 + 70 + 1 + 70
    anew = live.model_copy(update={"delta_root": into})
    found = Difference()
    before, after = read_tables(live), read_tables(anew)
    for name, rows in before.items():
        found.add(name, rows, after[name])
    assert found.differences == 0, found.examples
    assert before["quarantine/payments"].height == 3
    assert read_topic(live, live.dlq_topic).equals(sent)  # nothing was sent again
    assert millstream(*compare)[0] == 0
    assert millstream(*switch)[0] == 0

    # Of silver alone the rows are the same ones.
    alone = str(field.folder / "silver-alone")
    more = ("--into", alone, "--silver-alone", "--state", "alone")
    status, _, error = millstream("backfill", "payments", *more)
    assert status == 0, error
    anew = live.model_copy(update={"delta_root": alone})
    made = {
        each.name: read_table(anew, each) for each in (PAYMENTS.silver, PAYMENTS.duplicates)
    }
    assert {f"{p.parent.name}/{p.name}" for p in Path(alone).glob("*/*")} == made.keys()
    for name, rows in made.items():
        found.add(name, before[name], rows)
    assert found.differences == 0, found.examples
    status, _, error = millstream("backfill", "payments", "--into", alone, "--state", "alone")
    assert status == 1
    assert "a backfill of silver alone is gone" in error

    # Rows that are wrong are found, by column, and those made anew taken in their place.
    silver = DeltaTable(f"{live.delta_root}/silver/payments")
    silver.update({"country": "'XX'"}, predicate="source_partition = 1 AND source_offset < 3")
    silver.delete("source_partition = 0 AND source_offset = 20")
    status, text, _ = millstream("verify", "--against", into, "--json")
    report = json.loads(text)
    assert status == 1
    assert report["counts"] == {
        "silver/payments: country": 3, f"silver/payments: only under {into}": 1
    }  # fmt: skip
    assert [each["name"] for each in report["checks"] if not each["ok"]] == [
        "silver/payments: the same under both roots"
    ]
    days = ("--days", "2026-03-01", "2026-03-01")
    status, text, error = millstream("tables", "switch", "silver/payments", "--to", into, *days)
    assert (status, "empty recovery" in text) == (0, True), error
    assert millstream("verify", "--against", into)[0] == 0

    # All of them in the place of older ones; the flow goes on behind what they account for.
    field.send(*payments(331, 400), partition=0)
    assert field.flow(state="other", STOP_AT_END="true").wait() == 0
    assert field.table("silver/payments").height == before["silver/payments"].height + 70
    status, text, error = millstream("tables", "switch", "--to", into, "--json")
    assert status == 0, error
    assert "bronze/payments" not in {each["table"] for each in json.loads(text)}
    assert field.table("silver/payments").height == before["silver/payments"].height
    flow = field.flow(state="empty", STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    assert field.table("silver/payments").height == before["silver/payments"].height + 70
    assert millstream("verify")[0] == 0


def test_of_some_days_no_more_is_read_than_they_take(field, millstream):
    field.create(2)
    # Of the first day some come behind the second's, once more or late for each window.
    again, late = payment(3), payments(60, 64)
    ahead = payments(70_000, 70_005)
    field.send(*payments(0, 50), *payments(43_300, 43_330), *ahead, partition=0)
    field.send(b"no payment", again, *late, partition=0)
    field.send(*payments(100, 150), *payments(43_400, 43_450), partition=1)
    more = payments(50_000, 50_100), payments(50_200, 50_260)
    field.send(*more[0], *payments(90_000, 90_200), partition=0)
    field.send(*more[1], *payments(90_300, 90_400), partition=1)
    assert field.flow(STOP_AT_END="true").wait() == 0
    expire(field)
    live = settings_.load(field.settings)

    days, into = ("--days", "2026-03-01", "2026-03-01"), str(field.folder / "anew")
    status, text, error = millstream("backfill", "payments", "--into", into, *days, "--json")
    assert status == 0, error
    report = json.loads(text)
    read = report["records"]
    assert (report["of"], report["days"]) == ("bronze", list(days[1:]))
    assert report["records_per_second"] == pytest.approx(read / report["seconds"])
    anew = live.model_copy(update={"delta_root": into})
    made, before = read_tables(anew), read_tables(live)
    assert made["bronze/payments"].height == read
    # To the last one of the day, and to where none of its windows is open any more.
    assert read == (51 + 31 + 6 + 7) + (51 + 51 + 2)
    assert millstream("verify", "--against", into)[0] == 0
    found, compared = Difference(), 0
    for name, rows in before.items():
        time = {"event_date", "event_time", "window_start"} & {*rows.columns}
        if time and name != "bronze/payments":
            day = pl.col(min(time)).cast(pl.Date) == date(2026, 3, 1)
            mine, its = rows.filter(day), made[name].filter(day)
            compared += mine.height
            found.add(name, mine, its)
    assert found.differences == 0, found.examples
    assert compared > 51 + 51 + 6 + 5
    assert before["gold/terminal_minute"].height > made["gold/terminal_minute"].height > 6

    # Taken are those days, and nothing of the others.
    silver = DeltaTable(f"{live.delta_root}/silver/payments")
    silver.update({"country": "'XX'"})
    status, text, error = millstream("tables", "switch", "silver/payments", "--to", into, *days)
    assert status == 0, error
    countries = field.table("silver/payments").group_by("event_date").agg("country")
    assert {day: set(each) for day, each in countries.rows()} == {
        date(2026, 3, 1): {"BE"}, date(2026, 3, 2): {"XX"}
    }  # fmt: skip
    # Where none is named, all whose rows are of times.
    status, text, error = millstream("tables", "switch", "--to", into, *days, "--json")
    assert status == 0, error
    switched = {each["table"] for each in json.loads(text)}
    assert {"silver/payments", "gold/terminal_minute", "gold/late"} <= switched
    assert not {"quarantine/payments", "bronze/payments"} & switched


def test_of_the_topic_where_there_is_no_bronze(field, millstream, monkeypatch):
    field.create(2)
    field.send(*payments(0, 90), payment(7)[:20], *payments(5, 9), partition=0)
    field.send(*payments(100, 190), partition=1)
    assert field.flow(STOP_AT_END="true").wait() == 0
    live = settings_.load(field.settings)
    into = str(field.folder / "anew")
    status, text, error = millstream("backfill", "payments", "--into", into, "--from-topic")
    assert status == 0, error
    assert "of what Kafka has, and of no bronze/payments" in text
    assert "188 offsets in" in text
    anew = live.model_copy(update={"delta_root": into})
    found, made = Difference(), read_tables(anew)
    for name, rows in read_tables(live).items():
        found.add(name, rows, made[name])
    assert found.differences == 0, found.examples

    # What the topic has no more is said.
    admin = AdminClient({"bootstrap.servers": field.bootstrap, "log_level": 0})
    for done in admin.delete_records([TopicPartition(field.topic, 0, 40)]).values():
        done.result(30)
    monkeypatch.setenv("MILLSTREAM_DELTA_ROOT", str(field.folder / "nothing"))
    into = str(field.folder / "less")
    status, text, error = millstream(
        "backfill", "payments", "--into", into, "--state", "of-less"
    )
    assert status == 0, error
    said = f"{field.topic}/0 begins at offset 40: the new tables lack what was before"
    assert said in text
    less = read_table(live.model_copy(update={"delta_root": into}), PAYMENTS.bronze)
    assert less.height == 188 - 40
    # Nor does it take the place of what has all of it.
    root = ("--root", live.delta_root)
    status, _, error = millstream("tables", "switch", "silver/payments", "--to", into, *root)
    assert status == 1
    assert (
        f"begin at offset 40 of {field.topic}/0, and those under {live.delta_root} bef" in error
    )
    assert field.table("silver/payments")["source_offset"].min() == 0


def test_chargebacks_are_made_of_both_topics_and_send_nothing(field, millstream, monkeypatch):
    topics.fill(field.bootstrap, field.topic, topics.made(600, 2), 2)
    flow = field.flow("chargebacks", **ENDED)
    assert flow.wait() == 0, flow.said()
    live = settings_.load(field.settings)
    tables = [table for table, flow in writers().values() if flow == "chargebacks"]
    outputs = live.of(CHARGEBACKS).dlq_topic, live.of(LABELS).topic
    sent = [read_topic(live, name) for name in outputs]
    assert sent[1].height > 0
    into = str(field.folder / "anew")
    for name, value in ENDED.items():
        monkeypatch.setenv(f"MILLSTREAM_{name}", value)
    status, text, error = millstream("backfill", "chargebacks", "--into", into)
    assert status == 0, error
    assert "chargebacks: of what Kafka has\n" in text
    found, anew = Difference(), live.model_copy(update={"delta_root": into})
    for table in tables:
        found.add(table.name, read_table(live, table), read_table(anew, table))
    assert (found.differences, found.rows > 600) == (0, True), found.examples
    assert [each.height for each in sent] == [read_topic(live, name).height for name in outputs]
    assert millstream("verify", "--against", into)[0] == 0
    status, _, error = millstream("backfill", "chargebacks", "--into", into, "--silver-alone")
    assert (status, "all at once" in error) == (2, True)


def test_what_cannot_be_done_is_said(field, millstream, tmp_path):
    field.create()
    into, days = ("--into", str(tmp_path / "x")), ("--days", "2026-03-01", "2026-03-02")
    status, _, error = millstream("backfill", "payments", *into, *days)
    assert (status, "there is no bronze/payments under" in error) == (1, True)
    status, _, error = millstream("backfill", "payments", *into, *days, "--from-topic")
    assert (status, "where days end in the topic" in error) == (2, True)
    status, _, error = millstream("backfill", "customers", *into, *days)
    assert (status, "gold/customers is what all changes come to" in error) == (2, True)
    page = PAGES["docs/backfill.md"]
    for name, said in {
        "labels": "backfill payments",
        "enriched": "its flow sends nothing: run it once more",
        "enforce": "stop the flow, move its tables",
    }.items():
        status, _, error = millstream("backfill", name, *into)
        assert (status, said in error, f"`{name}`" in page) == (2, True, True)
    root = field.settings["MILLSTREAM_DELTA_ROOT"]
    status, _, error = millstream("backfill", "payments", "--into", root)
    assert (status, "tables are made anew elsewhere" in error) == (2, True)
    status, _, error = millstream("verify", "--against", str(tmp_path / "x"))
    assert (status, "no table is both under" in error) == (1, True)
