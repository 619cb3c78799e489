"""What a process says of its brokers, told by librdkafka's own words and a clock of the test's."""

import logging
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException

from operators.connectors.kafka.brokers import Brokers, KafkaUnavailableError, brokers_of

REFUSED = (
    "h:1/1: Connect to ipv4#10.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)"
)
GONE = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def brokers(clock: Clock) -> Brokers:
    return Brokers({"bootstrap.servers": "h:1"}, clock)


def no_answer() -> None:
    raise KafkaException(KafkaError(KafkaError._TRANSPORT, "Local: Broker transport failure"))


def away(
    brokers: Brokers, clock: Clock, seconds: float, ask: Callable[[], None] = no_answer
) -> None:
    """Let 30 clients say it, as they do, ten times a second; they ask when nothing comes."""
    for _ in range(int(seconds * 10)):
        clock.now += 0.1
        for client in range(30):
            name = f"rdkafka#consumer-{client}"
            brokers.log(40, "%s [%s] %s", "FAIL", name, f"[thrd:h:1/1]: {REFUSED}")
            brokers.on_error(KafkaError(KafkaError._TRANSPORT, REFUSED))
            brokers.on_error(GONE)
            brokers.look(ask)


def test_brokers_away_for_85_s_are_three_lines(brokers, clock, caplog):
    away(brokers, clock, 85)
    brokers.look(lambda: None)
    clock.now += 10
    brokers.look(lambda: None)
    begin, minute, end = caplog.messages
    assert (
        begin
        == "waiting for Kafka at h:1: Connect to ipv4#10.0.0.1:1 failed: Connection refused"
    )
    assert minute.startswith("waiting for Kafka at h:1 for 6")
    assert end.startswith("Kafka at h:1 is back after ")


def test_brokers_away_for_too_long_end_the_flow_with_what_to_look_at(brokers, clock):
    with pytest.raises(
        KafkaUnavailableError, match=r"refused \(tried for 12\d s\); check that"
    ):
        away(brokers, clock, 130)


def test_brokers_that_are_back_at_once_are_not_spoken_of(brokers, clock, caplog):
    away(brokers, clock, 2)
    brokers.look(lambda: None)
    assert not caplog.messages


def test_a_client_that_has_lost_an_idle_connection_says_nothing(brokers, clock, caplog):
    brokers.on_error(GONE)
    brokers.look(lambda: None)
    assert not caplog.messages


def test_they_are_asked_with_pauses(brokers, clock):
    asked = []

    def ask() -> None:
        asked.append(clock.now)
        no_answer()

    away(brokers, clock, 60, ask)
    assert 10 < len(asked) < 20


def test_one_broker_of_several_that_is_away_is_a_line_a_minute(brokers, clock, caplog):
    for _ in range(1250):
        clock.now += 0.1
        brokers.log(40, "%s [%s] %s", "FAIL", "c", f"[thrd:h:1/1]: {REFUSED}")
        brokers.on_error(KafkaError(KafkaError._TRANSPORT, REFUSED))
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("h:1: Connect to")


def test_what_is_no_matter_of_connections_is_said_once_a_minute(brokers, clock, caplog):
    for client in range(100):
        name = f"rdkafka#producer-{client}"
        brokers.log(30, "%s [%s] %s", "CONFWARN", name, "[thrd:app]: deprecated")
    assert caplog.record_tuples == [("millstream.kafka", logging.WARNING, "deprecated")]


def test_clients_of_one_cluster_share_what_is_said_of_it():
    config = {"bootstrap.servers": "shared:1"}
    assert brokers_of(config) is brokers_of({**config, "group.id": "g"})
    assert brokers_of(config) is not brokers_of({"bootstrap.servers": "other:1"})
