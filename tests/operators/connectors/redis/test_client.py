"""Connecting to Redis: what cannot be worked with is refused at once, in one line."""

import time
from urllib.parse import quote

import pytest
from redis import Redis as Client

from operators.connectors.redis import client as redis
from operators.connectors.redis.client import RedisUnavailableError
from operators.connectors.redis.dedup_store import RedisDedupStore
from ops.processes import free_port
from tests.operators.connectors.first_records import ask
from tests.servers import proxy as proxies
from tests.servers import redis as servers


def refusal(url: str, timeout: float = 60) -> str:
    """Return what the refusal of a server says, which must be one line, and soon."""
    began = time.monotonic()
    with pytest.raises(RedisUnavailableError) as raised:
        redis.connect(url, timeout)
    assert time.monotonic() - began < 30
    said = str(raised.value)
    assert said.startswith("Redis at 127.0.0.1")
    assert "\n" not in said
    assert "secret" not in said
    return said


def test_a_redis_that_is_not_there_is_waited_for_and_named():
    said = refusal(f"redis://:secret@127.0.0.1:{free_port()}/0", 0.3)
    assert "refused (tried for 0 s); check that it runs and MILLSTREAM_REDIS_URL" in said


def test_a_socket_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RedisUnavailableError, match=rf"Redis at {tmp_path}/no.sock: .*No such"):
        redis.connect(f"unix://{tmp_path}/no.sock", 0.3)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_a_server_that_evicts_is_refused_until_it_does_not(redis_server, policy):
    with redis_server.admin() as admin:
        try:
            admin.config_set("maxmemory-policy", policy)
            redis.connect(redis_server.url, 5).close()  # without a limit nothing is evicted
            admin.config_set("maxmemory", 100_000_000)
            said = refusal(redis_server.url)
            assert f"its maxmemory-policy is {policy}" in said
            assert "Set maxmemory-policy noeviction" in said
            admin.config_set("maxmemory-policy", "noeviction")
            redis.connect(redis_server.url, 5).close()
        finally:
            admin.config_set("maxmemory", 0)
            admin.config_set("maxmemory-policy", "noeviction")


def test_a_database_that_is_not_there_is_named(redis_server):
    said = refusal(redis_server.url.replace("/0", "/99"))
    assert "it has no such database; correct the number" in said


def test_a_wrong_password_is_refused_without_it(redis_server):
    said = refusal(redis_server.url.replace("//", "//nobody:secret@"))
    assert "the password in MILLSTREAM_REDIS_URL" in said


def test_a_password_with_any_letters_is_encoded_as_the_settings_say(redis_server):
    password = "s/e@c#r?e%t:41 ü"
    encoded = redis_server.url.replace("//", f"//flow:{quote(password, safe='')}@")
    with redis_server.admin() as admin:
        admin.acl_setuser("flow", enabled=True, passwords=[f"+{password}"], commands=["+@all"],
                          keys=["*"])  # fmt: skip
        try:
            redis.connect(encoded, 5).close()
        finally:
            admin.acl_deluser("flow")


def test_a_sentinel_is_told_from_the_primary(tmp_path):
    with servers.sentinel(tmp_path) as sentinel:
        assert "where MILLSTREAM_REDIS_URL should name the primary's" in refusal(sentinel.url)


def test_tls_where_there_is_none_is_named(redis_server):
    said = refusal(redis_server.url.replace("redis://", "rediss://"), 1)
    assert "redis:// where it speaks no TLS" in said


def test_tls_is_trusted_by_the_ca_that_the_url_names(redis_server, tmp_path):
    certificate, key = proxies.certificate(tmp_path)
    with proxies.proxy(redis_server.port, certificate, key) as tls:
        untrusted = refusal(f"rediss://:secret@127.0.0.1:{tls.port}/0")
        assert "let ?ssl_ca_certs= in MILLSTREAM_REDIS_URL name the file of the CA" in untrusted
        plain = refusal(f"redis://:secret@127.0.0.1:{tls.port}/0", 1)
        assert "rediss:// where it wants TLS" in plain
        url = f"rediss://127.0.0.1:{tls.port}/0?ssl_ca_certs={quote(str(certificate))}"
        with redis.connect(url, 5) as client:
            assert ask(RedisDedupStore(client, "tls", 60), ("a", 7, 0, 1)) == [(0, 1)]


def test_a_cluster_whose_other_node_has_the_ids_is_refused(tmp_path):
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with (
        servers.redis(tmp_path, *options, name="one") as one,
        servers.redis(tmp_path, *options, name="two") as two,
        Client.from_url(one.url) as here,
        Client.from_url(two.url) as there,
    ):
        seen = RedisDedupStore(redis.connect(one.url, 5), "of-another", 60, patience=0.5)
        with pytest.raises(
            RedisUnavailableError, match="Cluster that is down; see CLUSTER INFO"
        ):
            ask(seen, ("a", 7, 0, 1))
        here.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        there.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        here.execute_command("CLUSTER", "MEET", "127.0.0.1", two.port)
        deadline = time.monotonic() + 60
        while not all("cluster_state:ok" in _state(node) for node in (here, there)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        slot = here.execute_command("CLUSTER", "KEYSLOT", "{of-another}")
        owner, other = (one, two) if slot < 8192 else (two, one)
        # All keys of a flow are in one slot, so the node that has it would do.
        with redis.connect(owner.url, 5) as client:
            assert ask(RedisDedupStore(client, "of-another", 60), ("a", 7, 0, 1)) == [(0, 1)]
        with redis.connect(other.url, 5) as client:
            seen = RedisDedupStore(client, "of-another", 60)
            with pytest.raises(RedisUnavailableError, match="a server that is no cluster"):
                ask(seen, ("a", 7, 0, 2))


def _state(node: Client) -> str:
    state = node.execute_command("CLUSTER", "INFO")
    return state.decode() if isinstance(state, bytes) else str(state)
