"""A reject of an enforced topic that is sent again is one record with its producer's own."""

import json
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops.dlq import streams as dlq_streams
from ops.local import Stack
from ops.topics import create_topic
from tests.field import refused
from tests.flows.enforced import asked, order, send, settings, table, there
from tests.running import Flow, run

Told = Callable[..., Any]
KILLED = "operators.connectors.delta.writer.sync_commit:kill"


class World:
    """A topic of orders that have an id, in one partition, and what runs the flow on it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.settings = settings(stack, folder) | {"MILLSTREAM_STOP_AT_END": "true"}
        for other in ("heartbeats", "readings"):
            shutil.rmtree(folder / "enforced" / other)
        contract = folder / "enforced" / "orders" / "contract.yaml"
        contract.write_text(f"id: order_id\n{contract.read_text()}")
        create_topic(stack.bootstrap, f"{folder.name}.orders", 1)

    def send(self, *values: bytes) -> None:
        """Send orders."""
        every: Any = [(None, value, None) for value in values]
        # To partition 0, whichever is whose turn.
        for each in every:
            send(self.stack, self.folder.name, {"orders": [each]})

    def run(self) -> None:
        """Enforce what is there."""
        run("enforce", self.settings, self.folder / "state")

    @property
    def validated(self) -> list[str]:
        """Return the ids that went on, in their order."""
        name = f"{self.folder.name}.orders.validated"
        (messages,) = there(self.stack, name, 1)
        return [json.loads(m.value())["order_id"] for m in messages]


@pytest.fixture
def world(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(stack, tmp_path)
    for name, value in made.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MILLSTREAM_REDIS_URL", raising=False)
    dlq_streams.lookup.cache_clear()
    return made


def bad(number: int) -> bytes:
    return order(number, amount=2_000_000 + number)


def test_a_replay_and_the_producers_own_repair_are_one_record(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    told: Told = partial(refused.told, capsys)
    # Of 5 two are bad, of 6 none was ever good or bad before.
    world.send(bad(1), bad(2), bad(3), bad(4), bad(5), bad(5), order(6))
    world.run()
    edit = "--stream orders --code amount_range --set 'amount = 10.0'"
    told(f"edit {edit} --save --why 'cents'")
    # The producer mends 1 before the replay, and the flow has read that; 2 as well, and it has not.
    world.send(order(1, amount=10))
    world.run()
    world.send(order(2, amount=10))
    planned = {
        each["outcome"]: each["count"] for each in told("replay --stream orders")["outcomes"]
    }
    assert planned == {"silver": 4, "duplicate": 2}
    told("replay --stream orders --send --why mended")
    # Of 3 the producer's own comes behind the replay's; 6 is sent twice by the producer alone.
    world.send(order(3, amount=10), order(6))
    killed = Flow("enforce", world.settings, world.folder / "state", at=KILLED)
    assert killed.wait() == -9, killed.said()
    world.run()
    # Who has lost what was claimed sends all of it again, and the flow its state.
    claims = world.folder / "tables" / "ops"
    shutil.rmtree(claims / "replays")
    shutil.rmtree(claims / "sent")
    shutil.rmtree(world.folder / "state")
    again = told("replay --stream orders")["outcomes"]
    assert {each["outcome"] for each in again} == {"duplicate"}
    world.send(order(4, amount=10))
    world.run()

    silver = table(world.folder, "silver/orders")
    rows = [n.removeprefix("order-") for n in silver["order_id"]]
    assert rows == ["6", "1", "2", "3", "4", "5", "6"]
    place = f"{world.folder.name}.orders/0/"
    assert silver["replayed_from"].to_list() == [
        None, None, None, f"{place}2", f"{place}3", f"{place}4", None
    ]  # fmt: skip
    repeated = table(world.folder, "silver/orders_duplicates")
    again_of = dict(zip(silver["source_offset"], rows, strict=True))
    firsts = repeated.select("order_id", "first_offset").iter_rows()
    assert [(n, again_of[at]) for n, at in firsts] == [
        ("order-2", "2"), ("order-3", "3"), ("order-4", "4")
    ]  # fmt: skip
    assert repeated["replayed_from"].to_list() == [f"{place}1", None, None]
    assert [n.removeprefix("order-") for n in world.validated] == rows
    status, found = asked(capsys, "verify")
    assert status == 0, [each for each in found["checks"] if not each["ok"]]
    (checked,) = (e for e in found["checks"] if "what was sent again once" in e["name"])
    assert checked["compared"] == 3 + 3

    # And it tells what is there twice.
    twice = silver.filter(order_id="order-3").with_columns(
        source_offset=silver["source_offset"].max() + 9
    )
    twice.drop("replayed_from").write_delta(
        str(world.folder / "tables/silver/orders"),
        mode="append",
        delta_write_options={"schema_mode": "merge"},
    )
    status, found = asked(capsys, "verify")
    wrong = [
        e["examples"][0]["problem"] for e in found["checks"] if "sent again once" in e["name"]
    ]
    assert (status, wrong) == (1, ["in silver beside what was sent again"])


def test_a_topic_that_gets_its_id_later_goes_on_as_it_is(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = world.folder / "enforced" / "orders" / "contract.yaml"
    text = contract.read_text()
    contract.write_text(text.removeprefix("id: order_id\n"))
    world.send(order(1), bad(2))
    world.run()
    assert "replayed_from" not in table(world.folder, "silver/orders").columns
    contract.write_text(text)
    told: Told = partial(refused.told, capsys)
    edit = shlex.join(["--set", "amount = 10.0"])
    told(f"edit --stream orders {edit} --save --why w")
    told("replay --stream orders --send --why w")
    world.send(order(2, amount=10))
    world.run()
    silver = table(world.folder, "silver/orders")
    assert silver["order_id"].to_list() == ["order-1", "order-2"]
    assert table(world.folder, "silver/orders_duplicates").height == 1
    status, found = asked(capsys, "verify")
    assert status == 0, [each for each in found["checks"] if not each["ok"]]
