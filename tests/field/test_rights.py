"""Brokers with passwords, TLS and rights: what a flow needs, and what it says where it lacks it."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from flows.settings import kafka_settings
from flows.streams import PAYMENTS
from operators.connectors.kafka import client as connector
from ops.doctor.examine import examine
from ops.local import Stack
from ops.processes import running
from ops.servers import broker
from tests.field.topic import Field, payments
from tests.running import Flow
from tests.servers import kafka
from tests.servers.secured import PASSWORD, Right, SecuredKafka

GRANT = re.compile(r"(topic|group) '(\S+)': grant it (.+?) on that \1")
SECRET = "not-the-password"


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
    """Return what each flow needs by name, as the table of docs/rights.md has it."""
    topic, group = field.topic, "millstream-payments"

    def both(*names: str) -> set[Right]:
        return {(each, "TOPIC", f"{topic}{n}") for each in ("READ", "WRITE") for n in names}

    payments_, back = ("READ", "TOPIC", topic), ("READ", "TOPIC", f"{topic}.back")
    return {
        "payments": {payments_, *both(".alerts", ".decisions", ".dlq"), ("READ", "GROUP", group)},
        "alerts": {
            payments_, *both(".alerts", ".decisions"), ("READ", "GROUP", f"{group}-alerts"),
        },
        "chargebacks": {
            payments_, back, *both(".back.dlq", ".labels"), ("READ", "GROUP", f"{group}-outcomes"),
        },
    }  # fmt: skip


def make_topics(field: Field) -> None:
    for suffix in ("", ".back", ".alerts", ".decisions", ".dlq", ".back.dlq", ".labels"):
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
    """The other two flows run with just their own, and all do what they are for."""
    make_topics(field)
    rights = needed(field)
    wanted = rights.pop("payments")
    granted: set[Right] = set()
    while granted != wanted:
        flow = field.flow(state="state-payments")
        status, asked = flow.wait(), asked_for(flow.said())
        assert "Traceback" not in flow.said()
        assert asked - granted, flow.said()
        # The group is for lag tools alone: without it all is done, but for them.
        assert (status == 0) == all(kind == "GROUP" for _, kind, _ in asked - granted)
        granted |= asked
        secured.allow(granted)
    secured.allow(set().union(*rights.values()))
    flows = [field.flow(name, state=f"state-{name}") for name in rights]
    assert [flow.wait() for flow in flows] == [0, 0]
    assert not any(asked_for(flow.said()) for flow in flows)
    assert committed(field, "millstream-payments-alerts", field.topic) == 22
    assert field.table(PAYMENTS.quarantine.name).height == 1


def test_the_doctor_asks_for_just_these_rights_too_and_makes_nothing(
    field: Field, secured: SecuredKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a topic that is not there and that nobody may make: it is only tried."""
    make_topics(field)
    wanted, new = needed(field)["payments"], f"{field.topic}.new"
    missing = {("READ", "TOPIC", new), ("WRITE", "TOPIC", new), ("CREATE", "TOPIC", new)}
    for name, value in (field.settings | {"MILLSTREAM_ALERTS_TOPIC": new}).items():
        monkeypatch.setenv(name, value)
    wanted = {each for each in wanted if not each[2].endswith(".alerts")} | missing
    granted: set[Right] = set()
    while True:
        found = list(examine(["payments"], []))
        asked = asked_for("\n".join(f"{each.said}: {each.to_do}" for each in found))
        if not asked:
            break
        assert asked - granted, found
        granted |= asked
        secured.allow(granted)
    assert granted == wanted
    assert all(each.state == "ok" for each in found), found
    admin = AdminClient({"bootstrap.servers": secured.bootstrap, "log_level": 0})
    assert new not in admin.list_topics(timeout=10).topics


def test_an_output_topic_that_is_not_there_needs_the_right_to_create_it_or_somebody_who_does(
    field: Field, secured: SecuredKafka
) -> None:
    field.create()
    rights = needed(field)["alerts"]
    secured.allow(rights)
    last = one_line(field.flow("alerts"))
    both = (f"{field.topic}.{name}" for name in ("alerts", "decisions"))
    create = {("CREATE", "TOPIC", name) for name in both}
    assert create & asked_for(last)
    assert last.endswith("or create it")
    secured.allow({*rights, *create})
    flow = field.flow("alerts")
    assert flow.wait() == 0, flow.said()


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "SASL_PASSWORD": ({"sasl.password": SECRET}, "Authentication failed"),
    "SASL_USERNAME": ({"sasl.username": "nobody"}, "Authentication failed"),
    "SASL_MECHANISM": ({"sasl.mechanism": "SCRAM-SHA-256"}, "Unsupported SASL mechanism"),
    "SSL_CA_LOCATION": ({"ssl.ca.location": "probe"}, "certificate verify failed"),
    "SECURITY_PROTOCOL": ({"security.protocol": "sasl_plaintext"}, "Disconnected"),
    "host's name in MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": (
        {"bootstrap.servers": "no-such-host.invalid:9092"}, "resolve",
    ),
    "BOOTSTRAP_SERVERS": ({"bootstrap.servers": "127.0.0.1:1"}, "Connection refused"),
}  # fmt: skip


def test_brokers_that_cannot_be_used_are_one_line_that_says_why_and_which_setting_to_look_at(
    field: Field,
) -> None:
    config = kafka_settings(field.settings)

    def ask(change: dict[str, str]) -> str:
        with pytest.raises(connector.KafkaUnavailableError) as raised:
            connector.wait_for_partitions(config | change, field.topic, 12)
        return str(raised.value)

    began = time.monotonic()
    with ThreadPoolExecutor(len(WRONG)) as pool:
        lines = list(pool.map(ask, (change for change, _ in WRONG.values())))
    assert time.monotonic() - began < 60
    for line, (setting, (_, said)) in zip(lines, WRONG.items(), strict=True):
        assert said in line
        assert setting in line
        assert "\n" not in line
        assert not any(secret in line for secret in (PASSWORD, SECRET))


def test_a_wrong_password_ends_the_start_within_seconds(field: Field) -> None:
    # One that waited as for brokers that are away would be killed long before it ended.
    flow = field.flow(KAFKA_SASL_PASSWORD=SECRET, START_TIMEOUT="10m")
    last = one_line(flow)
    assert "Authentication failed" in last
    assert "MILLSTREAM_KAFKA_SASL_PASSWORD" in last
    assert SECRET not in flow.said()
    assert len(flow.said().splitlines()) <= 3


def test_brokers_that_advertise_what_cannot_be_reached_are_told_so(tmp_path: Path) -> None:
    command, ready = broker()

    def elsewhere(port: int) -> list[str]:
        whole = command(port)
        whole[whole.index("--advertised-listener-url") + 1] = "tcp://127.0.0.1:1"
        return whole

    with running("broker", elsewhere, ready, tmp_path / "log") as server:
        config = {"bootstrap.servers": f"127.0.0.1:{server.port}"}
        with pytest.raises(
            connector.KafkaUnavailableError, match=r"127\.0\.0\.1:1.*advertised"
        ):
            connector.end_offsets(config, "t", [0], 8)
