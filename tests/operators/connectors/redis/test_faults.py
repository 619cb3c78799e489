"""What a real Redis says when it refuses, and what then becomes of those who ask it."""

import contextlib
import threading
import time

import numpy as np
import polars as pl
import pytest
from redis import Redis as Client

from operators.connectors.redis import client as redis
from operators.connectors.redis.client import RedisUnavailableError
from operators.connectors.redis.dedup_ids import Seen
from operators.connectors.redis.dedup_store import RedisDedupStore
from operators.connectors.shutdown import SHUTDOWN
from tests.operators.connectors.first_records import Table, ask
from tests.operators.connectors.redis.refusals import REFUSALS, config, replica, run
from tests.running import wait_until
from tests.servers import proxy as proxies
from tests.servers import redis as servers


@pytest.fixture
def server(tmp_path):
    # Else its folder can't be changed while it runs.
    with servers.redis(tmp_path, "--enable-protected-configs", "local") as running:
        yield running


def asker(server, patience=60.0, history=None, name="faults"):
    """Return a store on a client of its own, as a process has one."""
    return RedisDedupStore(redis.connect(server.url, 5), name, 600, history, patience)


@contextlib.contextmanager
def later(seconds, what):
    """Do something in a while, in another thread."""
    timer = threading.Timer(seconds, what)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextlib.contextmanager
def once_it_waits(caplog, what):
    """Do something soon after it was said that Redis is waited for, in another thread."""

    def look():
        wait_until(lambda: "waiting for Redis" in caplog.text)
        what()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("name", REFUSALS)
def test_what_may_pass_is_waited_for_as_its_line_says(server, caplog, name):
    """The advice is what is then done; the flow goes on, and nothing is half done."""
    begin, end, advice = REFUSALS[name]
    table = Table()
    seen = asker(server, history=table)
    assert ask(seen, ("a", 7, 0, 1)) == [(0, 1)]
    begin(server)
    with once_it_waits(caplog, lambda: end(server)):
        assert ask(seen, ("a", 7, 0, 2), ("b", 7, 0, 3)) == [(0, 1), (0, 3)]
    said = [line for line in caplog.messages if "waiting for Redis" in line]
    assert len(said) == 1
    assert advice in said[0]
    assert "script:" not in said[0]
    assert "back after" in caplog.text


@pytest.mark.parametrize("name", ["full", "a replica", "no replicas"])
def test_what_does_not_pass_ends_in_one_line(server, name):
    begin, _, advice = REFUSALS[name]
    seen = asker(server, patience=1)
    ask(seen, ("a", 7, 0, 1))
    begin(server)
    with pytest.raises(RedisUnavailableError) as end:
        ask(seen, ("a", 7, 0, 2))
    said = str(end.value)
    assert said.startswith(f"Redis at 127.0.0.1:{server.port}: ")
    assert advice in said
    assert "tried for" in said
    assert "\n" not in said


def payments(first, last):
    """Return an id's row of hour 7 for each number from `first` up to `last`."""
    return [(f"payment-{i:030}", 7, 0, i) for i in range(first, last)]


def test_a_full_server_takes_nothing_more_however_much_is_asked(server):
    seen, done = asker(server, patience=0.5), []

    def ask_on():
        for first in range(0, 1_000_000, 20_000):
            ask(seen, *payments(first, first + 20_000))
            done.append(first)

    with server.admin() as client:
        limit = client.info("memory")["used_memory"] + 3_000_000
        client.config_set("maxmemory", limit)
        with pytest.raises(RedisUnavailableError, match="it is full"):
            ask_on()
        assert len(done) < 5
        # One call of 5,000 ids may be let go on.
        assert client.info("memory")["used_memory"] < limit + 2_000_000


class Big(Table):
    """A table that gives all of its rows at once, and only when asked for hours."""

    def latest(self):
        return iter(())

    def first(self, hours):
        ids, *numbers = zip(*self.rows, strict=True)
        yield Seen(pl.Series(ids), *(np.array(column, np.int64) for column in numbers))


def test_a_bucket_is_filled_only_as_far_as_there_is_memory(server):
    table = Big()
    table.commit(payments(0, 60_000), {0: 59_999})
    seen = asker(server, patience=0.5, history=table)
    with server.admin() as client:
        limit = client.info("memory")["used_memory"] + 2_000_000
        client.config_set("maxmemory", limit)
        with pytest.raises(RedisUnavailableError, match="it is full"):
            ask(seen, ("a", 7, 0, 99_999))
        assert client.info("memory")["used_memory"] < limit + 2_000_000
        client.config_set("maxmemory", 0)
    # What was put in half is not trusted.
    (last,) = payments(59_999, 60_000)
    assert ask(seen, (*last[:3], 99_999)) == [(0, 59_999)]


def test_a_server_that_hangs_is_waited_for(server, caplog):
    seen = asker(server)
    ask(seen, ("a", 7, 0, 1))
    server.hang()
    with once_it_waits(caplog, server.resume):
        assert ask(seen, ("a", 7, 0, 2)) == [(0, 1)]
    assert "Timeout reading from" in caplog.text


@pytest.mark.parametrize("how", ["hangs", "refuses", "is gone"])
def test_told_to_end_it_waits_for_seconds_and_says_that_nothing_is_lost(
    server, monkeypatch, how
):
    seen = asker(server, patience=60)
    ask(seen, ("a", 7, 0, 1))
    {"hangs": server.hang, "refuses": lambda: replica(server), "is gone": server.kill}[how]()

    def told():
        monkeypatch.setattr(SHUTDOWN, "_asked", time.monotonic())
        monkeypatch.setattr(SHUTDOWN, "requested", True)

    began = time.monotonic()
    with later(0.5, told), pytest.raises(RedisUnavailableError, match="nothing is lost"):
        ask(seen, ("a", 7, 0, 2))
    assert time.monotonic() - began < 9


def test_an_answer_that_breaks_off_is_asked_for_again(server):
    rows = [(f"id-{i}", 7, 0, i) for i in range(12_000)]
    again = [(id_, 7, 1, i) for id_, _, _, i in rows]
    with (
        proxies.proxy(server.port) as between,
        redis.connect(f"redis://127.0.0.1:{between.port}/0", 5) as client,
    ):
        seen = RedisDedupStore(client, "cut", 600, patience=60)
        ask(seen, *rows)
        for after in (1, 100, 70_000, 150_000):
            cuts = between.cuts
            between.cut(after)
            assert ask(seen, *again) == [(0, i) for i in range(len(rows))]
            assert between.cuts == cuts + 1


def test_too_many_clients_are_waited_for(server, caplog):
    seen = asker(server)
    ask(seen, ("a", 7, 0, 1))
    with contextlib.ExitStack() as others:
        run(server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        config(server, maxclients=3)
        for _ in range(3):
            with contextlib.suppress(Exception):
                others.enter_context(Client.from_url(server.url)).ping()
        with once_it_waits(caplog, others.close):
            assert ask(seen, ("a", 7, 0, 2)) == [(0, 1)]
    assert "end other clients, or raise its maxclients" in caplog.text


def test_a_new_password_ends_it_at_once_with_where_it_stands(server):
    config(server, requirepass="first")
    with servers_client(server, "first") as client:
        seen = RedisDedupStore(client, "rotated", 600, patience=60)
        ask(seen, ("a", 7, 0, 1))
        with Client.from_url(server.url, password="first") as admin:
            admin.config_set("requirepass", "second")
            admin.client_kill_filter(_type="normal", skipme=True)
        began = time.monotonic()
        with pytest.raises(RedisUnavailableError, match="the password in MILLSTREAM_REDIS_URL"):
            ask(seen, ("a", 7, 0, 2))
        assert time.monotonic() - began < 30
    # Which is what it says: with the new one it goes on.
    with servers_client(server, "second") as client:
        assert ask(RedisDedupStore(client, "rotated", 600), ("a", 7, 0, 3)) == [(0, 1)]


def servers_client(server, password):
    return redis.connect(server.url.replace("//", f"//:{password}@"), 5)


def test_another_programs_key_of_that_name_is_named_at_once(server):
    seen = asker(server, patience=60)
    ask(seen, ("a", 7, 0, 1))
    with server.admin() as client:
        (bucket,) = [key for key in client.scan_iter("*") if key.endswith(b":7")]
        client.set(bucket, "something else")
        with pytest.raises(
            RedisUnavailableError, match=r"WRONGTYPE.*another program's; delete"
        ):
            ask(seen, ("a", 7, 0, 2))
        client.delete(bucket)
    assert ask(seen, ("b", 7, 0, 3)) == [(0, 3)]
