"""What is refused at a start, and what no declaration costs."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

import schemas
from flows import settings as settings_
from flows.loading import load
from flows.privacy import guard_of, guarded, told_to_topics, unfit
from flows.privacy_settings import PrivacySettings
from flows.settings import PREFIX, SettingsError
from flows.streams import CHARGEBACKS, CLICKS, PAYMENTS
from operators.contracts import load_contract, load_privacy
from operators.privacy import Declared
from operators.rules.rule import Rule
from tests.field.private import declared

KEYS = f"a:{base64.b64encode(bytes(32)).decode()}"
NEEDED = {
    f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": "localhost:1",
    f"{PREFIX}REDIS_URL": "redis://localhost:1/0",
    f"{PREFIX}DELTA_ROOT": "tables",
}


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    text = "privacy: {silver: {device: mask}, alerts: {device: token}}"
    with declared(text, monkeypatch):
        yield


def rule(reason: str) -> Rule:
    return Rule(
        id="r", version=1, description="d", severity="low", when="true", score="1", reason=reason,
        cases=[{"name": "n", "events": [{}], "alerts": []}],
    )  # fmt: skip


@pytest.mark.usefixtures("hidden")
def test_a_flow_does_not_start_without_the_key_that_its_contract_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="MILLSTREAM_PRIVACY_KEYS is missing, or its file"):
        load(PAYMENTS)
    monkeypatch.setenv(f"{PREFIX}PRIVACY_KEYS", KEYS)
    settings, _ = load(PAYMENTS)
    assert guard_of(settings, PAYMENTS).ring.newest.id == "a"
    assert list(unfit(PrivacySettings(), [CLICKS])) == []


@pytest.mark.usefixtures("hidden")
def test_a_rule_that_would_tell_what_a_topic_is_not_to_have_is_refused() -> None:
    assert told_to_topics(PAYMENTS, rule("paid {amount_minor}")) is None
    said = told_to_topics(PAYMENTS, rule("paid with {device_id}"))
    assert said is not None
    assert "rule r reads device_id, and a topic is not to have that" in said


def test_what_records_are_told_apart_or_joined_by_is_not_masked_nor_treated_in_two_ways(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = PrivacySettings(privacy_keys=KEYS)
    text = "privacy: {silver: {identifier: mask}}"
    with declared(text, monkeypatch):
        (said,) = unfit(settings, [PAYMENTS])
        assert "privacy.silver masks card_id, by which records are told apart" in said
    tagged = str(schemas.contract("payment")).replace("pii: {", "pii: {payment_id: event, ")
    with declared("privacy: {silver: {event: token}}", monkeypatch, tagged):
        assert list(unfit(settings, [PAYMENTS])) == []
        said, *_ = unfit(settings, [PAYMENTS, CHARGEBACKS])
        assert "payment and chargeback are joined by payment_id, which their contracts" in said


def test_where_nothing_is_declared_a_contract_is_checked_as_it_was() -> None:
    check = load_contract("payment").check
    assert guarded(check, guard_of(PrivacySettings(), PAYMENTS)) == check
    assert PAYMENTS.bronze.columns.keys() == {
        "source_topic", "source_partition", "source_offset", "kafka_timestamp", "key", "value",
        "headers", "ingest_date",
    }  # fmt: skip


def test_keys_come_from_the_environment_or_a_file_and_no_message_has_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEYS.replace('a:', 'b:')}\n{KEYS}\n")
    found = settings_.load({**NEEDED, f"{PREFIX}PRIVACY_KEYS_FILE": str(file)})
    assert (found.key_ring.newest.id, found.key_ring.oldest.id) == ("b", "a")
    assert KEYS[2:] not in repr(found)
    for given, why in (
        ({"PRIVACY_KEYS": KEYS, "PRIVACY_KEYS_FILE": str(file)}, "PRIVACY_KEYS too"),
        ({"PRIVACY_KEYS_FILE": str(tmp_path / "no")}, "no: No such file or directory"),
        ({"PRIVACY_KEYS_FILE": str(tmp_path)}, "Is a directory"),
        ({"PRIVACY_KEYS": "c2VjcmV0"}, "PRIVACY_KEYS: an entry is not id:secret"),
    ):  # fmt: skip
        with pytest.raises(SettingsError) as refused:
            settings_.load({**NEEDED, **{f"{PREFIX}{n}": value for n, value in given.items()}})
        assert why in str(refused.value)
        assert KEYS[2:] not in str(refused.value)
        assert "c2Vj" not in str(refused.value)
    file.write_text("")
    with pytest.raises(SettingsError, match="there is no key in"):
        settings_.load({**NEEDED, f"{PREFIX}PRIVACY_KEYS_FILE": str(file)})


def test_the_shipped_contracts_tag_fields_and_hide_none() -> None:
    assert all(load_privacy(each).declared == Declared() for each in schemas.records())
    tagged = {each for each in schemas.records() if load_privacy(each).tags}
    assert tagged == {"payment", "chargeback", "click", "label", "customer"}
