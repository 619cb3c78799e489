"""A topic that was deleted and made anew under its old name is another topic."""

import contextlib
import json
import re
import shutil
import signal
import sqlite3

import pytest

from flows import settings as settings_
from ops.verify import verify
from tests.compare import read_topic
from tests.field.topic import Field, offsets, payments
from tests.running import Flow, wait_until
from tests.servers import kafka

ADVICE = "give MILLSTREAM_DELTA_ROOT and the recovery directory (-r) new, empty folders"


def committed(field: Field, rows: int, root: str = "tables") -> None:
    """Wait until bronze has so many rows."""
    there = field.folder / root / "bronze" / "payments" / "_delta_log"
    wait_until(lambda: there.exists() and field.table("bronze/payments", root).height == rows)


def read_all(field: Field, rows: int, state: str = "state", root: str = "tables") -> None:
    """Run the flow until bronze has so many rows, and stop it."""
    flow = field.flow("payments", state, DELTA_ROOT=str(field.folder / root))
    committed(field, rows, root)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()


def made_anew(field: Field, *values: bytes) -> None:
    field.delete()
    field.create()
    field.send(*values)


def test_a_longer_topic_of_the_same_name_is_refused_and_the_advice_reads_all_of_it(
    field: Field,
) -> None:
    """The old offset is in the new topic too: read on from there, its first records are lost.

    And Redis, which is kept, knows the ids of the old topic's records.
    """
    field.create()
    # Each of them is an alert, whose id is made of its record's coordinates.
    dear = payments(0, 149, amount_minor=900_000)
    field.send(*dear[:100])
    read_all(field, 100)
    made_anew(field, *reversed(dear))
    again = field.flow()
    assert again.wait() == 1
    assert "Traceback" not in again.said()
    assert f"another topic {field.topic}" in again.said()
    assert ADVICE in again.said()
    without_recovery = field.flow("payments", "lost")
    assert without_recovery.wait() == 1
    assert "was made of another topic" in without_recovery.said()
    without_tables = field.flow(DELTA_ROOT=str(field.folder / "lost"))
    assert without_tables.wait() == 1
    assert "deleted and made anew" in without_tables.said()

    read_all(field, 150, "new", "new-tables")
    silver = field.table("silver/payments", "new-tables")
    assert offsets(silver) == list(range(150))
    assert field.table("silver/duplicates", "new-tables").height == 0
    new = field.settings | {"MILLSTREAM_DELTA_ROOT": str(field.folder / "new-tables")}
    settings = settings_.load(new)
    alerts = field.table("gold/alerts", "new-tables").height
    # The old topic's alerts are there too, and some have the same ids.
    assert read_topic(settings, settings.alerts_topic).height > alerts >= 150
    report = verify(settings)
    assert report.ok, [check for check in report.checks if not check.ok]


def test_while_the_flow_runs_nothing_of_the_new_topic_is_written(field: Field) -> None:
    field.create()
    field.send(*payments(0, 9))
    flow = field.flow()
    committed(field, 10)
    made_anew(field, *payments(100, 149))
    assert flow.wait() == 1
    assert "Traceback" not in flow.said()
    assert offsets(field.table("bronze/payments")) == list(range(10))


def test_while_the_alerts_flow_runs_it_ends_as_well(field: Field) -> None:
    field.create()
    kafka.create_topic(field.bootstrap, f"{field.topic}.alerts", 1)
    field.send(*payments(0, 9, amount_minor=900_000))
    flow = field.flow("alerts")
    settings = settings_.load(field.settings)
    wait_until(lambda: read_topic(settings, settings.alerts_topic).height >= 10)
    made_anew(field, *payments(100, 149, amount_minor=900_000))
    assert flow.wait() == 1
    assert "Traceback" not in flow.said()


def test_while_the_chargebacks_flow_runs_either_topic_of_it_ends_it(field: Field) -> None:
    field.create()
    kafka.create_topic(field.bootstrap, f"{field.topic}.back", 1)
    field.send(*payments(0, 9))
    for suffix in ("", ".back"):
        flow = field.flow("chargebacks", f"state{suffix}", REPORT_EVERY="1s")
        wait_until(lambda flow=flow: "; 0 to read" in flow.said())
        one = Field(field.stack, field.bootstrap, field.folder)
        one.topic = field.topic + suffix
        # Nothing that was read is of a topic that was empty then.
        made_anew(one, *payments(100, 149))
        assert flow.wait() == 1
        assert re.search(
            rf"{one.topic}(/0: offset .*| was) made anew", flow.said().splitlines()[-1]
        )
        assert "Traceback" not in flow.said()
        shutil.rmtree(field.folder / "tables")


def without_ids(field: Field) -> None:
    """Leave tables and recovery store as releases did that did not know topics' ids."""
    for log in (field.folder / "tables").rglob("_delta_log/*.json"):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        kept = [
            each for each in actions if not each.get("txn", {}).get("appId", "").endswith("/id")
        ]
        for action in kept:
            action.get("commitInfo", {}).pop("millstream", None)
        assert len(kept) < len(actions) or len(actions) < 4
        log.write_text("".join(f"{json.dumps(each)}\n" for each in kept))
    for file in (field.folder / "state" / "payments").glob("part-*.sqlite3"):
        with contextlib.closing(sqlite3.connect(file)) as store, store:
            store.execute("DROP TABLE millstream_owner")


def test_what_lacks_the_topics_id_takes_it_up_at_the_next_start(field: Field) -> None:
    field.create()
    field.send(*payments(0, 9))
    read_all(field, 10)
    without_ids(field)
    field.send(*payments(10, 19))
    read_all(field, 20)
    assert offsets(field.table("bronze/payments")) == list(range(20))
    made_anew(field, *payments(100, 149))
    assert "the recovery directory" in refused(field.flow())
    assert "was made of another topic" in refused(field.flow("payments", "lost"))


def refused(flow: Flow) -> str:
    """Return the line that a flow ends with."""
    assert flow.wait() == 1, flow.said()
    assert "Traceback" not in flow.said()
    return flow.said().splitlines()[-1]


def test_tables_and_recovery_stores_of_another_topic_are_refused(field: Field) -> None:
    field.create()
    field.send(*payments(0, 9))
    read_all(field, 10)
    first, field.topic = field.topic, f"{field.topic}-2"
    field.create()
    field.send(*payments(50, 59))
    other = field.flow(TOPIC=field.topic)
    assert other.wait() == 1
    assert f"was made with topic {first}, not with topic {field.topic}" in other.said()
    other = field.flow("payments", "new", TOPIC=field.topic)
    assert other.wait() == 1
    assert f"was made of other topics than {field.topic}" in other.said()


@pytest.mark.parametrize("flow", ["alerts", "chargebacks"])
def test_the_recovery_store_of_another_flow_is_refused(field: Field, flow: str) -> None:
    field.create()
    field.send(*payments(0, 9))
    read_all(field, 10)
    (field.folder / "state" / flow).symlink_to(field.folder / "state" / "payments")
    field.topic += ".back"
    field.create()
    other = field.flow(flow)
    assert other.wait() == 1
    assert f"is the payments flow's: give the {flow} flow another one" in other.said()
    assert "Traceback" not in other.said()


def test_what_is_no_recovery_store_is_refused(field: Field) -> None:
    field.create()
    state = field.folder / "state"
    state.mkdir()
    (state / "payments").mkdir()
    (state / "payments" / "part-0.sqlite3").write_bytes(b"no database, but long enough" * 99)
    told = field.flow()
    assert told.wait() == 1
    assert "is no recovery store" in told.said()
    assert "Traceback" not in told.said()
