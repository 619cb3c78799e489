"""Brokers with passwords, TLS and rights: what a flow needs, and what it says where it lacks it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.local import Stack
from ops.processes import free_port
from tests.field.topic import Field, payments
from tests.running import Flow
from tests.servers import kafka
from tests.servers.secured import PASSWORD, Right, SecuredKafka

GRANT = re.compile(r"(topic|group) '(\S+)': grant it (.+?) on that \1")
WRONG = "not-the-password"


@pytest.fixture
def field(stack: Stack, secured: SecuredKafka, tmp_path: Path) -> Iterator[Field]:
    """A topic on the secured broker, and settings of one who may do nothing yet."""
    found = Field(stack, secured.bootstrap, tmp_path)
    found.settings |= secured.settings
    found.settings["MILLSTREAM_STOP_AT_END"] = "true"
    secured.allow([])
    yield found
    secured.allow([])


def asked_for(said: str) -> set[Right]:
    """Return the rights that a flow's lines ask for."""
    return {
        (operation, kind.upper(), name)
        for kind, name, operations in GRANT.findall(said)
        for operation in re.split(r", | and ", operations)
    }


def needed(field: Field) -> dict[str, set[Right]]:
    """Return what each flow needs by name, as the README's table of rights has it."""
    topic, group = field.topic, "millstream-payments"

    def both(*names: str) -> set[Right]:
        return {(each, "TOPIC", f"{topic}{n}") for each in ("READ", "WRITE") for n in names}

    payments_, back = ("READ", "TOPIC", topic), ("READ", "TOPIC", f"{topic}.back")
    return {
        "payments": {payments_, *both(".alerts", ".dlq"), ("READ", "GROUP", group)},
        "alerts": {payments_, *both(".alerts"), ("READ", "GROUP", f"{group}-alerts")},
        "chargebacks": {
            payments_, back, *both(".back.dlq"), ("READ", "GROUP", f"{group}-outcomes"),
        },
    }  # fmt: skip


def make_topics(field: Field) -> None:
    for suffix in ("", ".back", ".alerts", ".dlq", ".back.dlq"):
        kafka.create_topic(field.bootstrap, field.topic + suffix, 1)
    # One that is an alert, one that is a dead letter.
    field.send(*payments(1, 20), *payments(21, 21, amount_minor=900_000), b"no payment")


def committed(field: Field, group: str, topic: str) -> int:
    admin = AdminClient({"bootstrap.servers": field.bootstrap, "log_level": 0})
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
    (answer,) = admin.list_consumer_group_offsets([asked]).values()
    return int(answer.result(10).topic_partitions[0].offset)


def one_line(flow: Flow) -> str:
    assert flow.wait() == 1, flow.said()
    assert "Traceback" not in flow.said()
    return flow.said().splitlines()[-1]


def test_who_does_what_each_line_says_ends_with_the_rights_that_the_docs_list_and_no_more(
    field: Field, secured: SecuredKafka
) -> None:
    make_topics(field)
    left = dict(needed(field))
    granted: dict[str, set[Right]] = {name: set() for name in left}
    for _ in range(4):
        flows = {name: field.flow(name, state=f"{name}-{time.monotonic()}") for name in left}
        for name, flow in flows.items():
            if flow.wait() == 0 and granted[name] == left[name]:
                del left[name]
                continue
            asked = asked_for(flow.said()) - granted[name]
            assert asked, flow.said()
            assert "Traceback" not in flow.said()
            granted[name] |= asked
        secured.allow(set().union(*granted.values()))
    assert granted == needed(field)


def test_an_output_topic_that_is_not_there_needs_the_right_to_create_it_or_somebody_who_does(
    field: Field, secured: SecuredKafka
) -> None:
    field.create()
    rights = needed(field)["alerts"]
    secured.allow(rights)
    last = one_line(field.flow("alerts"))
    create = ("CREATE", "TOPIC", f"{field.topic}.alerts")
    assert create in asked_for(last)
    assert last.endswith("or create it")
    secured.allow({*rights, create})
    flow = field.flow("alerts")
    assert flow.wait() == 0, flow.said()


@pytest.mark.parametrize(
    ("wrong", "said", "look_at"),
    [
        ({"SASL_PASSWORD": WRONG}, "Authentication failed", "SASL_PASSWORD"),
        ({"SASL_USERNAME": "nobody"}, "Authentication failed", "SASL_USERNAME"),
        ({"SASL_MECHANISM": "SCRAM-SHA-256"}, "Unsupported SASL mechanism", "SASL_MECHANISM"),
        ({"SSL_CA_LOCATION": "probe"}, "certificate verify failed", "SSL_CA_LOCATION"),
        ({"SECURITY_PROTOCOL": "sasl_plaintext"}, "Disconnected", "SECURITY_PROTOCOL"),
        ({"BOOTSTRAP_SERVERS": "no-such-host.invalid:9092"}, "resolve", "BOOTSTRAP_SERVERS"),
        ({"BOOTSTRAP_SERVERS": "127.0.0.1:{port}"}, "Connection refused", "BOOTSTRAP_SERVERS"),
    ],
)
def test_a_start_without_brokers_says_in_one_line_why_and_which_setting_to_look_at(
    field: Field, wrong: dict[str, str], said: str, look_at: str
) -> None:
    port = str(free_port())
    settings = {f"KAFKA_{name}": value.format(port=port) for name, value in wrong.items()}
    began = time.monotonic()
    last = one_line(field.flow(**settings, START_TIMEOUT="8s"))
    assert time.monotonic() - began < 30
    assert said in last
    assert f"MILLSTREAM_KAFKA_{look_at}" in last
    assert PASSWORD not in last
    assert WRONG not in last
