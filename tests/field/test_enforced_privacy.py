"""Personal data of enforced topics: what tables and topics have of it, and forgetting a person."""

import base64
import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from operators.connectors.kafka.client import headers_of
from operators.privacy import KeyRing
from operators.records.columns import KEY_ID
from ops import cli
from ops.dlq import streams as dlq_streams
from ops.local import Stack
from ops.topics import create_topic
from tests.flows.enforced import asked, avro, order, reading, send, settings, table, there
from tests.running import Flow, run

OLD, NEW = (f"{n}:{base64.b64encode(os.urandom(32)).decode()}" for n in ("k1", "k2"))
MARK = "MARKER"
ORDERS = """
id: order_id
pii: {customer: person, order_id: identifier}
privacy:
  silver: {identifier: token, person: mask}
  quarantine: encrypt
  dead_letters: encrypt
"""
READINGS = """
pii: {sensor: identifier}
privacy: {silver: {identifier: encrypt}}
"""


def mine(number: int, **fields: Any) -> bytes:
    """Return an order of a person, whose every personal field has the marker."""
    told = {"order_id": f"{MARK}-{number}", "customer": {"id": f"{MARK}-customer"}}
    return order(number, **told | fields)


class World:
    """A folder of two topics with personal data, and what runs flow and commands there."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.settings = settings(stack, folder) | {
            "MILLSTREAM_STOP_AT_END": "true",
            "MILLSTREAM_PRIVACY_KEYS": OLD,
        }
        shutil.rmtree(folder / "enforced" / "heartbeats")
        self.declare("orders", ORDERS)
        self.declare("readings", READINGS)
        for name in ("orders", "readings"):
            create_topic(stack.bootstrap, f"{folder.name}.{name}", 2)

    def declare(self, name: str, more: str) -> None:
        """Add lines to a topic's contract."""
        contract = self.folder / "enforced" / name / "contract.yaml"
        contract.write_text(contract.read_text() + more)

    def run(self, **others: list[bytes]) -> None:
        """Send values by topic, each with its key and headers, and enforce them."""
        every: Any = {
            name: [
                (f"{MARK}-key".encode(), v, [("trace", f"{MARK}-header".encode())])
                for v in some
            ]
            for name, some in others.items()
        }
        send(self.stack, self.folder.name, every)
        run("enforce", self.settings, self.folder / "state")

    def topic(self, name: str) -> list[Any]:
        """Return a topic's messages."""
        return [m for part in there(self.stack, f"{self.folder.name}.{name}") for m in part]


@pytest.fixture(scope="module")
def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(stack, tmp_path_factory.mktemp("hidden"))
    escaped = mine(9, amount=3_000_000).replace(b'"MARKER-9"', b'"\\u004dARKER-9"')
    orders = [
        *(mine(n) for n in range(4)),
        mine(5, amount=2_000_000),
        mine(6)[:-1],
        escaped,
        order(7, order_id="somebody else's", amount=3_000_000),
        order(8, order_id="somebody else's, too"),
    ]
    readings = [avro(reading(n, sensor=f"{MARK}-{n % 2}")) for n in range(4)]
    made.run(orders=orders, readings=[*readings, readings[0][:-2]])
    return made


@pytest.fixture
def said(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Give what runs a command and returns what it prints."""
    for name, value in world.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MILLSTREAM_REDIS_URL", raising=False)
    dlq_streams.lookup.cache_clear()

    def run_(command: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(shlex.split(command))
        captured = capsys.readouterr()
        assert ended.value.code == status, captured
        return captured.out + captured.err

    return run_


def has_mark(value: Any) -> bool:
    return MARK.encode() in (value or b"")


def test_tables_and_dead_letters_have_what_the_contract_says(world: World) -> None:
    ring = KeyRing.parse(OLD)
    silver = table(world.folder, "silver/orders")
    tokens = {ring.oldest.token("order_id", f"{MARK}-{n}") for n in range(4)}
    assert tokens < set(silver["order_id"])
    # Of what is put together there are no last letters.
    assert silver["customer"].null_count() == silver.height
    readings = table(world.folder, "silver/readings")
    shown = {ring.shown("sensor", each) for each in readings["sensor"]}
    assert shown == {f"{MARK}-0", f"{MARK}-1"}

    sealed = table(world.folder, "quarantine/orders")
    assert set(sealed[KEY_ID]) == {"k1"}
    assert not any(map(has_mark, [*sealed["value"], *sealed["key"]]))
    letters = world.topic("orders.dlq")
    assert len(letters) == sealed.height == 4
    for each in letters:
        assert headers_of(each)["millstream.key_id"] == b"k1"
        assert not any(
            map(has_mark, [each.key(), each.value(), *dict(each.headers()).values()])
        )
    # Of the other topic only silver is declared, and what goes on goes on as it came.
    assert KEY_ID not in table(world.folder, "quarantine/readings").columns
    assert all(has_mark(each.value()) for each in world.topic("readings.validated"))
    assert sum(has_mark(each.value()) for each in world.topic("orders.validated")) == 4


def test_tools_read_what_is_encrypted_and_list_where_it_goes(
    world: World, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (found,) = json.loads(said(f"dlq list --stream orders --id {MARK}-5 --json"))
    place = "/".join(str(found[f"source_{n}"]) for n in ("topic", "partition", "offset"))
    assert f"{MARK}-5" in said(f"dlq decode {place}")
    monkeypatch.delenv("MILLSTREAM_PRIVACY_KEYS")
    assert "key k1" in said(f"dlq decode {place}", 1)
    monkeypatch.setenv("MILLSTREAM_PRIVACY_KEYS", OLD)

    listed = json.loads(said("schemas pii --json"))
    mine_ = [each for each in listed if each["stream"] in ("orders", "readings")]
    goes = {(each["field"], each["to"]): each["has"] for each in mine_}
    topic = f"{world.folder.name}.orders"
    assert goes == {
        ("order_id", "silver/orders"): "token",
        ("order_id", "silver/orders_duplicates"): "token",
        ("customer", "silver/orders"): "mask",
        ("sensor", "silver/readings"): "encrypt",
        **{
            (field, to): has
            for field in ("order_id", "customer")
            for to, has in (
                ("quarantine/orders", "encrypted with its record"),
                (f"{topic}.dlq", "encrypted with its record"),
                (f"{topic}.validated", "as it came"),
            )
        },
        ("sensor", "quarantine/readings"): "as it came",
        ("sensor", f"{world.folder.name}.readings.dlq"): "as it came",
        ("sensor", f"{world.folder.name}.readings.validated"): "as it came",
    }

    by = "--stream orders --code amount_range --set 'amount = amount / 10'"
    said(f"dlq edit {by} --save --why w")
    sandbox = tmp_path / "tried"
    said(f"dlq replay --stream orders --sandbox {sandbox}")
    tried = pl.read_delta(str(sandbox / "silver/orders"))
    assert KeyRing.parse(OLD).oldest.token("order_id", f"{MARK}-9") in set(tried["order_id"])
    assert tried["customer"].null_count() == tried.height > 0
    edits = pl.read_delta(str(world.folder / "tables" / "ops" / "edits"))
    assert not any(map(has_mark, edits["value"]))


def test_a_person_is_forgotten_and_the_books_balance(
    world: World, said: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = world.folder / "tables"
    counted = json.loads(said(f"forget --order {MARK}-1 --json"))
    assert [(e["table"], e["rows"]) for e in counted["tables"]] == [("silver/orders", 1)]
    for name, rows in (
        (f"{MARK}-1", ["silver/orders"]),
        (f"{MARK}-6", ["quarantine/orders"]),
        (f"{MARK}-9", ["ops/edits", "quarantine/orders"]),
    ):
        before = {n: pl.read_delta(str(root / n)).height for n in rows}
        told = json.loads(said(f"forget --order {name} --yes --why asked --json"))
        assert sorted(e["table"] for e in told["tables"]) == rows
        assert all(pl.read_delta(str(root / n)).height < before[n] for n in rows)
    told = json.loads(said(f"forget --sensor {MARK}-1 --yes --why asked --json"))
    assert [(e["table"], e["rows"]) for e in told["tables"]] == [("silver/readings", 2)]
    assert "is masked" not in json.dumps(told)
    status, found = asked(capsys, "verify")
    assert status == 0, [each for each in found["checks"] if not each["ok"]]
    names = [each["name"] for each in found["checks"]]
    assert "no record of orders that was forgotten is in a table" in names
    # Silver has more of them again if the topic is read anew, and verify says so.
    silver = root / "silver" / "orders"
    dead = DeltaTable(str(silver)).version() - 1
    back = DeltaTable(str(silver), version=dead).to_pyarrow_table()
    pl.DataFrame(pl.from_arrow(back)).write_delta(str(silver), mode="overwrite")
    status, found = asked(capsys, "verify")
    assert status == 1


def test_another_treatment_or_key_of_rows_that_are_there_is_refused(
    world: World, tmp_path: Path
) -> None:
    def refused(given: dict[str, str]) -> str:
        flow = Flow("enforce", given, tmp_path)
        assert flow.wait() in (1, 2), flow.said()
        return flow.said()

    without = {n: v for n, v in world.settings.items() if n != "MILLSTREAM_PRIVACY_KEYS"}
    assert "MILLSTREAM_PRIVACY_KEYS is missing" in refused(without)
    other = world.settings | {"MILLSTREAM_PRIVACY_KEYS": NEW}
    assert "silver/orders has orders.order_id as token by key k1" in refused(other)
    contract = world.folder / "enforced" / "readings" / "contract.yaml"
    text = contract.read_text()
    contract.write_text(text.replace("identifier: encrypt", "identifier: token"))
    try:
        was = "silver/readings has readings.sensor as encrypt by key k1"
        assert was in refused(world.settings)
    finally:
        contract.write_text(text)
    # A new key in front encrypts from now on, and moves no token.
    world.settings["MILLSTREAM_PRIVACY_KEYS"] = f"{NEW},{OLD}"
    world.run(orders=[mine(2), mine(2, amount=-7)])
    silver, sealed = (table(world.folder, f"{n}/orders") for n in ("silver", "quarantine"))
    token = KeyRing.parse(OLD).oldest.token("order_id", f"{MARK}-2")
    assert silver.filter(order_id=token).height == 2
    assert {"k1", "k2"} <= set(sealed[KEY_ID])
