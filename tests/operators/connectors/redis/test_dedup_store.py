import itertools
import random
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.connectors.redis import client as redis
from operators.connectors.redis.client import RedisUnavailableError
from operators.connectors.redis.dedup_store import RedisDedupStore
from tests.examples import examples
from tests.operators.connectors.first_records import ask
from tests.running import wait_until

_names = (f"test-{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def client(stack):
    client = redis.connect(stack.redis_url, 5)
    yield client
    client.close()


@pytest.fixture
def seen(client) -> RedisDedupStore:
    return RedisDedupStore(client, next(_names), 60)


def test_the_first_record_of_an_id_is_told_to_all_others(seen):
    assert ask(seen, ("a", 7, 0, 1), ("b", 7, 0, 2)) == [(0, 1), (0, 2)]
    assert ask(seen, ("a", 7, 1, 5)) == [(0, 1)]
    assert ask(seen, ("a", 7, 0, 3), ("c", 7, 0, 4)) == [(0, 1), (0, 4)]


def test_a_replayed_record_recognises_itself(seen):
    rows = [("a", 7, 0, 1), ("a", 7, 0, 2), ("b", 7, 3, 9)]
    once = ask(seen, *rows)
    assert once == [(0, 1), (0, 1), (3, 9)]
    assert ask(seen, *rows) == once
    assert [ask(seen, row)[0] for row in reversed(rows)] == once[::-1]


def test_the_earlier_record_of_a_batch_is_first_whatever_the_order_of_the_hours(seen):
    rows = [("x", 9, 0, 0), ("a", 8, 0, 1), ("x", 9, 0, 2), ("a", 8, 0, 3), ("x", 8, 0, 4)]
    assert ask(seen, *rows) == [(0, 0), (0, 1), (0, 0), (0, 1), (0, 4)]


def test_an_event_is_known_by_its_id_and_hour(seen):
    assert ask(seen, ("a", 7, 0, 1), ("a", 8, 0, 2)) == [(0, 1), (0, 2)]
    assert ask(seen, ("a", 8, 0, 9), ("a", 7, 0, 10)) == [(0, 2), (0, 1)]


def test_of_one_partition_the_earlier_offset_is_first_after_the_store_was_lost(seen):
    # A replay from before what the emptied store has seen since.
    assert ask(seen, ("a", 7, 0, 50)) == [(0, 50)]
    assert ask(seen, ("a", 7, 0, 20)) == [(0, 20)]
    assert ask(seen, ("a", 7, 0, 50)) == [(0, 20)]
    # Another partition has no order with it.
    assert ask(seen, ("a", 7, 1, 3)) == [(0, 20)]


@pytest.mark.parametrize("text", ["x", "é" * 60, "a\0b", "\r\n", " ", "x" * 255, "💳" * 63])
def test_ids_are_any_text_of_1_to_255_bytes(seen, text):
    assert ask(seen, (text, 7, 0, 1), (text, 7, 0, 2), (text[:-1] + "y", 7, 0, 3)) == [
        (0, 1), (0, 1), (0, 3)
    ]  # fmt: skip


def test_partitions_and_offsets_of_any_size(seen):
    big = 2**53
    assert ask(seen, ("a", 0, 2**31 - 1, big - 1)) == [(2**31 - 1, big - 1)]
    assert ask(seen, ("a", 0, 0, big)) == [(2**31 - 1, big - 1)]


def test_batches_larger_than_a_call(seen):
    n = 12_345
    ids = [f"id-{i % 11_000}" for i in range(n)]
    rows = [(ids[i], i % 3, 0, i) for i in range(n)]
    model: dict[tuple[str, int], tuple[int, int]] = {}
    expected = [model.setdefault((i, hour), (p, offset)) for i, hour, p, offset in rows]
    assert ask(seen, *rows) == expected
    assert ask(seen, *rows) == expected


def test_sliced_ids_and_ids_in_chunks(seen):
    ids = pl.Series([f"id-{i}" for i in range(10)])
    part = pl.concat([ids.slice(4, 2), ids.slice(5, 3)], rechunk=False)
    numbers = [np.full(5, 7), np.zeros(5, np.int64), np.arange(5)]
    assert seen.first(part, *numbers)[1].tolist() == [0, 1, 1, 3, 4]
    assert ask(seen, ("id-4", 7, 0, 9), ("id-7", 7, 0, 9)) == [(0, 0), (0, 4)]


def test_what_is_given_is_left_as_it_is(seen):
    hours, partitions, offsets = np.array([9, 7]), np.array([0, 0]), np.array([5, 6])
    ask(seen, ("a", 9, 0, 1))
    seen.first(pl.Series(["a", "b"]), hours, partitions, offsets)
    assert (hours.tolist(), partitions.tolist(), offsets.tolist()) == ([9, 7], [0, 0], [5, 6])


def test_a_bucket_expires_as_a_whole_after_its_last_record(client):
    name = next(_names)
    seen = RedisDedupStore(client, name, 2)
    ask(seen, ("a", 7, 0, 1), ("b", 8, 0, 2))
    time.sleep(1.2)
    assert ask(seen, ("c", 7, 0, 3), ("a", 7, 0, 4)) == [(0, 3), (0, 1)]
    time.sleep(1.2)
    assert ask(seen, ("a", 7, 0, 5), ("b", 8, 0, 6)) == [(0, 1), (0, 6)]
    wait_until(lambda: not list(client.scan_iter(f"*{name}*")))


def test_flows_that_share_a_redis_do_not_see_each_other(client):
    one, other = (
        RedisDedupStore(client, next(_names), 60),
        RedisDedupStore(client, next(_names), 60),
    )
    assert ask(one, ("a", 7, 0, 1)) == [(0, 1)]
    assert ask(other, ("a", 7, 0, 2)) == [(0, 2)]


def test_a_redis_that_forgot_its_scripts_is_none_the_worse(client, seen):
    ask(seen, ("a", 7, 0, 1))
    client.script_flush()
    assert ask(seen, ("a", 7, 0, 2)) == [(0, 1)]


records = st.lists(
    st.tuples(st.text("aé\0", min_size=1, max_size=3), st.integers(0, 3), st.integers(0, 2)),
    min_size=1, max_size=30,
)  # fmt: skip


@given(records, st.data())
def test_any_records_in_any_batches_with_replays_are_those_of_a_dict(client, rows, data):
    seen = RedisDedupStore(client, next(_names), 60)
    model: dict[tuple[str, int], tuple[int, int]] = {}
    stream = [(i, hour, p, offset) for offset, (i, hour, p) in enumerate(rows)]
    at = 0
    while at < len(stream):
        end = data.draw(st.integers(at + 1, len(stream)))
        batch = stream[at:end]
        expected = [model.setdefault((i, hour), (p, offset)) for i, hour, p, offset in batch]
        assert ask(seen, *batch) == expected
        # Now and then go back, as a crash does.
        at = data.draw(st.sampled_from([end, end, at // 2 if at else end]))
        if at < end and len(model) > 25:
            at = end


def by_one(known, rows):
    """Return what a dict would say, asked for one row after the other."""
    found = []
    for text, hour, partition, offset in rows:
        first = known.get((text, hour))
        if first is None or (first[0] == partition and offset < first[1]):
            first = known[text, hour] = partition, offset
        found.append(first)
    return found


@examples(1 / 2)
@given(st.integers(0, 2**32))
def test_calls_with_repeats_and_earlier_records_are_as_if_asked_one_by_one(client, seed):
    """Hundreds in a batch: some known, some twice in a call, some earlier than what is known."""
    luck = random.Random(seed)
    seen, known = RedisDedupStore(client, next(_names), 60), {}
    many, partitions = luck.choice([20, 1_000]), luck.choice([[0], [0, 1], [3, 1_024]])
    tops = luck.choice([[300], [300, 2**38 + 300]])
    for _ in range(luck.randrange(1, 4)):
        rows = [
            (
                f"{luck.randrange(many)}",
                7,
                luck.choice(partitions),
                luck.choice(tops) + i - luck.randrange(200),
            )
            for i in range(luck.randrange(1, 450))
        ]
        assert ask(seen, *rows) == by_one(known, rows)


def test_coordinates_of_both_lengths_in_a_batch(client, seen):
    rows = [
        ("a", 7, 1_023, 2**38 - 1), ("b", 7, 1_024, 0), ("c", 7, 0, 2**38), ("d", 7, 0, 0),
        ("b", 7, 0, 1), ("a", 7, 5_000, 1), ("d", 7, 70_000, 2**40),
    ]  # fmt: skip
    expected = [(1_023, 2**38 - 1), (1_024, 0), (0, 2**38), (0, 0), (1_024, 0),
                (1_023, 2**38 - 1), (0, 0)]  # fmt: skip
    assert ask(seen, *rows) == expected
    assert [ask(seen, row)[0] for row in rows] == expected


def test_an_id_takes_less_than_48_bytes(client, seen):
    # Except while its table grows: then there are two for a while.
    ids = [(f"{i:08x}-2f41-4a5d-9c3e-{i * i:012x}", 7, i % 16, i) for i in range(100_000)]
    ask(seen, ids[0])
    before = client.info("memory")["used_memory"]
    ask(seen, *ids)
    assert (client.info("memory")["used_memory"] - before) / len(ids) < 48


def test_a_server_that_goes_away_is_a_clear_error():
    from redis import Redis

    gone = RedisDedupStore(Redis.from_url("redis://127.0.0.1:1/0"), "x", 60, patience=1)
    with pytest.raises(RedisUnavailableError, match=r"^Redis at 127\.0\.0\.1:1: .*tried for"):
        ask(gone, ("a", 7, 0, 1))
