"""librdkafka's own words, as it said them: what a person reads, and what to look at."""

import pytest

from operators.connectors.kafka.faults import denied, fault_of

SAID = {
    "sasl_ssl://h:9092/bootstrap: SASL authentication error: Authentication failed: Invalid "
    "username or password (after 301ms in state AUTH_REQ)": (
        "h:9092: SASL authentication error: Authentication failed: Invalid username or password",
        "SASL_PASSWORD",
        True,
    ),
    "[thrd:sasl_ssl://h:9092/bootstrap]: sasl_ssl://h:9092/bootstrap: SSL handshake failed: "
    "error:0A000086:SSL routines::certificate verify failed: broker certificate could not be "
    "verified, verify that ssl.ca.location is correctly configured or root CA certificates are "
    "installed (install ca-certificates package) (after 5ms in state SSL_HANDSHAKE)": (
        "h:9092: SSL handshake failed: certificate verify failed: broker certificate could not be "
        "verified",
        "SSL_CA_LOCATION",
        True,
    ),
    "h:9092/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN (after 1ms "
    "in state APIVERSION_QUERY, 12 identical error(s) suppressed)": (
        "h:9092: Disconnected: connection closed by peer: receive 0 after POLLIN",
        "SECURITY_PROTOCOL",
        False,
    ),
    "h:9092/bootstrap: Failed to resolve 'h:9092': Name or service not known (after 3ms in state "
    "CONNECT)": (
        "h:9092: Failed to resolve 'h:9092': Name or service not known",
        "host's name in MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS",
        False,
    ),
    "[::1]:1/bootstrap: Connect to ipv6#[::1]:1 failed: Connection refused (after 0ms in state "
    "CONNECT)": (
        "[::1]:1: Connect to ipv6#[::1]:1 failed: Connection refused",
        "BOOTSTRAP_SERVERS",
        False,
    ),
    "inner:9092/3: Failed to resolve 'inner:9092': Name or service not known (after 1ms in state "
    "CONNECT)": (
        "inner:9092: Failed to resolve 'inner:9092': Name or service not known",
        "advertised.listeners",
        False,
    ),
    "[thrd:GroupCoordinator]: GroupCoordinator: 127.0.0.1:1: Connect to ipv4#127.0.0.1:1 failed: "
    "Connection refused (after 0ms in state CONNECT)": (
        "127.0.0.1:1: Connect to ipv4#127.0.0.1:1 failed: Connection refused",
        "advertised.listeners",
        False,
    ),
    "Failed while waiting for response from broker: Local: Timed out": (
        "Failed while waiting for response from broker: Local: Timed out",
        "BOOTSTRAP_SERVERS",
        False,
    ),
    "there is no topic 'payments'": ("there is no topic 'payments'", "MILLSTREAM_TOPIC", False),
}


@pytest.mark.parametrize("text", SAID)
def test_a_fault_is_one_line_and_what_to_look_at(text: str):
    reason, advice, refuses = SAID[text]
    fault = fault_of(text)
    assert fault.reason == reason
    assert advice in fault.advice
    assert fault.refuses is refuses


def test_what_is_not_allowed_names_who_what_and_what_to_grant():
    config = {"bootstrap.servers": "h:1", "sasl.username": "u", "sasl.password": "secret"}
    assert denied(config, "WRITE", "alerts", ["READ", "WRITE"]) == (
        "Kafka at h:1: user 'u' may not WRITE topic 'alerts': grant it READ and WRITE on that topic"
    )
