"""What the release before kept in Redis: ids themselves for fields, coordinates of 12 bytes."""

import itertools
import struct

import pytest
from redis import Redis as Client

from operators.connectors.redis.client import LIFE
from operators.connectors.redis.dedup_store import RedisDedupStore
from tests.operators.connectors.first_records import Row, Table, ask

_names = (f"before-{i}" for i in itertools.count())


@pytest.fixture
def client(redis_server):
    with Client.from_url(redis_server.url) as made:
        yield made


def kept_before(client: Client, name: str, *rows: Row) -> None:
    """Put records in as the release before did, whose generation goes on."""
    prefix = f"millstream:{{{name}}}:first:"
    life = client.eval(f"{LIFE}return life()", 0)
    generation = client.get(f"{prefix}generation") or b"-"
    if not generation.startswith(life):
        generation = life + b"0123456789abcdef"
    client.set(f"{prefix}generation", generation, px=60_000)
    for text, hour, partition, offset in rows:
        client.hsetnx(f"{prefix}{hour}", text, struct.pack(">IQ", partition, offset))
        client.hset(f"{prefix}{hour}", "", generation + b"89abcdef")
        client.pexpire(f"{prefix}{hour}", 60_000)


def trusted_before(client: Client, name: str) -> bool:
    """Tell whether the release before would take what it has for whole."""
    life = client.eval(f"{LIFE}return life()", 0)
    return client.get(f"millstream:{{{name}}}:first:generation").startswith(life)


def test_where_a_table_has_them_they_are_taken_from_there(client):
    name, table = next(_names), Table()
    table.commit([("a", 7, 0, 1), ("b", 7, 1, 2)], {0: 1, 1: 2})
    # c was on its way when the release before ended: its record is read again.
    kept_before(client, name, ("a", 7, 0, 1), ("b", 7, 1, 2), ("c", 7, 0, 2))
    seen = RedisDedupStore(client, name, 60, table)
    assert ask(seen, ("c", 7, 0, 2), ("a", 7, 0, 3), ("b", 7, 1, 4)) == [(0, 2), (0, 1), (1, 2)]


def test_without_a_table_they_are_known_from_what_is_there(client):
    name, big = next(_names), 2**53 - 1
    rows = [(f"id{i}", 7 + i % 2, i % 3, i) for i in range(2_500)]
    rows += [("p", 7, 1_023, 2**38 - 1), ("q", 7, 1_024, 5), ("r", 7, 2**31 - 1, big)]
    kept_before(client, name, *rows)
    again = [(text, hour, 5, 10_000 + i) for i, (text, hour, _, _) in enumerate(rows)]
    new = [("new", 7, 0, 9_000), ("id0", 9, 0, 9_001), ("new", 7, 1, 9_002)]
    expected = [row[2:] for row in rows]
    seen = RedisDedupStore(client, name, 60)
    assert ask(seen, *again, *new) == [*expected, (0, 9_000), (0, 9_001), (0, 9_000)]
    assert ask(RedisDedupStore(client, name, 60), *new, *rows) == [
        (0, 9_000), (0, 9_001), (0, 9_000), *expected
    ]  # fmt: skip
    # Once known, and where the other release's have expired.
    client.delete(f"millstream:{{{name}}}:first:7", f"millstream:{{{name}}}:first:8")
    assert ask(RedisDedupStore(client, name, 60), *again) == expected


def test_a_replay_behind_the_upgrade_recognises_its_records(client):
    name = next(_names)
    rows = [("a", 7, 0, 1), ("b", 7, 3, 2)]
    kept_before(client, name, *rows)
    assert ask(RedisDedupStore(client, name, 60), *rows) == [(0, 1), (3, 2)]


def test_the_release_before_does_not_trust_what_has_missed_ids_nor_does_this_one(client):
    """There, back and there again, as people do."""
    name, table = next(_names), Table()
    table.commit([("a", 7, 0, 1)], {0: 1})
    kept_before(client, name, ("a", 7, 0, 1))
    assert trusted_before(client, name)
    assert ask(RedisDedupStore(client, name, 60, table), ("b", 7, 0, 2)) == [(0, 2)]
    table.commit([("b", 7, 0, 2)], {0: 2})
    assert not trusted_before(client, name)
    # It begins a generation of its own, fills its buckets from the table, and reads on.
    kept_before(client, name, ("a", 7, 0, 1), ("b", 7, 0, 2), ("c", 7, 0, 3))
    table.commit([("c", 7, 0, 3)], {0: 3})
    one, two = (RedisDedupStore(client, name, 60, table) for _ in range(2))
    assert ask(one, ("c", 7, 1, 9), ("a", 7, 1, 10)) == [(0, 3), (0, 1)]
    reads = table.reads
    # Only the first process behind it begins anew.
    assert ask(two, ("c", 7, 2, 9), ("b", 7, 2, 10)) == [(0, 3), (0, 2)]
    assert table.reads == reads
    assert not trusted_before(client, name)
