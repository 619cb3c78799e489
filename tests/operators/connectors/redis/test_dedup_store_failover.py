"""What RedisDedupStore does when a replica takes over, or single buckets go: real servers."""

import itertools
import time

import pytest
from redis import Redis as Client

from operators.connectors.redis import client as redis
from operators.connectors.redis import dedup_store as first_seen
from operators.connectors.redis.dedup_store import RedisDedupStore
from tests.operators.connectors.first_records import Table, ask, field
from tests.servers import proxy as proxies
from tests.servers import redis as servers

_names = (f"failover-{i}" for i in itertools.count())


@pytest.fixture
def pair(tmp_path):
    """A primary and its replica, which can be told to take over."""
    with (
        servers.redis(tmp_path, "--repl-diskless-sync-delay", "0") as primary,
        servers.redis(
            tmp_path, "--repl-diskless-sync-delay", "0", "--replicaof",
            f"127.0.0.1 {primary.port}", name="replica",
        ) as replica,
    ):  # fmt: skip
        linked(replica)
        yield primary, replica


def linked(replica):
    """Wait until a replica has what its primary has."""
    deadline = time.monotonic() + 60
    with replica.admin() as client:
        while client.info("replication").get("master_link_status") != "up":
            assert time.monotonic() < deadline
            time.sleep(0.05)


def tell(server, *command):
    with server.admin() as client:
        return client.execute_command(*command)


def follow(replica, primary):
    tell(replica, "REPLICAOF", "127.0.0.1", str(primary.port))


def caught_up(primary):
    with primary.admin() as client:
        assert client.wait(1, 5_000) == 1


def cut_off(replica):
    """Let a replica stay one, but get nothing from its primary any more."""
    tell(replica, "REPLICAOF", "127.0.0.1", "1")


def test_a_replica_that_lacks_the_newest_ids_takes_over(pair, caplog):
    """The name of the primary leads to the replica then, as a load balancer's does."""
    primary, replica = pair
    table = Table()
    with proxies.proxy(primary.port) as name:
        client = redis.connect(f"redis://127.0.0.1:{name.port}/0", 5)
        seen = RedisDedupStore(client, "lag", 600, table, patience=60)
        assert ask(seen, ("a", 7, 0, 1), ("b", 7, 0, 2)) == [(0, 1), (0, 2)]
        table.commit([("a", 7, 0, 1)], {0: 1})
        caught_up(primary)
        cut_off(replica)
        assert ask(seen, ("c", 7, 0, 3)) == [(0, 3)]
        tell(replica, "REPLICAOF", "NO", "ONE")
        primary.kill()
        name.lead_to(replica.port)
        assert ask(seen, ("a", 7, 1, 1), ("b", 7, 1, 2), ("c", 7, 1, 3)) == [
            (0, 1), (0, 2), (0, 3)
        ]  # fmt: skip
    assert "Redis lost its data" in caplog.text


def test_a_primary_that_was_a_replica_for_a_while_lost_what_the_other_did_not_have(pair):
    """It is the same process as before, and has the same generation from the other."""
    primary, replica = pair
    table = Table()
    client = redis.connect(primary.url, 5)
    seen = RedisDedupStore(client, "there and back", 600, table, patience=60)
    assert ask(seen, ("a", 7, 0, 1)) == [(0, 1)]
    caught_up(primary)
    cut_off(replica)
    assert ask(seen, ("b", 7, 0, 2)) == [(0, 2)]
    tell(replica, "REPLICAOF", "NO", "ONE")
    follow(primary, replica)
    linked(primary)
    tell(primary, "REPLICAOF", "NO", "ONE")
    with primary.admin() as admin:
        (bucket,) = [key for key in admin.scan_iter("*") if key.endswith(b":7")]
        assert admin.hget(bucket, field("a")) is not None
        assert admin.hget(bucket, field("b")) is None
    assert ask(seen, ("b", 7, 1, 3)) == [(0, 2)]


def test_a_replica_that_was_made_the_primary_gets_connections_anew(pair):
    """One that was made a replica keeps its connections, and would refuse for ever."""
    primary, replica = pair
    with proxies.proxy(primary.port) as name:
        client = redis.connect(f"redis://127.0.0.1:{name.port}/0", 5)
        seen = RedisDedupStore(client, "name", 600, Table(), patience=60)
        ask(seen, ("a", 7, 0, 1))
        caught_up(primary)
        tell(replica, "REPLICAOF", "NO", "ONE")
        follow(primary, replica)
        name.lead_to(replica.port)
        assert ask(seen, ("a", 7, 0, 2)) == [(0, 1)]


@pytest.fixture
def client(redis_server):
    with Client.from_url(redis_server.url) as made:
        yield made


def delete_all(client, name):
    """Delete by a pattern, as people do."""
    for key in client.scan_iter(f"millstream:*{name}*:7"):
        client.delete(key)


def expire_all(client, name):
    """Let the clock jump."""
    for key in client.scan_iter(f"millstream:*{name}*:7"):
        client.pexpireat(key, 1)


@pytest.mark.parametrize("lose", [delete_all, expire_all])
def test_a_bucket_lost_between_two_processes_is_noticed_by_the_one_that_used_it(client, lose):
    table, name = Table(), next(_names)
    one, two = (RedisDedupStore(client, name, 60, table) for _ in range(2))
    assert ask(one, ("a", 7, 0, 1)) == [(0, 1)]
    assert ask(two, ("b", 7, 1, 1)) == [(1, 1)]
    lose(client, name)
    assert ask(two, ("c", 7, 1, 2)) == [(1, 2)]
    # Filled by the other, without what this one had put in.
    assert ask(one, ("a", 7, 0, 9), ("b", 7, 0, 10)) == [(0, 1), (1, 1)]
    assert ask(two, ("a", 7, 1, 9)) == [(0, 1)]


def test_what_may_have_come_twice_for_a_lost_bucket_is_counted_before_the_commit(
    client, caplog
):
    name = next(_names)
    one, two = (RedisDedupStore(client, name, 60, Table()) for _ in range(2))
    before = first_seen.metrics.DEDUP_DOUBTFUL._value.get()
    ask(one, ("a", 7, 0, 1))
    ask(two, ("b", 7, 1, 1))
    delete_all(client, name)
    assert ask(two, ("a", 7, 1, 5)) == [(1, 5)]  # nobody can know better
    ask(one)  # the next epoch's, with no ids
    assert first_seen.metrics.DEDUP_DOUBTFUL._value.get() == before + 1
    assert "may be in silver twice" in caplog.text


def test_a_bucket_lost_while_it_is_filled_is_filled_again(client):
    name = next(_names)

    class Unlucky(Table):
        def first(self, hours):
            for part in super().first(hours):
                yield part
                if self.reads == 1:
                    delete_all(client, name)

    table = Unlucky()
    table.commit([(f"id{i}", 7, 0, i) for i in range(10)], {0: 9})
    seen = RedisDedupStore(client, name, 60, table)
    assert ask(seen, ("id0", 7, 0, 20), ("id9", 7, 0, 21)) == [(0, 0), (0, 9)]
    assert table.reads == 2


def test_hours_of_which_all_is_in_the_table_are_not_looked_at_for_ever(client):
    table = Table()
    seen = RedisDedupStore(client, next(_names), 60, table)
    for hour in range(300):
        ask(seen, (f"id{hour}", hour, 0, hour))
        table.commit([(f"id{hour}", hour, 0, hour)], {0: hour})
    assert len(seen._known) < 100
