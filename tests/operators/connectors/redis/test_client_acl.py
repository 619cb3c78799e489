"""A user of Redis who may do little: enough, or refused with what is missing."""

import time

import pytest
from redis import Redis as Client

from operators.connectors.redis import client as redis
from operators.connectors.redis.client import RedisUnavailableError
from operators.connectors.redis.dedup_store import RedisDedupStore
from operators.connectors.redis.faults import ACL
from tests.operators.connectors.first_records import Table, ask


@pytest.fixture
def admin(redis_server):
    with Client.from_url(redis_server.url) as made:
        yield made
        made.acl_deluser("flow")


@pytest.fixture
def allow(admin, redis_server):
    def allow(*rules: str) -> str:
        """Make a user who may do this alone; returns the URL."""
        admin.execute_command("ACL", "SETUSER", "flow", "reset", "on", ">secret", *rules)
        return redis_server.url.replace("//", "//flow:secret@")

    return allow


def test_what_the_message_asks_for_is_enough_also_after_a_loss(admin, allow):
    with redis.connect(allow(*ACL.split()), 5) as client:
        table = Table()
        seen = RedisDedupStore(client, "acl", 60, table)
        assert ask(seen, ("a", 7, 0, 1), ("b", 7, 0, 2)) == [(0, 1), (0, 2)]
        table.commit([("a", 7, 0, 1)], {0: 1})
        admin.flushall()
        assert ask(seen, ("a", 7, 0, 3), ("b", 7, 0, 4)) == [(0, 1), (0, 2)]


@pytest.mark.parametrize("denied", ["info", "eval"])
def test_who_may_not_do_it_is_refused_at_once_with_what_is_missing(allow, denied):
    url = allow(*ACL.split(), f"-{denied}")
    began = time.monotonic()
    with pytest.raises(RedisUnavailableError, match=rf"'{denied}' command.*\+info") as refusal:
        redis.connect(url, 60)
    assert time.monotonic() - began < 30
    assert "secret" not in str(refusal.value)


def test_each_command_of_the_list_is_needed(allow):
    needed = [rule for rule in ACL.split() if rule not in ("+eval", "+info", "~millstream:*")]
    for rule in needed:
        url = allow(*ACL.split(), rule.replace("+", "-"))
        with redis.connect(url, 5) as client, pytest.raises(RedisUnavailableError):
            ask(RedisDedupStore(client, rule, 60, Table()), ("a", 7, 0, 1), ("a", 7, 0, 2))


def test_info_denied_while_it_runs_stops_it_and_no_loss_goes_unseen(allow):
    with redis.connect(allow(*ACL.split()), 5) as client:
        seen = RedisDedupStore(client, "revoked", 60)
        ask(seen, ("a", 7, 0, 1))
        allow(*ACL.split(), "-info")
        with pytest.raises(RedisUnavailableError, match="ACL"):
            ask(seen, ("a", 7, 0, 2))


def test_a_server_that_does_not_tell_its_life_is_refused(redis_server, monkeypatch):
    monkeypatch.setattr(redis, "LIFE", redis.LIFE.replace("run_id", "no_such_id"))
    with pytest.raises(RedisUnavailableError, match="INFO names no run_id"):
        redis.connect(redis_server.url, 60)
