"""A payments flow whose Redis refuses, hangs, goes, or is not the one that was meant."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from ops.local import Stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from tests.field.topic import Field, offsets, payments
from tests.running import Flow, at_rest, wait_until
from tests.servers import redis as servers


@pytest.fixture
def server(tmp_path: Path) -> Iterator[servers.Redis]:
    """Run a Redis of the flow's own."""
    with servers.redis(tmp_path) as running:
        yield running


@pytest.fixture
def field(stack: Stack, server: servers.Redis, tmp_path: Path) -> Field:
    """Give a topic of one's own on the local broker."""
    made = Field(stack, stack.bootstrap, tmp_path)
    made.settings["MILLSTREAM_REDIS_URL"] = server.url
    create_topic(stack.bootstrap, made.topic, 1)
    return made


def tell(server: servers.Redis, *command: str) -> None:
    with server.admin() as client:
        client.execute_command(*command)


def reached(field: Field, offset: int) -> bool:
    """Return whether bronze has a record."""
    path = field.folder / "tables" / "bronze" / "payments"
    return path.exists() and offset in offsets(field.table("bronze/payments"))


def waits(flow: Flow, for_what: str) -> bool:
    return for_what in flow.said()


def test_redis_becomes_a_replica_is_full_and_hangs_while_the_flow_runs(
    field: Field, server: servers.Redis
) -> None:
    """Each is waited for in a line that says what to do, and no payment is lost or twice."""
    flow = field.flow()
    field.send(*payments(0, 9))
    wait_until(lambda: reached(field, 9))
    faults = [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "it is a replica"),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "it is full"),
        (("CONFIG", "SET", "min-replicas-to-write", "1"),
         ("CONFIG", "SET", "min-replicas-to-write", "0"), "too few of its replicas"),
    ]  # fmt: skip
    for number, (begin, end, says) in enumerate(faults, 1):
        tell(server, *begin)
        field.send(*payments(0, 4), *payments(10 * number + 5, 10 * number + 9))
        wait_until(lambda says=says: waits(flow, says))
        time.sleep(1)
        assert not reached(field, 10 * number)
        tell(server, *end)
        wait_until(lambda number=number: reached(field, 10 * number + 9))
    server.hang()
    field.send(*payments(0, 4), *payments(45, 49))
    wait_until(lambda: waits(flow, "Timeout reading from"))
    server.resume()
    wait_until(lambda: reached(field, 49))
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    assert "Traceback" not in flow.said()
    assert len(re.findall("waiting for Redis", flow.said())) == 4
    assert len(re.findall("is back after", flow.said())) == 4
    new = [*range(10), *(10 * each + at for each in range(1, 5) for at in range(5, 10))]
    assert offsets(field.table("silver/payments")) == new
    again = field.table("silver/duplicates")
    assert again["first_offset"].to_list() == [*range(5)] * 4


def test_a_redis_that_gets_full_takes_no_more_and_the_flow_goes_on_with_memory(
    stack: Stack, field: Field, server: servers.Redis
) -> None:
    made = simulate(Params(payments=60_000, customers=500, terminals=500, partitions=1))
    produce(made, stack.bootstrap, field.topic)
    with server.admin() as client:
        limit = client.info("memory")["used_memory"] + 2_000_000
        client.config_set("maxmemory", limit)
        flow = field.flow(ALIGNMENT="0s")
        wait_until(lambda: waits(flow, "it is full; raise its maxmemory"))
        time.sleep(1)
        assert client.info("memory")["used_memory"] < limit + 2_000_000
        assert not reached(field, made.records.height - 1)
        client.config_set("maxmemory", 0)
    wait_until(lambda: reached(field, made.records.height - 1))
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    assert len(re.findall("waiting for Redis", flow.said())) == 1
    silver = made.truth.filter(pl.col("place") == "silver")["sequence"].to_list()
    assert offsets(field.table("silver/payments")) == silver


@pytest.mark.parametrize("how", ["killed", "hangs"])
def test_a_signal_ends_it_within_10_s_also_while_redis_is_away_and_nothing_is_lost(
    field: Field, server: servers.Redis, how: str
) -> None:
    flow = field.flow()
    field.send(*payments(0, 9))
    wait_until(lambda: reached(field, 9))
    if how == "killed":
        server.kill()
    else:
        server.hang()
    field.send(*payments(5, 14))
    wait_until(lambda: waits(flow, "waiting for Redis"))
    assert flow.tell(signal.SIGTERM, timeout=at_rest(10)) == 1
    assert "told to end before the epoch was committed" in flow.said()
    if how == "killed":
        server.start()
    else:
        server.resume()
    flow = field.flow()
    wait_until(lambda: reached(field, 19))
    assert flow.tell(signal.SIGTERM) == 0, flow.said()
    assert offsets(field.table("silver/payments")) == [*range(10), *range(15, 20)]


def test_a_redis_that_is_not_the_one_meant_ends_the_start_in_one_line(
    field: Field, server: servers.Redis
) -> None:
    tell(server, "CONFIG", "SET", "maxmemory", "100mb")
    tell(server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    url, where = server.url, server.url.removeprefix("redis://")
    wrong = [
        (f"redis://:se/cret@{where}", 2, "/ is written %2F"),
        (url, 1, "its maxmemory-policy is allkeys-lru"),
        (f"redis://nobody:cret@{where}", 1, "the password in MILLSTREAM_REDIS_URL"),
    ]
    flows = [
        field.flow("payments", f"state{number}", REDIS_URL=wrong_url)
        for number, (wrong_url, _, _) in enumerate(wrong)
    ]
    for flow, (_, status, says) in zip(flows, wrong, strict=True):
        assert flow.wait() == status
        lines = [line for line in flow.said().splitlines() if line.startswith("millstream:")]
        assert len(lines) == 1
        assert says in lines[0]
        assert "Traceback" not in flow.said()
        assert "cret" not in flow.said().replace("secret", "")
