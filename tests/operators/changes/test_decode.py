"""Changes out of records: Debezium's envelope and plain ones, Avro and JSON, and what is none."""

import io
import json
import struct
from datetime import UTC, datetime, timedelta

import fastavro
import numpy as np
import pytest

from operators.changes import ChangeDecoder, Changes

CUSTOMER = {
    "type": "record",
    "name": "Customer",
    "namespace": "millstream",
    "fields": [
        {"name": "customer_id", "type": "string"},
        {"name": "segment", "type": "string"},
        {"name": "limit_minor", "type": ["null", "long"], "default": None},
        {
            "name": "since",
            "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}],
            "default": None,
        },
        {"name": "version", "type": "long", "default": 0},
    ],
}
_ROW = json.loads(json.dumps(CUSTOMER | {"name": "Value", "namespace": "db.public.customers"}))
_SOURCE = {
    "type": "record",
    "name": "Source",
    "namespace": "io.debezium.connector.postgresql",
    "fields": [
        {"name": "connector", "type": "string"},
        {"name": "ts_ms", "type": "long"},
        {"name": "lsn", "type": ["null", "long"], "default": None},
    ],
}
ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "namespace": "db.public.customers",
    "fields": [
        {"name": "before", "type": ["null", _ROW], "default": None},
        {"name": "after", "type": ["null", "Value"], "default": None},
        {"name": "source", "type": _SOURCE},
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"], "default": None},
    ],
}
KEY = {
    "type": "record",
    "name": "Key",
    "namespace": "db.public.customers",
    "fields": [{"name": "customer_id", "type": "string"}],
}
SCHEMAS = {1: CUSTOMER, 2: ENVELOPE, 3: KEY}
NOON_MS = 1_770_000_000_000


def at(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def avro(number: int, value: dict) -> bytes:
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, number))
    schema = fastavro.parse_schema(json.loads(json.dumps(SCHEMAS[number])))
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def row(name: str, **fields) -> dict:
    return {
        "customer_id": name, "segment": "HIGH", "limit_minor": None, "since": None, "version": 1
    } | fields  # fmt: skip


def enveloped(op: str, before=None, after=None, lsn=5, ts_ms=NOON_MS) -> dict:
    source = {"connector": "postgresql", "ts_ms": ts_ms, "lsn": lsn}
    return {"before": before, "after": after, "source": source, "op": op, "ts_ms": ts_ms + 1}


def decoded(changes: Changes, *records: tuple[bytes | None, bytes | None], stamp=NOON_MS):
    """Return the changes of (key, value) records by their row, and the refusals' codes."""
    decoder = ChangeDecoder(changes, CUSTOMER, lambda n: json.loads(json.dumps(SCHEMAS[n])))
    keys, values = zip(*records, strict=True)
    count = len(records)
    found = decoder.decode(
        values, [None] * count, keys, np.arange(count) + 100, np.full(count, stamp)
    )
    frame, rows = found.in_order()
    assert frame.columns == list(changes.columns(decoder._fields))
    assert sorted([*rows.tolist(), *(r.row for r in found.refusals)]) == list(range(count))
    good = dict(zip(rows.tolist(), frame.to_dicts(), strict=True))
    return good, {refusal.row: refusal.code for refusal in found.refusals}


DEBEZIUM = Changes(("customer_id",), "source.lsn", envelope="debezium")
PLAIN = Changes(("customer_id",), "version", deletes="segment = 'CLOSED'")


def test_debezium_says_the_same_in_avro_and_in_json_with_and_without_its_schema():
    told = [
        enveloped("r", after=row("a", limit_minor=7, since=1_000), lsn=1),
        enveloped("u", before=row("a"), after=row("a", segment="LOW"), lsn=2),
        enveloped("d", before=row("a"), lsn=3),
    ]
    records = [(None, avro(2, each)) for each in told]
    records += [(None, json.dumps(each).encode()) for each in told]
    records += [(None, json.dumps({"schema": {}, "payload": each}).encode()) for each in told]
    good, bad = decoded(DEBEZIUM, *records)
    assert bad == {}
    first = [good[n] for n in range(3)]
    assert [good[n] for n in range(3, 6)] == [good[n] for n in range(6, 9)] == first
    assert first[0] == row("a", limit_minor=7, since=at(1)) | {
        "event_time": at(NOON_MS), "change_sequence": 1, "deleted": False
    }  # fmt: skip
    assert first[1]["segment"] == "LOW"
    # Nothing but the key is kept of what is gone.
    assert first[2] == dict.fromkeys(row("a")) | {
        "customer_id": "a", "event_time": at(NOON_MS), "change_sequence": 3, "deleted": True
    }  # fmt: skip


def test_a_tombstone_is_of_its_key_and_of_the_time_that_kafka_had_it():
    keys = [b"a", b'"a"', b'{"customer_id": "a"}', avro(3, {"customer_id": "a"})]
    keys.append(b'{"schema": {}, "payload": {"customer_id": "a"}}')
    good, bad = decoded(DEBEZIUM, *((key, None) for key in keys), (None, None), (b"\xff", None))
    assert bad == {5: "no_key", 6: "no_key"}
    stone = dict.fromkeys(row("a")) | {
        "customer_id": "a", "event_time": at(NOON_MS), "change_sequence": None, "deleted": True
    }  # fmt: skip
    assert list(good.values()) == [stone] * 5
    assert decoded(DEBEZIUM, (b"a", None), stamp=-1) == ({}, {0: "no_time"})


def test_a_key_of_a_whole_number_is_its_text():
    changes = Changes(("version",), "offset")
    good, bad = decoded(
        changes,
        *((key, None) for key in (b"42", b'"-7"', b'{"version": 3}', b"1_0", b" 1", b"x")),
    )
    assert [each["version"] for each in good.values()] == [42, -7, 3]
    assert bad == dict.fromkeys((3, 4, 5), "no_key")
    # The field has a default, which is no key.
    enveloping = Changes(("version",), "source.lsn", envelope="debezium")
    gone = json.dumps(enveloped("d")).encode()
    good, bad = decoded(enveloping, (b"42", gone), (None, gone))
    assert (good[0]["version"], bad) == (42, {1: "no_key"})


def test_a_deletion_without_its_row_is_of_the_records_key():
    value = json.dumps(enveloped("d")).encode()
    good, bad = decoded(DEBEZIUM, (b"a", value), (None, value))
    assert (good[0]["customer_id"], good[0]["change_sequence"]) == ("a", 5)
    assert bad == {1: "no_key"}


def test_plain_records_are_ordered_by_a_field_a_time_or_the_topic():
    value, closed = avro(1, row("a", version=9)), row("a", version=10, segment="CLOSED")
    good, bad = decoded(PLAIN, (None, value), (None, json.dumps(closed).encode()), (b"a", None))
    assert bad == {}
    assert [each["change_sequence"] for each in good.values()] == [9, 10, None]
    assert [each["deleted"] for each in good.values()] == [False, True, True]
    assert good[1]["version"] is None
    timed = Changes(("customer_id",), "since", time="since")
    iso = json.dumps(row("a", since="2026-02-02T03:00:00+01:00")).encode()
    good, _ = decoded(timed, (None, iso))
    assert good[0]["event_time"] == datetime(2026, 2, 2, 2, tzinfo=UTC)
    assert good[0]["change_sequence"] == int(good[0]["event_time"].timestamp() * 1e6)
    good, _ = decoded(Changes(("customer_id",), "offset"), (None, value), (b"a", None))
    assert [each["change_sequence"] for each in good.values()] == [100, 101]
    assert good[1]["deleted"]


def test_a_time_of_no_calendar_is_none_of_a_deletion_either():
    timed = Changes(("customer_id",), "version", time="since", deletes="segment = 'CLOSED'")
    micros = 2**62
    value = avro(1, row("a", segment="CLOSED") | {"since": None})
    schema = json.loads(json.dumps(CUSTOMER))
    schema["fields"][3]["type"] = ["null", "long"]
    out = io.BytesIO()
    out.write(struct.pack(">bI", 0, 1))
    fastavro.schemaless_writer(
        out, fastavro.parse_schema(schema), row("a", segment="CLOSED", since=micros)
    )
    good, bad = decoded(timed, (None, value), (None, out.getvalue()), stamp=-1)
    assert (good, bad) == ({}, {0: "no_time", 1: "no_time"})


def test_what_is_no_change_is_refused_with_a_code_and_no_value_of_it():
    envelopes = [
        enveloped("t"), enveloped("c"), enveloped("c", after=row("a"), lsn=None),
        enveloped("c", after=row("a", segment=None)), enveloped("c", after=row("a", segment=5)),
        enveloped("c", after=row("a", limit_minor=2**63)), enveloped("c", after=row(None)),
        enveloped("u", after={"customer_id": "a"}),
    ]  # fmt: skip
    records = [json.dumps(each).encode() for each in envelopes]
    records += [b"{", b"[]", b"", b"\1", avro(2, enveloped("c", after=row("a")))[:-4]]
    _, bad = decoded(DEBEZIUM, *((b"a", each) for each in records))
    assert [*bad.values()] == [
        "unknown_op", "malformed", "no_sequence", "malformed", "malformed", "malformed",
        "malformed", "malformed", "malformed", "bad_magic", "empty", "truncated_frame",
        "malformed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (Changes((), "version"), "known by nothing"),
        (Changes(("nothing",), "version"), "no field nothing"),
        (Changes(("customer_id",), "segment"), "the sequence segment"),
        (Changes(("customer_id",), "source.lsn"), "the sequence source.lsn"),
        (Changes(("customer_id",), "version", time="version"), "the time version"),
        (
            Changes(("customer_id",), "source.lsn", envelope="debezium", deletes="1=1"),
            "says itself",
        ),
    ],
)
def test_what_cannot_be_changes_of_rows_is_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        decoded(changes, (None, None))
