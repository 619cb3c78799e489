"""Secrets in files: read as if they were set, refused where they cannot be, and never shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from flows import settings
from flows.catalog import enforces_alone
from flows.enforced.loading import FOLDER
from flows.enforced.loading import load as enforce_load
from flows.kafka_settings import kafka_problems, kafka_settings
from flows.registry_settings import registry_settings
from flows.secret_files import SECRETS, SUFFIX, is_set, read_secrets, with_settings
from flows.settings import Settings, SettingsError

REDIS = "MILLSTREAM_REDIS_URL"
NEEDED = {
    "MILLSTREAM_DELTA_ROOT": "/data/tables",
    "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
}
VALUES = {
    REDIS: "redis://:hidden@localhost:6379/0",
    "MILLSTREAM_KAFKA_SASL_PASSWORD": "hidden ä=1",
    "MILLSTREAM_SCHEMA_REGISTRY": "http://u:hidden@localhost:8081",
    "MILLSTREAM_SCHEMA_REGISTRY_USER": "u:hidden",
}


def in_files(folder: Path, values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n", "utf-8")
    return {name + SUFFIX: str(folder / name) for name in values}


def test_what_is_in_files_is_as_if_it_were_set(tmp_path):
    told = NEEDED | in_files(tmp_path, VALUES)
    assert settings.load(told) == settings.load(NEEDED | VALUES)
    assert kafka_settings(told)["sasl.password"] == "hidden ä=1"
    assert kafka_problems(told) == []
    assert registry_settings(told) == registry_settings(VALUES)


def test_the_enforce_flow_reads_them_too(tmp_path):
    topics = Path(__file__).parents[2] / "k8s" / "flows" / "enforce" / "topics"
    told = NEEDED | {FOLDER: str(topics)}
    files = in_files(tmp_path, VALUES)
    files.pop(REDIS + SUFFIX)
    assert enforce_load(told | files).settings.kafka["sasl.password"] == "hidden ä=1"
    # Whether another flow could run is told by Redis, wherever its URL is.
    assert enforces_alone(told | {REDIS + SUFFIX: ""})
    assert not enforces_alone(told | in_files(tmp_path, VALUES))


def test_every_secret_may_be_in_a_file():
    """But for a token and the keys of privacy, which have files of their own."""
    secret = {
        f"MILLSTREAM_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if field.annotation is SecretStr
    }
    assert secret > {REDIS}
    own = {"MILLSTREAM_SCHEMA_REGISTRY_TOKEN", "MILLSTREAM_PRIVACY_KEYS"}
    assert secret - set(SECRETS) == own
    for name in own:
        assert f"{name}{SUFFIX}".removeprefix("MILLSTREAM_").lower() in Settings.model_fields
    # librdkafka's: each is a name that it knows.
    assert kafka_problems({name: "" for name in SECRETS if "KAFKA" in name}) == []


@pytest.mark.parametrize("name", SECRETS)
def test_what_cannot_be_read_is_refused_by_its_name_without_what_is_in_it(tmp_path, name):
    file = tmp_path / "file"
    told = {name + SUFFIX: str(file)}
    assert read_secrets(told) == (
        {}, [f"{name}_FILE: {file} cannot be read: No such file or directory"],
    )  # fmt: skip
    file.write_bytes(b"hidden\xff")
    assert read_secrets(told) == ({}, [f"{name}_FILE: {file} is no text"])
    file.write_text("\n")
    assert read_secrets(told) == ({}, [f"{name}_FILE: {file} is empty"])
    file.write_text("hidden")
    assert read_secrets(told) == ({name: "hidden"}, [])
    assert read_secrets({**told, name: "other"}) == (
        {name: "other"}, [f"{name}_FILE: there is a {name} too"],
    )  # fmt: skip
    assert read_secrets({name + SUFFIX: ""}) == ({}, [])
    with pytest.raises(SettingsError, match=f"{name}_FILE: there is a {name} too"):
        settings.load(NEEDED | {REDIS: VALUES[REDIS]} | {**told, name: VALUES[REDIS]})


def test_who_reads_the_registrys_or_kafkas_alone_refuses_only_theirs(tmp_path):
    lost = {name + SUFFIX: str(tmp_path / "lost") for name in VALUES}
    with pytest.raises(SettingsError) as raised:
        registry_settings(lost)
    assert {line.split(":")[0] for line in str(raised.value).splitlines()} == {
        "MILLSTREAM_SCHEMA_REGISTRY_FILE", "MILLSTREAM_SCHEMA_REGISTRY_USER_FILE",
    }  # fmt: skip
    (problem,) = kafka_problems(lost)
    assert problem.startswith("MILLSTREAM_KAFKA_SASL_PASSWORD_FILE: ")


def test_what_a_file_has_is_held_to_what_the_setting_is_and_not_shown(tmp_path):
    told = NEEDED | in_files(tmp_path, VALUES | {REDIS: "http://:hidden@localhost"})
    with pytest.raises(SettingsError) as raised:
        settings.load(told)
    assert f"{REDIS}: " in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_no_other_setting_may_be_in_a_file(tmp_path):
    file = tmp_path / "file"
    file.write_text("payments")
    told = {"MILLSTREAM_TOPIC_FILE": str(file), "MILLSTREAM_KAFKA_CLIENT_ID_FILE": str(file)}
    with pytest.raises(SettingsError) as raised:
        settings.load(NEEDED | {REDIS: VALUES[REDIS]} | told)
    assert str(raised.value).splitlines() == [
        "MILLSTREAM_TOPIC_FILE: there is no such setting",
        "MILLSTREAM_KAFKA_CLIENT_ID_FILE: librdkafka has no such setting",
    ]


def test_what_takes_a_settings_place_takes_that_of_its_file():
    told = {REDIS + SUFFIX: "/etc/secret", "OTHER": "1"}
    assert is_set(told, REDIS)
    assert with_settings(told, {REDIS: "redis://here"}) == {REDIS: "redis://here", "OTHER": "1"}
