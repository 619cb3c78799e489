"""What retention deletes from a topic is no loss, and an output topic made anew is a new one."""

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from flows import settings as settings_
from operators.connectors.kafka.client import end_offsets
from ops.verify import Check, verify
from tests.field.topic import Field, payments
from tests.servers import kafka


def delete_before(field: Field, topic: str, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": field.bootstrap, "log_level": 0})
    for done in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        done.result(30)


def checks(field: Field) -> dict[str, Check]:
    report = verify(settings_.load(field.settings))
    return {check.name.removeprefix(field.topic): check for check in report.checks}


def test_old_messages_deleted_by_retention_are_counted_by_verify_and_not_missed(
    field: Field,
) -> None:
    alerts, letters = f"{field.topic}.alerts", f"{field.topic}.dlq"
    for topic in (field.topic, alerts, letters):
        kafka.create_topic(field.bootstrap, topic, 1)
    field.send(*payments(0, 9, amount_minor=30_000), *[b"refused"] * 10, *payments(20, 29))
    flow = field.flow("payments", STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    config = {"bootstrap.servers": field.bootstrap}
    assert (
        end_offsets(config, alerts, [0], 10) == end_offsets(config, letters, [0], 10) == {0: 10}
    )
    delete_before(field, alerts, 4)
    delete_before(field, letters, 10)
    delete_before(field, field.topic, 15)

    found = checks(field)
    assert all(check.ok for check in found.values()), found
    counted = {
        name: (check.compared, check.deleted) for name, check in found.items() if check.deleted
    }
    assert counted == {
        f"every record of topic {field.topic} is in bronze/payments, once": (15, 15),
        ".alerts holds every row of gold/alerts, once": (6, 4),
        ".dlq holds every row of quarantine/payments, once": (0, 10),
    }

    # A topic made anew has deleted nothing: what it lacks is lost to its readers.
    field.topic, source = alerts, field.topic
    field.delete()
    field.create()
    field.topic = source
    lost = checks(field)[".alerts holds every row of gold/alerts, once"]
    assert (lost.compared, lost.offending, lost.deleted) == (10, 10, 0)
