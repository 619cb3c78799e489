"""Where the flow starts, and the offsets that lag tools read, which follow the tables' fences."""

import time

import pytest
from confluent_kafka import Consumer, TopicPartition
from deltalake import DeltaTable

from flows.streams import PAYMENTS
from operators.connectors.delta.table import Fence, table_uri
from ops.simulate import produce
from tests.chaos.flow import Flow, Shape
from tests.chaos.world import FOR_EVER, PARTITIONS, Result, World, make, world
from tests.compare import read_tables
from tests.servers import kafka, redis
from tests.topics import TO_THE_END

_MISSING = kafka.missing() or redis.missing()
pytestmark = pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> World:
    with world(tmp_path_factory.mktemp("offsets"), seed=2, records=600) as running:
        yield running


def committed(here: World, flow: Flow, client: Consumer) -> dict[int, int]:
    places = [TopicPartition(here.topic, p) for p in range(PARTITIONS)]
    return {
        p.partition: p.offset for p in client.committed(places, timeout=10) if p.offset >= 0
    }


def fenced(here: World, flow: Flow) -> dict[int, int]:
    uri = table_uri(flow.environ["MILLSTREAM_DELTA_ROOT"], PAYMENTS.bronze.name)
    if not DeltaTable.is_deltatable(uri):
        return {}
    fence = Fence("payments", [(here.topic, p) for p in range(PARTITIONS)])
    return {p: offset + 1 for (_, p), offset in fence.read(DeltaTable(uri)).offsets.items()}


def test_they_never_run_ahead_of_the_tables_and_reach_them_within_an_epoch(here):
    flow = here.flow("offsets", **FOR_EVER)
    group = flow.environ["MILLSTREAM_CONSUMER_GROUP"]
    client = Consumer({"bootstrap.servers": here.bootstrap, "group.id": group})
    try:
        flow.start(Shape(batch=20, epoch=0.3), pace="0.02")
        assert flow.wait_started()
        total = here.made.records.height
        deadline, seen = time.monotonic() + 60, 0
        while time.monotonic() < deadline:
            assert flow.running(), flow.said()
            offsets = committed(here, flow, client)
            tables = fenced(here, flow)
            assert all(offset <= tables.get(p, 0) for p, offset in offsets.items())
            seen += bool(offsets)
            if sum(tables.values()) == total:
                break
            time.sleep(0.1)
        assert seen > 1
        # All is read; the next epoch's first batch commits what the last one made durable.
        deadline = time.monotonic() + 10
        while committed(here, flow, client) != fenced(here, flow):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        flow.kill()
        client.close()


def test_latest_is_where_the_first_start_begins_and_no_partition_added_since(here):
    topic = f"{here.topic}.latest"
    kafka.create_topic(here.bootstrap, topic, 1)
    old = make(PAYMENTS, 3, 40, 1)
    produce(old, here.bootstrap, topic)
    flow = here.flow(
        "latest",
        MILLSTREAM_TOPIC=topic,
        MILLSTREAM_START="latest",
        **FOR_EVER,
    )
    settings = here.settings(flow)
    client = Consumer(
        {"bootstrap.servers": here.bootstrap, "group.id": settings.consumer_group}
    )
    try:
        flow.start(Shape(epoch=0.2))
        deadline = time.monotonic() + 60
        while client.committed([TopicPartition(topic, 0)], timeout=10)[0].offset < 0:
            assert flow.running(), flow.said()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        flow.kill()
        client.close()
    kafka.add_partitions(here.bootstrap, topic, 2)
    new = make(PAYMENTS, 4, 80, 2)
    produce(new, here.bootstrap, topic)
    flow.environ |= TO_THE_END
    result = Result("latest")
    assert here.finish(flow, result), result.problems
    read = read_tables(here.settings(flow))[PAYMENTS.bronze.name]
    found = dict(read["source_partition"].value_counts().iter_rows())
    expected = dict(new.records["partition"].value_counts().iter_rows())
    assert expected[1] > 0
    assert found == expected
    assert read.filter(source_partition=0)["source_offset"].min() == old.records.height
    assert read.filter(source_partition=1)["source_offset"].min() == 0
