"""Records that a flow refuses, what it makes of them, and the tool that looks into them."""

import json
import shlex
from typing import Any

import pytest
from confluent_kafka import Producer

from operators.connectors.kafka.client import headers_of, read_to_end
from operators.records.quarantine import ATTEMPTS_HEADER
from ops import cli
from tests.field.topic import Field, payment


def truncated(number: int) -> bytes:
    """Return a payment that ends behind its country, wherever that lies."""
    whole = payment(number, device_id="d" * number, country="BE")
    return whole[: whole.index(b"\4BE") + 3]


def refused(first: int) -> list[bytes | None]:
    """Return records of five kinds, by their first number."""
    unknown = [b"\0" + n.to_bytes(4, "big") + b"x" for n in range(first + 1, first + 6)]
    broken = [payment(n, currency="eur", amount_minor=-5) for n in range(first, first + 3)]
    return [*map(truncated, range(first, first + 20)), *unknown, *broken, None, b'{"a": 1}']


def run(field: Field) -> None:
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()


def send_again(field: Field, value: bytes | None) -> None:
    """Send a record with the headers of its dead letter, and one that is bad there itself."""
    config = {"bootstrap.servers": field.bootstrap}
    (letter,) = (
        each for each in read_to_end(config, f"{field.topic}.dlq", {0: 0}) if each.value() == value
    )  # fmt: skip
    assert headers_of(letter)[ATTEMPTS_HEADER] == b"1"
    producer = Producer(config)
    odd = ("\x1b[31m[red]", b"\xff\x1b")
    producer.produce(field.topic, value, b"k\x1b", headers=[*letter.headers(), odd])
    assert producer.flush(30) == 0


def said(capsys: pytest.CaptureFixture[str], command: str, status: int = 0) -> str:
    """Return what ``millstream dlq`` prints."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["dlq", *shlex.split(command)])
    captured = capsys.readouterr()
    assert ended.value.code == status, captured
    return captured.out + captured.err


def told(capsys: pytest.CaptureFixture[str], command: str, status: int = 0) -> Any:
    """Return what ``millstream dlq`` prints as JSON."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["dlq", *shlex.split(command), "--json"])
    captured = capsys.readouterr()
    assert ended.value.code == status, captured
    return json.loads(captured.out)
