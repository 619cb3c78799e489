"""The quarantine as ``millstream dlq`` tells it, of records that a flow has refused."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

import schemas
from flows import settings as settings_
from flows.settings import PREFIX
from operators.connectors.kafka.client import headers_of, read_to_end
from operators.records.quarantine import ATTEMPTS_HEADER
from ops.dlq import streams as dlq_streams
from ops.local import Stack
from tests.field import refused as refused_
from tests.field.refused import refused, run, send_again
from tests.field.test_rule_statuses import state
from tests.field.topic import Field, payment

# Where each reject of a release before has null.
_NEW = ["fingerprint", "attempts"]

Told = Callable[..., Any]


@pytest.fixture(scope="module")
def field(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Field:
    """Give what a flow wrote of bad records, the first of them as a release before wrote them."""
    field = Field(stack, stack.bootstrap, tmp_path_factory.mktemp("dlq"))
    rules = field.folder / "rules"
    rules.mkdir()
    field.settings[f"{PREFIX}RULES"] = str(rules)
    field.create()
    state(rules, "numbered", when="CAST(device_id AS BIGINT) > 5")
    field.send(*refused(0), payment(90), payment(91, device_id="9"), payment(92, device_id="x"))
    run(field)
    uri = str(field.folder / "tables" / "quarantine" / "payments")
    before = field.table("quarantine/payments").drop(_NEW)
    write_deltalake(uri, before, mode="overwrite", schema_mode="overwrite")
    send_again(field, refused(0)[0])
    field.send(*refused(100)[1:])
    run(field)
    return field


@pytest.fixture
def told(field: Field, monkeypatch: pytest.MonkeyPatch, capsys) -> Told:
    """Give what runs a command and returns its JSON."""
    monkeypatch.setenv(f"{PREFIX}DELTA_ROOT", field.settings[f"{PREFIX}DELTA_ROOT"])

    return partial(refused_.told, capsys)


@pytest.fixture
def printed(told: Told, capsys) -> Callable[..., str]:
    """Give what runs a command and returns what it prints."""
    return partial(refused_.said, capsys)


def test_each_kind_is_a_line_also_across_a_release_that_knew_no_fingerprint(
    field: Field, told: Told
) -> None:
    rows = field.table("quarantine/payments")
    assert rows["fingerprint"].null_count() == 31
    lines = told("summary")
    assert {each["code"]: each["count"] for each in lines} == {
        "malformed": 40, "unknown_schema": 10, "amount_range": 6, "null_value": 2,
        "bad_magic": 2, "rule_failed:numbered": 1,
    }  # fmt: skip
    assert sum(each["count"] for each in lines) == rows.height
    assert lines == sorted(lines, key=lambda each: -each["count"])
    new = dict(rows.drop_nulls("fingerprint").select("code", "fingerprint").iter_rows())
    known = {each["code"]: each["fingerprint"] for each in lines}
    assert new.items() < known.items()
    (malformed,) = (each for each in lines if each["code"] == "malformed")
    assert malformed["attempts"] == 2
    assert malformed["message"].endswith("field latitude: the data ends too early.")
    assert malformed["partitions"] == [0]
    assert malformed["sample"] == f"{field.topic}/0/{33 + 19}"
    assert malformed["schema_id"] == str(schemas.local_id("payment", 2))
    (unknown,) = (each for each in lines if each["code"] == "unknown_schema")
    assert unknown["schema_id"] is None
    assert datetime.fromisoformat(unknown["first"]) < datetime.fromisoformat(unknown["last"])


def test_dead_letters_have_the_fingerprints_of_the_table(field: Field) -> None:
    config = {"bootstrap.servers": field.bootstrap}
    letters = [headers_of(each) for each in read_to_end(config, f"{field.topic}.dlq", {0: 0})]
    rows = field.table("quarantine/payments").drop_nulls("fingerprint")
    last = letters[-rows.height :]
    found = [(h["millstream.fingerprint"].decode(), int(h[ATTEMPTS_HEADER])) for h in last]
    assert found == rows.select(_NEW).rows()
    assert rows["attempts"].to_list() == [2] + [1] * (rows.height - 1)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ("", 61),
        ("--stage contract", 6),
        ("--code malformed", 40),
        ("--code 'no''such'", 0),
        ("--stream payments --stage rule", 1),
        ("--partition 1", 0),
        ("--since 1h", 61),
        ("--until 1h", 0),
        ("--since 2026-01-01 --until 2100-01-01T00:00+01:00", 61),
        ("--where 'attempts > 1'", 1),
        ("--where \"stream = 'payments' AND time > TIMESTAMP '2026-01-01' -- all\"", 61),
        ("--where 'source_offset < 2 OR source_offset = 3' --code malformed", 3),
        ("--id payment-101", 2),
        ("--id payment-10", 1),
        ("--id payment-1", 2),
        ("--contains PAYMENT-10", 13),
        ("--contains '\"a\"'", 0),
        ("--contains eur --stage contract", 6),
        ("--contains -5 --stage contract", 6),
    ],
)
def test_filters_pick_what_they_say(filters: str, count: int, told: Told) -> None:
    found = told(f"list --limit 100 {filters}")
    assert len(found) == count
    times = [(each["time"], each["source_offset"]) for each in found]
    assert times == sorted(times, reverse=True)
    assert len(told(f"list --limit 2 {filters}")) == min(count, 2)
    if "--id" not in filters and "--contains" not in filters:
        assert sum(each["count"] for each in told(f"summary {filters}")) == count


def test_a_fingerprint_picks_its_kind_in_old_rows_too_and_says_why_they_are_one(
    field: Field, told: Told, printed: Callable[..., str]
) -> None:
    for line in told("summary"):
        found = told(f"list --limit 100 --fingerprint {line['fingerprint']}")
        assert {each["code"] for each in found} == {line["code"]}
        assert len(found) == line["count"]
        why = told(f"why {line['fingerprint']}")
        assert why["groups"] == [line]
        assert sum(each["count"] for each in why["releases"]) == line["count"]
        text = printed(f"why {line['fingerprint']}")
        assert all(line[part] in text for part in ("stream", "stage", "code", "message"))
    line = "no reject has the fingerprint 1:0000000000000000; summary lists them"
    assert line in printed("why 1:0000000000000000", 1)
    assert line.replace("1:", "1;") in printed("why '1;0000000000000000'", 1)


def test_lines_show_no_value_of_any_record(printed: Callable[..., str]) -> None:
    for command in ("summary", "list --limit 100", "list --limit 100 --contains payment"):
        text = printed(command)
        assert "malformed" in text
        for value in ("payment-", "card-", "terminal-", '"a"', "-5", "eur", "\x1b"):
            assert value not in text, value


def test_a_record_is_shown_down_to_the_byte_where_it_broke(
    field: Field, told: Told, printed: Callable[..., str]
) -> None:
    place = f"{field.topic}/0/33"
    value = refused(0)[0]
    assert value
    found = told(f"show {place}")
    (reason,) = found["reasons"]
    assert (reason["code"], reason["attempts"]) == ("malformed", 2)
    assert found["broken"] == {
        "at": len(value), "field": "latitude", "why": "the data ends too early",
        "expected": "a branch from 0 to 1: null, double",
    }  # fmt: skip
    assert bytes.fromhex(found["value_hex"]) == value
    assert "".join(part["hex"] for part in found["parts"]) == found["value_hex"]
    assert found["record"]["payment_id"] == "payment-0"
    assert list(found["record"])[-1] == "country"
    assert told(f"decode {place}", 1) == {"record": found["record"], "broken": found["broken"]}

    text = printed(f"show {place}")
    assert "\x1b" not in text
    assert "header \\u001b[31m[red]: ff 1b" in text
    assert f"✗ byte {len(value)}: the data ends too early; expected: a branch from 0" in text
    assert (
        json.loads(printed(f"decode {place}", 1).partition("millstream: ")[0])
        == found["record"]
    )


def test_a_contract_marks_the_fields_and_a_rules_record_is_bronzes(
    field: Field, told: Told, printed: Callable[..., str]
) -> None:
    lines = {each["code"]: each["sample"] for each in told("summary")}
    text = printed(f"show {lines['amount_range']}").splitlines()
    (at,) = (n for n, line in enumerate(text) if line.rstrip().endswith('"eur"'))
    assert "✗ three capitals A to Z" in text[at + 1]
    (at,) = (n for n, line in enumerate(text) if " amount_minor " in line and " long " in line)
    assert "✗ 0 to 1000000000000" in text[at + 1]
    assert told(f"decode {lines['amount_range']}")["record"]["amount_minor"] == -5
    found = told(f"show {lines['rule_failed:numbered']}")
    assert (found["record"]["device_id"], found["broken"]) == ("x", None)
    assert told(f"show {lines['null_value']}")["broken"]["why"] == "The value is null"
    assert told(f"show {lines['unknown_schema']}")["broken"]["at"] == 1


def test_what_is_exported_is_the_rows_with_their_records(
    field: Field, told: Told, printed: Callable[..., str], tmp_path: Path
) -> None:
    rows = field.table("quarantine/payments")
    parquet, lines = tmp_path / "all.parquet", tmp_path / "some.jsonl"
    assert told(f"export {parquet} --decoded")["rejects"] == rows.height
    whole = pl.read_parquet(parquet).sort("source_offset", "code")
    same = [name for name in rows.columns if name not in _NEW]
    assert whole.select(same).equals(rows.sort("source_offset", "code").select(same))
    assert whole["fingerprint"].null_count() == 0
    assert printed(f"export {lines} --stage contract --decoded") == f"6 rejects in {lines}\n"
    some = [json.loads(line) for line in lines.read_text().splitlines()]
    values = whole.filter(stage="contract")["value"]
    assert sorted(each["value_hex"] for each in some) == sorted(v.hex() for v in values)
    assert {each["decoded"]["currency"] for each in some} == {"eur"}
    assert {path.name for path in tmp_path.iterdir()} == {"all.parquet", "some.jsonl"}
    assert "name it .parquet or .jsonl" in printed(f"export {tmp_path}/x.csv", 2)


@pytest.mark.parametrize(
    ("command", "status", "part"),
    [
        ("summary --root nowhere", 1, "no table quarantine/payments or quarantine/chargebacks"),
        ("summary --stream clicks", 1, "no table quarantine/clicks under"),
        ("summary --where 'amount > 5'", 1, "No field named amount"),
        ("summary --where 'code ='", 1, "SQL"),
        ("list --fingerprint 5", 2, "'5' is no fingerprint such as 1:0123456789abcdef"),
        ("list --since yesterday", 2, "neither a time such as 2026-06-30T12:00 nor"),
        ("list --limit 0", 2, "0 is not 1 or more"),
        ("show payments", 2, "'payments' is no record such as payments/0/1234"),
        (
            "show payments/0/99999",
            1,
            "no reject of payments/0/99999; list shows which there are",
        ),
    ],
)
def test_a_mistake_is_one_line(
    command: str, status: int, part: str, printed: Callable[..., str]
) -> None:
    line = printed(command, status).rstrip().splitlines()[-1]
    assert part in line
    assert line.startswith("millstream")


def test_a_registry_that_is_away_is_said_and_what_the_record_tells_without_it_is_shown(
    told: Told, printed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}SCHEMA_REGISTRY", "http://127.0.0.1:9")
    dlq_streams.lookup.cache_clear()
    try:
        lines = {each["code"]: each["sample"] for each in told("summary")}
        found = told(f"show {lines['malformed']}")
        assert [each["field"] for each in found["parts"]] == ["magic byte", "schema id"]
        assert "could not be had: schema registry http://127.0.0.1:9" in found["broken"]["why"]
        assert "schema registry http://127.0.0.1:9" in printed("list --contains x", 1)
    finally:
        dlq_streams.lookup.cache_clear()


def test_a_registry_is_asked_for_schemas_and_at_once_for_those_that_it_lacks(
    field: Field, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}SCHEMA_REGISTRY", field.stack.registry_url)
    dlq_streams.lookup.cache_clear()
    try:
        lines = {each["code"]: each["sample"] for each in told("summary")}
        assert told(f"show {lines['malformed']}")["record"]["currency"] == "EUR"
        unknown = told(f"show {lines['unknown_schema']}")
        assert unknown["broken"]["why"].startswith("there is no schema with the id ")
    finally:
        dlq_streams.lookup.cache_clear()


def test_roles_are_what_the_environment_grants(
    field: Field, told: Told, printed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in field.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(f"{PREFIX}ROLE", "viewer")
    for command in ("discard --code y --why x", "restore --code y --why x", "replay --send",
                    "edit --undo --save --why x"):  # fmt: skip
        line = f"this needs the role operator, and {PREFIX}ROLE grants viewer: have it done by"
        assert line in printed(command, 1)
    assert "needs the role approver" in printed("approve x --save", 1)
    assert told("summary")
    assert told("replay")["outcomes"]
    monkeypatch.setenv(f"{PREFIX}ROLE", "viewer, operator")
    assert told("discard --code y --why x") == {"discard": None, "rejects": 0}
    monkeypatch.setenv(f"{PREFIX}ROLE", "admin")
    assert "admin is none of viewer, operator, approver" in printed("summary", 2)
    with pytest.raises(settings_.SettingsError, match="ROLE: admin is none of viewer"):
        settings_.load({**field.settings, f"{PREFIX}ROLE": "admin"})
    assert settings_.load({**field.settings, f"{PREFIX}ROLE": "viewer"})
