"""Subjects: the schemas whose payloads are mutated, good payloads of them, and how each is read."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final
from uuid import UUID

import fastavro
import polars as pl

import schemas
from operators.avro import Decoder
from operators.contracts import load_contract
from operators.contracts.contract import Checked
from tests.operators.avro.nested import array, fixed, logical, record
from tests.operators.avro.payments import KNOWN, READER, payment, raw

LINE = record(
    ("sku", "string"),
    ("count", "int"),
    ("price", ["null", logical("bytes", "decimal", precision=12, scale=2)]),
    ("tags", {"type": "map", "values": ["null", "string"]}),
    name="Line",
)
STATE = {"type": "enum", "name": "State", "symbols": ["OPEN", "PAID", "SENT"]}
ORDER = record(
    ("id", fixed("Guid", 16, logicalType="uuid")),
    ("at", logical("long", "timestamp-millis")),
    ("day", logical("int", "date")),
    ("state", STATE),
    ("lines", array(LINE)),
    ("grid", array(array(["null", "long"]))),
    ("lasts", ["null", fixed("Duration", 12, logicalType="duration")]),
    ("note", ["string", "null"]),
    ("either", ["null", "string", "double", "Line"]),
    ("gift", "boolean"),
    ("weight", "float"),
    name="Order",
)
# Another producer's: narrower numbers, another order of a union, a field more, one symbol unknown.
WRITTEN = record(
    ("extra", array("string")),
    ("gift", "boolean"),
    ("weight", "int"),
    ("id", fixed("Guid", 16)),
    ("at", "int"),
    ("day", "int"),
    ("state", {"type": "enum", "name": "State", "symbols": ["SENT", "LOST", "OPEN"]}),
    ("lines", array(record(("count", "int"), ("sku", "bytes"), ("price", "null"),
        ("tags", {"type": "map", "values": "string"}), name="Line"))),
    ("grid", array(array("int"))),
    ("lasts", "null"),
    ("note", ["null", "string"]),
    ("either", ["float", "null"]),
    name="Order",
)  # fmt: skip
_NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Subject:
    """A reader's schema, those that write for it by their ids, and good values to begin with."""

    reader: Any
    written: dict[int, Any]
    make: Callable[[int], tuple[int, Any]]
    contract: Callable[[pl.DataFrame, pl.Series], Checked]

    def decoder(self) -> Decoder:
        known = KNOWN | self.written
        return Decoder(self.reader, known.__getitem__)

    def plain(self) -> Decoder:
        """Return one that knows no logical types, as fastavro is asked."""
        known = {id_: raw(schema) for id_, schema in (KNOWN | self.written).items()}
        return Decoder(raw(self.reader), known.__getitem__)

    @cache  # noqa: B019 # there are two
    def good(self, count: int) -> list[bytes]:
        """Return framed records of all the writers."""
        parsed = {id_: fastavro.parse_schema(schema) for id_, schema in self.written.items()}
        found = []
        for number in range(count):
            id_, value = self.make(number)
            out = io.BytesIO(b"\0" + id_.to_bytes(4, "big"))
            out.seek(5)
            fastavro.schemaless_writer(out, parsed[id_], value)
            found.append(out.getvalue())
        return found


def _payment(number: int) -> tuple[int, Any]:
    version = 1 + number % 3 // 2
    return schemas.local_id("payment", version), payment(
        payment_id=f"p{number}",
        event_time=1_760_000_000_000_000 + number,
        amount_minor=number * 7,
        merchant_category="5411",
        terminal_id="t" * (1 + number % 64),
        latitude=number % 90 + 0.5 if number % 2 else None,
        longitude=-number / 50 if number % 2 else None,
        device_id=None if number % 3 else "gerät",
        channel=("POS", "ECOM", "ATM", "MOTO")[number % 4],
    )


def _line(number: int) -> dict[str, Any]:
    price = Decimal(number % 9_999_999).scaleb(-2) if number % 3 else None
    tags = {"a": "ä" * (number % 3), "b": None} if number % 2 else {}
    return {"sku": f"s{number}", "count": -number, "price": price, "tags": tags}


def _order(number: int) -> tuple[int, Any]:
    if number % 10 == 9:
        return 8, {
            "extra": ["x"] * (number % 4), "gift": True, "weight": number, "id": bytes(16),
            "at": number, "day": number, "state": "OPEN" if number % 20 == 9 else "LOST",
            "lines": [{"count": 1, "sku": b"k", "price": None, "tags": {"k": "v"}}],
            "grid": [[1], []], "lasts": None, "note": None, "either": 0.5,
        }  # fmt: skip
    return 7, {
        "id": UUID(int=number).bytes,
        "at": _NOON + timedelta(milliseconds=number),
        "day": _NOON.date(),
        "state": ("OPEN", "PAID", "SENT")[number % 3],
        "lines": [_line(number + each) for each in range(number % 5)],
        "grid": [[each, None] for each in range(number % 3)],
        "lasts": bytes(range(12)) if number % 2 else None,
        "note": "n" * (number % 70) if number % 4 else None,
        "either": (None, "text", 1.5, _line(number))[number % 4],
        "gift": number % 2 == 0,
        "weight": 0.25,
    }


def _of_payments(frame: pl.DataFrame, stamps: pl.Series) -> Checked:
    return load_contract("payment").check(frame, stamps)


def _anything(frame: pl.DataFrame, stamps: pl.Series) -> Checked:
    good = pl.repeat(value=True, n=frame.height, eager=True)
    return Checked(good, [], Counter(), frame, Counter())


_PAYMENT_IDS: Final = {
    schemas.local_id("payment", version): schemas.load("payment", version) for version in (1, 2)
}
SUBJECTS: Final = {
    "payments": Subject(READER, _PAYMENT_IDS, _payment, _of_payments),
    "orders": Subject(ORDER, {7: ORDER, 8: WRITTEN}, _order, _anything),
}
