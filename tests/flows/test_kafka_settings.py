import pytest

from flows.kafka_settings import NEEDED, kafka_problems, kafka_settings

VALUE = "a-value-of-mine"


def variable(name: str) -> str:
    return "MILLSTREAM_KAFKA_" + name.upper().replace(".", "_")


def problems(**settings: str) -> list[str]:
    return kafka_problems({f"MILLSTREAM_KAFKA_{name}": v for name, v in settings.items()})


@pytest.mark.parametrize("name", NEEDED)
def test_what_the_flow_needs_its_own_way_is_refused_by_the_variables_name(name):
    (problem,) = kafka_problems({variable(name): VALUE})
    assert problem.startswith(f"{variable(name)}: can")
    assert problem.endswith(NEEDED[name][1])
    assert VALUE not in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, (values, _) in NEEDED.items() for value in values],
)
def test_the_flows_own_value_may_be_said_again(name, value):
    said = {variable(name): value.upper()}
    assert kafka_problems(said) == []
    assert kafka_settings(said) == {}, "or each client of the other kind would warn of it"


@pytest.mark.parametrize(
    "name", ["SASL_PASWORD", "", "OPAQUE", "LOGGER", "ERROR_CB", "DEFAULT_TOPIC_CONFIG"]
)
def test_what_librdkafka_has_no_setting_for_is_refused_by_the_variables_name(name):
    (problem,) = problems(**{name: VALUE})
    assert problem.startswith(f"MILLSTREAM_KAFKA_{name}: librdkafka ")
    assert VALUE not in problem


def test_a_value_out_of_range_is_refused_with_the_range_and_one_of_no_range_without():
    assert problems(LINGER_MS="1000000", SECURITY_PROTOCOL=VALUE) == [
        "MILLSTREAM_KAFKA_LINGER_MS: librdkafka does not take its value, only 0..900000",
        "MILLSTREAM_KAFKA_SECURITY_PROTOCOL: librdkafka does not take its value",
    ]


def test_what_contradicts_idempotence_is_refused_though_that_is_ours_to_set():
    assert problems(RETRIES="0", MAX_IN_FLIGHT="6") == [
        "MILLSTREAM_KAFKA_MAX_IN_FLIGHT: librdkafka says: MILLSTREAM_KAFKA_MAX_IN_FLIGHT must be "
        "set <= 5 when MILLSTREAM_KAFKA_ENABLE_IDEMPOTENCE is true",
        "MILLSTREAM_KAFKA_RETRIES: librdkafka says: MILLSTREAM_KAFKA_RETRIES must be set >= 1 "
        "when MILLSTREAM_KAFKA_ENABLE_IDEMPOTENCE is true",
    ]


def test_settings_that_need_another_are_refused_with_its_variables_name():
    (problem,) = problems(
        SECURITY_PROTOCOL="sasl_ssl", SASL_MECHANISM="PLAIN", SASL_PASSWORD="hunter2"
    )
    assert problem == (
        "MILLSTREAM_KAFKA_…: librdkafka says: MILLSTREAM_KAFKA_SASL_USERNAME and "
        "MILLSTREAM_KAFKA_SASL_PASSWORD must be set"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"SASL_MECHANISM": VALUE, "SECURITY_PROTOCOL": "sasl_ssl"},
        {"SSL_KEY_PEM": VALUE, "SECURITY_PROTOCOL": "ssl"},
        {"SSL_CA_LOCATION": f"/{VALUE}", "SECURITY_PROTOCOL": "ssl"},
    ],
)
def test_what_librdkafka_says_of_security_shows_no_value(settings):
    (problem,) = problems(**settings)
    assert VALUE not in problem


def test_good_settings_pass():
    environ = {
        "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "b:9093",
        "MILLSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "MILLSTREAM_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "MILLSTREAM_KAFKA_SASL_USERNAME": "me",
        "MILLSTREAM_KAFKA_SASL_PASSWORD": "hunter2",
        "MILLSTREAM_KAFKA_FETCH_MIN_BYTES": "1",
        "MILLSTREAM_KAFKA_MESSAGE_MAX_BYTES": "2000",
        "MILLSTREAM_KAFKA_LOG_LEVEL": "3",
        "KAFKA_OTHER": "no",
    }
    assert kafka_problems(environ) == []
    assert kafka_settings(environ)["sasl.username"] == "me"
    assert kafka_settings(environ)["log_level"] == "3"
