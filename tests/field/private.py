"""Personal data, and a payments' contract that hides it, for flows and commands of this process."""

import shutil
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Producer

import schemas
from operators.connectors.kafka.client import read_to_end
from operators.contracts import load_contract, load_privacy
from tests.field.topic import Field, payment
from tests.running import wait_until
from tests.scraped import served
from tests.servers.ports import lasting_port

_ROOT = Path(__file__).parents[2]
_CONTRACT = schemas.contract("payment")

MARK = "MARKER"
"""What is in all that is personal."""


def person(number: int, of: int, **fields: Any) -> bytes:
    """Return a payment of a person, whose every personal field has the marker."""
    told = {
        "card_id": f"{MARK}-card-{of}",
        "customer_id": f"{MARK}-customer-{of}",
        "device_id": f"{MARK}-device-{of}",
    }
    return payment(number, **told | fields)


def bad(number: int, of: int) -> list[bytes]:
    """Return records that are refused, one of each kind, all with the marker."""
    good = person(number, of)
    customer = f"{MARK}-customer-{of}".encode()
    return [
        person(number + 1, of, currency="eur"),
        good[:-6],
        good[: good.index(customer) + len(customer)],
        f'{{"customer_id": "{MARK}-customer-{of}"}}'.encode(),
        b"\0\0\0\0\x63" + good[5:],
        good.replace(b"EUR", b"\xff\xff\xff"),
    ]


def send(field: Field, *values: bytes) -> None:
    """Send records with a key and a header that have the marker too."""
    producer = Producer({"bootstrap.servers": field.bootstrap, "log_level": 0})
    for value in values:
        headers = [("trace", f"{MARK}-header".encode())]
        producer.produce(field.topic, value, f"{MARK}-key".encode(), 0, headers=headers)
    assert producer.flush(30) == 0


def declare(field: Field, text: str) -> None:
    """Have flows that are started from now on hide what a text behind their contract says."""
    package = field.folder / "release" / "schemas"
    shutil.copytree(_ROOT / "schemas", package, dirs_exist_ok=True)
    (package / "payment" / "contract.yaml").write_text(f"{_CONTRACT}{text}")
    field.settings["PYTHONPATH"] = f"{package.parent}:{_ROOT}"


@contextmanager
def declared(
    text: str, monkeypatch: pytest.MonkeyPatch, contract: str | None = _CONTRACT
) -> Iterator[None]:
    """Have this process know that contract, for a while."""
    others = schemas.contract
    caches = load_contract, load_privacy
    with monkeypatch.context() as patch:
        patch.setattr(
            schemas, "contract", lambda n: f"{contract}{text}" if n == "payment" else others(n)
        )
        for each in caches:
            each.cache_clear()
        yield
    for each in caches:
        each.cache_clear()


@dataclass(frozen=True)
class Begun:
    """A flow that has read records of three persons and some that are refused, and was stopped."""

    field: Field
    records: list[bytes]
    said: str
    metrics: str


def begin(field: Field) -> Begun:
    """Have a flow read such records from a new topic until all are in its tables."""
    port = lasting_port()
    field.settings |= served(port, field.folder)
    field.create()
    large = [person(n, n % 3, amount_minor=2_000_000) for n in range(30)]
    records = [*large, large[0], *bad(100, 0), *bad(200, 1)]
    send(field, *records)
    flow = field.flow()
    there = field.folder / "tables" / "quarantine" / "payments" / "_delta_log"
    wait_until(lambda: there.exists() and field.table("quarantine/payments").height == 12)
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read()
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    return Begun(field, records, flow.said(), metrics.decode())


def told_by_tables(field: Field) -> dict[str, str]:
    """Return by table all that its rows hold, as a text; bytes as Python has them."""
    root = field.folder / "tables"
    names = [str(log.parent.relative_to(root)) for log in root.rglob("_delta_log")]
    with pl.Config(fmt_str_lengths=10_000):
        return {name: repr(field.table(name).to_dicts()) for name in names}


def told_by_topics(field: Field) -> dict[str, str]:
    """Return by topic all that its messages hold, as a text."""
    config = {"bootstrap.servers": field.bootstrap}
    found: dict[str, str] = {}
    for topic in ("dlq", "alerts", "decisions"):
        name = f"{field.topic}.{topic}"
        messages: list[Any] = list(read_to_end(config, name, {0: 0}))
        found[topic] = repr([(m.key(), m.value(), m.headers()) for m in messages])
    return found
