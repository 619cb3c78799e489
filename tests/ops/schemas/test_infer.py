"""Drafts of schemas and contracts: what is drafted of values holds of them."""

import io
import json

import fastavro
import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st

import schemas
from operators.avro.compatibility import invalid
from operators.contracts import read_contract
from ops import cli
from ops.schemas.infer import draft_contract, draft_schema, record_name
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from tests.examples import examples
from tests.operators.connectors.registry_server import serving

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False),
    st.text(max_size=5), st.sampled_from([[1], [None], [], {}, {"a": {"b": 1}}, {"a_b": "c"}]),
    st.lists(st.dictionaries(st.sampled_from("ab"), st.integers(0, 1), max_size=2), max_size=2),
    st.integers(1_700_000_000_000, 1_800_000_000_000),
    st.integers(1_700_000_000_000_000, 1_800_000_000_000_000),
)  # fmt: skip


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c d", "e"]), VALUES), min_size=1))
@examples(0.5)
def test_a_draft_of_any_objects_is_a_schema_with_a_contract(values):
    schema, _ = draft_schema("any", values)
    assert invalid(schema) == ""
    read_contract(draft_contract(schema, values), schema, "contract.yaml")


def test_what_is_seen_decides():
    values = [
        {
            "id": f"payment-{n}", "currency": "EUR" if n % 2 else "USD", "country": "BE",
            "amount": n * 37, "rate": n / 2 if n % 3 else n, "at": 1_800_000_000_000_000 + n,
            "seen": 1_800_000_000_000 + n, "code": f"{n:04}", "ok": n % 2 == 0, "debit": -n,
            **({"note": "x" * n} if n % 4 else {}), "never": None,
            "nested": {"a": 1, "b c": 2, "lines": [{"sku": "x"}, {"sku": "y", "n": n}]},
            "mixed": n if n % 2 else "text", "of$": 1,
        }
        for n in range(60)
    ]  # fmt: skip
    schema, notes = draft_schema("payment", values)
    kinds = {field["name"]: field["type"] for field in schema["fields"]}
    assert kinds == {
        "id": "string", "currency": "string", "country": "string", "amount": "long",
        "rate": "double", "at": {"type": "long", "logicalType": "timestamp-micros"},
        "seen": {"type": "long", "logicalType": "timestamp-millis"}, "code": "string",
        "ok": "boolean", "debit": "long", "note": ["null", "string"],
        "nested": {"type": "record", "name": "PaymentNested", "fields": [
            {"name": "a", "type": "long"},
            {"name": "lines", "type": {"type": "array", "items": {
                "type": "record", "name": "PaymentNestedLines", "fields": [
                    {"name": "sku", "type": "string"},
                    {"name": "n", "type": ["null", "long"], "default": None},
                ]}}},
        ]},
    }  # fmt: skip
    assert notes == [
        "never is left out: it is always null",
        "'nested.b c' is left out: it is no name in Avro",
        "mixed is left out: its values are of type int and str",
        "'of$' is left out: it is no name in Avro",
    ]
    assert draft_contract(schema, values).splitlines()[1:] == [
        "checks:",
        "- code: id_length", "  field: id", "  bytes:", "  - 1", "  - 16",
        "- code: currency_unknown", "  field: currency", "  in:", "  - EUR", "  - USD",
        "- code: country_unknown", "  field: country", "  in:", "  - BE",
        "- code: amount_range", "  field: amount", "  range:", "  - 0", "  - 10000",
        "- code: rate_range", "  field: rate", "  range:", "  - 0", "  - 100",
        "- code: at_range", "  field: at", "  time:", "  - '2000-01-01'", "  - '2100-01-01'",
        "- code: code_format", "  field: code", "  pattern: '[0-9]{4}'",
        "- code: debit_range", "  field: debit", "  range:", "  - -100", "  - 100",
        "- code: note_length", "  field: note", "  bytes:", "  - 1", "  - 64",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("payments", "payment"),
        ("shop.web-clicks", "web_click"),
        ("2024", "record_2024"),
        ("é", "record"),
    ],
)
def test_a_record_is_called_after_its_topic(topic, name):
    assert record_name(topic) == name


@pytest.fixture
def run(stack, monkeypatch, capsys):
    """What `millstream schemas infer …` returns, prints, and says besides."""
    for name, value in stack.env().items():
        monkeypatch.setenv(name, value)

    def infer(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(["schemas", "infer", *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err.splitlines()

    return infer


def send(stack, topic, *values):
    create_topic(stack.bootstrap, topic, 1)
    producer = Producer({"bootstrap.servers": stack.bootstrap})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def test_a_topic_of_avro_has_the_schema_that_wrote_it(stack, run, tmp_path):
    create_topic(stack.bootstrap, "drafted.payments", 3)
    produce(simulate(Params(payments=300, partitions=3)), stack.bootstrap, "drafted.payments")
    status, out, _ = run("drafted.payments", "--json", "--records", 200)
    told = json.loads(out)
    assert (status, told["record"]) == (0, "payment")
    assert told["schema"] in [schemas.load("payment", n) for n in schemas.versions("payment")]
    read_contract(told["contract"], told["schema"], "contract.yaml")
    status, out, _ = run("drafted.payments", "--out", tmp_path)
    assert status == 0
    assert json.loads((tmp_path / "payment/1.avsc").read_text())["name"] == "Payment"
    status, _, said = run("drafted.payments", "--out", tmp_path)
    assert status == 2
    assert said[-1].endswith("is there already: name another --out")
    with pytest.raises(SystemExit) as ended:
        cli.main(["schemas", "lock", str(tmp_path)])
    assert ended.value.code == 0


def test_a_topic_of_json_and_of_anything(stack, run):
    values = [json.dumps({"order_id": f"o{n}", "total": n}).encode() for n in range(30)]
    send(stack, "drafted.orders", *values, b'{"cut', b"plain", b"\0\0\0\0\x07body", None)
    status, out, said = run("drafted.orders")
    assert status == 0
    assert '"name": "Order"' in out
    assert "code: total_range" in out
    assert sorted(said) == [
        "millstream: 1 records are neither JSON nor Avro with a schema's id",
        "millstream: 1 records are no whole JSON object",
        "millstream: 1 records are schema id 7, which the registry does not have",
    ]


def framed(number, schema, value):
    out = io.BytesIO(b"\0" + number.to_bytes(4, "big"))
    out.seek(5)
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def test_nested_records_odd_numbers_and_what_is_cut_or_no_avro_at_all(stack, run, monkeypatch):
    def of(kind):
        return {"type": "record", "name": "R", "fields": [{"name": "f", "type": kind}]}

    with serving() as registry:
        monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY", registry.url)
        odd, nested = of("double"), of({"type": "array", "items": ["int", "string"]})
        for schema in (odd, nested, of({"type": "record", "name": "Empty", "fields": []})):
            registry.add("any", {"schema": json.dumps(schema)})
        registry.add("any", {"schema": '{"type": "object"}', "schemaType": "JSON"})
        values = [framed(1, odd, {"f": value}) for value in (0.5, -20, float("nan"))]
        send(stack, "drafted.odd", *values, values[0][:-1], b"\0\0\0\0\x04{}")
        status, out, said = run("drafted.odd", "--json")
        assert status == 0
        assert json.loads(out)["schema"] == odd
        assert "- -100\n  - 100\n" in json.loads(out)["contract"]
        assert sorted(said) == [
            "millstream: 1 records are not what schema id 1 says",
            "millstream: 1 records are not what schema id 4 says",
        ]
        send(stack, "drafted.nested", *[framed(2, nested, {"f": [1]})] * 2)
        status, out, said = run("drafted.nested", "--json")
        assert (status, said, json.loads(out)["schema"]) == (0, [], nested)
        send(stack, "drafted.empty.record", b"\0\0\0\0\3")
        status, _, said = run("drafted.empty.record")
        assert status == 0
        assert said[0].startswith("millstream: no flow can read the schema as it is: field f")


def test_what_cannot_be_drafted_is_said_in_a_line(stack, run, monkeypatch):
    create_topic(stack.bootstrap, "drafted.empty", 1)
    assert run("drafted.empty")[::2] == (
        1, ["millstream: topic drafted.empty has no record to draft a schema from"]
    )  # fmt: skip
    status, _, (said,) = run("drafted.nothing")
    assert status == 1
    assert "there is no topic 'drafted.nothing'" in said
    assert run("drafted.empty", "--records", 0)[0] == 2
    monkeypatch.delenv("MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS")
    assert run("drafted.empty")[::2] == (
        2, ["millstream: MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is missing"]
    )  # fmt: skip
