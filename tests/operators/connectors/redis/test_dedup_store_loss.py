"""What RedisDedupStore does when its server forgets: nothing that the tables could show."""

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis as Client

from operators.connectors.redis import dedup_store as first_seen
from operators.connectors.redis.dedup_ids import Seen
from operators.connectors.redis.dedup_store import RedisDedupStore
from tests.examples import examples
from tests.operators.connectors.first_records import Row, Table, ask, field

_names = (f"loss-{i}" for i in itertools.count())


@pytest.fixture
def client(redis_server):
    with Client.from_url(redis_server.url, retry_on_timeout=True) as made:
        made.ping()
        yield made


def bucket(client: Client, name: str) -> bytes:
    """Return the key of the one bucket, of hour 7."""
    (found,) = [key for key in client.scan_iter(f"*{name}*") if key.endswith(b":7")]
    return found


def test_an_emptied_server_is_filled_from_the_table_and_from_memory(client):
    table = Table()
    seen = RedisDedupStore(client, next(_names), 60, table)
    assert ask(seen, ("a", 7, 0, 1), ("b", 7, 0, 2)) == [(0, 1), (0, 2)]
    table.commit([("a", 7, 0, 1)], {0: 1})  # b is still on its way
    client.flushall()
    assert ask(seen, ("a", 7, 0, 3), ("b", 7, 1, 4), ("c", 7, 0, 5)) == [(0, 1), (0, 2), (0, 5)]


def test_a_process_that_knows_nothing_asks_the_table(client):
    table = Table()
    table.commit([("a", 7, 0, 1)], {0: 1})
    name = next(_names)
    assert ask(RedisDedupStore(client, name, 60, table), ("a", 7, 0, 9)) == [(0, 1)]
    # The next one finds Redis whole, and asks nobody.
    reads = table.reads
    assert ask(RedisDedupStore(client, name, 60, table), ("a", 7, 0, 11)) == [(0, 1)]
    assert table.reads == reads


@pytest.mark.parametrize("what", ["expired", "evicted", "emptied"])
def test_a_bucket_that_went_is_filled_again(client, what):
    table, name = Table(), next(_names)
    seen = RedisDedupStore(client, name, 60, table)
    ask(seen, ("a", 7, 0, 1))
    table.commit([("a", 7, 0, 1)], {0: 1})
    if what == "expired":
        client.pexpire(bucket(client, name), 1)
    elif what == "evicted":
        client.delete(bucket(client, name))
    else:
        client.flushall()
    assert ask(seen, ("a", 7, 0, 2)) == [(0, 1)]


def test_data_of_another_life_of_the_server_is_not_trusted(redis_server, client):
    table, name = Table(), next(_names)
    seen = RedisDedupStore(client, name, 60, table)
    ask(seen, ("a", 7, 0, 1))
    table.commit([("a", 7, 0, 1)], {0: 1})
    # A server that was restored from an old dump: the bucket is there, an id is not.
    assert client.hdel(bucket(client, name), field("a")) == 1
    redis_server.kill()
    redis_server.start()
    fresh = RedisDedupStore(Client.from_url(redis_server.url), name, 60, table)
    assert ask(fresh, ("a", 7, 0, 2)) == [(0, 1)]


def test_a_loss_between_two_processes_is_noticed_by_both(client):
    table, name = Table(), next(_names)
    one, two = (RedisDedupStore(client, name, 60, table) for _ in range(2))
    assert ask(one, ("a", 7, 0, 1)) == [(0, 1)]
    assert ask(two, ("b", 7, 1, 1)) == [(1, 1)]
    client.flushall()
    # The first to notice makes the bucket whole for itself; the other adds what it knows.
    assert ask(one, ("c", 7, 0, 2)) == [(0, 2)]
    assert ask(two, ("b", 7, 1, 2)) == [(1, 1)]
    assert ask(one, ("b", 7, 0, 3)) == [(1, 1)]


def test_what_may_have_come_twice_is_counted(client, caplog):
    name = next(_names)
    one, two = (RedisDedupStore(client, name, 60, Table()) for _ in range(2))
    before = first_seen.metrics.DEDUP_DOUBTFUL._value.get()
    ask(one, ("a", 7, 0, 1))
    ask(two, ("b", 7, 1, 1))
    client.flushall()
    assert ask(two, ("a", 7, 1, 5)) == [(1, 5)]  # nobody can know better
    ask(one, ("c", 7, 0, 2))
    assert first_seen.metrics.DEDUP_DOUBTFUL._value.get() == before + 1
    assert "may be in silver twice" in caplog.text


def test_a_loss_while_it_is_filled_starts_over(client):
    class Unlucky(Table):
        def first(self, hours: Sequence[int]) -> Iterator[Seen]:
            for part in super().first(hours):
                if self.reads == 1:
                    client.flushall()
                yield part

    table = Unlucky()
    table.commit([(f"id{i}", 7, 0, i) for i in range(10)], {0: 9})
    seen = RedisDedupStore(client, next(_names), 60, table)
    assert ask(seen, ("id0", 7, 0, 20), ("id9", 7, 0, 21)) == [(0, 0), (0, 9)]
    assert table.reads == 2


def test_time_that_goes_on_costs_one_look_a_day(client):
    table = Table()
    seen = RedisDedupStore(client, next(_names), 60, table)
    for hour in range(100):
        ask(seen, (f"id{hour}", hour, 0, hour))
        table.commit([(f"id{hour}", hour, 0, hour)], {0: hour})
    assert table.reads == 0


def test_memory_is_given_back_once_the_table_has_it(client, monkeypatch):
    monkeypatch.setattr(first_seen, "_KEPT", 100)
    table = Table()
    seen = RedisDedupStore(client, next(_names), 60, table)
    for start in range(0, 2_000, 20):
        rows = [(f"id{i}", 7 + i // 500, i % 3, i) for i in range(start, start + 20)]
        ask(seen, *rows)
        table.commit(rows, dict.fromkeys(range(3), start + 19))
    assert sum(map(len, seen._recent)) <= 220


@examples(1 / 3)
@given(st.integers(0, 2**32))
def test_any_losses_at_any_time_with_crashes_are_those_of_a_dict(client, seed):
    luck = random.Random(seed)
    name, table = next(_names), Table()
    # Two processes with two partitions each; an id stays in one partition, as keys do.
    stream: list[list[Row]] = [[] for _ in range(4)]
    for partition in range(4):
        for offset in range(30):
            stream[partition].append(
                (f"id{luck.randrange(12)}-{partition}", luck.randrange(3), partition, offset)
            )
    model: dict[tuple[str, int, int], tuple[int, int]] = {}
    expected = {}
    for row in itertools.chain(*stream):
        expected[row[2:]] = model.setdefault((row[0], row[1], row[2]), row[2:])
    committed = dict.fromkeys(range(4), -1)
    while min(committed.values()) < 29:
        processes = [RedisDedupStore(client, name, 60, table) for _ in range(2)]
        at = {p: committed[p] + 1 for p in range(4)}
        pending: list[Row] = []
        for _ in range(luck.randrange(12)):
            what = luck.random()
            if what < 0.1:
                client.flushall()
            elif what < 0.2:
                # One bucket alone, as eviction, a clock that jumps or a pattern does.
                client.delete(f"millstream:{{{name}}}:firsts:{luck.randrange(3)}")
            elif what < 0.35:
                firsts = [row for row in pending if expected[row[2:]] == row[2:]]
                table.commit(firsts, {p: at[p] - 1 for p in range(4)})
                committed, pending = {p: at[p] - 1 for p in range(4)}, []
                # The first batch of an epoch goes everywhere, unless a crash is faster.
                for each in processes[: luck.randrange(4)]:
                    ask(each)
                if luck.random() < 0.2:
                    break
                for each in processes:
                    ask(each)
            else:
                p = luck.randrange(4)
                batch = stream[p][at[p] : at[p] + luck.randrange(1, 8)]
                if batch:
                    found = ask(processes[p // 2], *batch)
                    assert found == [expected[row[2:]] for row in batch]
                    at[p] += len(batch)
                    pending += batch
