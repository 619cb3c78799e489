"""What the enforce flow is told: settings and files, refused all at once where they are wrong."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

import schemas
from flows.enforced.files import read_folder
from flows.enforced.loading import enforced, load, own_schemas, upkeeps
from flows.environment import SettingsError
from flows.streams.upkeep import Upkeep
from tests.flows.enforced import ORDER, READING, declare, order

NEEDED = {"MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "b:1", "MILLSTREAM_DELTA_ROOT": "/tables"}


def write(folder: Path, **texts: str) -> Path:
    """Write files, whose names have __ for the slash and _ for the dot behind a version."""
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_json", ".json").replace(
            "_avsc", ".avsc"
        )
        path = path.with_name("contract.yaml") if path.name == "contract" else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_topics_are_declared_in_files_alone(tmp_path: Path) -> None:
    loaded = load(NEEDED | {"MILLSTREAM_ENFORCE_FOLDER": str(declare(tmp_path / "t", "shop"))})
    heartbeats, orders, readings = loaded.topics
    assert (orders.topic, orders.validated, orders.dlq) == (
        "shop.orders", "shop.orders.validated", "shop.orders.dlq"
    )  # fmt: skip
    assert (heartbeats.written, heartbeats.validated) == ("json", None)
    assert [each.registered for each in loaded.topics] == [False, False, True]
    assert orders.fields["currency"] == pl.String()
    assert list(readings.silver.columns)[3:5] == ["kafka_timestamp", "sensor"]
    own = loaded.of(orders)
    assert (own.consumer_group, own.max_reject_ratio) == ("millstream-enforce", 0.5)
    assert own_schemas(loaded.topics)(schemas.local_id("readings", 1)) == READING


def test_settings_of_payments_count_where_none_are_given(tmp_path: Path) -> None:
    given = NEEDED | {
        "MILLSTREAM_ENFORCE_FOLDER": str(declare(tmp_path / "t", "shop")),
        "MILLSTREAM_MAX_REJECT_RATIO": "0.9",
        "MILLSTREAM_TOPIC": "others",
    }
    loaded = load(given)
    assert loaded.of(loaded.topics[0]).max_reject_ratio == 0.9
    loaded = load(given | {"MILLSTREAM_ENFORCE_MAX_REJECT_RATIO": "0.1"})
    assert loaded.of(loaded.topics[0]).max_reject_ratio == 0.1


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    schema, avro = json.dumps(ORDER), json.dumps(READING)
    folder = write(
        tmp_path,
        a__1_json=schema,
        a__contract="chekcs: []\nversion: 7",
        b__1_json=schema,
        b__1_avsc=avro,
        c__1_json='{"type": "strin"}',
        d__1_json=schema,
        d__contract="checks: [{code: x, field: nothing, range: [0, 1]}]",
        e__1_avsc=avro,
        e__contract="version: registry\nrepairs: [{does: trim, field: sensor}]",
        f__1_json=schema,
        f__2_json=schema,
        g__1_json='{"properties": {"source_offset": {"type": "integer"}}}',
        h__contract="topic: shop",
        Payments__1_json=schema,
        payments__1_json=schema,
        i__1_json='{"properties": {"x": {"type": "integer"}}}',
        i__2_json='{"properties": {"x": {"type": "string"}}}',
        i__contract="version: {field: v}",
        j__1_json=schema,
        j__contract="validated: j.dlq",
        k__1_json='{"properties": {"x": {"$ref": "http://127.0.0.1:1/x.json"}}}',
        l__1_json="{",
        m__1_avsc='{"type": "record", "name": "m", "fields": [{"name": "x", "type": "bytes"}]}',
        m__contract="written: json",
        n__1_json='{"type": "object"}',
        o__1_json=schema,
        o__contract="id: nothing",
        chargeback__1_json=schema,
    )
    with pytest.raises(SettingsError) as raised:
        load({"MILLSTREAM_ENFORCE_FOLDER": str(folder), "MILLSTREAM_ENFORCE_FODLER": "x"})
    lines = str(raised.value).replace(f"{folder}/", "").splitlines()
    for expected in (
        "MILLSTREAM_ENFORCE_FODLER: there is no such setting",
        "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is missing",
        "MILLSTREAM_DELTA_ROOT: is missing (path or s3://, abfss://, gs:// URL)",
        "Payments: the folder's name is that of tables: small letters, digits and _ alone",
        "a: contract.yaml: chekcs: Extra inputs are not permitted",
        "a: contract.yaml: version: is none of registry, {field: NAME}, {field: NAME, "
        "schema_field: NAME} and {header: NAME}",
        "b: has both Avro and JSON Schemas: a topic's versions are of one kind",
        "d: contract.yaml: checks.0 (x): the schema has no nothing",
        "e: repairs: the validated topic has records as they came, so state validated: false, or "
        "edit what is refused with millstream dlq edit",
        "f: version: there are 2, so state how it is told: registry, a field or a header",
        "g: silver has columns of its own called source_offset",
        "h: has no schema such as 1.avsc or 1.json",
        "i: 1.json: x is another column than in a later version: give it another name there",
        "m: 1.avsc: field x: plain JSON does not tell bytes; use a JSON Schema",
        "n: 1.json: has no properties, so silver would have no columns",
        "o: id: nothing is no field of the newest schema",
        "payments: a stream has this name or its tables: call the folder otherwise, and state "
        "topic",
        # Its data quality would be that of the chargebacks.
        "chargeback: a stream has this name or its tables: call the folder otherwise, and state "
        "topic",
    ):
        assert expected in lines, lines
    for begin in ("c: 1.json: ", "k: 1.json: ", "l: 1.json: ", "j: dlq: 'j.dlq' is "):
        assert any(line.startswith(begin) for line in lines), begin
    assert len([line for line in lines if line[1:2] == ":"]) == 16, lines


def test_how_tables_are_maintained_is_stated_too(tmp_path: Path) -> None:
    schema = json.dumps(ORDER)
    folder = write(
        tmp_path,
        a__1_json=schema,
        a__contract="""
id: order_id
upkeep:
  silver: {target_mb: 64, keep: 3d, z_order: [order_id], retention: 400d}
  duplicates: {retention: 400d}
  quarantine: {target_mb: 8}
  data_quality: {retention: 90d}
""",
        b__1_json=schema,
        b__contract="upkeep: {quarantine: {retention: null}}",
    )
    of = upkeeps({"MILLSTREAM_ENFORCE_FOLDER": str(folder)})
    days = timedelta(days=1)
    assert of("silver/a") == Upkeep(64 * 2**20, 3 * days, ("order_id",), 400 * days)
    assert of("silver/a_duplicates").retention == 400 * days
    # What is not said is as of every table of its kind.
    assert of("quarantine/a") == Upkeep(target=8 * 2**20, retention=30 * days)
    assert of("gold/a_data_quality").retention == 90 * days
    assert of("quarantine/b").retention is None
    assert of("silver/b") == Upkeep()
    assert of("silver/payments").z_order == ("card_id",)

    folder = write(
        tmp_path / "wrong",
        a__1_json=schema,
        a__contract="upkeep: {silver: {z_order: [nothing]}, duplicates: {}, schema_drift: {}}",
        b__1_json=schema,
        b__contract="upkeep: {silver: {keep: 1m}, gold: {}, quarantine: {retention: soon}}",
    )
    _, problems = read_folder(folder)
    none = "there is no such table of this topic"
    lines = [line.removeprefix(f"{folder}/") for line in problems]
    assert lines[:3] == [
        "a: contract.yaml: upkeep.silver: silver/a has no column nothing",
        f"a: contract.yaml: upkeep.duplicates: {none}",
        f"a: contract.yaml: upkeep.schema_drift: {none}",
    ]
    assert [line.partition(": ")[2].split(": ")[1] for line in lines[3:]] == [
        "upkeep.silver.keep", "upkeep.gold.[key]", "upkeep.quarantine.retention"
    ]  # fmt: skip


def test_tags_and_what_becomes_of_them_are_refused_where_they_would_count_for_nothing(
    tmp_path: Path,
) -> None:
    inside = json.loads(json.dumps(READING))
    inside["fields"][4]["type"]["fields"][0]["pii"] = "place"
    name = {"type": "object", "properties": {"name": {"type": "string", "pii": "name"}}}
    kinds = {"a": {"type": "integer", "pii": "t"}, "b": {"type": "string", "pii": "i"}}
    folder = write(
        tmp_path,
        a__1_avsc=json.dumps(inside),
        a__contract="pii: {nobody: x}",
        b__1_json=json.dumps(
            {"properties": {"who": {"$ref": "#/$defs/w"}}, "$defs": {"w": name}}
        ),
        c__1_json=json.dumps({"properties": kinds}),
        c__contract="privacy: {alerts: {t: mask}, bronze: encrypt}",
        d__1_json=json.dumps({"properties": kinds, "required": ["a"]}),
        d__contract="id: b\nprivacy: {silver: {t: token, i: mask, u: mask}}",
        e__1_json=json.dumps({"properties": kinds}),
        e__contract="id: b\nprivacy: {silver: {i: mask}}",
    )
    _, problems = read_folder(folder)
    whole = "is hidden as a whole or not at all: tag it, and not what is inside"
    by = "by which records are told apart: make it a token"
    assert [line.removeprefix(f"{folder}/") for line in problems] == [
        "a: contract.yaml: pii: the schema has no nobody",
        f"a: contract.yaml: pii: place {whole}",
        f"b: contract.yaml: pii: who {whole}",
        "c: contract.yaml: privacy.alerts: an enforced topic has no rules",
        "c: contract.yaml: privacy.bronze: an enforced topic has no table of all that came",
        "d: contract.yaml: privacy.silver: token is for texts, and a is of type long and "
        "never null",
        "d: contract.yaml: privacy.silver: no field is tagged u",
        f"e: contract.yaml: privacy.silver masks b, {by}",
    ]
    folder = write(tmp_path / "good", f__1_json=json.dumps({"properties": kinds}))
    write(folder, f__contract="pii: {a: t}\nprivacy: {silver: {i: token}, quarantine: encrypt}")
    (topic,), problems = read_folder(folder)
    assert (problems, topic.privacy.tags) == ([], {"a": "t", "b": "i"})
    assert "key_id" in topic.quarantine.columns
    given = NEEDED | {"MILLSTREAM_ENFORCE_FOLDER": str(folder)}
    with pytest.raises(SettingsError, match="MILLSTREAM_PRIVACY_KEYS is missing"):
        load(given)


def test_tools_know_the_topics_where_the_folder_is_set(tmp_path: Path) -> None:
    assert enforced({}) == []
    with pytest.raises(SettingsError, match="is no folder"):
        enforced({"MILLSTREAM_ENFORCE_FOLDER": str(tmp_path / "nowhere")})
    assert read_folder(tmp_path)[1] == [f"{tmp_path} has no folder of a topic"]


def test_json_behind_an_id_is_of_the_version_whose_schema_the_id_has(tmp_path: Path) -> None:
    write(tmp_path, o__1_json=json.dumps(ORDER), o__contract="version: registry")
    (topic,), problems = read_folder(tmp_path)
    assert problems == []
    frame = (0).to_bytes() + schemas.local_id("o", 1).to_bytes(4)
    decoder = topic.decoder(own_schemas([topic]))
    found = decoder.decode([frame + order(1), order(2), frame + order(3)[:-1]], [None] * 3)
    assert found.rows.tolist() == [0]
    assert [each.code for each in found.refusals] == ["bad_magic", "malformed"]
