from datetime import UTC, datetime, timedelta

import pytest

from flows.settings import Settings, SettingsError, kafka_settings, load, refuse
from flows.streams import CHARGEBACKS, CLICKS, PAYMENTS

NEEDED = {
    "MILLSTREAM_REDIS_URL": "redis://:secret@localhost:6379/0",
    "MILLSTREAM_DELTA_ROOT": "/data/tables",
    "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
}


def problems(**changes: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(NEEDED | {f"MILLSTREAM_{name}": value for name, value in changes.items()})
    return str(raised.value).splitlines()


def test_three_settings_are_enough():
    settings = load(NEEDED)
    assert settings.kafka == {"bootstrap.servers": "localhost:9092"}
    assert settings.delta_root == "/data/tables"
    assert settings.allowed_lateness == timedelta(0)
    assert settings.out_of_orderness == timedelta(seconds=30)
    assert (settings.rules / "velocity.yaml").is_file()


def test_all_that_is_missing_is_named_at_once():
    with pytest.raises(SettingsError) as raised:
        load({})
    assert str(raised.value).splitlines() == [
        "MILLSTREAM_DELTA_ROOT: is missing (path or s3://, abfss://, gs:// URL)",
        "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is missing",
        "MILLSTREAM_REDIS_URL: is missing (redis://, rediss:// or unix:// URL)",
    ]


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    found = problems(
        BATCH_SIZE="many", KEY_GROUPS="257", REDIS_URL="localhost", START="yesterday",
        IDLE_TIMEOUT="60", MAX_REJECT_RATIO="0", STOP_AT_END="perhaps", TOPIC="",
        RULES=str(tmp_path / "nowhere"), BATCHSIZE="5", DELTA_ROT="x",
    )  # fmt: skip
    assert [line.split(":")[0].removeprefix("MILLSTREAM_") for line in found] == [
        "BATCHSIZE", "DELTA_ROT",
        "TOPIC", "RULES", "IDLE_TIMEOUT", "MAX_REJECT_RATIO",
        "START", "STOP_AT_END", "BATCH_SIZE", "REDIS_URL", "KEY_GROUPS",
    ]  # fmt: skip
    assert found[:2] == [
        "MILLSTREAM_BATCHSIZE: there is no such setting",
        "MILLSTREAM_DELTA_ROT: there is no such setting",
    ]


@pytest.mark.parametrize("stop", [{}, {"STOP_AT_END": "false"}])
def test_windows_are_closed_at_the_end_only_by_a_flow_that_has_one(stop):
    (problem,) = problems(CLOSE_WINDOWS_AT_END="true", **stop)
    assert problem.startswith(
        "MILLSTREAM_CLOSE_WINDOWS_AT_END: needs MILLSTREAM_STOP_AT_END=true"
    )


def test_a_flow_that_stops_may_close_its_windows():
    bounded = NEEDED | {"MILLSTREAM_STOP_AT_END": "true"}
    assert not load(bounded).close_windows_at_end
    assert load(bounded | {"MILLSTREAM_CLOSE_WINDOWS_AT_END": "true"}).close_windows_at_end


def test_a_backfill_has_bronze_an_end_or_the_topic():
    given = NEEDED | {"MILLSTREAM_BACKFILL_FROM": "elsewhere"}
    to = load(given | {"MILLSTREAM_BACKFILL_TO": "2026-03-02"}).backfill_to
    assert to == datetime(2026, 3, 2, tzinfo=UTC)
    (line,) = problems(BACKFILL_TO="2026-03-02")
    assert "needs MILLSTREAM_BACKFILL_FROM" in line
    (line,) = problems(BACKFILL_FROM="elsewhere", BACKFILL_OF="topic", BACKFILL_TO="2026-03-02")
    assert "needs bronze" in line


def test_no_problem_shows_a_secret():
    assert "secret" not in "".join(problems(REDIS_URL="http://:secret@localhost"))
    assert "secret" not in repr(load(NEEDED))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("1.5h", timedelta(minutes=90)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text, expected):
    assert load(NEEDED | {"MILLSTREAM_DEDUP_TTL": text}).dedup_ttl == expected


@pytest.mark.parametrize(
    "text",
    ["", "30", "s", "5 minutes", "-5s", "5sm", "infs", "nand", "1e12d", "PT5M", "5M", "1h30m"],
)
def test_what_is_no_duration_is_refused(text):
    (problem,) = problems(OUT_OF_ORDERNESS=text)
    assert problem.startswith(f"MILLSTREAM_OUT_OF_ORDERNESS: {text!r} is no duration such as")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("2024-05-01", datetime(2024, 5, 1, tzinfo=UTC)),
        ("2024-05-01T12:30:00+02:00", datetime(2024, 5, 1, 10, 30, tzinfo=UTC)),
        ("2024-05-01T12:30:00Z", datetime(2024, 5, 1, 12, 30, tzinfo=UTC)),
    ],
)
def test_where_to_start(text, expected):
    assert load(NEEDED | {"MILLSTREAM_START": text}).start == expected


def test_every_kafka_name_is_librdkafkas_own():
    environ = {
        "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "b:9092",
        "MILLSTREAM_KAFKA_SASL_USERNAME": "me",
        "MILLSTREAM_KAFKA_SSL_CA_LOCATION": "/ca.pem",
        "MILLSTREAM_KAFKA_LOG_LEVEL": "3",
        "KAFKA_OTHER": "no",
    }
    assert kafka_settings(environ) == {
        "bootstrap.servers": "b:9092",
        "sasl.username": "me",
        "ssl.ca.location": "/ca.pem",
        "log_level": "3",
    }


def test_kafka_without_a_name_is_no_setting():
    assert problems(KAFKA="{}") == ["MILLSTREAM_KAFKA: there is no such setting"]


def test_only_what_is_given_counts(monkeypatch):
    monkeypatch.setenv("MILLSTREAM_TOPIC", "from-the-environment")
    monkeypatch.setenv("MILLSTREAM_BATCH_SIZE", "5")
    assert load(NEEDED).topic == "payments"
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    assert load().topic == "from-the-environment"
    assert load().batch_size == 5


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        load(NEEDED).topic = "other"


def test_every_setting_can_be_given_by_its_name():
    assert all(name == name.lower() for name in Settings.model_fields)


def test_refusing_prints_every_line_and_ends_with_the_status(capsys):
    with pytest.raises(SystemExit) as raised:
        refuse(SettingsError("one\ntwo"), 2)
    assert raised.value.code == 2
    assert capsys.readouterr().err == "millstream: one\nmillstream: two\n"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("", "http://u:s3cr/et@host:8081x", "is not the URL of a registry"),
        ("", "host:8081", "neither an http"),
        ("_USER", "s3cret", "must be user:password"),
        ("_TOKEN", "s3crét", "has characters that no token has"),
        ("_TOKEN_FILE", "/no/token", "there is no file /no/token"),
        ("_CA_LOCATION", "/no/ca", "there is no file /no/ca"),
        ("_KEY_LOCATION", __file__, "there is no MILLSTREAM_SCHEMA_REGISTRY_CERTIFICATE_LOC"),
    ],
)
def test_settings_of_a_registry_are_refused_without_their_secrets(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=says) as raised:
        load(NEEDED | {f"MILLSTREAM_SCHEMA_REGISTRY{name}": value})
    assert str(raised.value).startswith(f"MILLSTREAM_SCHEMA_REGISTRY{name}: ")
    assert "s3cr" not in str(raised.value)


def test_a_registry_knows_one_by_one_thing() -> None:
    one = NEEDED | {"MILLSTREAM_SCHEMA_REGISTRY_USER": "user:password\n"}
    assert load(one).schema_registry_user.get_secret_value() == "user:password"
    for other, value in (("TOKEN", "token"), ("TOKEN_FILE", __file__)):
        with pytest.raises(SettingsError, match="there is a MILLSTREAM_SCHEMA_REGISTRY_USER"):
            load(one | {f"MILLSTREAM_SCHEMA_REGISTRY_{other}": value})
    empty = {f"MILLSTREAM_SCHEMA_REGISTRY_{name}": "" for name in ("TOKEN", "CA_LOCATION")}
    assert load(one | empty).schema_registry_ca_location is None


# --- of streams ------------------------------------------------------------------------------


def test_a_stream_has_settings_of_its_own_and_else_those_of_payments_or_what_it_declares():
    settings = load(
        NEEDED
        | {
            "MILLSTREAM_OUT_OF_ORDERNESS": "7s",
            "MILLSTREAM_DEDUP_TTL": "3d",
            "MILLSTREAM_TOPIC": "paid",
            "MILLSTREAM_CLICKS_DEDUP_TTL": "1d",
            "MILLSTREAM_CLICKS_TOPIC": "clicked",
            "MILLSTREAM_CHARGEBACKS_WITHIN": "5d",
        }
    )
    clicks, chargebacks = settings.of(CLICKS), settings.of(CHARGEBACKS)
    assert settings.of(PAYMENTS) is settings
    assert (settings.topic, clicks.topic, chargebacks.topic) == (
        "paid",
        "clicked",
        "chargebacks",
    )
    assert (clicks.dlq_topic, clicks.alerts_topic) == ("clicks.dlq", "clicks.alerts")
    assert clicks.consumer_group == "millstream-clicks"
    assert clicks.rules == CLICKS.rules
    assert clicks.out_of_orderness == timedelta(seconds=7)
    assert (clicks.dedup_ttl, chargebacks.dedup_ttl) == (timedelta(days=1), timedelta(days=3))
    assert chargebacks.out_of_orderness == timedelta(hours=1), "declared"
    assert chargebacks.within == timedelta(days=5)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CLICKS_DEDUP_TTL", "long", "no duration"),
        ("CLICKS_RULES", "nowhere", "is no folder"),
        ("CLICKS_WITHIN", "5d", "there is no such setting"),
        ("CHARGEBACKS_ALERTS_TOPIC", "x", "there is no such setting"),
        ("CHARGEBACKS_CONSUMER_GROUP", "x", "there is no such setting"),
        ("CLIKS_TOPIC", "x", "there is no such setting"),
        ("CLICKS_TOPIC", "payments", "is MILLSTREAM_TOPIC as well"),
    ],
)
def test_a_wrong_setting_of_a_stream_is_named_as_the_common_ones_are(name, value, told):
    with pytest.raises(SettingsError) as raised:
        load(NEEDED | {f"MILLSTREAM_{name}": value})
    (problem,) = str(raised.value).splitlines()
    assert problem.startswith(f"MILLSTREAM_{name}: ")
    assert told in problem


def test_what_streams_have_from_payments_is_named_once_if_it_is_wrong():
    with pytest.raises(SettingsError) as raised:
        load(NEEDED | {"MILLSTREAM_IDLE_TIMEOUT": "soon"})
    (problem,) = str(raised.value).splitlines()
    assert problem.startswith("MILLSTREAM_IDLE_TIMEOUT: ")
