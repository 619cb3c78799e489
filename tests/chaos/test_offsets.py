"""The consumer group's offsets, which lag tools read, follow the tables' fences."""

import time

import pytest
from confluent_kafka import Consumer, TopicPartition
from deltalake import DeltaTable

from flows.tables import BRONZE
from operators.connectors.delta import Fence, table_uri
from tests.chaos.flow import Flow, Shape
from tests.chaos.world import PARTITIONS, World, world
from tests.servers import kafka, redis

_MISSING = kafka.missing() or redis.missing()
pytestmark = pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> World:
    with world(tmp_path_factory.mktemp("offsets"), seed=2, payments=600) as running:
        yield running


def committed(here: World, flow: Flow, client: Consumer) -> dict[int, int]:
    places = [TopicPartition(here.topic, p) for p in range(PARTITIONS)]
    return {
        p.partition: p.offset for p in client.committed(places, timeout=10) if p.offset >= 0
    }


def fenced(here: World, flow: Flow) -> dict[int, int]:
    uri = table_uri(flow.environ["MILLSTREAM_DELTA_ROOT"], BRONZE.name)
    if not DeltaTable.is_deltatable(uri):
        return {}
    fence = Fence("payments", [(here.topic, p) for p in range(PARTITIONS)])
    return {p: offset + 1 for (_, p), offset in fence.read(DeltaTable(uri)).offsets.items()}


def test_they_never_run_ahead_of_the_tables_and_reach_them_within_an_epoch(here):
    flow = here.flow("offsets", MILLSTREAM_STOP_AT_END="false")
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
