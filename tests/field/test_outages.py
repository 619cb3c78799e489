"""Brokers and Redis that go away and come back, and what a flow says of it."""

import itertools
import signal
import time
from pathlib import Path

import pytest

from flows import settings as settings_
from flows.streams import PAYMENTS
from ops.local import Stack
from tests.compare import read_topic
from tests.field.topic import Field, offsets, payments
from tests.running import Flow, at_rest, wait_until
from tests.servers import redis
from tests.servers.secured import SecuredKafka

AWAY_SECONDS = 12


@pytest.fixture
def field(stack: Stack, secured: SecuredKafka, tmp_path: Path) -> Field:
    return Field(stack, secured.bootstrap, tmp_path)


def has_read(field: Field, partitions: int, records: int) -> bool:
    if not (field.folder / "tables" / PAYMENTS.bronze.name / "_delta_log").exists():
        return False
    return field.table(PAYMENTS.bronze.name).height >= partitions * records


def dear(first: int, n: int) -> list[bytes]:
    """Return payments each of which is an alert."""
    return payments(first, first + n - 1, amount_minor=900_000)


def since(flow: Flow, said: str) -> list[str]:
    return flow.said().removeprefix(said).splitlines()


def test_a_broker_that_is_away_is_two_lines_and_costs_no_record_and_a_signal_ends_it_meanwhile(
    field: Field, secured: SecuredKafka, tmp_path: Path
) -> None:
    """The alerts flow's Redis is away as well, and it is the one that is told to end."""
    field.create(partitions=3)
    with redis.redis(tmp_path) as cache:
        alone = {"REDIS_URL": cache.url}
        flow = field.flow(SEND_ALERTS="false")
        told = field.flow("alerts", **alone)
        for partition in range(3):
            field.send(*dear(100 * partition, 40), partition=partition)
        wait_until(lambda: has_read(field, 3, 40))
        wait_until(lambda: alerts_sent(field) >= 120)
        before, told_before = flow.said(), told.said()
        cache.kill()
        field.send(*dear(300, 10))
        # It has read what it cannot commit.
        wait_until(
            lambda: any("waiting for Redis" in line for line in since(told, told_before))
        )
        secured.kill(0)
        began = time.monotonic()
        wait_until(lambda: any("waiting for Kafka" in line for line in since(flow, before)))
        status = told.tell(signal.SIGINT, timeout=at_rest(10))
        last = since(told, told_before)
        assert (status, "nothing is lost" in "".join(last)) == (1, True), told.said()
        time.sleep(max(AWAY_SECONDS - (time.monotonic() - began), 0))
        secured.start(0)
        cache.start()
        for partition in range(3):
            field.send(*dear(100 * partition + 40, 10), partition=partition)
        wait_until(
            lambda: (
                has_read(field, 3, 50) and len(offsets(field.table(PAYMENTS.bronze.name))) == 60
            )
        )
        lines = [line for line in since(flow, before) if "afka" in line]
        assert flow.tell(signal.SIGTERM) == 0
        assert len(lines) in (2, 4), lines  # a slow broker may go once more while it starts
        for begin, end in itertools.pairwise(lines):
            if "is back" not in begin:
                assert f"waiting for Kafka at {secured.bootstrap}: " in begin
                assert f"Kafka at {secured.bootstrap} is back after " in end
        for partition, sent in enumerate((60, 50, 50)):
            assert offsets(field.table(PAYMENTS.bronze.name), partition) == list(range(sent))
        again = field.flow("alerts", **alone, STOP_AT_END="true")
        assert again.wait() == 0, again.said()
    assert alerts_sent(field) == field.table(PAYMENTS.alerts.name).height


def alerts_sent(field: Field) -> int:
    """Return how many alerts have been sent; each but once."""
    settings = settings_.load(field.settings)
    sent = read_topic(settings, settings.alerts_topic)
    assert not sent.is_duplicated().any()
    return sent.height
