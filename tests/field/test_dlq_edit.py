"""Rejects that are edited, approved, discarded and restored, and the replay of what was edited."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import schemas
from flows import settings as settings_
from flows.settings import PREFIX
from operators.avro.framing import ID_HEADER
from operators.connectors.kafka.client import headers_of, read_to_end
from ops import cli
from ops.dlq import acts
from ops.dlq import streams as dlq_streams
from ops.dlq.headers import EDITED_HEADER, ORIGIN_HEADER
from ops.local import Stack, start_registry
from ops.query import query
from ops.verify import verify
from tests.field import refused
from tests.field.to_edit import (
    EURO,
    MISTAKES,
    TRIM,
    WRONG,
    Told,
    edit_countries,
    edited,
    outcomes,
    refuse,
    replace_whole,
    send_one_of_a_schema_too_new,
)
from tests.field.topic import Field, payment
from tests.ops.reports import broken
from tests.running import wait_until


@pytest.fixture(scope="module")
def field(stack: Stack, apache: str, tmp_path_factory: pytest.TempPathFactory) -> Field:
    """Give what a flow wrote of bad records."""
    field = Field(stack, apache, tmp_path_factory.mktemp("edits"))
    refuse(field)
    return field


@pytest.fixture
def told(field: Field, monkeypatch: pytest.MonkeyPatch, capsys) -> Told:
    """Give what runs a command and returns its JSON."""
    for name, value in field.settings.items():
        monkeypatch.setenv(name, value)
    return partial(refused.told, capsys)


@pytest.fixture
def printed(told: Told, capsys) -> Callable[..., str]:
    """Give what runs a command and returns what it prints."""
    return partial(refused.said, capsys)


def test_a_group_is_edited_by_an_expression_and_the_quarantine_stays_as_it_is(
    field: Field, told: Told, printed: Callable[..., str]
) -> None:
    before = field.table("quarantine/payments")
    asked = f"edit --code country_format {TRIM}"
    found = told(asked)
    assert outcomes(found) == {"silver": 2}
    assert [each["changes"] for each in found["records"]] == [
        [{"field": "country", "before": " be", "after": "BE"}],
        [{"field": "country", "before": "de ", "after": "DE"}],
    ]
    assert found["saved"] == []
    assert not (field.folder / "tables" / "ops").exists(), "a dry run writes nothing"
    assert "--save needs --why" in printed(f"{asked} --save", 2)
    edit = edit_countries(told)
    assert field.table("quarantine/payments").equals(before)
    rows = field.table("ops/edits")
    assert rows["original"].to_list() == [payment(3, country=" be"), payment(4, country="de ")]
    assert rows["value"].to_list() == [payment(3), payment(4, country="DE")]
    assert set(rows.select("edit", "who", "why", "how").rows()) == {
        (edit, acts.who(), "an old terminal", "set country = upper(trim(country))")
    }
    assert rows["at"].null_count() == 0
    assert edited(told) == {3, 4}
    lines = told("list --where \"state = 'edited'\"")
    assert {each["edit"] for each in lines} == {edit}
    assert f"edited by {edit}" in printed("list --code country_format")
    assert f"edited by edit {edit}" in printed(f"show {field.topic}/0/3")
    (line,) = (each for each in told("summary") if each["code"] == "country_format")
    assert (line["count"], line["open"], line["edited"]) == (2, 2, 2)
    assert outcomes(told(asked)) == {"unchanged": 2}
    assert told(f"{asked} --save --why again", 1)["saved"] == []


@pytest.mark.parametrize(("command", "outcome"), WRONG)
def test_what_would_not_be_good_is_not_saved(
    command: str, outcome: str | None, field: Field, told: Told
) -> None:
    found = told(f"edit {field.topic}/{command} --save --why x", 1)
    assert outcomes(found) == ({} if outcome is None else {outcome: 1})
    assert found["saved"] == []


@pytest.mark.parametrize(("command", "status", "part"), MISTAKES)
def test_a_mistake_is_one_line(
    command: str, status: int, part: str, printed: Callable[..., str]
) -> None:
    line = printed(command, status).rstrip().splitlines()[-1]
    assert part in line
    if status:
        assert line.startswith("millstream")


def test_an_editor_changes_one_record_and_what_was_written_is_not_lost(
    field: Field, told: Told, printed: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{field.topic}/0/0"
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    assert "EDITOR is not set: set it, or give --patch" in printed(f"edit {place} --editor", 2)
    monkeypatch.setenv("EDITOR", "false")
    assert "the editor ended with status 1: nothing" in printed(f"edit {place} --editor", 1)
    monkeypatch.setenv("EDITOR", "no-such-editor")
    assert "'no-such-editor' does not start: " in printed(f"edit {place} --editor", 1)
    monkeypatch.setenv("EDITOR", "sed -i s/}//")
    line = printed(f"edit {place} --editor", 1)
    draft = Path(line.partition("mend it in ")[2].split()[0])
    assert line.count("\n") == 1
    draft.write_text(draft.read_text().replace('"eur"', '"EUR"') + "}")
    assert outcomes(told(f"edit {place} --as {draft}")) == {"silver": 1}
    draft.unlink()
    monkeypatch.setenv("EDITOR", "sed -i s/eur/EUR/")
    found = told(f"edit {place} --editor")
    draft = Path(found["draft"])
    assert draft.stat().st_mode & 0o77 == 0
    assert outcomes(found) == {"silver": 1}
    monkeypatch.setenv("VISUAL", "sed -i s/eur/EUR/")
    saved = told(f"edit {place} --editor --save --why 'by hand'")
    assert saved["draft"] is None
    assert outcomes(told(f"edit {place} --as {draft}")) == {"unchanged": 1}
    draft.unlink()
    text = printed(f"edit {place} --undo --save --why 'not that one'")
    assert "1 as it came" in text
    assert told(f"show {place}")["reasons"][0]["state"] == "open"
    shown = printed(f"edit {place} --patch '{EURO}'")
    assert '"eur"' in shown
    assert '"EUR"' in shown


def test_what_cannot_be_decoded_is_replaced_as_a_whole(
    field: Field, told: Told, tmp_path: Path
) -> None:
    part = told(f"decode {field.topic}/0/5", 1)["record"]
    file = tmp_path / "record.json"
    file.write_text(json.dumps(part))
    (outcome,) = outcomes(told(f"edit {field.topic}/0/5 --as {file}"))
    assert outcome in (
        f"not of the schema: {name}: is missing" for name in ("latitude", "channel")
    )
    replace_whole(field, told, tmp_path)
    assert {5, 6} <= edited(told)


def test_a_registry_names_the_schema_that_a_whole_record_is_written_by(
    field: Field, told: Told, printed: Callable[..., str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    try:
        with start_registry(folder=tmp_path) as url:
            monkeypatch.setenv(f"{PREFIX}SCHEMA_REGISTRY", url)
            dlq_streams.lookup.cache_clear()
            file = tmp_path / "record.json"
            file.write_text(json.dumps(told(f"decode {field.topic}/0/1")["record"]))
            asked = f"edit {field.topic}/0/1 --as {file}"
            line = "the registry has no version 2 of payment: run millstream schemas register"
            assert line in printed(asked, 1)
            with pytest.raises(SystemExit) as ended:
                cli.main(["schemas", "register", "payment"])
            assert ended.value.code == 0
            capsys.readouterr()
            assert outcomes(told(asked)) == {"unchanged": 1}
    finally:
        dlq_streams.lookup.cache_clear()


def test_what_is_discarded_is_left_out_until_it_is_restored(
    field: Field, told: Told, printed: Callable[..., str]
) -> None:
    count = len(told("list --limit 99"))
    assert told("discard --code bad_magic --why noise")["rejects"] == 1
    assert told("discard --code bad_magic --why noise")["rejects"] == 0
    assert len(told("list --limit 99")) == count - 1
    assert "bad_magic" not in {each["code"] for each in told("summary")}
    (line,) = told("summary --discarded")
    assert (line["code"], line["open"], line["discarded"]) == ("bad_magic", 0, 1)
    assert len(told("list --limit 99 --all")) == count
    (there,) = told("list --discarded")
    assert there["state"] == "discarded"
    assert there["discard"] in printed(f"show {field.topic}/0/8")
    asked = f"edit {field.topic}/0/8 --patch '[]'"
    assert outcomes(told(asked)) == {"discarded: restore it first": 1}
    assert "bad_magic" not in str(told("replay"))
    assert printed(f"restore {field.topic}/0/8 --why 'one of ours'") == "1 rejects restored\n"
    assert "discarded: restore it first" not in outcomes(told(asked))
    assert len(told("list --limit 99")) == count
    assert "bad_magic" in str(told("replay"))
    # What a rule failed on is a reject of its own beside its record.
    assert told("discard --stage rule --stream payments --why known")["rejects"] == 1
    assert told("list --stage rule") == []
    assert told("restore --stage rule --where true --why x")["rejects"] == 1
    assert told("discard --id payment-1 --why late")["rejects"] == 1
    assert told("restore --id payment-2 --why x")["rejects"] == 0
    assert told("restore --contains PAYMENT-1 --why x")["rejects"] == 1
    rows = field.table("ops/audit").filter(action="discard").select("records", "why", "who")
    assert sorted(rows.rows()) == [(1, why, acts.who()) for why in ("known", "late", "noise")]


def test_what_was_edited_is_sent_once_approved_a_canary_first_and_tells_who_and_why(
    field: Field, told: Told, printed: Callable[..., str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    if not {3, 4} <= edited(told):
        edit_countries(told)
    if not {5, 6} <= edited(told):
        replace_whole(field, told, tmp_path)
    text = f"approval: true\n{schemas.contract('payment')}"
    monkeypatch.setattr(schemas, "contract", lambda _: text)
    field.settings.pop(f"{PREFIX}ROLE", None)
    monkeypatch.setenv("LOGNAME", "eva")
    asked = f"edit --code currency_format --patch '{EURO}' --save --why 'ISO 4217'"
    printed_ = printed(asked)
    assert "another user has to run dlq approve" in printed_
    edit = printed_.partition("run dlq approve ")[2].split()[0]
    mends = "CASE WHEN amount_minor < 0 THEN -amount_minor ELSE amount_minor END"
    asked = f"edit --code amount_range --set 'amount_minor = {mends}'"
    second = told(f"{asked} --save --why sign")["saved"][0]["edit"]
    waiting = outcomes(told("replay"))
    assert waiting["edited, and not approved"] == 8
    assert "silver" not in waiting
    assert f"edit {edit} is yours: another user has to" in printed(f"approve {edit} --save", 1)
    assert "not approved yet: --save does" in printed(f"approve {edit}")
    monkeypatch.setenv("LOGNAME", "ben")
    found = told(f"approve {edit} --save --why 'seen'")
    assert (found["approved"], len(found["records"]), found["who"]) == (True, 3, "eva")
    told(f"approve {second} --save")
    left = outcomes(told("replay"))
    assert (left["silver"], left["tried 3 times"]) == (3, 1)
    assert outcomes(told("replay --attempts 4"))["silver"] == 4
    for name in {each["edit"] for each in told("list --where 'edit IS NOT NULL'")}:
        monkeypatch.setenv("LOGNAME", "ann")
        told(f"approve {name} --save")

    # Nobody reads: the canary is sent, and nothing else.
    found = told("replay --send --canary 1 --wait 1s --code currency_format", 1)
    assert found["canary"] == [{"stream": "payments", "outcome": "in no table yet", "count": 1}]
    assert "start the flow that reads payments, or wait for it, and run" in found["stopped"]
    assert [each["sent"] for each in found["finished"]] == [1]
    flow = field.flow()
    try:
        found = told("replay --send --canary 1 --rate 100/s --code currency_format --wait 2m")
        assert (found["canary"][0]["outcome"], found["stopped"]) == ("silver", None)
        assert [each["sent"] for each in found["finished"]] == [1, 1]
        place = send_one_of_a_schema_too_new(field, told)
        told("replay --send --attempts 4 --why all")
        origins = {f"{field.topic}/0/{n}" for n in (0, 1, 2, 3, 4, 5, 6, 7, 11)}
        wait_until(lambda: field.table("silver/payments").height == 10)
        assert flow.tell(15) == 0
    finally:
        flow.kill()

    config = {"bootstrap.servers": field.bootstrap}
    sent = [headers_of(each) for each in read_to_end(config, field.topic, {0: 12})]
    sent = [each for each in sent if ORIGIN_HEADER in each]
    assert {each[ORIGIN_HEADER].decode() for each in sent} == origins
    assert len(sent) == len(origins)
    by_place = {each[ORIGIN_HEADER]: each for each in sent}
    seventh = by_place[f"{field.topic}/0/7".encode()]
    assert seventh[EDITED_HEADER] == second.encode()
    assert seventh["own"] == b"1"
    assert ID_HEADER not in seventh
    silver = field.table("silver/payments").sort("payment_id")
    assert {*silver["currency"]} == {"EUR"}
    assert silver.filter(payment_id="payment-7")["amount_minor"].to_list() == [5]
    assert sorted(silver["country"]) == ["BE"] * 9 + ["DE"]
    lines = told("list --limit 99")
    states = {each["source_offset"]: each["state"] for each in lines}
    (line,) = (each for each in lines if each["source_offset"] == 11)
    assert (line["sent_as"], line["became"]) == (place, "refused: decode unknown_schema")
    text = printed(f"show {field.topic}/0/4")
    assert text.partition(f"  now {field.topic}/0/")[2].partition("\n")[0].endswith(": silver")
    assert f" as {place}: refused: decode unknown_schema" in printed(
        "list --code unknown_schema"
    )
    assert {states[n] for n in range(8)} == {"replayed"}
    assert outcomes(told(f"edit --code country_format {TRIM}")) == {"replayed before": 2}
    sql = f"SELECT who FROM ops_audit WHERE action = 'approve' AND edit = '{edit}' ORDER BY at"
    assert query(str(field.folder / "tables"), sql)["who"].to_list() == ["ben", "ann"]
    assert broken(verify(settings_.load(field.settings))) == []
