"""Rules and lists that change while two processes run, are killed, and read all anew."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable

from flows import settings as settings_
from flows.connecting import rules_of
from flows.control import follow
from flows.streams import PAYMENTS
from operators.connectors.kafka.client import read_to_end, wait_for_partitions
from operators.connectors.kafka.control_reader import ControlError
from ops import cli
from ops.verify import verify
from tests.field.topic import Field, payment
from tests.ops.reports import broken
from tests.running import wait_until
from tests.servers.ports import lasting_port

RULE = """\
id: {name}
version: {version}
description: Some payments.
severity: low
when: {when}
score: "1"
reason: some
{more}
cases: [{{name: any, payments: [{{{case}}}], alerts: [1]}}]
"""
BOUNDS = "bounds: {hits_per_1000: 900, over: 10m, at_least: 20}"
ON_LIST = 'listed: "block:stolen:card_id"'
STAMPS = ("flow_version", "written_at")

Command = Callable[..., str]


@pytest.fixture
def command(
    field: Field, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Give what runs `millstream`, whose end must be as it is expected."""
    (field.folder / "rules").mkdir()
    field.settings["MILLSTREAM_RULES"] = str(field.folder / "rules")
    field.settings["MILLSTREAM_CONTROL_TOPIC"] = f"{field.topic}.control"
    for name, value in field.settings.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, status: int = 0) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        said = capsys.readouterr()
        assert ended.value.code == status, said
        return said.out + said.err

    return run


@pytest.fixture
def payments(field: Field) -> Iterator[threading.Event]:
    """Have payments come all the time until the event is set."""
    field.create(2)
    ended = threading.Event()
    producer = Producer({"bootstrap.servers": field.bootstrap, "log_level": 0})

    def send() -> None:
        number = 0
        while not ended.wait(0.1):
            for partition in (0, 1):
                producer.produce(field.topic, payment(number), partition=partition)
                number += 1
            producer.poll(0)
        producer.flush(30)

    thread = threading.Thread(target=send)
    thread.start()
    yield ended
    ended.set()
    thread.join()


def state(
    folder: Path,
    name: str,
    when: str,
    version: int = 1,
    case: str = "amount_minor: 1000",
    more: str = "",
) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(RULE.format(name=name, version=version, when=when, case=case, more=more))
    return str(path)


def alerts(field: Field, root: str = "tables") -> pl.DataFrame:
    """Return the alerts with their payments' Kafka times."""
    places = ["source_partition", "source_offset"]
    times = field.table("silver/payments", root).select(*places, "kafka_timestamp")
    found = field.table("gold/alerts", root).drop(STAMPS).join(times, on=places)
    return found.sort("alert_id")


def decisions(field: Field, root: str = "tables") -> pl.DataFrame:
    """Return the decisions with their payments' Kafka times."""
    places = ["source_partition", "source_offset"]
    times = field.table("silver/payments", root).select(*places, "kafka_timestamp")
    found = field.table("gold/decisions", root).drop(STAMPS).join(times, on=places)
    return found.sort("decision_id")


def its_own_pauses(field: Field, topic: str) -> list[dict[str, Any]]:
    """Return the alerts of a topic that a rule has paused itself, which have what others have."""
    config = {"bootstrap.servers": field.bootstrap, "log_level": 0}
    partitions = wait_for_partitions(config, topic, 30)
    read = read_to_end(config, topic, dict.fromkeys(partitions, 0))
    found = [json.loads(message.value() or b"") for message in read]
    (like,) = {tuple((n, type(value)) for n, value in each.items()) for each in found}
    assert len(like) > 10
    return [each for each in found if each["rule_status"] == "paused"]


def start(said: str) -> datetime:
    """Return from when on a change holds, as the command has said it."""
    return datetime.fromisoformat(
        said.strip().rpartition("from ")[2].removesuffix(" UTC on") + "Z"
    )


def test_all_processes_apply_changes_at_one_point_and_a_replay_alerts_alike(
    field: Field, command: Command, payments: threading.Event
) -> None:
    rules, new = field.folder / "rules", field.folder / "new"
    state(rules, "all", "amount_minor > 0")
    state(rules, "odd", "amount_minor % 2 = 0")
    addresses = ";".join(f"127.0.0.1:{lasting_port()}" for _ in range(2))

    # What the cases say is wrong, or what the flow has no column for, changes nothing.
    why = ("--why", "fewer", "--who", "eve")
    wrong = state(new, "all", "amount_minor > 1500", version=2)
    assert "alerts at [], not [1]" in command("rules", "push", wrong, *why, status=1)
    wrong = state(new, "far", "card_moved_miles > 3")
    assert "card_moved_miles" in command("rules", "push", wrong, *why, status=1)
    same = state(new, "all", "amount_minor > 10")
    assert "another text: give it 2" in command("rules", "push", same, *why, status=1)
    about = "--column", "card_id", "--kind", "block", "--owner", "fraud desk"
    entry = "lists", "add", "stolen", "card-3", "card-5", *about, *why
    with pytest.raises(SystemExit, match="2"):
        cli.main(entry)

    state(rules, "noisy", "amount_minor > 1", more=BOUNDS)
    both = [field.flow("payments", "state", "-i", each, "-a", addresses) for each in "01"]
    there = field.folder / "tables" / "gold" / "alerts"
    wait_until(lambda: there.exists() and field.table("gold/alerts").height)

    narrowed = state(new, "all", "amount_minor % 4 = 0", version=2)
    listed = state(new, "stolen", "card_id IN LIST 'stolen'", case=ON_LIST)
    command("rules", "pause", "all", *why, "--at", "2099-01-01")
    changes = {
        "all": command("rules", "push", listed, narrowed, *why),
        "odd": command("rules", "pause", "odd", *why),
        "entries": command(*entry, "--expires", "1h"),
    }
    begins = {name: start(said) for name, said in changes.items()}
    wait_until(lambda: datetime.now(UTC) > begins["entries"] + timedelta(seconds=2))
    wait_until(lambda: alerts(field).filter(rule_id="stolen").height > 2)
    shown: list[dict[str, Any]] = []

    def paused() -> bool:
        shown[:] = json.loads(command("rules", "list", "--json"))
        return bool(shown[1]["now"]["status"] == "paused")

    # Who counts is behind who looks, as far as the machine has it.
    wait_until(paused)
    assert [each["rule"] for each in shown] == ["all", "noisy", "odd", "stolen"]
    assert [each["now"]["version"] for each in shown] == [2, 1, 1, 1]
    assert [each["now"]["status"] for each in shown] == ["live", "paused", "paused", "live"]
    assert [each["next"] for each in shown] == [None] * 4
    assert shown[1]["now"]["who"].startswith("millstream, process ")
    assert "within 10m, more than 900 of 1,000" in shown[1]["now"]["why"]
    for each in both:
        each.kill()
    rolled = start(command("rules", "rollback", "all", *why))
    back = start(command("lists", "remove", "stolen", "card-5", "--column", "card_id", *why))
    blocks = start(command("thresholds", "set", "block", "1", *why))
    wait_until(lambda: datetime.now(UTC) > blocks + timedelta(seconds=3))
    payments.set()
    run = field.flow(STOP_AT_END="true")
    assert run.wait() == 0, run.said()
    found = alerts(field)

    time = pl.col("kafka_timestamp")
    first = found.filter(rule_id="all", rule_version=1)
    assert first.filter((time >= begins["all"]) & (time < rolled)).height == 0
    assert first["kafka_timestamp"].max() > back
    second = found.filter(rule_id="all", rule_version=2)["kafka_timestamp"]
    assert begins["all"] <= second.min() < second.max() < rolled
    assert found.filter(rule_id="odd")["kafka_timestamp"].max() < begins["odd"]
    stolen = found.filter(rule_id="stolen")
    assert {*stolen["card_id"]} == {"card-3", "card-5"}
    assert stolen["kafka_timestamp"].min() >= begins["entries"]
    assert stolen.filter(card_id="card-5")["kafka_timestamp"].max() < back
    assert stolen.filter(card_id="card-3")["kafka_timestamp"].max() > back
    made = decisions(field)
    listed_ = made.filter(decided_by="block list")
    assert {*listed_["card_id"]} == {"card-3", "card-5"}
    assert {*listed_["decision"]} == {"block"}
    others = made.filter(pl.col("decided_by") == "rules")
    assert {*others.filter(time < blocks)["decision"]} == {"review"}
    assert {*others.filter(time >= blocks).select("decision", "block_at").rows()} == {
        ("block", 1)
    }
    assert broken(verify(settings_.load(field.settings))) == []
    (paused,) = its_own_pauses(field, f"{field.topic}.alerts")

    # A replay, in other batches and by one process, into tables that know nothing.
    own = {"ALERTS_TOPIC": f"{field.topic}.again", "DELTA_ROOT": str(field.folder / "again")}
    own |= {"DECISIONS_TOPIC": f"{field.topic}.again.decisions"}
    own |= {"BATCH_SIZE": "7", "STOP_AT_END": "true", "DLQ_TOPIC": f"{field.topic}.again.dlq"}
    run = field.flow("payments", "other", **own)
    assert run.wait() == 0, run.said()
    assert alerts(field, "again").equals(found)
    assert decisions(field, "again").equals(made)
    assert its_own_pauses(field, own["ALERTS_TOPIC"]) == [paused]
    change = field.table("ops/control").filter(pl.col("who").str.starts_with("millstream"))
    first = change.sort("offset").row(0, named=True)
    place = {"source_topic": f"{field.topic}.control", "source_partition": 0}
    assert paused == {
        **place, "source_offset": first["offset"], "rule_id": "noisy", "rule_version": 1,
        "alert_id": f"noisy@1/{field.topic}.control/0/{first['offset']}",
        "rule_status": "paused", "severity": "low", "action": "review", "score": 0.0,
        "reason": f"the rule has paused itself: it {first['why']}",
        "event_time": first["effective_from"].isoformat().replace("+00:00", "Z"),
        "payment_id": "", "card_id": "",
    }  # fmt: skip
    silver = "silver/payments"
    assert field.table(silver, "again")["listed"].equals(field.table(silver)["listed"])

    # What serving saw of lists a backtest sees too.
    listed = state(field.folder / "tried", "twice", "card_id IN LIST 'stolen'", case=ON_LIST)
    tried = json.loads(
        command("rules", "backtest", "--rules", str(Path(listed).parent), "--json")
    )
    there = field.table(silver)["listed"].str.contains("block:stolen:card_id", literal=True)
    assert tried["rules"]["twice"]["alerts_per_day"] == there.sum() > 0
    assert tried["decisions"]["decided_by"]["block list"] == there.sum()
    assert tried["decisions"]["live"]["block"]["count"] >= there.sum()

    # Without the topic the changes would be forgotten.
    del field.settings["MILLSTREAM_CONTROL_TOPIC"]
    settings = settings_.load(field.settings)
    with pytest.raises(ControlError, match="MILLSTREAM_CONTROL_TOPIC is not set, but"):
        follow(settings, PAYMENTS, rules_of(PAYMENTS, settings), keeps=True)
    field.settings["MILLSTREAM_CONTROL_TOPIC"] = f"{field.topic}.control"

    history = field.table("ops/control").filter(who="eve").sort("offset")
    assert history.head(4).select("name", "version", "who", "why").rows() == [
        ("all", 1, "eve", "fewer"), ("stolen", 1, "eve", "fewer"),
        ("all", 2, "eve", "fewer"), ("odd", 1, "eve", "fewer"),
    ]  # fmt: skip
    uri = str(field.folder / "tables" / "silver" / "payments")
    DeltaTable(uri).update(
        updates={"listed": "'watch:x:card_id'"}, predicate="source_offset = 3"
    )
    failed = broken(verify(settings_.load(field.settings)))
    assert failed == [
        "silver/payments' lists are those that the control topic has changed by then",
        "gold/decisions is what lists, alerts and model make of silver/payments",
    ]
