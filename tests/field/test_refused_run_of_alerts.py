"""A run of rejects that goes on over restarts, in a flow that writes no table of them."""

import shutil

from confluent_kafka import Producer

from flows import settings as settings_
from operators.connectors.kafka.before import read_before
from tests.field.topic import Field, payment, payments

JUNK = b"no payment"


def test_a_run_that_began_in_a_process_before_ends_the_alerts_flow_too(field: Field) -> None:
    """Before, it was counted from each start on, and a slow partition was never paused."""
    field.create(2)
    given = {"MAX_REJECT_RUN": "50", "STOP_AT_END": "true"}
    field.send(*[JUNK] * 45, payment(1), *[JUNK] * 30)
    field.send(*[JUNK] * 49, partition=1)
    assert field.flow("alerts", **given).wait() == 0
    # In the one it is over, in the other one is lacking.
    field.send(payment(2), *[JUNK] * 49, partition=1)
    field.send(*[JUNK] * 19)
    flow = field.flow("alerts", **given)
    assert flow.wait() == 0, flow.said()
    shutil.copytree(field.folder / "state", field.folder / "before")
    # One of a transaction, whose markers have offsets as well.
    producer = Producer({"bootstrap.servers": field.bootstrap, "transactional.id": field.topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(field.topic, JUNK, partition=0)
    producer.commit_transaction(30)
    flow = field.flow("alerts", **given)
    assert flow.wait() == 1, flow.said()
    assert f"{field.topic}/0: 50 records in a row were refused" in flow.said()
    flow = field.flow("alerts", "before", **given | {"MAX_REJECT_RUN": "51"})
    assert flow.wait() == 0, flow.said()


def test_what_lies_before_an_offset_is_read_and_nothing_behind_it(field: Field) -> None:
    field.create(2)
    field.send(*payments(0, 9))
    config = settings_.load(field.settings).kafka

    def before(offset: int, span: int, partition: int = 0) -> list[int]:
        found = read_before(config, field.topic, partition, offset, span)
        return [int(each) for each in found.offsets]

    assert before(5, 3) == [2, 3, 4]
    assert before(5, 9) == [0, 1, 2, 3, 4]
    assert before(0, 9) == []
    # Beyond the end there is no more than there is.
    assert before(12, 5) == [7, 8, 9]
    assert before(3, 3, partition=1) == []
