"""Personal data that a contract hides: what tables, topics and logs have of it, and forgetting."""

import base64
import json
import os
import shlex
import signal
from collections.abc import Callable, Iterator

import polars as pl
import pytest

from flows import settings as settings_
from flows.settings import PREFIX
from operators.connectors.kafka.client import headers_of, read_to_end
from operators.privacy import KeyRing
from operators.records.columns import KEY_ID
from ops import cli
from ops.local import Stack
from ops.verify import verify
from tests.field.private import (
    MARK,
    Begun,
    begin,
    declare,
    declared,
    person,
    send,
    told_by_tables,
    told_by_topics,
)
from tests.field.topic import Field, offsets
from tests.ops.reports import broken
from tests.pages import blocks
from tests.running import wait_until

OLD, NEW = (f"{n}:{base64.b64encode(os.urandom(32)).decode()}" for n in ("k1", "k2"))
KEYS = f"{PREFIX}PRIVACY_KEYS"
CONTRACT = """
privacy:
  silver: {identifier: token, device: mask}
  alerts: {identifier: mask}
  bronze: encrypt
  quarantine: encrypt
  dead_letters: encrypt
"""


@pytest.fixture(scope="module")
def begun(stack: Stack, apache: str, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    field = Field(stack, apache, tmp_path_factory.mktemp("private"))
    declare(field, CONTRACT)
    field.settings[KEYS] = OLD
    return begin(field)


@pytest.fixture
def field(begun: Begun) -> Field:
    return begun.field


@pytest.fixture
def said(field: Field, monkeypatch, capsys) -> Iterator[Callable[..., str]]:
    """Give what runs a command that knows the contract, and returns what it prints."""
    for name, value in field.settings.items():
        monkeypatch.setenv(name, value)

    def run(*command: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(command)
        captured = capsys.readouterr()
        assert ended.value.code == status, captured
        return captured.out + captured.err

    with declared(CONTRACT, monkeypatch):
        yield run


def edited(field: Field, said: Callable[..., str]) -> str:
    """Return the place of a reject that was edited; what is so already cannot be edited again."""
    one = f"{field.topic}/0/31"
    if "edited by" not in said("dlq", "show", one):
        said(
            "dlq", "edit", one, "--set", "currency = upper(currency)", "--save", "--why", "ISO"
        )
    return one


def test_nothing_that_a_flow_writes_or_says_has_what_is_hidden(begun: Begun) -> None:
    field = begun.field
    assert 'code="currency_format"' in begun.metrics
    told = {**told_by_tables(field), **told_by_topics(field)}
    told |= {"log": begun.said, "metrics": begun.metrics}
    assert {name for name, text in told.items() if MARK in text} == set()
    for path in (field.folder / "state").rglob("*"):
        assert not path.is_file() or MARK.encode() not in path.read_bytes(), path

    ring, silver = KeyRing.parse(OLD), field.table("silver/payments")
    for name in ("card_id", "customer_id"):
        value = f"{MARK}-{name.removesuffix('_id')}-1"
        assert silver.filter(pl.col(name) == ring.oldest.token(name, value)).height == 10
    assert set(silver["device_id"]) == {"****ce-0", "****ce-1", "****ce-2"}
    alerts = field.table("gold/alerts")
    assert alerts.filter(rule_id="amount_limit").height == 30
    assert set(alerts["card_id"]) == set(silver["card_id"])
    config = {"bootstrap.servers": field.bootstrap}
    sent = list(read_to_end(config, f"{field.topic}.alerts", {0: 0}))
    masks = {f"****{token[-4:]}" for token in silver["card_id"]}
    assert {m.key().decode() for m in sent} == masks
    assert {json.loads(m.value())["card_id"] for m in sent} == masks
    letters = list(read_to_end(config, f"{field.topic}.dlq", {0: 0}))
    assert {headers_of(each)["millstream.key_id"] for each in letters} == {b"k1"}
    bronze = field.table("bronze/payments")
    assert bronze[KEY_ID].unique().to_list() == ["k1"]
    place = f"{field.topic}/0/{bronze['source_offset'][0]}"
    assert (
        ring.of("k1").decrypt(f"{place}/value".encode(), bronze["value"][0]) == begun.records[0]
    )


def test_the_tool_reads_what_is_encrypted_with_the_key_and_says_what_to_do_without(
    field: Field, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = verify(settings_.load())
    assert broken(report) == []
    one = edited(field, said)
    assert f'"{MARK}-customer-0"' in said("dlq", "show", one)
    assert json.loads(said("dlq", "decode", one))["card_id"] == f"{MARK}-card-0"
    assert MARK not in told_by_tables(field)["ops/edits"]
    assert f"{MARK}-card-0" in said("dlq", "show", one)

    monkeypatch.setenv(f"{PREFIX}CONTROL_TOPIC", f"{field.topic}.control")
    said("lists", "add", "stolen", f"{MARK}-card-0", "--column", "card_id", "--kind", "block",
         "--owner", "desk", "--expires", "30d", "--why", "lost")  # fmt: skip
    (entry,) = json.loads(said("lists", "show", "--json"))
    assert entry["value"] == KeyRing.parse(OLD).oldest.token("card_id", f"{MARK}-card-0")

    goes = [tuple(each.values()) for each in json.loads(said("schemas", "pii", "--json"))]
    for to, has in (
        ("silver/payments", "token"), ("gold/customer_day", "token"),
        ("bronze/payments", "encrypted with its record"),
        (f"{field.topic}.dlq", "encrypted with its record"),
    ):  # fmt: skip
        assert any(
            each[:2] == ("payments", "customer_id") and each[4:] == (to, has) for each in goes
        )
    card = [each[4:] for each in goes if each[:2] == ("payments", "card_id")]
    assert (f"{field.topic}.alerts", "token, then mask") in card
    assert (f"{field.topic}.decisions", "token") in card

    monkeypatch.delenv(KEYS)
    assert "currency_format" in said("dlq", "list")
    assert "currency_format" in said("dlq", "summary")
    for command in ("show", "decode"):
        told = said("dlq", command, one, status=1)
        assert (
            "encrypted with key k1, which is not at hand: set MILLSTREAM_PRIVACY_KEYS" in told
        )
        assert told.count("\n") == 1
    assert "encrypted with key k1" in said("dlq", "replay", status=1)
    monkeypatch.setenv(KEYS, NEW)
    assert "encrypted with key k1" in said("verify", status=1)
    monkeypatch.setenv(KEYS, NEW.replace("k2", "k1"))
    assert "or the key of that id was another" in said("dlq", "show", one, status=1)


def test_a_new_key_encrypts_from_then_on_and_moves_no_token(
    field: Field, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = field.flow(STOP_AT_END="true", PRIVACY_KEYS=NEW)
    assert flow.wait() == 1
    assert "is to have it as token by key k2: one person would be two" in flow.said()
    field.settings[KEYS] = f"{NEW},{OLD}"
    monkeypatch.setenv(KEYS, field.settings[KEYS])
    edited(field, said)
    assert '"sent": 1' in said("dlq", "replay", "--send", "--json")
    send(field, person(300, 1), person(301, 2))
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    silver = field.table("silver/payments")
    assert silver.height == 33
    assert silver["card_id"].n_unique() == 3
    bronze = field.table("bronze/payments")
    assert bronze[KEY_ID].to_list() == ["k1"] * 43 + ["k2"] * 3
    assert broken(verify(settings_.load())) == []


def test_a_person_is_forgotten_while_the_flow_writes_and_the_books_balance(
    field: Field, said: Callable[..., str]
) -> None:
    who, ring = f"{MARK}-customer-1", KeyRing.parse(field.settings[KEYS])
    token = ring.oldest.token("customer_id", who)
    # A later payment of somebody else settles what windows the person's have counted in.
    count = field.table("silver/payments").height
    send(field, person(400, 1), person(90_000, 2))
    field.send(person(401, 1))
    flow = field.flow()
    wait_until(lambda: field.table("silver/payments").height == count + 3)
    # Of another epoch, so all tables have what came before.
    field.send(person(90_001, 2))
    wait_until(lambda: field.table("silver/payments").height == count + 4)
    before = {name: field.table(name) for name in ("silver/payments", "bronze/payments")}
    mine = before["silver/payments"].filter(customer_id=token).height
    assert mine >= 12
    asked = ("forget", "--customer", who, "--json")
    counted = json.loads(said(*asked))
    assert counted["forget"] is None
    rows = {each["table"]: each["rows"] for each in counted["tables"]}
    assert rows["silver/payments"] == mine
    assert rows["quarantine/payments"] == 6
    assert rows["bronze/payments"] == mine + 6
    assert rows["gold/customer_day"] == 1
    for name, table in before.items():
        assert field.table(name).equals(table), "a dry run deletes nothing"

    done = json.loads(said(*asked, "--yes", "--why", "case 7", "--vacuum"))
    assert done["tables"] == counted["tables"]
    field.send(person(90_002, 2), person(90_003, 0))
    wait_until(lambda: field.table("silver/payments").height == count + 4 - mine + 2)
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    silver = field.table("silver/payments")
    others = before["silver/payments"].filter(pl.col("customer_id") != token)
    assert offsets(silver)[:-2] == offsets(others)
    told = told_by_tables(field)
    assert {name for name, text in told.items() if token in text} == {"ops/audit"}
    files = (field.folder / "tables").rglob("*.parquet")
    left = [f for f in files if "ops/audit" not in str(f) and "checkpoint" not in f.name]
    assert not any(token in repr(pl.read_parquet(f).to_dicts()) for f in left)
    audit = field.table("ops/audit").filter(action="forget").to_dicts()[0]
    assert (audit["records"], audit["why"]) == (mine + 6, "case 7")
    assert json.loads(audit["filter"])["tables"] == rows
    assert who not in audit["filter"]
    forgotten = field.table("ops/forgotten")
    assert forgotten["place"].value_counts().sort("place").rows() == [
        ("quarantine", 6), ("silver", mine)
    ]  # fmt: skip

    report = verify(settings_.load())
    assert broken(report) == []
    excused = {each.name: each.deleted for each in report.checks if "somebody" in each.because}
    assert sum(excused.values()) > 0
    assert "no table has anything of this person" in said("forget", "--customer", who, "--yes")


def test_what_retention_cuts_is_known_to_verify_and_to_state_made_anew(
    field: Field, said: Callable[..., str]
) -> None:
    silver = field.table("silver/payments")
    refused = field.table("quarantine/payments").height
    command = ("tables", "retain", "quarantine/payments", "--keep", "0s", "--json")
    (counted,) = json.loads(said(*command, "--dry-run"))
    assert (counted["rows"], counted["deleted"]) == (refused, 0)
    assert field.table("quarantine/payments").height == refused > 0
    (done,) = json.loads(said(*command))
    assert done["deleted"] == refused
    assert field.table("quarantine/payments").height == 0
    (default,) = json.loads(said("tables", "retain", "--json", "--dry-run"))
    assert default["keep"] == "30 days, 0:00:00"
    said("tables", "retain", "gold/terminal_minute", "gold/decisions", "--keep", "0s")
    refusal = said("tables", "retain", "silver/payments", "--keep", "1d", status=2)
    assert "state, windows and figures are made of it" in refusal
    assert broken(verify(settings_.load())) == []

    # Its state is gone, and so is what was refused in the newest epochs.
    field.send(person(90_004, 0))
    flow = field.flow("payments", "state-anew", STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    assert "state is made of what the topic has" not in flow.said()
    assert field.table("silver/payments").height == silver.height + 1
    assert broken(verify(settings_.load())) == []


def test_the_commands_of_the_page_do_what_they_say(
    field: Field, said: Callable[..., str]
) -> None:
    (forget,) = blocks("docs/privacy.md", "Forget a person", "sh")
    (retain,) = blocks("docs/privacy.md", "Retention", "sh")
    before = field.table("silver/payments").height
    refused = field.table("quarantine/payments").height
    send(field, person(500, 1, customer_id="customer-7"), b"no payment")
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    count, delete = (shlex.split(line)[1:] for line in forget.splitlines())
    assert "silver/payments" in said(*count)
    assert field.table("silver/payments").height == before + 1
    said(*delete)
    assert field.table("silver/payments").height == before
    for line in retain.splitlines():
        said(*shlex.split(line)[1:])
    # All of it is young.
    assert field.table("quarantine/payments").height == refused + 1
