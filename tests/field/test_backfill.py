"""Tables that are made anew of bronze, compared with the flow's own, and taken in their place."""

import json
import shlex
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable

from flows import settings as settings_
from flows.streams import PAYMENTS
from ops import cli
from tests.compare import Difference, read_table, read_tables, read_topic
from tests.field.topic import Field, payment, payments
from tests.pages import blocks


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

    (block,) = blocks("docs/backfill.md", "sh")
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


def test_what_cannot_be_done_is_said(field, millstream, tmp_path):
    field.create()
    status, _, error = millstream("backfill", "payments", "--into", str(tmp_path / "x"))
    assert (status, "there is no bronze/payments under" in error) == (1, True)
    root = field.settings["MILLSTREAM_DELTA_ROOT"]
    status, _, error = millstream("backfill", "payments", "--into", root)
    assert (status, "tables are made anew elsewhere" in error) == (2, True)
    status, _, error = millstream("verify", "--against", str(tmp_path / "x"))
    assert (status, "no table is both under" in error) == (1, True)
